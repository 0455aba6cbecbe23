package gateway

import (
	"os"
	"slices"
	"strings"
	"time"

	"confgate/internal/edge"
)

// TokenRequest is what MintToken makes a token of.
type TokenRequest struct {
	SecretFile  string
	Scopes      []string
	Conferences []string // ids, or "*" for all
	TTL         time.Duration
	Subject     string
	Issuer      string // left out where empty
	Audience    string // left out where empty
}

// MintToken signs a client's token, for development. What it refuses is a *BadValue.
func MintToken(t TokenRequest) (string, error) {
	secret, err := readHMACSecret(t.SecretFile)
	if err != nil {
		return "", err
	}
	known := edge.ScopeRead | edge.ScopePII | edge.ScopeSecrets | edge.ScopeAdmin
	for _, s := range t.Scopes {
		if !slices.Contains(known.Names(), s) {
			return "", &BadValue{Flag: "scope", Value: s, Want: "some of " + strings.Join(known.Names(), ", ")}
		}
	}
	for _, c := range t.Conferences {
		if c != "*" && !conferenceID.MatchString(c) {
			return "", &BadValue{Flag: "conference", Value: c, Want: "1 to 64 of A-Z a-z 0-9 _ -, or *"}
		}
	}
	if t.TTL <= 0 {
		return "", &BadValue{Flag: "ttl", Value: t.TTL.String(), Want: "a duration above 0"}
	}
	if t.Subject == "" {
		return "", &BadValue{Flag: "subject", Want: "a name"}
	}
	return edge.Mint(secret, edge.Claims{
		Subject: t.Subject, Scopes: edge.ParseScopes(strings.Join(t.Scopes, " ")), Conferences: t.Conferences,
		Issuer: t.Issuer, Audience: t.Audience, Expires: time.Now().Add(t.TTL),
	})
}

// readHMACSecret reads --auth-hmac-secret-file. Its bytes are the secret as they are.
func readHMACSecret(path string) ([]byte, error) {
	secret, err := os.ReadFile(path)
	if err != nil || len(secret) < edge.MinSecret {
		s, _ := findSetting(settings(), "auth-hmac-secret-file")
		return nil, &BadValue{Flag: s.name, Value: path, Want: s.want}
	}
	return secret, nil
}
