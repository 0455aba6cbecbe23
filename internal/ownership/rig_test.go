package ownership

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"confgate/internal/fanout/fanouttest"
)

// server is for tests that don't harm it; each has a database of its own, for as long as it runs.
var (
	server    *fanouttest.Redis
	databases = make(chan int, 15)
)

func TestMain(m *testing.M) {
	var err error
	if server, err = fanouttest.RunRedis(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for db := range cap(databases) {
		databases <- db + 1
	}
	goleak.VerifyTestMain(m,
		goleak.IgnoreCurrent(), // those of the server, which outlives the check
		goleak.Cleanup(func(code int) {
			server.Remove()
			os.Exit(code)
		}))
}

// connect makes a client as the gateway does.
func connect(tb testing.TB, url string, db int) *redis.Client {
	tb.Helper()
	opts, err := redis.ParseURL(url)
	if err != nil {
		tb.Fatal(err)
	}
	opts.DB, opts.ContextTimeoutEnabled, opts.MaxRetries = db, true, -1
	c := redis.NewClient(opts)
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// freshRedis is a store in a database that no other test uses.
func freshRedis(tb testing.TB) *redis.Client {
	tb.Helper()
	db := <-databases
	tb.Cleanup(func() { databases <- db })
	c := connect(tb, server.URL(), db)
	if err := c.FlushDB(tb.Context()).Err(); err != nil {
		tb.Fatal(err)
	}
	return c
}

// clearSealer seals by turning bits: enough to see that nothing lies there in the clear.
type clearSealer struct{}

func (clearSealer) Seal(dst, plain, associated []byte) []byte {
	for _, b := range slices.Concat(associated, []byte{0xff}, plain) {
		dst = append(dst, ^b)
	}
	return dst
}

func (clearSealer) Open(sealed, associated []byte) ([]byte, error) {
	var plain []byte
	for _, b := range sealed {
		plain = append(plain, ^b)
	}
	head := slices.Concat(associated, []byte{0xff})
	if len(plain) < len(head) || !slices.Equal(plain[:len(head)], head) {
		return nil, errors.New("sealed for another place")
	}
	return plain[len(head):], nil
}

// cutStore is a store that one worker can be cut off from.
type cutStore struct {
	Store
	cut atomic.Bool
}

var errCut = errors.New("cut off")

func (s *cutStore) poll(ctx context.Context, q query) (view, error) {
	if s.cut.Load() {
		return view{}, errCut
	}
	return s.Store.poll(ctx, q)
}

func (s *cutStore) claim(ctx context.Context, me, previous string, confs []string) ([]claimed, error) {
	if s.cut.Load() {
		return nil, errCut
	}
	return s.Store.claim(ctx, me, previous, confs)
}

func (s *cutStore) release(ctx context.Context, me string, confs []string) error {
	if s.cut.Load() {
		return errCut
	}
	return s.Store.release(ctx, me, confs)
}

func (s *cutStore) advance(ctx context.Context, me string, steps []step) ([]bool, error) {
	if s.cut.Load() {
		return nil, errCut
	}
	return s.Store.advance(ctx, me, steps)
}

func (s *cutStore) leave(ctx context.Context, me string) error {
	if s.cut.Load() {
		return errCut
	}
	return s.Store.leave(ctx, me)
}

// rig is a fleet in one process, whose sessions only note what they are told.
type rig struct {
	t        *testing.T
	ttl      time.Duration
	patience time.Duration // of await
	slack    time.Duration // what a busy machine may cost; none in a bubble
	store    func() Store

	mu       sync.Mutex
	moved    chan struct{} // closed at every change
	sessions []*fakeSession
	opened   int
	resumed  int
	most     map[string]int // overlapping links of a conference at most
	// deaf has a worker's successors never come live; mute has them not catch up by themselves.
	deaf map[string]bool
	// lag is how long a session takes for whatever it does next, and breaks whether it ends by itself now; nil: not at all.
	lag    func() time.Duration
	breaks func() bool
	// wrong is the first broken rule.
	wrong error
}

func newRig(t *testing.T, ttl, patience time.Duration, store func() Store) *rig {
	t.Helper()
	return &rig{
		t: t, ttl: ttl, patience: patience, store: store, moved: make(chan struct{}),
		most: map[string]int{}, deaf: map[string]bool{},
	}
}

// change runs fn under the rig's lock and wakes who waits.
func (r *rig) change(fn func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fn()
	close(r.moved)
	r.moved = make(chan struct{})
}

// await waits until ok holds, which is asked with the lock held, after every change and now and then.
func (r *rig) await(what string, ok func() bool) {
	r.t.Helper()
	late := time.NewTimer(r.patience)
	defer late.Stop()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		r.mu.Lock()
		done, moved, wrong := ok(), r.moved, r.wrong
		r.mu.Unlock()
		if wrong != nil {
			r.t.Fatal(wrong)
		}
		if done {
			return
		}
		select {
		case <-moved:
		case <-again.C:
		case <-late.C:
			r.mu.Lock()
			defer r.mu.Unlock()
			r.t.Fatalf("never came: %s; held: %v", what, r.holders())
		}
	}
}

// member is a worker of the rig.
type member struct {
	*Worker
	name   string
	store  *cutStore
	cancel context.CancelFunc
	done   chan struct{}
}

// stop ends a worker and waits for it.
func (m *member) stop() {
	m.cancel()
	<-m.done
}

// kill ends a worker without a goodbye.
func (m *member) kill() {
	m.store.cut.Store(true)
	m.stop()
}

func (r *rig) worker(name string, options ...func(*Config)) *member {
	r.t.Helper()
	m := &member{name: name, store: &cutStore{Store: r.store()}, done: make(chan struct{})}
	cfg := Config{
		Store: m.store, Holder: fakeHolder{r, name}, Worker: name, LeaseTTL: r.ttl,
		Logger: zaptest.NewLogger(r.t).With(zap.String("at", name)),
	}
	for _, o := range options {
		o(&cfg)
	}
	var err error
	if m.Worker, err = New(cfg); err != nil {
		r.t.Fatal(err)
	}
	var ctx context.Context
	ctx, m.cancel = context.WithCancel(context.WithoutCancel(r.t.Context()))
	go func() {
		defer close(m.done)
		if err := m.Run(ctx); err != nil {
			r.t.Errorf("Run() = %v, want nil", err)
		}
	}()
	r.t.Cleanup(m.stop)
	return m
}

func naming(confs ...string) func(*Config) { return func(c *Config) { c.Conferences = confs } }

func conferences(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("conf%d", i)
	}
	return out
}

