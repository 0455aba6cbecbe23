package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// dialling is how many handshakes of a crowd are under way at a time.
const dialling = 64

// Config is what a Crowd needs to know.
type Config struct {
	Addr        string // HOST:PORT
	Path        string // of the WebSocket
	Token       string // empty: none
	Conferences []string
	Clients     int // over all conferences, in turn
	// TLS, if not nil, is spoken with the server.
	TLS *tls.Config
	// Floor: the server is a floor, which has no handshake.
	Floor bool
	// Slow has the clients read a kilobyte a second.
	Slow bool
	// Progress, if not nil, is told how many are connected.
	Progress func(n int)
}

// group is the clients of one conference.
type group struct {
	index   int
	conf    string
	clients []*client
	from    atomic.Uint64 // messages behind this seq go into the clients' sums
}

// Crowd is clients that connect, subscribe and read until they are closed.
type Crowd struct {
	cfg     Config
	groups  []*group
	clients []*client
	latency histogram
	timing  atomic.Bool // latencies are counted
	refused atomic.Int64
	code    atomic.Int64 // of the last close frame; 0: none
	closing atomic.Bool
	failed  atomic.Int64 // connections that ended without being asked to
	running sync.WaitGroup
	ended   context.Context //nolint:containedctx // what slow readers wait by, in a callback
	end     context.CancelFunc
}

// NewCrowd makes a crowd that hasn't connected.
func NewCrowd(cfg Config) *Crowd {
	c := &Crowd{cfg: cfg}
	c.ended, c.end = context.WithCancel(context.Background())
	for i, conf := range cfg.Conferences {
		g := &group{index: i, conf: conf}
		g.from.Store(math.MaxUint64)
		c.groups = append(c.groups, g)
	}
	for i := range cfg.Clients {
		g := c.groups[i%len(c.groups)]
		cl := &client{crowd: c, group: g}
		if cfg.Slow {
			cl.pace = func() { wait(c.ended, slowRead*time.Millisecond) }
		}
		g.clients = append(g.clients, cl)
		c.clients = append(c.clients, cl)
	}
	return c
}

// Connect connects all clients, and returns when each has its subscription.
func (c *Crowd) Connect(ctx context.Context) error {
	dial, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	next, done := atomic.Int64{}, atomic.Int64{}
	var wg sync.WaitGroup
	for range min(dialling, len(c.clients)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(c.clients) || dial.Err() != nil {
					return
				}
				if _, err := c.join(dial, c.clients[i]); err != nil {
					stop(err) // the first of them tells enough
					return
				}
				if n := done.Add(1); c.cfg.Progress != nil && n%1000 == 0 {
					c.cfg.Progress(int(n))
				}
			}
		})
	}
	wg.Wait()
	if dial.Err() != nil {
		return context.Cause(dial)
	}
	err := poll(ctx, "subscriptions", func() bool { return c.Ready() || c.failed.Load() > 0 })
	switch n := c.failed.Load(); {
	case n > 0 && !c.Ready():
		return fmt.Errorf("bench: %d connections ended before they had a subscription; the server's last close code was %d", n, c.code.Load())
	case err != nil:
		return fmt.Errorf("%w; %d requests were refused: are these conferences held there?", err, c.refused.Load())
	}
	return nil
}

// join connects a client, again and again where the server puts handshakes off, and starts to read. It returns how often
// it was put off.
func (c *Crowd) join(ctx context.Context, cl *client) (putOff int64, err error) {
	for {
		err := cl.dial(ctx)
		if err == nil {
			c.start(cl)
			return putOff, nil
		}
		if !errors.Is(err, errBusy) {
			return putOff, err
		}
		putOff++
		if !wait(ctx, 100*time.Millisecond+rand.N(400*time.Millisecond)) {
			return putOff, context.Cause(ctx)
		}
	}
}

// start reads a client's frames in a goroutine.
func (c *Crowd) start(cl *client) {
	c.running.Go(func() {
		if err := cl.run(); err != nil && !c.closing.Load() {
			c.failed.Add(1)
		}
	})
}

// Ready says whether every client has its subscription.
func (c *Crowd) Ready() bool {
	for _, cl := range c.clients {
		if !cl.ready.Load() {
			return false
		}
	}
	return true
}

