package session

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"confgate/internal/confctl"
)

// fakeStores are both stores of the fleet, for one conference. Calls of a context that is done fail.
type fakeStores struct {
	mu      sync.Mutex
	token   []byte
	until   time.Time
	refused map[string]time.Time // until when, by HMAC
	away    bool
	forgets int
	lookups int
	allowed int
}

func newFakeStores() *fakeStores { return &fakeStores{refused: map[string]time.Time{}} }

func (s *fakeStores) enter(ctx context.Context) (func(), error) {
	s.mu.Lock()
	if err := ctx.Err(); err != nil || s.away {
		s.mu.Unlock()
		return nil, errAway
	}
	return s.mu.Unlock, nil
}

func (s *fakeStores) Store(ctx context.Context, _ string, token []byte, life time.Duration) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	s.token, s.until = bytes.Clone(token), time.Now().Add(life)
	return nil
}

func (s *fakeStores) Load(ctx context.Context, _ string) ([]byte, time.Duration, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer leave()
	s.lookups++
	if left := time.Until(s.until); left > 0 && s.token != nil {
		return s.token, left, nil
	}
	return nil, 0, nil
}

func (s *fakeStores) Forget(ctx context.Context, _ string) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	s.forgets++
	s.token = nil
	return nil
}

func (s *fakeStores) Refuse(ctx context.Context, _ string, mac []byte, span time.Duration) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	s.refused[string(mac)] = time.Now().Add(span)
	return nil
}

func (s *fakeStores) Refused(ctx context.Context, _ string, mac []byte) (time.Duration, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	return max(time.Until(s.refused[string(mac)]), 0), nil
}

func (s *fakeStores) Allow(ctx context.Context, _ string, mac []byte) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	s.allowed++
	delete(s.refused, string(mac))
	return nil
}

// holds says whether the stored token has a text in it.
func (s *fakeStores) holds(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(string(s.token), text)
}

func (s *fakeStores) with(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
}

func withStores(s *fakeStores, password string) option {
	return func(c *Config) {
		c.Tokens, c.Refusals, c.RefusalKey, c.Password = s, s, []byte("key"), confctl.NewSecret(password)
	}
}

func TestSuccessorTakesTheToken(t *testing.T) {
	t.Parallel()
	const refused = "MMC.118000001"
	tests := []struct {
		name    string
		prepare func(p *fakeProvider, s *fakeStores)
		tokens  int // requests of the successor
		wsToken int
		forgets int
	}{
		{"good", func(*fakeProvider, *fakeStores) {}, 0, 1, 0},
		{"refused", func(p *fakeProvider, _ *fakeStores) {
			p.onWSToken = func() error { p.onWSToken = nil; return refusalOf("wsToken", refused, false) }
		}, 1, 2, 1},
		{"of an earlier time", func(p *fakeProvider, _ *fakeStores) {
			p.onWSToken = func() error { p.onWSToken = nil; return refusalOf("wsToken", "MMC.111072006", false) }
		}, 1, 2, 1},
		{"over", func(_ *fakeProvider, s *fakeStores) { s.until = time.Time{} }, 1, 1, 0},
		{"garbage", func(_ *fakeProvider, s *fakeStores) { s.token = []byte("{") }, 1, 1, 0},
		{"store away", func(_ *fakeProvider, s *fakeStores) { s.away = true }, 1, 1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, log, stores := newFakeProvider(), newFakeLog(), newFakeStores()
			p.fulls = full(roster("p1"))
			run(t, log, p, func(*rig) { wantLink(t, log, "live") }, withStores(stores, "right"))
			if !stores.holds("canary-token-1") {
				t.Fatal("the token isn't stored")
			}
			p.with(func() { p.calls, p.times = nil, nil })
			tt.prepare(p, stores)
			run(t, log, p, func(*rig) {
				wantLink(t, log, "live")
				if p.count("token") != tt.tokens || p.count("wsToken") != tt.wsToken || p.count("dial") != 1 {
					t.Errorf("calls of the successor = %v; want %d token, %d wsToken, 1 dial", p.calls, tt.tokens, tt.wsToken)
				}
				if stores.forgets != tt.forgets {
					t.Errorf("tokens forgotten = %d, want %d", stores.forgets, tt.forgets)
				}
				if tt.tokens > 0 && !stores.away && !stores.holds("canary-token-2") {
					t.Error("the successor's own token isn't stored")
				}
			}, withStores(stores, "right"))
		})
	}
}