// open says whether a session may append now.
func open(h *Hold) bool { return h.Gate(over) == nil }

// over is done: who waits with it doesn't wait.
var over = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// holders says which worker may append to which conference now, or has just offered it, and checks that it is one at most.
// Called with the lock.
func (r *rig) holders() map[string]string {
	out := map[string]string{}
	for _, s := range r.sessions {
		if s.frozen || !open(s.hold) {
			continue
		}
		if other, ok := out[s.hold.Conference]; ok {
			r.wrong = fmt.Errorf("both %s and %s may append to %s", other, s.worker, s.hold.Conference)
		}
		out[s.hold.Conference] = s.worker
	}
	for _, s := range r.sessions {
		if valid, _ := s.hold.lease.state(); s.frozen && valid && out[s.hold.Conference] == "" {
			out[s.hold.Conference] = s.worker
		}
	}
	return out
}

// gap follows how long conferences are unheld. Its look is called with the lock.
type gap struct {
	since   time.Time
	longest time.Duration
}

func (g *gap) look(held, want int) {
	switch {
	case held < want && g.since.IsZero():
		g.since = time.Now()
	case held < want:
		g.longest = max(g.longest, time.Since(g.since))
	default:
		g.since = time.Time{}
	}
}

// noGap is what a handover may cost: nothing, but that two workers don't hear of it in the same instant. On a busy machine
// instants are long, but it costs far less than a lease.
func (r *rig) noGap() time.Duration {
	if r.slack == 0 {
		return 100 * time.Millisecond
	}
	return r.ttl / 2
}

// loads is how many conferences each worker holds. Called with the lock.
func (r *rig) loads() map[string]int {
	out := map[string]int{}
	for _, w := range r.holders() {
		out[w]++
	}
	return out
}

// heldBy waits until exactly these conferences are held, all by workers of the list.
func (r *rig) heldBy(confs []string, workers ...string) {
	r.t.Helper()
	r.await(fmt.Sprintf("%d conferences held by %v alone", len(confs), workers), func() bool {
		held := r.holders()
		for _, w := range held {
			if !slices.Contains(workers, w) {
				return false
			}
		}
		return len(held) == len(confs)
	})
}

// session is the one that may append to a conference. Called with the lock.
func (r *rig) session(conf string) *fakeSession {
	for _, s := range r.sessions {
		if s.hold.Conference == conf && open(s.hold) {
			return s
		}
	}
	return nil
}

// inMemory runs a scenario in a bubble, over a store in memory that all its workers share.
func inMemory(t *testing.T, fn func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := NewMemoryStore()
		s.shared = true
		fn(newRig(t, DefaultLeaseTTL, 5*time.Minute, func() Store { return s }))
	})
}

// pass lets time pass in a bubble.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// inRedis runs a scenario over a store in Redis.
func inRedis(t *testing.T, fn func(r *rig)) {
	t.Helper()
	url, _ := fanouttest.StartRedis(t)
	client := connect(t, url, 0)
	// A lease that a busy machine seldom outlasts.
	r := newRig(t, 3*time.Second, time.Minute, func() Store { return NewRedisStore(client, clearSealer{}) })
	r.slack = 3 * time.Second
	fn(r)
}

// everywhere runs a scenario over both kinds of store.
func everywhere(t *testing.T, fn func(r *rig)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) { t.Parallel(); inMemory(t, fn) })
	t.Run("redis", func(t *testing.T) { t.Parallel(); inRedis(t, fn) })
}
