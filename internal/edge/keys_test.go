package edge

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"confgate/internal/telemetry"
)

// signer is a private key of an issuer, with the public one as it publishes it.
type signer struct {
	method jwt.SigningMethod
	key    crypto.Signer
	jwk    map[string]any
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func rsaSigner(t *testing.T, kid string, bits int) signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return signer{jwt.SigningMethodRS256, key, map[string]any{
		"kty": "RSA", "kid": kid, "n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes()),
	}}
}

func ecSigner(t *testing.T, kid string, curve elliptic.Curve) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	method := jwt.SigningMethodES256
	if curve != elliptic.P256() {
		method = jwt.SigningMethodES384
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	size := (len(point) - 1) / 2
	return signer{method, key, map[string]any{
		"kty": "EC", "kid": kid, "crv": curve.Params().Name, "x": b64(point[1 : 1+size]), "y": b64(point[1+size:]),
	}}
}

func edSigner(t *testing.T, kid string) signer {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{jwt.SigningMethodEdDSA, key, map[string]any{"kty": "OKP", "kid": kid, "crv": "Ed25519", "x": b64(public)}}
}

// with changes members of the published key.
func (s signer) with(members ...string) signer {
	jwk := maps.Clone(s.jwk)
	for i := 0; i < len(members); i += 2 {
		jwk[members[i]] = members[i+1]
	}
	return signer{s.method, s.key, jwk}
}

// sign makes a token under a key id; an empty one leaves it out.
func (s signer) sign(t *testing.T, kid string, change ...func(jwt.MapClaims)) string {
	t.Helper()
	claims := jwt.MapClaims{"sub": "ann", "exp": time.Now().Add(time.Hour).Unix(), "scope": "read", "conf": []string{"900"}}
	for _, f := range change {
		f(claims)
	}
	tok := jwt.NewWithClaims(s.method, claims)
	if kid != "" {
		tok.Header["kid"] = kid
	}
	text, err := tok.SignedString(s.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func keySet(signers ...signer) string {
	keys := make([]map[string]any, 0, len(signers))
	for _, s := range signers {
		keys = append(keys, s.jwk)
	}
	data, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err) // maps of strings
	}
	return string(data)
}

// keyServer answers for an issuer, without a socket.
type keyServer struct {
	mu      sync.Mutex
	status  int // 0: can't be reached
	body    string
	fetches int
	delay   time.Duration
}

func (s *keyServer) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.fetches++
	status, body, delay := s.status, s.body, s.delay
	s.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if status == 0 {
		return nil, errors.New("no route to host")
	}
	return &http.Response{
		StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Request: r,
		Header: http.Header{"Location": {"http://elsewhere.example"}},
	}, nil
}

func (s *keyServer) set(status int, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.body = status, body
}

func (s *keyServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetches
}

// issuer is a key server and a verifier that runs on its keys.
type issuer struct {
	*keyServer
	verifier *Verifier
	keys     *KeySet
	world    *world
	stop     func()
}

const keyURL = "https://keys.example/jwks?code=hunter2"

func newIssuer(t *testing.T, status int, body string) *issuer {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	is := &issuer{
		keyServer: &keyServer{status: status, body: body},
		world:     &world{t: t, metrics: telemetry.NewMetrics("v", "c", "go"), logs: logs},
	}
	var err error
	is.keys, err = NewKeySet(KeySetConfig{
		URL: keyURL, HTTP: &http.Client{Transport: is.keyServer}, Metrics: is.world.metrics, Log: zap.New(core),
	})
	if err != nil {
		t.Fatal(err)
	}
	if is.verifier, err = NewVerifier(VerifierConfig{Secret: secret, Keys: is.keys}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- is.keys.Run(ctx) }()
	is.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
		for _, e := range logs.All() {
			if text := fmt.Sprint(e.Message, e.ContextMap()); strings.Contains(text, "hunter2") || strings.Contains(text, "keys.example") {
				t.Errorf("a log line holds the URL: %s", text)
			}
		}
	}
	return is
}

// accepts checks what becomes of a token.
func (is *issuer) accepts(t *testing.T, token string, want error) {
	t.Helper()
	if _, err := is.verifier.Authenticate(t.Context(), token); !errors.Is(err, want) {
		t.Errorf("Authenticate = %v, want %v", err, want)
	}
}

