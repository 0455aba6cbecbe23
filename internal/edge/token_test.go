package edge

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"confgate/internal/conference"
)

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	now := time.Now().Truncate(time.Second)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(m jwt.SigningMethod, key any, claims jwt.MapClaims, header ...string) string {
		tok := jwt.NewWithClaims(m, claims)
		for _, h := range header {
			tok.Header[h] = []string{"x"}
		}
		s, err := tok.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	hs := func(claims jwt.MapClaims, header ...string) string {
		return sign(jwt.SigningMethodHS256, secret, claims, header...)
	}
	claims := func(change func(jwt.MapClaims)) jwt.MapClaims {
		c := jwt.MapClaims{"sub": "ann", "exp": now.Add(time.Hour).Unix(), "scope": "read pii", "conf": []string{"900"}, "iss": "us", "aud": "gw"}
		if change != nil {
			change(c)
		}
		return c
	}
	set := func(name string, value any) jwt.MapClaims { return claims(func(c jwt.MapClaims) { c[name] = value }) }
	without := func(name string) jwt.MapClaims { return claims(func(c jwt.MapClaims) { delete(c, name) }) }
	good := Identity{Subject: "ann", Scopes: ScopeRead | ScopePII, Conferences: []string{"900"}, Expires: now.Add(time.Hour)}
	change := func(f func(*Identity)) Identity {
		id := good
		f(&id)
		return id
	}
	forged := hs(claims(nil))
	forged = forged[:strings.LastIndexByte(forged, '.')+1] + base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	tests := []struct {
		name, token string
		want        Identity
		err         error
	}{
		{"good", hs(claims(nil)), good, nil},
		{"audience in a list", hs(set("aud", []string{"x", "gw"})), good, nil},
		{"unknown scopes grant nothing", hs(set("scope", "read  pii wheel")), good, nil},
		{"no scope", hs(without("scope")), change(func(id *Identity) { id.Scopes = 0 }), nil},
		{"no conferences", hs(without("conf")), change(func(id *Identity) { id.Conferences = nil }), nil},
		{"within the leeway", hs(set("exp", now.Add(-20*time.Second).Unix())), change(func(id *Identity) { id.Expires = now.Add(-20 * time.Second) }), nil},
		{"begins within the leeway", hs(set("nbf", now.Add(20*time.Second).Unix())), good, nil},
		{"expired", hs(set("exp", now.Add(-31*time.Second).Unix())), Identity{}, ErrTokenExpired},
		{"not yet", hs(set("nbf", now.Add(time.Minute).Unix())), Identity{}, ErrTokenInvalid},
		{"no token", "", Identity{}, ErrNoToken},
		{"no expiry", hs(without("exp")), Identity{}, ErrTokenInvalid},
		{"expiry of a wrong type", hs(set("exp", "soon")), Identity{}, ErrTokenInvalid},
		{"no subject", hs(without("sub")), Identity{}, ErrTokenInvalid},
		{"conferences of a wrong type", hs(set("conf", "900")), Identity{}, ErrTokenInvalid},
		{"scope of a wrong type", hs(set("scope", []string{"read"})), Identity{}, ErrTokenInvalid},
		{"another issuer", hs(set("iss", "them")), Identity{}, ErrTokenInvalid},
		{"no issuer", hs(without("iss")), Identity{}, ErrTokenInvalid},
		{"another audience", hs(set("aud", "them")), Identity{}, ErrTokenInvalid},
		{"no audience", hs(without("aud")), Identity{}, ErrTokenInvalid},
		{"none", sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims(nil)), Identity{}, ErrTokenInvalid},
		{"HS384", sign(jwt.SigningMethodHS384, secret, claims(nil)), Identity{}, ErrTokenInvalid},
		{"HS512", sign(jwt.SigningMethodHS512, secret, claims(nil)), Identity{}, ErrTokenInvalid},
		{"EdDSA", sign(jwt.SigningMethodEdDSA, private, claims(nil)), Identity{}, ErrTokenInvalid},
		{"another secret", sign(jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), claims(nil)), Identity{}, ErrTokenInvalid},
		{"forged signature", forged, Identity{}, ErrTokenInvalid},
		{"expired and forged", sign(jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), set("exp", 1)), Identity{}, ErrTokenInvalid},
		{"critical extension", hs(claims(nil), "crit"), Identity{}, ErrTokenInvalid},
		{"garbage", "garbage", Identity{}, ErrTokenInvalid},
		{"dots", "..", Identity{}, ErrTokenInvalid},
		{"too long", hs(set("scope", strings.Repeat("read ", 4000))), Identity{}, ErrTokenInvalid},
	}
	a, err := NewVerifier(VerifierConfig{Secret: secret, Issuer: "us", Audience: "gw"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		got, err := a.Authenticate(t.Context(), tt.token)
		if diff := cmp.Diff(tt.want, got); diff != "" || !errors.Is(err, tt.err) {
			t.Errorf("%s: Authenticate = %v, want %v; identity (-want +got):\n%s", tt.name, err, tt.err, diff)
		}
		if err != nil && tt.token != "" && strings.Contains(err.Error(), tt.token) {
			t.Errorf("%s: error %q holds the token", tt.name, err)
		}
	}
}

