package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"confgate/internal/conference"
)

// Limits of tokens.
const (
	// MinSecret is the least size of an HMAC secret in bytes: what HS256's security rests on (RFC 7518, section 3.2).
	MinSecret = 32
	// TokenLeeway is how far the clocks of issuer and worker may differ.
	TokenLeeway = 30 * time.Second
	// maxToken bounds what is parsed, in bytes; a header line of a request is bounded alike.
	maxToken = 16 << 10
)

// Errors of an Authenticator. None of them holds any of the token.
var (
	ErrNoToken      = errors.New("edge: no token")
	ErrTokenInvalid = errors.New("edge: token not valid")
	ErrTokenExpired = errors.New("edge: token has expired")
)

// Scopes is a set of rights that a token grants.
type Scopes uint8

// The scopes. Control is reserved.
const (
	ScopeRead Scopes = 1 << iota
	ScopePII
	ScopeSecrets
	ScopeAdmin
	ScopeControl
)

// scopeNames are the scopes' names in the order of their bits.
var scopeNames = [...]string{"read", "pii", "secrets", "admin", "control"}

// ParseScopes reads a space-separated list; words that it doesn't know grant nothing.
func ParseScopes(list string) Scopes {
	var s Scopes
	for word := range strings.FieldsSeq(list) {
		if i := slices.Index(scopeNames[:], word); i >= 0 {
			s |= 1 << i
		}
	}
	return s
}

// Has says whether all of want is granted.
func (s Scopes) Has(want Scopes) bool { return s&want == want }

// Names lists the set, in a fixed order.
func (s Scopes) Names() []string {
	names := make([]string, 0, len(scopeNames))
	for i, n := range scopeNames {
		if s.Has(1 << i) {
			names = append(names, n)
		}
	}
	return names
}

// Profile is what redaction leaves for a holder of the scopes.
func (s Scopes) Profile() conference.Profile {
	var p conference.Profile
	if s.Has(ScopePII) {
		p |= conference.PII
	}
	if s.Has(ScopeSecrets) {
		p |= conference.Secrets
	}
	return p
}

// Identity is who a client is and what it may do. It is immutable.
type Identity struct {
	Subject     string
	Scopes      Scopes
	Conferences []string  // ids; "*" stands for all
	Expires     time.Time // zero: never
}

// May says whether the identity covers a conference.
func (id Identity) May(conf string) bool {
	return slices.Contains(id.Conferences, "*") || slices.Contains(id.Conferences, conf)
}

// allows says whether the identity may read a conference under a profile.
func (id Identity) allows(conf string, p conference.Profile) bool {
	return id.Scopes.Has(ScopeRead) && id.May(conf) && p&^id.Scopes.Profile() == 0
}

// deadline is when a connection admitted now has to end: when its token expires, or, where that has expired already and
// was admitted by the leeway, when the leeway is over. The zero time: never.
func (id Identity) deadline(now time.Time) time.Time {
	if !id.Expires.IsZero() && !now.Before(id.Expires) {
		return id.Expires.Add(TokenLeeway)
	}
	return id.Expires
}

// Authenticator tells who presents a token; an empty one where the client sent none. Its errors are ErrNoToken,
// ErrTokenInvalid or ErrTokenExpired.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (Identity, error)
}

// Anyone admits everybody to everything, whatever the token: `--auth none`, for development.
type Anyone struct{}

// Authenticate never fails.
func (Anyone) Authenticate(context.Context, string) (Identity, error) {
	return Identity{
		Subject:     "anyone",
		Scopes:      ScopeRead | ScopePII | ScopeSecrets | ScopeAdmin,
		Conferences: []string{"*"},
	}, nil
}

// VerifierConfig says what tokens are accepted. A secret or keys must be there; both may be.
type VerifierConfig struct {
	Secret   []byte  // for HS256, MinSecret bytes at least
	Keys     *KeySet // for RS256, ES256 and EdDSA
	Issuer   string  // empty: not checked
	Audience string  // empty: not checked
}

// Verifier verifies JWTs. Each algorithm is good by its own source of keys only, so that a public key can never be taken
// for a secret.
type Verifier struct {
	cfg    VerifierConfig
	parser *jwt.Parser
}

