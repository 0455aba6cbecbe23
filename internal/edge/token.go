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

// HMAC verifies JWTs that are signed by HS256 with a shared secret.
type HMAC struct {
	secret []byte
	parser *jwt.Parser
}

// NewHMAC makes an Authenticator. Empty issuer or audience: not checked.
func NewHMAC(secret []byte, issuer, audience string) (*HMAC, error) {
	if len(secret) < MinSecret {
		return nil, fmt.Errorf("edge: HMAC secret has %d bytes, want %d at least", len(secret), MinSecret)
	}
	opts := []jwt.ParserOption{
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithExpirationRequired(),
		jwt.WithLeeway(TokenLeeway),
		jwt.WithStrictDecoding(),
	}
	if issuer != "" {
		opts = append(opts, jwt.WithIssuer(issuer))
	}
	if audience != "" {
		opts = append(opts, jwt.WithAudience(audience))
	}
	return &HMAC{secret: slices.Clone(secret), parser: jwt.NewParser(opts...)}, nil
}

// Format keeps the secret out of whatever prints an HMAC, with any verb.
func (*HMAC) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "edge.HMAC(***)") }

// tokenClaims are the claims of a client's token.
type tokenClaims struct {
	jwt.RegisteredClaims
	Scope string   `json:"scope"`
	Conf  []string `json:"conf"`
}

// Authenticate verifies a token: its signature, its times, issuer and audience where configured, and that it has a
// subject. Without scope or conf it is valid and grants nothing.
func (a *HMAC) Authenticate(_ context.Context, token string) (Identity, error) {
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
		return a.secret, nil
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
