package ownership

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"confgate/internal/fanout/fanouttest"
)

// ownServer runs a scenario over a server that the test may harm.
func ownServer(t *testing.T, fn func(r *rig, server *fanouttest.Redis, client *redis.Client)) {
	t.Helper()
	url, server := fanouttest.StartRedis(t)
	client := connect(t, url, 0)
	fn(newRig(t, DefaultLeaseTTL, time.Minute, func() Store { return NewRedisStore(client, clearSealer{}) }), server, client)
}

// threeSettled waits until three workers share 30 conferences, and gives how many sessions that took.
func (r *rig) threeSettled(confs []string) int {
	r.t.Helper()
	for _, name := range []string{"a", "b", "c"} {
		r.worker(name, naming(confs...))
	}
	return r.settled(confs)
}

// settled waits until the three share the conferences as they should, and gives how many sessions that took.
func (r *rig) settled(confs []string) int {
	r.t.Helper()
	placed := place(items30(confs), workers("a", "b", "c"))
	r.await("everything where it belongs", func() bool {
		held := r.holders()
		for conf, w := range placed {
			if held[conf]+"/1" != w {
				return false
			}
		}
		return quiet(r)
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.opened
}

func items30(confs []string) []item {
	var out []item
	for _, c := range confs {
		out = append(out, item{conf: c})
	}
	return out
}

func TestRedisBackEmpty(t *testing.T) {
	t.Parallel()
	ownServer(t, func(r *rig, server *fanouttest.Redis, client *redis.Client) {
		t := r.t
		confs := conferences(30)
		opened := r.threeSettled(confs)
		server.Restart(t)
		r.heldBy(confs, "a", "b", "c")
		r.await("the records are there again", func() bool {
			return client.HLen(t.Context(), fleetKey("owners")).Val() == int64(len(confs))
		})
		r.heldBy(confs, "a", "b", "c")
		r.change(func() {
			if r.opened != opened {
				t.Errorf("sessions opened after Redis came back empty = %d, want none", r.opened-opened)
			}
		})
	})
}

// Redis is stalled until all leases are over by the workers' clocks. By its own none is, where they were renewed at about the
// same time, as they are after a stall.
// A Redis that comes back empty is told again what was put: nobody lets go of it, and no worker's list lacks it meanwhile.
func TestPutOutlivesRedis(t *testing.T) {
	t.Parallel()
	ownServer(t, func(r *rig, server *fanouttest.Redis, client *redis.Client) {
		t := r.t
		a, b := r.worker("a"), r.worker("b")
		confs := conferences(6)
		for _, c := range confs {
			if _, err := a.Put(t.Context(), c, []byte("secret of "+c)); err != nil {
				t.Fatal(err)
			}
		}
		r.heldBy(confs, "a", "b")
		r.await("both know all", func() bool { return len(a.listing.Load().byID) == 6 && len(b.listing.Load().byID) == 6 })
		r.await("nothing moves", func() bool { return quiet(r) && len(r.holders()) == 6 })
		opened := 0
		r.change(func() { opened = r.opened })
		server.Restart(t)
		r.await("the records are there again", func() bool {
			for _, m := range []*member{a, b} {
				if n := len(m.listing.Load().byID); n != 6 {
					t.Errorf("%s knows %d conferences, want all 6 throughout", m.name, n)
					return true
				}
			}
			return client.HLen(t.Context(), fleetKey("conferences")).Val() == 6 &&
				client.HLen(t.Context(), fleetKey("owners")).Val() == 6
		})
		r.heldBy(confs, "a", "b")
		r.change(func() {
			for _, c := range confs {
				if s := r.session(c); s == nil || string(s.hold.Password) != "secret of "+c {
					t.Errorf("%s isn't held by its password", c)
				}
			}
			if r.opened != opened {
				t.Errorf("sessions opened after Redis came back empty = %d, want none", r.opened-opened)
			}
		})
		if err := b.Delete(t.Context(), confs[0]); err != nil {
			t.Errorf("Delete() = %v, want nil", err)
		}
		r.heldBy(confs[1:], "a", "b")
	})
}

func TestRedisStalled(t *testing.T) {
	t.Parallel()
	ownServer(t, func(r *rig, server *fanouttest.Redis, client *redis.Client) {
		t := r.t
		confs := conferences(30)
		opened := r.threeSettled(confs)
		alive := func() []string {
			names := client.ZRange(t.Context(), fleetKey("workers"), 0, -1).Val()
			slices.Sort(names)
			return names
		}
		for range 10 {
			before := alive()
			server.Stall(t)
			r.await("nobody appends", func() bool { return len(r.holders()) == 0 })
			server.Resume(t)
			r.heldBy(confs, "a", "b", "c")
			if !slices.Equal(alive(), before) {
				opened = r.settled(confs) // it took too long: somebody was taken for dead
				continue
			}
			r.change(func() {
				if r.opened != opened {
					t.Errorf("sessions opened after Redis was stalled = %d, want none", r.opened-opened)
				}
			})
			return
		}
		t.Error("each time somebody was taken for dead")
	})
}

// seen collects the arguments of every command.
type seen struct {
	mu   sync.Mutex
	args []any
}

func (s *seen) all() []any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.args)
}

