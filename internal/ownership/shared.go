package ownership

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

func confKey(conf, part string) string { return "confgate:{" + conf + "}:" + part }

// Tokens keeps the conferences' control tokens, sealed, so that a takeover costs no call with a password. It has no state
// of its own. Without a sealer it keeps nothing.
type Tokens struct {
	client redis.UniversalClient
	sealer Sealer
}

// NewTokens makes a store over a client, which stays the caller's. A nil sealer keeps nothing.
func NewTokens(client redis.UniversalClient, sealer Sealer) *Tokens {
	return &Tokens{client: client, sealer: sealer}
}

// tokenFor is the associated data of a conference's token.
func tokenFor(conf string) []byte { return []byte("confgate control token\x00" + conf) }

// Store keeps a token for what is left of its life; what it is made of is the caller's business.
func (t *Tokens) Store(ctx context.Context, conf string, token []byte, life time.Duration) error {
	if t.sealer == nil || life < time.Millisecond {
		return nil
	}
	sealed := t.sealer.Seal(nil, token, tokenFor(conf))
	if err := t.client.Set(ctx, confKey(conf, "token"), sealed, life).Err(); err != nil {
		return fmt.Errorf("ownership: store token: %w", err)
	}
	return nil
}

// Load is the token last stored, and what is left of its life; nil where there is none. One that can't be opened counts as
// none: a new one costs a call.
func (t *Tokens) Load(ctx context.Context, conf string) ([]byte, time.Duration, error) {
	if t.sealer == nil {
		return nil, 0, nil
	}
	pipe := t.client.Pipeline()
	sealed, left := pipe.Get(ctx, confKey(conf, "token")), pipe.PTTL(ctx, confKey(conf, "token"))
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, 0, fmt.Errorf("ownership: load token: %w", err)
	}
	token, err := t.sealer.Open([]byte(sealed.Val()), tokenFor(conf))
	if err != nil || left.Val() <= 0 {
		return nil, 0, nil //nolint:nilerr // as said above
	}
	return token, left.Val(), nil
}

// Forget removes a token that the provider refused.
func (t *Tokens) Forget(ctx context.Context, conf string) error {
	if err := t.client.Del(ctx, confKey(conf, "token")).Err(); err != nil {
		return fmt.Errorf("ownership: forget token: %w", err)
	}
	return nil
}

// Refusals remembers chair passwords that the provider refused, by their HMAC, so that nobody in the fleet sends one
// again. It has no state of its own.
type Refusals struct{ client redis.UniversalClient }

// NewRefusals makes a store over a client, which stays the caller's.
func NewRefusals(client redis.UniversalClient) *Refusals { return &Refusals{client: client} }

func refusedKey(conf string, mac []byte) string {
	return confKey(conf, "refused:"+hex.EncodeToString(mac))
}

// Refuse remembers a password, as its HMAC under a key that isn't in Redis, for a span of time.
func (r *Refusals) Refuse(ctx context.Context, conf string, mac []byte, span time.Duration) error {
	if err := r.client.Set(ctx, refusedKey(conf, mac), "", max(span, time.Millisecond)).Err(); err != nil {
		return fmt.Errorf("ownership: remember refusal: %w", err)
	}
	return nil
}

// Refused is for how long yet a password mustn't be sent; 0: it may be.
func (r *Refusals) Refused(ctx context.Context, conf string, mac []byte) (time.Duration, error) {
	left, err := r.client.PTTL(ctx, refusedKey(conf, mac)).Result()
	if err != nil {
		return 0, fmt.Errorf("ownership: look up refusal: %w", err)
	}
	return max(left, 0), nil
}

// Allow forgets a refusal, since somebody gave the same password anew.
func (r *Refusals) Allow(ctx context.Context, conf string, mac []byte) error {
	if err := r.client.Del(ctx, refusedKey(conf, mac)).Err(); err != nil {
		return fmt.Errorf("ownership: forget refusal: %w", err)
	}
	return nil
}
