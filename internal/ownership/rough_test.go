package ownership

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"pgregory.net/rapid"
)

// dice are thrown by many goroutines of a bubble. Their order isn't always the same, so that a seed doesn't repeat a run.
type dice struct {
	mu    sync.Mutex // held over a throw only
	rand  *rand.Rand
	rough bool // else every throw is a kind one
	fired map[string]int
}

// hits says whether something happens that happens with probability p.
func (d *dice) hits(what string, p float64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	hit := d.rough && d.rand.Float64() < p
	if hit {
		d.fired[what]++
	}
	return hit
}

// delay is mostly short, and now and then up to most.
func (d *dice) delay(most time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.rough {
		return time.Millisecond
	}
	x := d.rand.Float64()
	return time.Duration(x * x * x * x * float64(most))
}

func (d *dice) calm() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rough = false
}

// roughStore is a store over a bad network: answers come late, or not at all, though what was asked for may have been done,
// and may be done when nobody waits for it any more.
type roughStore struct {
	Store
	*dice
}

var errRough = errors.New("no answer")

// rough makes one call of a store over a bad network.
func rough[T any](ctx context.Context, d *dice, call func() (T, error)) (T, error) {
	var none T
	if d.hits("call lost", 0.04) {
		<-ctx.Done()
		return none, errRough
	}
	type answer struct {
		v   T
		err error
	}
	answers := make(chan answer, 1)
	delay, lost := d.delay(1500*time.Millisecond), d.hits("answer lost", 0.08)
	go func() {
		time.Sleep(delay)
		v, err := call()
		answers <- answer{v, err}
	}()
	select {
	case a := <-answers:
		if lost {
			return none, errRough
		}
		return a.v, a.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}

func (s *roughStore) poll(ctx context.Context, q query) (view, error) {
	return rough(ctx, s.dice, func() (view, error) { return s.Store.poll(context.WithoutCancel(ctx), q) })
}

func (s *roughStore) name(ctx context.Context, me string, confs []string) error {
	_, err := rough(ctx, s.dice, func() (any, error) { return nil, s.Store.name(context.WithoutCancel(ctx), me, confs) })
	return err
}

func (s *roughStore) claim(ctx context.Context, me, previous string, confs []string) ([]claimed, error) {
	confs = slices.Clone(confs)
	return rough(ctx, s.dice, func() ([]claimed, error) { return s.Store.claim(context.WithoutCancel(ctx), me, previous, confs) })
}

func (s *roughStore) release(ctx context.Context, me string, confs []string) error {
	confs = slices.Clone(confs)
	_, err := rough(ctx, s.dice, func() (any, error) { return nil, s.Store.release(context.WithoutCancel(ctx), me, confs) })
	return err
}

func (s *roughStore) advance(ctx context.Context, me string, steps []step) ([]bool, error) {
	steps = slices.Clone(steps)
	return rough(ctx, s.dice, func() ([]bool, error) { return s.Store.advance(context.WithoutCancel(ctx), me, steps) })
}

// lingering is for how long a conference may have a link more than handovers explain: its owner and a look at the store are
// as slow as these dice let them be, and a link takes its time to close.
const lingering = DefaultLeaseTTL + 2*time.Second

// surplus follows, for each conference, since when it has had more links than it should.
type surplus map[string]time.Time

// look is called with the rig's lock. Workers whose lease is over keep their links, by right: when they are back they hear
// whose they are.
func (s surplus) look(r *rig, store *MemoryStore, confs []string) {
	now := time.Now()
	for _, conf := range confs {
		links, lapsed := 0, 0
		for _, l := range r.sessions {
			if l.hold.Conference == conf && l.linked {
				links++
				if valid, _ := l.hold.lease.state(); !valid {
					lapsed++
				}
			}
		}
		allowed := 1 + lapsed
		store.mu.Lock()
		if c := store.confs[conf]; c != nil && c.to != "" {
			allowed++
		}
		store.mu.Unlock()
		switch since, over := s[conf]; {
		case links <= allowed:
			delete(s, conf)
		case !over:
			s[conf] = now
		case now.Sub(since) > lingering:
			r.wrong = errors.Join(r.wrong, fmt.Errorf("%s has had %d links for %v, want %d", conf, links, now.Sub(since), allowed))
			s[conf] = now
		}
	}
}

// calmed says what is missing until each conference has one session that appends. Called with the rig's lock.
func (r *rig) calmed(confs []string) error {
	held := r.holders()
	for _, conf := range confs {
		if held[conf] == "" {
			return fmt.Errorf("%s is held by nobody", conf)
		}
	}
	for _, s := range r.sessions {
		switch {
		case !s.linked || !open(s.hold):
			return fmt.Errorf("%s of %s: linked %v, may append %v", s.hold.Conference, s.worker, s.linked, open(s.hold))
		case s.prepared || s.frozen:
			return fmt.Errorf("%s of %s still waits for a successor", s.hold.Conference, s.worker)
		case s.hold.Successor && !s.offered:
			return fmt.Errorf("%s of %s still waits for an offer", s.hold.Conference, s.worker)
		}
	}
	if len(r.sessions) != len(confs) {
		return fmt.Errorf("%d sessions, want %d", len(r.sessions), len(confs))
	}
	return nil
}

// mishap is what happens to a worker at a time.
type mishap struct {
	after  time.Duration // the one before
	kind   int           // one of mishaps
	worker int
}

var mishaps = []string{"dies", "leaves", "is cut off", "is joined again"}

// recovery is how long after a calm all is well at the latest: a successor that came to nothing isn't tried again for a
// while, and handovers under way may run into all of their patience.
const recovery = avoidance + dialPatience + sessionPatience + claimPatience + 10*time.Second

// roughly plays mishaps over a bad network with slow sessions, lets things calm down, and reports what went wrong.
func roughly(t *testing.T, d *dice, list []mishap) error {
	t.Helper()
	shared := NewMemoryStore()
	shared.shared = true
	r := newRig(t, DefaultLeaseTTL, 5*time.Minute, func() Store { return &roughStore{shared, d} })
	r.lag = func() time.Duration {
		if d.hits("session hangs", 0.01) {
			return 2 * sessionPatience
		}
		return d.delay(time.Second)
	}
	r.breaks = func() bool { return d.hits("session breaks", 0.05) }
	confs := conferences(6)
	start := func(i int) *member {
		return r.worker(fmt.Sprintf("w%d", i), naming(confs...), func(c *Config) { c.Logger = zap.NewNop() })
	}
	members := []*member{start(0), start(1), start(2)}
	over := surplus{}
	watch := func(span time.Duration) error {
		for end := time.Now().Add(span); time.Now().Before(end); {
			pass(25 * time.Millisecond)
			r.change(func() {
				r.holders()
				over.look(r, shared, confs)
			})
			if r.wrong != nil {
				return r.wrong
			}
		}
		return nil
	}
	for _, m := range list {
		if err := watch(m.after); err != nil {
			return err
		}
		d.mu.Lock()
		d.fired[mishaps[m.kind]]++
		d.mu.Unlock()
		w := members[m.worker]
		switch mishaps[m.kind] {
		case "dies":
			w.kill()
			members[m.worker] = start(m.worker)
		case "leaves":
			w.stop()
			members[m.worker] = start(m.worker)
		case "is cut off":
			w.store.cut.Store(true)
		case "is joined again":
			w.store.cut.Store(false)
		}
	}
	d.calm()
	for _, m := range members {
		m.store.cut.Store(false)
	}
	if err := watch(recovery); err != nil {
		return err
	}
	var err error
	for end := time.Now().Add(DefaultLeaseTTL); ; { // a handover may be under way still, to where a conference belongs
		r.change(func() { err = r.calmed(confs) })
		if err == nil || time.Now().After(end) {
			break
		}
		pass(25 * time.Millisecond)
	}
	for _, m := range members {
		m.stop()
	}
	return err
}

// Whatever is late, lost or dead: nobody appends beside the owner, no conference has a link more than handovers explain for
// longer than a lease, and once things are calm each is held by one session that appends.
func TestRoughly(t *testing.T) {
	t.Parallel()
	fired := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		list := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) mishap {
			return mishap{
				after:  time.Duration(rapid.IntRange(0, 8000).Draw(rt, "after")) * time.Millisecond,
				kind:   rapid.IntRange(0, len(mishaps)-1).Draw(rt, "kind"),
				worker: rapid.IntRange(0, 2).Draw(rt, "worker"),
			}
		}), 1, 12).Draw(rt, "mishaps")
		seed := rapid.Uint64().Draw(rt, "seed")
		var err error
		synctest.Test(t, func(t *testing.T) {
			err = roughly(t, &dice{rand: rand.New(rand.NewPCG(seed, 0)), rough: true, fired: fired}, list)
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
	for _, what := range append([]string{"call lost", "answer lost", "session hangs", "session breaks"}, mishaps...) {
		if fired[what] == 0 {
			t.Errorf("never came: %s", what)
		}
	}
}