// Reconnect cuts all connections, calls meanwhile, and has every client come back at once and go on where it was. It
// returns how many handshakes were put off and tried again.
func (c *Crowd) Reconnect(ctx context.Context, meanwhile func()) (putOff int64, err error) {
	c.closing.Store(true)
	for _, cl := range c.clients {
		_ = cl.nc.Close()
	}
	c.running.Wait()
	c.closing.Store(false)
	meanwhile()
	var wg sync.WaitGroup
	again := atomic.Int64{}
	errs := make([]error, len(c.clients))
	for i, cl := range c.clients {
		cl.ready.Store(false)
		cl.recovered.Store(false)
		wg.Go(func() {
			var n int64
			n, errs[i] = c.join(ctx, cl)
			again.Add(n)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return again.Load(), err
	}
	return again.Load(), poll(ctx, "resumed subscriptions", c.Ready)
}

// Close ends all connections.
func (c *Crowd) Close() {
	c.closing.Store(true)
	c.end()
	for _, cl := range c.clients {
		if cl.nc != nil {
			_ = cl.nc.Close()
		}
	}
	c.running.Wait()
}

// Totals is what the clients of a crowd have seen so far.
type Totals struct {
	Deliveries int64 // deltas and events
	Frames     int64
	Bytes      int64 // payload
	Lost       int64
	Snapshots  int64
	Failed     int64 // connections that ended by themselves
}

// Totals adds up.
func (c *Crowd) Totals() Totals {
	t := Totals{Failed: c.failed.Load()}
	for _, cl := range c.clients {
		t.Deliveries += cl.got.Load()
		t.Frames += cl.frames.Load()
		t.Bytes += cl.bytes.Load()
		t.Lost += cl.lost.Load()
		t.Snapshots += cl.snapshots.Load()
	}
	return t
}

func (t Totals) minus(o Totals) Totals {
	return Totals{
		Deliveries: t.Deliveries - o.Deliveries, Frames: t.Frames - o.Frames, Bytes: t.Bytes - o.Bytes,
		Lost: t.Lost - o.Lost, Snapshots: t.Snapshots - o.Snapshots, Failed: t.Failed - o.Failed,
	}
}

// Arm has every client add up the bytes of each message from now on. All must have settled, and nothing may be sent while
// it is called, so that all of a conference begin with the same message.
func (c *Crowd) Arm() {
	for i, newest := range c.Newest() {
		g := c.groups[i]
		for _, cl := range g.clients {
			cl.sum.Store(0)
			cl.armed = cl.snapshots.Load()
		}
		g.from.Store(newest)
	}
}

// Settled says whether all clients of each conference are at the same message.
func (c *Crowd) Settled() bool {
	for _, g := range c.groups {
		for _, cl := range g.clients {
			if cl.seq.Load() != g.clients[0].seq.Load() {
				return false
			}
		}
	}
	return true
}

// Newest is the newest message that a client of each conference has.
func (c *Crowd) Newest() []uint64 {
	newest := make([]uint64, len(c.groups))
	for i, g := range c.groups {
		for _, cl := range g.clients {
			newest[i] = max(newest[i], cl.seq.Load())
		}
	}
	return newest
}

// Behind counts the clients that haven't come to a message of their conference.
func (c *Crowd) Behind(newest []uint64) int {
	n := 0
	for i, g := range c.groups {
		for _, cl := range g.clients {
			if cl.seq.Load() < newest[i] {
				n++
			}
		}
	}
	return n
}

// Different counts the clients that saw other bytes than the first of their conference since Arm. One that was given a
// snapshot meanwhile can't be compared, and counts as skipped.
func (c *Crowd) Different() (different, skipped int) {
	for _, g := range c.groups {
		var first *client
		for _, cl := range g.clients {
			switch {
			case cl.snapshots.Load() != cl.armed:
				skipped++
			case first == nil:
				first = cl
			case cl.sum.Load() != first.sum.Load() || cl.seq.Load() != first.seq.Load():
				different++
			}
		}
	}
	return different, skipped
}

// waitLimit bounds every wait for something that should come soon.
const waitLimit = 2 * time.Minute

// poll waits for a condition.
func poll(ctx context.Context, what string, ok func() bool) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	late := time.NewTimer(waitLimit)
	defer late.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("bench: waiting for %s: %w", what, context.Cause(ctx))
		case <-late.C:
			return fmt.Errorf("bench: waited %v for %s", waitLimit, what)
		case <-ticker.C:
		}
	}
	return nil
}

// wait waits for time to pass; false: ctx is done.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