func (s *seen) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (s *seen) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		s.mu.Lock()
		s.args = append(s.args, cmd.Args()...)
		s.mu.Unlock()
		return next(ctx, cmd)
	}
}

func (s *seen) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// No worker's clock reaches Redis, and no password does in the clear: nothing that is sent comes near the time of now in
// any unit, and keys expire.
func TestWhatRedisIsTold(t *testing.T) {
	t.Parallel()
	client := freshRedis(t)
	var s seen
	client.AddHook(&s)
	r := newRig(t, 3*time.Second, time.Minute, func() Store { return NewRedisStore(client, clearSealer{}) })
	a := r.worker("a", naming("flagged"))
	if _, err := a.Put(t.Context(), "put", []byte("canary")); err != nil {
		t.Fatal(err)
	}
	r.heldBy([]string{"flagged", "put"}, "a")
	b := r.worker("b", naming("flagged"))
	if err := a.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.heldBy([]string{"flagged", "put"}, "b")
	b.stop()

	a.stop()

	now := time.Now()
	numbers := 0
	for _, arg := range s.all() {
		var text string
		switch v := arg.(type) {
		case string:
			text = v
		case []byte:
			text = string(v)
		case int64:
			text = strconv.FormatInt(v, 10)
		case uint64:
			text = strconv.FormatUint(v, 10)
		}
		if strings.Contains(text, "canary") {
			t.Error("the password was sent in the clear")
		}
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			continue
		}
		numbers++
		for _, unit := range []float64{float64(now.Unix()), float64(now.UnixMilli()), float64(now.UnixMicro()), float64(now.UnixNano())} {
			if n > unit*0.99 && n < unit*1.01 {
				t.Errorf("a worker sent %s, which is a time of day", text)
			}
		}
	}
	if numbers == 0 {
		t.Error("no number was sent: this test sees nothing")
	}
	keys := client.Keys(t.Context(), "*").Val()
	if len(keys) < 5 {
		t.Errorf("keys = %v, want those of doc.go", keys)
	}
	for _, key := range keys {
		if ttl := client.TTL(t.Context(), key).Val(); ttl <= 0 {
			t.Errorf("TTL(%s) = %v, want one", key, ttl)
		}
		if !strings.HasPrefix(key, "confgate:{fleet}:") {
			t.Errorf("key %s isn't one of the fleet's", key)
		}
	}
}

