package fanout

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"
)

// Errors of a Keyring.
var (
	// ErrNoKey: it was sealed with a key that the keyring doesn't have.
	ErrNoKey = errors.New("fanout: sealed with an unknown key")
	// ErrSeal: it isn't what was sealed, or it was sealed for another place.
	ErrSeal = errors.New("fanout: seal is broken")
)

const (
	keyIDSize = 4
	nonceSize = chacha20poly1305.NonceSizeX
)

// Keyring seals what must not lie in Redis in the clear: XChaCha20-Poly1305 under a random nonce. The first key seals, all
// of them open, so that keys can be replaced without losing what lies there. It is immutable. A nil *Keyring seals nothing.
//
// What is sealed is: the key's id (4 bytes), the nonce (24 bytes), the ciphertext with its tag.
type Keyring struct{ keys []sealKey }

type sealKey struct {
	id   [keyIDSize]byte
	aead cipher.AEAD
}

// ParseKeyFile reads a key file: a key a line, 32 bytes as hex or base64 (any usual variant); empty lines and what follows
// a # are skipped. Its errors quote nothing of the content.
func ParseKeyFile(data []byte) (*Keyring, error) {
	k := &Keyring{}
	for i, line := range strings.Split(string(data), "\n") {
		text, _, _ := strings.Cut(line, "#")
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		raw, ok := decodeKey(text)
		if !ok {
			return nil, fmt.Errorf("fanout: seal key file, line %d: want %d bytes as hex or base64",
				i+1, chacha20poly1305.KeySize)
		}
		key, err := newSealKey(raw)
		if err != nil {
			return nil, fmt.Errorf("fanout: seal key file, line %d: %w", i+1, err)
		}
		if k.find(key.id[:]) != nil {
			return nil, fmt.Errorf("fanout: seal key file, line %d: the same key again", i+1)
		}
		k.keys = append(k.keys, key)
	}
	if len(k.keys) == 0 {
		return nil, errors.New("fanout: seal key file: no key in it")
	}
	return k, nil
}

// decodeKey tries hex first: 64 hex digits are also base64, but of 48 bytes.
func decodeKey(text string) ([]byte, bool) {
	if raw, err := hex.DecodeString(text); err == nil {
		return raw, len(raw) == chacha20poly1305.KeySize
	}
	text = strings.TrimRight(text, "=")
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		if raw, err := enc.DecodeString(text); err == nil {
			return raw, len(raw) == chacha20poly1305.KeySize
		}
	}
	return nil, false
}

func newSealKey(raw []byte) (sealKey, error) {
	aead, err := chacha20poly1305.NewX(raw)
	if err != nil {
		return sealKey{}, err
	}
	k := sealKey{aead: aead}
	sum := sha256.Sum256(append([]byte("confgate seal key id\x00"), raw...))
	copy(k.id[:], sum[:])
	return k, nil
}

func (k *Keyring) find(id []byte) *sealKey {
	for i := range k.keys {
		if bytes.Equal(k.keys[i].id[:], id) {
			return &k.keys[i]
		}
	}
	return nil
}

// Seal appends what is sealed to dst. The same associated data opens it.
func (k *Keyring) Seal(dst, plain, associated []byte) []byte {
	key := &k.keys[0]
	dst = append(dst, key.id[:]...)
	n := len(dst)
	dst = append(dst, make([]byte, nonceSize)...)
	_, _ = rand.Read(dst[n:]) // never fails
	return key.aead.Seal(dst, dst[n:n+nonceSize], plain, associated)
}

// Open undoes Seal; it fails with ErrNoKey or ErrSeal.
func (k *Keyring) Open(sealed, associated []byte) ([]byte, error) {
	if len(sealed) < keyIDSize+nonceSize {
		return nil, ErrSeal
	}
	if k == nil {
		return nil, ErrNoKey
	}
	key := k.find(sealed[:keyIDSize])
	if key == nil {
		return nil, ErrNoKey
	}
	nonce, text := sealed[keyIDSize:keyIDSize+nonceSize], sealed[keyIDSize+nonceSize:]
	plain, err := key.aead.Open(nil, nonce, text, associated)
	if err != nil {
		return nil, ErrSeal
	}
	return plain, nil
}

// Format prints *** whatever the verb.
func (*Keyring) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("***")) }

// purpose is what something was sealed for; it can't be opened as anything else.
type purpose string

const (
	forEntry      purpose = "entry"
	forCheckpoint purpose = "checkpoint"
)