func TestKeyAlgorithms(t *testing.T) {
	t.Parallel()
	rs, es, ed := rsaSigner(t, "r", 2048), ecSigner(t, "e", elliptic.P256()), edSigner(t, "d")
	weak, other := rsaSigner(t, "weak", 1024), ecSigner(t, "other", elliptic.P384())
	encrypting := edSigner(t, "enc").with("use", "enc")
	misused := rsaSigner(t, "misused", 2048).with("alg", "RS512")
	body := keySet(rs.with("use", "sig", "alg", "RS256"), es, ed, weak, other, encrypting, misused,
		signer{jwk: map[string]any{"kty": "oct", "kid": "h", "k": b64(secret)}},
		signer{jwk: map[string]any{"kty": "EC", "kid": "broken", "crv": "P-256", "x": "AA", "y": "AA"}},
		signer{jwk: map[string]any{"kty": "RSA", "kid": 7}})
	publicAsSecret := func() string {
		tok := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "a", "exp": time.Now().Add(time.Hour).Unix()})
		tok.Header["kid"] = "d"
		text, err := tok.SignedString([]byte(ed.key.Public().(ed25519.PublicKey)))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}()
	rs512 := func() string {
		s := rs
		s.method = jwt.SigningMethodRS512
		return s.sign(t, "r")
	}()
	tests := []struct {
		name, token string
		want        error
	}{
		{"RS256", rs.sign(t, "r"), nil},
		{"ES256", es.sign(t, "e"), nil},
		{"EdDSA", ed.sign(t, "d"), nil},
		{"HS256 by the secret", token(t, Claims{}), nil},
		{"without a key id, one key fits", es.sign(t, ""), nil},
		{"another key's id", ed.sign(t, "r"), ErrTokenInvalid},
		{"of another issuer", edSigner(t, "d").sign(t, "d"), ErrTokenInvalid},
		{"HS256 by a public key", publicAsSecret, ErrTokenInvalid},
		{"RS512", rs512, ErrTokenInvalid},
		{"ES384", other.sign(t, "other"), ErrTokenInvalid},
		{"RSA of 1024 bits", weak.sign(t, "weak"), ErrTokenInvalid},
		{"key for encryption", encrypting.sign(t, "enc"), ErrTokenInvalid},
		{"key for another algorithm", misused.sign(t, "misused"), ErrTokenInvalid},
		{"expired", rs.sign(t, "r", func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-31 * time.Second).Unix() }), ErrTokenExpired},
		{"within the leeway", rs.sign(t, "r", func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-20 * time.Second).Unix() }), nil},
	}
	is := newIssuer(t, http.StatusOK, body)
	defer is.stop()
	for _, tt := range tests {
		if _, err := is.verifier.Authenticate(t.Context(), tt.token); !errors.Is(err, tt.want) {
			t.Errorf("%s: Authenticate = %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestKeysIssuerAndAudience(t *testing.T) {
	t.Parallel()
	ed := edSigner(t, "d")
	is := newIssuer(t, http.StatusOK, keySet(ed))
	defer is.stop()
	v, err := NewVerifier(VerifierConfig{Keys: is.keys, Issuer: "us", Audience: "gw"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		iss, aud string
		want     error
	}{{"us", "gw", nil}, {"them", "gw", ErrTokenInvalid}, {"us", "them", ErrTokenInvalid}} {
		tok := ed.sign(t, "d", func(c jwt.MapClaims) { c["iss"], c["aud"] = tt.iss, tt.aud })
		if _, err := v.Authenticate(t.Context(), tok); !errors.Is(err, tt.want) {
			t.Errorf("Authenticate(iss %s, aud %s) = %v, want %v", tt.iss, tt.aud, err, tt.want)
		}
	}
	if _, err := v.Authenticate(t.Context(), token(t, Claims{Issuer: "us", Audience: "gw"})); !errors.Is(err, ErrTokenInvalid) {
		t.Errorf("Authenticate(HS256) without a secret = %v, want ErrTokenInvalid", err)
	}
}

// Without a key id a token is refused where two keys could be meant.
func TestKeysWithoutID(t *testing.T) {
	t.Parallel()
	a, b := edSigner(t, "a"), edSigner(t, "b")
	is := newIssuer(t, http.StatusOK, keySet(a, b))
	defer is.stop()
	is.accepts(t, a.sign(t, "a"), nil)
	is.accepts(t, a.sign(t, ""), ErrTokenInvalid)
}

func TestKeyRotation(t *testing.T) {
	t.Parallel()
	before, after := edSigner(t, "1"), edSigner(t, "2")
	synctest.Test(t, func(t *testing.T) {
		is := newIssuer(t, http.StatusOK, keySet(before))
		defer is.stop()
		is.accepts(t, before.sign(t, "1"), nil)
		time.Sleep(time.Minute)
		is.set(http.StatusOK, keySet(before, after))
		began := time.Now()
		is.accepts(t, after.sign(t, "2"), nil) // is fetched at once
		if waited := time.Since(began); waited != 0 {
			t.Errorf("the new key took %v, want no time", waited)
		}
		is.set(http.StatusOK, keySet(after))
		time.Sleep(DefaultKeyRefresh + time.Second)
		is.accepts(t, before.sign(t, "1"), ErrTokenInvalid) // taken back
		is.accepts(t, after.sign(t, "2"), nil)
	})
}

// A connection is renewed by a token of a key that has just been published, and ends with that one.
func TestRenewByRotatedKey(t *testing.T) {
	t.Parallel()
	before, after := edSigner(t, "1"), edSigner(t, "2")
	synctest.Test(t, func(t *testing.T) {
		is := newIssuer(t, http.StatusOK, keySet(before))
		defer is.stop()
		w := bubble(t, func(c *Config) { c.Auth = is.verifier })
		lasting := func(d time.Duration) func(jwt.MapClaims) {
			exp := time.Now().Add(d).Unix()
			return func(c jwt.MapClaims) { c["exp"] = exp }
		}
		c := w.dial(nil, subprotocol, bearerPrefix+before.sign(t, "1", lasting(time.Minute)))
		c.greet()
		began := time.Now()
		is.set(http.StatusOK, keySet(after))
		c.send(`{"type":"auth","id":"r","token":"` + after.sign(t, "2", lasting(3*time.Minute)) + `"}`)
		if got := c.next(); !strings.HasPrefix(got, `{"type":"welcome","id":"r"`) {
			t.Fatalf("answer = %s, want a welcome", got)
		}
		c.wantClosed(codeUnauthorized)
		if lived := time.Since(began); lived < 3*time.Minute || lived > 3*time.Minute+2*time.Second {
			t.Errorf("closed after %v, want 3m", lived)
		}
	})
}

// Tokens of made-up keys don't make the worker flood the issuer, nor wait for long.
func TestUnknownKeysAreFetchedSeldom(t *testing.T) {
	t.Parallel()
	known, unknown := edSigner(t, "1"), edSigner(t, "?")
	synctest.Test(t, func(t *testing.T) {
		is := newIssuer(t, http.StatusOK, keySet(known))
		defer is.stop()
		synctest.Wait()
		began, before := time.Now(), is.count()
		for i := range 300 { // 30 s
			is.accepts(t, unknown.sign(t, fmt.Sprint("made-up-", i)), ErrTokenInvalid)
			time.Sleep(100 * time.Millisecond)
		}
		if n := is.count() - before; n < 3 || n > 6 {
			t.Errorf("%d fetches in %v, want one in 5 s", n, time.Since(began))
		}
		// An issuer that doesn't answer holds a token up for 2 s, not for the whole fetch.
		time.Sleep(keyGap)
		is.mu.Lock()
		is.delay = time.Minute
		is.mu.Unlock()
		for range 2 {
			began = time.Now()
			is.accepts(t, unknown.sign(t, "x"), ErrTokenInvalid)
			if waited := time.Since(began); waited != keyWait {
				t.Errorf("a token of an unknown key waited %v, want %v", waited, keyWait)
			}
		}
		is.accepts(t, known.sign(t, "1"), nil)
	})
}

func TestKeysSurviveTheirServer(t *testing.T) {
	t.Parallel()
	ed := edSigner(t, "1")
	answers := []struct {
		name   string
		status int
		body   string
	}{
		{"away", 0, ""},
		{"error", http.StatusInternalServerError, ""},
		{"redirect", http.StatusFound, ""},
		{"not JSON", http.StatusOK, "<html>"},
		{"empty set", http.StatusOK, `{"keys":[]}`},
		{"nothing usable", http.StatusOK, `{"keys":[{"kty":"oct","k":"AAAA"}]}`},
		{"huge", http.StatusOK, strings.Repeat(" ", maxKeySet) + keySet(ed)},
	}
	for _, tt := range answers {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				is := newIssuer(t, http.StatusOK, keySet(ed))
				defer is.stop()
				is.accepts(t, ed.sign(t, "1"), nil)
				if got := is.world.metric("auth_keys_stale"); got != 0 {
					t.Errorf("auth_keys_stale = %v with fresh keys, want 0", got)
				}
				is.set(tt.status, tt.body)
				time.Sleep(DefaultKeyRefresh + time.Minute)
				is.accepts(t, ed.sign(t, "1"), nil)
				if got := is.world.metric("auth_keys_stale"); got != 0 {
					t.Errorf("auth_keys_stale = %v after one refresh failed, want 0", got)
				}
				time.Sleep(3 * time.Hour)
				is.accepts(t, ed.sign(t, "1"), nil)
				if got := is.world.metric("auth_keys_stale"); got != 1 {
					t.Errorf("auth_keys_stale = %v after three hours, want 1", got)
				}
				warned := is.world.logs.FilterMessage("token keys could not be fetched, going on with those at hand").Len()
				stale := is.world.logs.FilterMessage("token keys are stale").Len()
				if warned != 1 || stale != 1 {
					t.Errorf("%d warnings and %d errors in the log, want one of each", warned, stale)
				}
				if n := is.count(); n < 3*60/2 || n > 3*60*3 {
					t.Errorf("%d fetches in three hours, want about one a minute", n)
				}
				if got := is.world.metric("auth_key_refreshes_total", "result", "error"); int(got) < is.count()-2 {
					t.Errorf("auth_key_refreshes_total{error} = %v of %d fetches", got, is.count())
				}
				is.set(http.StatusOK, keySet(ed))
				time.Sleep(2 * time.Minute)
				if got := is.world.metric("auth_keys_stale"); got != 0 {
					t.Errorf("auth_keys_stale = %v after the keys came again, want 0", got)
				}
			})
		})
	}
}