func TestVerifierWithoutIssuerAndAudience(t *testing.T) {
	t.Parallel()
	a, err := NewVerifier(VerifierConfig{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Authenticate(t.Context(), token(t, Claims{Issuer: "anybody", Audience: "anything"})); err != nil {
		t.Errorf("Authenticate = %v, want nil: neither is configured", err)
	}
}

func TestSecretIsLongEnoughAndStaysSecret(t *testing.T) {
	t.Parallel()
	short := secret[:31]
	if _, err := NewVerifier(VerifierConfig{Secret: short}); err == nil || strings.Contains(err.Error(), string(short)) {
		t.Errorf("NewVerifier with 31 bytes = %v, want an error without the secret", err)
	}
	if _, err := Mint(short, Claims{Subject: "a", Expires: time.Now()}); err == nil || strings.Contains(err.Error(), string(short)) {
		t.Errorf("Mint with 31 bytes = %v, want an error without the secret", err)
	}
	a, err := NewVerifier(VerifierConfig{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb, a); got != "edge.Verifier(***)" {
			t.Errorf("Sprintf(%q) = %q, want edge.Verifier(***)", verb, got)
		}
	}
}

func TestMint(t *testing.T) {
	t.Parallel()
	a, err := NewVerifier(VerifierConfig{Secret: secret, Issuer: "us", Audience: "gw"})
	if err != nil {
		t.Fatal(err)
	}
	exp := time.Now().Add(time.Minute).Truncate(time.Second)
	tok, err := Mint(secret, Claims{
		Subject: "dev", Scopes: ScopeRead | ScopeSecrets, Conferences: []string{"1", "2"}, Issuer: "us", Audience: "gw", Expires: exp,
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.Authenticate(t.Context(), tok)
	want := Identity{Subject: "dev", Scopes: ScopeRead | ScopeSecrets, Conferences: []string{"1", "2"}, Expires: exp}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Authenticate(Mint()) = %v (-want +got):\n%s", err, diff)
	}
	for _, c := range []Claims{{Expires: exp}, {Subject: "dev"}} {
		if _, err := Mint(secret, c); err == nil {
			t.Errorf("Mint(%+v) = nil, want an error", c)
		}
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		id      Identity
		profile conference.Profile
		want    bool
	}{
		{"named", Identity{Scopes: ScopeRead, Conferences: []string{"8", "9"}}, 0, true},
		{"all", Identity{Scopes: ScopeRead, Conferences: []string{"*"}}, 0, true},
		{"another", Identity{Scopes: ScopeRead, Conferences: []string{"8", "99"}}, 0, false},
		{"none named", Identity{Scopes: ScopeRead}, 0, false},
		{"not to read", Identity{Scopes: ScopePII | ScopeAdmin, Conferences: []string{"*"}}, 0, false},
		{"pii", Identity{Scopes: ScopeRead | ScopePII, Conferences: []string{"*"}}, conference.PII, true},
		{"no pii", Identity{Scopes: ScopeRead | ScopeSecrets, Conferences: []string{"*"}}, conference.PII, false},
		{"both", Identity{Scopes: ScopeRead | ScopeSecrets | ScopePII, Conferences: []string{"*"}}, conference.PII | conference.Secrets, true},
	}
	for _, tt := range tests {
		if got := tt.id.allows("9", tt.profile); got != tt.want {
			t.Errorf("%s: allows = %v, want %v", tt.name, got, tt.want)
		}
	}
	id, err := Anyone{}.Authenticate(t.Context(), "whatever")
	want := Identity{Subject: "anyone", Scopes: ScopeRead | ScopePII | ScopeSecrets | ScopeAdmin, Conferences: []string{"*"}}
	if diff := cmp.Diff(want, id); err != nil || diff != "" {
		t.Errorf("Anyone = %v (-want +got):\n%s", err, diff)
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	all := ParseScopes("control admin secrets pii read nonsense")
	if diff := cmp.Diff([]string{"read", "pii", "secrets", "admin", "control"}, all.Names()); diff != "" {
		t.Errorf("Names (-want +got):\n%s", diff)
	}
	tests := []struct {
		scopes Scopes
		want   conference.Profile
	}{
		{0, 0},
		{ScopeRead | ScopeAdmin | ScopeControl, 0},
		{ScopePII, conference.PII},
		{ScopeSecrets, conference.Secrets},
		{all, conference.PII | conference.Secrets},
	}
	for _, tt := range tests {
		if got := tt.scopes.Profile(); got != tt.want {
			t.Errorf("Profile of %v = %b, want %b", tt.scopes.Names(), got, tt.want)
		}
	}
}