func TestTokenOfAnotherPassword(t *testing.T) {
	t.Parallel()
	p, log, stores := newFakeProvider(), newFakeLog(), newFakeStores()
	p.fulls = full(roster("p1"))
	run(t, log, p, func(*rig) { wantLink(t, log, "live") }, withStores(stores, "right"))
	run(t, log, p, func(*rig) { wantLink(t, log, "unavailable/credentials") }, withStores(stores, "canary-wrong"))
	if p.count("wsToken") != 1 || p.count("token") != 2 {
		t.Errorf("calls = %v; want no wsToken by a token that was granted for another password", p.calls)
	}
}

func TestStoredTokenStaysFresh(t *testing.T) {
	t.Parallel()
	p, log, stores := newFakeProvider(), newFakeLog(), newFakeStores()
	p.fulls, p.life = full(roster("p1")), time.Minute
	run(t, log, p, func(*rig) {
		pass(45 * time.Second)
		if !stores.holds("canary-token-2") {
			t.Error("the refreshed token isn't stored")
		}
		if left := time.Until(stores.until); left < 50*time.Second || left > time.Minute {
			t.Errorf("it is stored for %v, want what is left of its minute", left)
		}
		p.wire().in <- dynamic("Destroyed")
		pass(time.Minute)
		wantLink(t, log, "ended")
		if stores.forgets != 1 || stores.token != nil {
			t.Errorf("tokens forgotten at the end = %d, want 1", stores.forgets)
		}
		if stores.lookups != 1 {
			t.Errorf("look-ups of a left token = %d, want 1", stores.lookups)
		}
	}, withStores(stores, "right"))
	// What ended isn't asked after with a token from then.
	run(t, log, p, func(*rig) {
		if stores.lookups != 1 {
			t.Errorf("look-ups for a conference that has ended = %d, want none", stores.lookups-1)
		}
	}, withStores(stores, "right"))
}

func TestRefusalIsTheFleets(t *testing.T) {
	t.Parallel()
	p, stores := newFakeProvider(), newFakeStores()
	p.fulls = full()
	run(t, newFakeLog(), p, func(r *rig) { wantLink(t, r.log, "unavailable/credentials") }, withStores(stores, "canary-wrong"))
	// Another log, so that nothing but the store can know of it.
	run(t, newFakeLog(), p, func(r *rig) {
		pass(time.Hour)
		wantLink(t, r.log, "unavailable/credentials")
		if got := p.count("token"); got != 1 {
			t.Errorf("token requests of both = %d, want 1", got)
		}
		if err := r.set("right"); err != nil {
			t.Error(err)
		}
		pass(time.Second)
		wantLink(t, r.log, "live")
	}, withStores(stores, "canary-wrong"))
	stores.with(func() { stores.away, stores.token = true, nil })
	run(t, newFakeLog(), p, func(r *rig) { wantLink(t, r.log, "live") }, withStores(stores, "right"))
	for mac := range stores.refused {
		if strings.Contains(mac, "canary") {
			t.Error("the store has the password itself")
		}
	}
}

func TestRefusalIsSharedFirst(t *testing.T) {
	t.Parallel()
	p, stores := newFakeProvider(), newFakeStores()
	run(t, newFakeLog(), p, func(r *rig) {
		wantLink(t, r.log, "unavailable/credentials")
		p.with(func() {
			p.onToken = func() error { r.cancel(); return refusalOf("token", "MMC.111072065", true) }
		})
		if err := r.set("canary-b"); err != nil {
			t.Error(err)
		}
		pass(time.Second)
	}, withStores(stores, "canary-a"))
	if len(stores.refused) != 2 {
		t.Errorf("refusals known to the fleet = %d, want 2, though the session was stopped at the second", len(stores.refused))
	}
}

func TestRefusedPasswordGivenAnew(t *testing.T) {
	t.Parallel()
	p, stores := newFakeProvider(), newFakeStores()
	p.fulls = full()
	run(t, newFakeLog(), p, func(r *rig) {
		give := func(password string, after time.Duration, want int) {
			t.Helper()
			pass(after)
			if err := r.set(password); err != nil {
				t.Error(err)
			}
			pass(time.Second)
			if got := p.count("token"); got != want {
				t.Errorf("token requests after %s = %d, want %d", password, got, want)
			}
			wantLink(t, r.log, "unavailable/credentials")
		}
		give("canary-b", time.Minute, 2)
		give("canary-a", time.Minute, 2)           // refused two minutes ago
		give("canary-a", DefaultSamePassword/2, 2) // not yet ten minutes since it was refused
		give("canary-a", DefaultSamePassword/2, 3) // long after
		give("canary-b", DefaultSamePassword/2, 4) // long after, though not the last one
		give("canary-a", DefaultSamePassword/4, 4) // again too soon
		if stores.allowed != 2 {
			t.Errorf("refusals forgotten = %d, want 2", stores.allowed)
		}
	}, withStores(stores, "canary-a"))
}