// NewVerifier makes an Authenticator. Its keys, if it has any, need their Run.
func NewVerifier(cfg VerifierConfig) (*Verifier, error) {
	var methods []string
	if cfg.Secret != nil || cfg.Keys == nil {
		if len(cfg.Secret) < MinSecret {
			return nil, fmt.Errorf("edge: HMAC secret has %d bytes, want %d at least", len(cfg.Secret), MinSecret)
		}
		cfg.Secret = slices.Clone(cfg.Secret)
		methods = append(methods, algHS256)
	}
	if cfg.Keys != nil {
		methods = append(methods, algRS256, algES256, algEdDSA)
	}
	opts := []jwt.ParserOption{
		jwt.WithValidMethods(methods),
		jwt.WithExpirationRequired(),
		jwt.WithLeeway(TokenLeeway),
		jwt.WithStrictDecoding(),
	}
	if cfg.Issuer != "" {
		opts = append(opts, jwt.WithIssuer(cfg.Issuer))
	}
	if cfg.Audience != "" {
		opts = append(opts, jwt.WithAudience(cfg.Audience))
	}
	return &Verifier{cfg: cfg, parser: jwt.NewParser(opts...)}, nil
}

// Format keeps the secret out of whatever prints a Verifier, with any verb.
func (*Verifier) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "edge.Verifier(***)") }

// tokenClaims are the claims of a client's token.
type tokenClaims struct {
	jwt.RegisteredClaims
	Scope string   `json:"scope"`
	Conf  []string `json:"conf"`
}

// Authenticate verifies a token: its signature, its times, issuer and audience where configured, and that it has a
// subject. Without scope or conf it is valid and grants nothing. A token of a key that isn't known yet may wait for a fetch
// of the keys.
func (a *Verifier) Authenticate(ctx context.Context, token string) (Identity, error) {
	if token == "" {
		return Identity{}, ErrNoToken
	}
	if len(token) > maxToken {
		return Identity{}, ErrTokenInvalid
	}
	var c tokenClaims
	_, err := a.parser.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		if _, ok := t.Header["crit"]; ok { // extensions that must be understood (RFC 7515, section 4.1.11); none is
			return nil, ErrTokenInvalid
		}
		if t.Method.Alg() == algHS256 {
			return a.cfg.Secret, nil
		}
		kid, _ := t.Header["kid"].(string)
		key, ok := a.cfg.Keys.find(ctx, kid, t.Method.Alg())
		if !ok {
			return nil, ErrTokenInvalid
		}
		return key, nil
	})
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return Identity{}, ErrTokenExpired
	case err != nil || c.Subject == "":
		return Identity{}, ErrTokenInvalid
	}
	return Identity{Subject: c.Subject, Scopes: ParseScopes(c.Scope), Conferences: c.Conf, Expires: c.ExpiresAt.Time}, nil
}

// Claims are what Mint puts into a token.
type Claims struct {
	Subject     string
	Scopes      Scopes
	Conferences []string // ids, or "*" alone for all
	Issuer      string   // left out where empty
	Audience    string   // left out where empty
	Expires     time.Time
}

// Mint signs a token by HS256.
func Mint(secret []byte, c Claims) (string, error) {
	if len(secret) < MinSecret {
		return "", fmt.Errorf("edge: HMAC secret has %d bytes, want %d at least", len(secret), MinSecret)
	}
	if c.Subject == "" || c.Expires.IsZero() {
		return "", errors.New("edge: a token needs a subject and an expiry")
	}
	tc := tokenClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Subject: c.Subject, Issuer: c.Issuer,
			IssuedAt: jwt.NewNumericDate(time.Now()), ExpiresAt: jwt.NewNumericDate(c.Expires),
		},
		Scope: strings.Join(c.Scopes.Names(), " "),
		Conf:  c.Conferences,
	}
	if c.Audience != "" {
		tc.Audience = jwt.ClaimStrings{c.Audience}
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, tc).SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("edge: sign token: %w", err)
	}
	return token, nil
}
