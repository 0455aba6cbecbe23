package ownership

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// oddStore is a store with oddities that a test picks.
type oddStore struct {
	Store
	naming time.Duration // how long name takes
	losing atomic.Int64  // so many answers to proposals are lost
	dead   atomic.Int64  // so many answers to claims are
}

func (s *oddStore) name(ctx context.Context, me string, confs []string) error {
	<-time.After(s.naming)
	return s.Store.name(ctx, me, confs)
}

func (s *oddStore) advance(ctx context.Context, me string, steps []step) ([]bool, error) {
	done, err := s.Store.advance(ctx, me, steps)
	if slices.ContainsFunc(steps, func(st step) bool { return st.action == propose }) && s.losing.Add(-1) >= 0 {
		return nil, errCut
	}
	return done, err
}

func (s *oddStore) claim(ctx context.Context, me, previous string, confs []string) ([]claimed, error) {
	answers, err := s.Store.claim(ctx, me, previous, confs)
	if s.dead.Add(-1) >= 0 {
		return nil, errCut
	}
	return answers, err
}

func odd(s *oddStore) func(*Config) {
	return func(c *Config) {
		s.Store = c.Store
		c.Store = s
	}
}

// put has the fleet of a worker hold conferences.
func (r *rig) put(m *member, confs []string) {
	r.t.Helper()
	for _, c := range confs {
		if _, err := m.Put(r.t.Context(), c, []byte("secret")); err != nil {
			r.t.Fatal(err)
		}
	}
}

// Symptom: two links of one conference for ten seconds, and its handover put off by half a minute. A worker that came back
// from a lapsed lease was handed what it still had a link for, and neither took it nor let go.
func TestReturnedWorkerIsHandedWhatItHad(t *testing.T) {
	t.Parallel()
	inMemory(t, func(r *rig) {
		t := r.t
		confs := conferences(10)
		a := r.worker("a")
		b := r.worker("b", naming("own"), odd(&oddStore{naming: 900 * time.Millisecond}))
		r.put(a, confs)
		r.await("both have some", func() bool { return len(r.holders()) == 11 && r.loads()["b"] > 3 && quiet(r) })
		pass(time.Minute)
		b.store.cut.Store(true)
		r.await("a has all that it may", func() bool { return r.loads()["a"] == 10 })
		pass(5 * time.Second)
		b.store.cut.Store(false)
		back := time.Now()
		r.await("b has some again", func() bool { return len(r.holders()) == 11 && r.loads()["b"] > 3 && quiet(r) })
		r.change(func() {
			if took := time.Since(back); took > 10*time.Second || r.resumed > 0 {
				t.Errorf("it had its share again after %v, and %d handovers came to nothing, want none", took, r.resumed)
			}
		})
	})
}

// Symptom: a handover whose proposal was made, though the answer was lost, was withdrawn, and not tried again for half a
// minute, after the successor had dialled.
func TestProposalWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	inMemory(t, func(r *rig) {
		t := r.t
		confs := conferences(10)
		s := &oddStore{}
		s.losing.Store(1)
		r.worker("a", naming(confs...), odd(s))
		r.heldBy(confs, "a")
		r.worker("b", naming(confs...))
		r.await("b has its share", func() bool { return r.loads()["b"] >= 4 && quiet(r) })
		r.change(func() {
			if s.losing.Load() > 0 {
				t.Error("no answer to a proposal was lost")
			}
			if want := len(confs) + r.loads()["b"]; r.opened != want {
				t.Errorf("sessions opened = %d, want %d: a successor dialled in vain", r.opened, want)
			}
		})
	})
}

// Symptom: a conference whose owner died in a handover was never appended to again: the answer to the successor's claim was
// lost, and its session waited for an offer for good.
func TestClaimOfADeadOwnersWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	inMemory(t, func(r *rig) {
		t := r.t
		s := &oddStore{}
		r.worker("b", odd(s))
		a := r.worker("a", naming("conf"))
		r.heldBy([]string{"conf"}, "a")
		r.put(a, []string{"conf"}) // b may hold it too
		r.change(func() { r.lag = func() time.Duration { return 2 * time.Second } })
		go func() { _ = a.Drain(t.Context()) }()
		r.await("the successor has a link", func() bool {
			return slices.ContainsFunc(r.sessions, func(s *fakeSession) bool { return s.worker == "b" && s.linked })
		})
		s.dead.Store(1)
		a.kill()
		r.await("the successor holds it", func() bool { return r.session("conf") != nil })
		pass(10 * time.Second)
		r.change(func() {
			if n := r.session("conf"); n == nil || !n.hold.Successor || !n.offered {
				t.Error("the successor's session was never told that no offer comes")
			}
			if s.dead.Load() > 0 {
				t.Error("no answer to a claim was lost")
			}
		})
	})
}

// Symptom: an owner that was too busy to hear that its handover came to nothing stayed silent for good.
func TestOwnerThatIsTooBusyToResume(t *testing.T) {
	t.Parallel()
	inMemory(t, func(r *rig) {
		t := r.t
		r.deaf["b"] = true
		a := r.worker("a")
		r.put(a, []string{"conf"})
		r.heldBy([]string{"conf"}, "a")
		r.worker("b")
		pass(2 * time.Second)
		go func() { _ = a.Drain(t.Context()) }()
		r.await("the session is prepared", func() bool { return r.session("conf") != nil && r.session("conf").prepared })
		r.change(func() { r.lag = func() time.Duration { return 2 * sessionPatience } })
		pass(dialPatience + sessionPatience + time.Second)
		r.change(func() {
			if r.resumed > 0 {
				t.Error("the session heard at once")
			}
			r.lag = nil
		})
		pass(avoidance / 2)
		r.change(func() {
			if s := r.session("conf"); s == nil || s.prepared || r.resumed == 0 {
				t.Error("the session was never told that the handover came to nothing")
			}
		})
	})
}

// A worker that leaves hands over what the others have room for; they take no more than that, and the rest is let go of.
func TestDrainWithoutRoom(t *testing.T) {
	t.Parallel()
	inMemory(t, func(r *rig) {
		t := r.t
		confs := conferences(6)
		a := r.worker("a", naming(confs...))
		r.heldBy(confs, "a")
		r.worker("b", naming(confs...), func(c *Config) { c.MaxConferences = 2 })
		r.await("b has what it has room for", func() bool { return r.loads()["b"] == 2 && quiet(r) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := a.Drain(ctx); err == nil || !strings.Contains(err.Error(), "4 conferences were released") {
			t.Errorf("Drain() = %v, want 4 released without a successor", err)
		}
		a.stop()
		pass(time.Minute)
		r.change(func() {
			if l := r.loads(); l["b"] != 2 || len(l) != 1 {
				t.Errorf("held %v, want two by b", l)
			}
		})
	})
}