// A worker that starts while the issuer is away accepts its tokens as soon as it is back.
func TestKeysComeLate(t *testing.T) {
	t.Parallel()
	ed := edSigner(t, "1")
	synctest.Test(t, func(t *testing.T) {
		is := newIssuer(t, 0, "")
		defer is.stop()
		is.accepts(t, ed.sign(t, "1"), ErrTokenInvalid)
		is.accepts(t, token(t, Claims{}), nil) // the secret needs nobody
		if got := is.world.metric("auth_keys_stale"); got != 1 {
			t.Errorf("auth_keys_stale = %v without keys, want 1", got)
		}
		is.set(http.StatusOK, keySet(ed))
		time.Sleep(keyRetryMost)
		is.accepts(t, ed.sign(t, "1"), nil)
	})
}

func TestKeyURL(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{
		"https://a.example/jwks":             true,
		"https://a.example:8443/jwks?x=1":    true,
		"http://127.0.0.1:80/jwks":           true,
		"http://[::1]/jwks":                  true,
		"http://localhost/jwks":              true,
		"http://a.example/jwks":              false,
		"http://127.0.0.1.example/jwks":      false,
		"http://10.0.0.1/jwks":               false,
		"https://user:hunter2@a.example/":    false,
		"file:///etc/passwd":                 false,
		"https://":                           false,
		"":                                   false,
		"https://a.example/%zz?code=hunter2": false,
	} {
		err := CheckKeyURL(text)
		if (err == nil) != ok || err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("CheckKeyURL(%q) = %v, want accepted: %t", text, err, ok)
		}
		if _, err := NewKeySet(KeySetConfig{URL: text}); (err == nil) != ok {
			t.Errorf("NewKeySet(%q) = %v, want accepted: %t", text, err, ok)
		}
	}
	k, err := NewKeySet(KeySetConfig{URL: keyURL})
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, k); got != "edge.KeySet(***)" {
			t.Errorf("Sprintf(%q) = %q, want edge.KeySet(***)", verb, got)
		}
	}
	if _, err := NewVerifier(VerifierConfig{}); err == nil {
		t.Error("NewVerifier without a secret and keys = nil, want an error")
	}
	if _, err := NewVerifier(VerifierConfig{Keys: k, Secret: []byte("short")}); err == nil || bytes.Contains([]byte(err.Error()), []byte("short")) {
		t.Errorf("NewVerifier with keys and a short secret = %v, want an error without it", err)
	}
}