// An idle worker costs one script call an interval, whatever it holds.
func TestIdleCost(t *testing.T) {
	t.Parallel()
	client := freshRedis(t)
	const ttl, interval = 3 * time.Second, time.Second
	r := newRig(t, ttl, time.Minute, func() Store { return NewRedisStore(client, clearSealer{}) })
	confs := conferences(500)
	r.worker("a", naming(confs...))
	r.heldBy(confs, "a")
	var s seen
	client.AddHook(&s)
	since := time.Now()
	r.await("three intervals", func() bool { return time.Since(since) > 3*interval })
	calls, size, took := 0, 0, time.Since(since)
	for _, arg := range s.all() {
		if text, ok := arg.(string); ok {
			size += len(text)
			if text == "evalsha" {
				calls++
			}
		}
	}
	if most := int(took/interval) + 1; calls < 1 || calls > most {
		t.Errorf("script calls of an idle worker in %v = %d, want 1 to %d", took, calls, most)
	}
	if size > 20_000 {
		t.Errorf("bytes sent by an idle worker = %d, want a few thousand", size)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	client := freshRedis(t)
	ctx := t.Context()
	tokens := NewTokens(client, clearSealer{})
	if token, left, err := tokens.Load(ctx, "conf"); token != nil || left != 0 || err != nil {
		t.Errorf("Load() of none = %q, %v, %v, want nothing", token, left, err)
	}
	if err := tokens.Store(ctx, "conf", []byte("canary"), time.Minute); err != nil {
		t.Fatal(err)
	}
	token, left, err := tokens.Load(ctx, "conf")
	if string(token) != "canary" || left <= 0 || left > time.Minute || err != nil {
		t.Errorf("Load() = %q, %v, %v, want canary, up to a minute, nil", token, left, err)
	}
	raw := client.Get(ctx, "confgate:{conf}:token").Val()
	if raw == "" || bytes.Contains([]byte(raw), []byte("canary")) {
		t.Errorf("what lies in Redis is %q, want the token sealed", raw)
	}
	if err := client.Set(ctx, "confgate:{other}:token", raw, time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	if token, _, err := tokens.Load(ctx, "other"); token != nil || err != nil {
		t.Errorf("Load() of another conference's token = %q, %v, want none", token, err)
	}
	if err := tokens.Forget(ctx, "conf"); err != nil {
		t.Fatal(err)
	}
	if token, _, _ := tokens.Load(ctx, "conf"); token != nil {
		t.Errorf("Load() after Forget() = %q, want none", token)
	}
	open := NewTokens(client, nil)
	if err := open.Store(ctx, "unsealed", []byte("canary"), time.Minute); err != nil {
		t.Fatal(err)
	}
	if n := client.Exists(ctx, "confgate:{unsealed}:token").Val(); n != 0 {
		t.Error("a token was stored without a sealer")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	refusals := NewRefusals(freshRedis(t))
	ctx := t.Context()
	mac, other := []byte{1, 2, 3}, []byte{4, 5, 6}
	if err := refusals.Refuse(ctx, "conf", mac, time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, conf string
		mac        []byte
		refused    bool
	}{
		{"the same", "conf", mac, true},
		{"another password", "conf", other, false},
		{"another conference", "conf2", mac, false},
	} {
		left, err := refusals.Refused(ctx, tt.conf, tt.mac)
		if (left > 0) != tt.refused || left > time.Minute || err != nil {
			t.Errorf("%s: Refused() = %v, %v, want refused %v", tt.name, left, err, tt.refused)
		}
	}
	if err := refusals.Allow(ctx, "conf", mac); err != nil {
		t.Fatal(err)
	}
	if left, err := refusals.Refused(ctx, "conf", mac); left != 0 || err != nil {
		t.Errorf("Refused() after Allow() = %v, %v, want 0, nil", left, err)
	}
}

// Two workers together get the rate and the burst once.
func TestRateIsTheFleets(t *testing.T) {
	t.Parallel()
	client := freshRedis(t)
	fleet := []*Rate{NewRate(client, 90, 3*time.Second), NewRate(client, 90, 3*time.Second)}
	began := time.Now()
	var wg sync.WaitGroup
	for _, r := range fleet {
		wg.Go(func() {
			for range 20 {
				if err := r.Wait(t.Context(), "token"); err != nil {
					t.Errorf("Wait() = %v, want nil", err)
				}
			}
		})
	}
	wg.Wait()
	// 40 calls at 30 a second, ten of them at once.
	if took := time.Since(began); took < 950*time.Millisecond || took > 10*time.Second {
		t.Errorf("40 calls of a fleet took %v, want about 1 s", took)
	}
	// Another API has its own.
	fleet[0].Learn("token", 1, time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := fleet[0].Wait(ctx, "dial"); err != nil {
		t.Errorf("first Wait() of another API, while one is limited to a call an hour = %v, want nil", err)
	}
}

func TestRateIsLearnedByAll(t *testing.T) {
	t.Parallel()
	client := freshRedis(t)
	a, b := NewRate(client, 1000, time.Second), NewRate(client, 1000, time.Second)
	a.Learn("token", 20, time.Second) // 18 a second, two at once
	if err := a.Wait(t.Context(), "token"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range 10 {
		if err := b.Wait(t.Context(), "token"); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took < 450*time.Millisecond {
		t.Errorf("ten calls took %v on the worker that didn't hear the limit of 18/s, want about half a second", took)
	}
}

func TestRateGivesUp(t *testing.T) {
	t.Parallel()
	r := NewRate(freshRedis(t), 1, time.Hour)
	if err := r.Wait(t.Context(), "token"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.Wait(ctx, "token"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait() beyond ctx = %v, want %v", err, context.DeadlineExceeded)
	}
}

func TestRateWithoutRedis(t *testing.T) {
	t.Parallel()
	r := NewRate(connect(t, "unix:///nowhere/redis.sock", 0), 40, time.Second)
	began := time.Now()
	for range 4 {
		if err := r.Wait(t.Context(), "token"); err != nil {
			t.Fatalf("Wait() without Redis = %v, want nil", err)
		}
	}
	if took := time.Since(began); took < 250*time.Millisecond {
		t.Errorf("four calls took %v, want a quarter of the rate: 300 ms", took)
	}
}
