package confctl

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
)

// Secret is a password, token or link that must not be shown: it prints as *** whatever the verb, and encodes so too. The
// value lies behind a pointer, since fmt reads unexported fields of others' structs without asking their methods. Compare
// with Equal.
type Secret struct{ value *string }

// NewSecret wraps a value.
func NewSecret(value string) Secret { return Secret{&value} }

// Reveal is the value itself, for the one place that sends it.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// Empty says whether there is no value.
func (s Secret) Empty() bool { return s.Reveal() == "" }

// Equal compares in constant time.
func (s Secret) Equal(o Secret) bool {
	return hmac.Equal([]byte(s.Reveal()), []byte(o.Reveal()))
}

// Fingerprint is an HMAC-SHA256 of the value under key, to recognise it by without keeping it.
func (s Secret) Fingerprint(key []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(s.Reveal()))
	return m.Sum(nil)
}

const masked = "***"

// Format prints *** for every verb and flag.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(masked)) }

// String is ***.
func (Secret) String() string { return masked }

// MarshalText is ***, which also covers JSON and YAML encoders.
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// MarshalJSON is "***".
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + masked + `"`), nil }
