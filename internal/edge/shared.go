package edge

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"confgate/internal/telemetry"
)

const (
	// gatherLimit is how many bytes of small frames go out in one write, and so the most that is copied for a client that
	// takes only a part of it.
	gatherLimit = 16 << 10
	// tallyEvery is after how many connections the metrics, and the clock, are looked at.
	tallyEvery = 64
)

// shared is the writers that serve all connections whose sockets can be written to without waiting. A connection belongs to
// one of them for life.
type shared struct {
	writers []*sharedWriter
	next    atomic.Uint32
	on      atomic.Bool // they run; before, each connection's writer is a goroutine of its own
}

func newShared(m *telemetry.Metrics) *shared {
	s := &shared{}
	for range runtime.GOMAXPROCS(0) {
		w := &sharedWriter{kick: make(chan struct{}, 1), gather: make([]byte, 0, gatherLimit), tally: tally{metrics: m}}
		w.try.once = w.try.write
		s.writers = append(s.writers, w)
	}
	return s
}

// pick gives a new connection its writer.
func (s *shared) pick() *sharedWriter { return s.writers[int(s.next.Add(1))%len(s.writers)] }

// run serves until ctx is done. No connection may be left then.
func (s *shared) run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, w := range s.writers {
		wg.Go(func() { w.run(ctx) })
	}
	s.on.Store(true)
	wg.Wait()
}

// sharedWriter writes for many connections, one after the other, and waits for none of them: what a socket doesn't take at
// once is left to a goroutine of the connection's own.
type sharedWriter struct {
	ready atomic.Pointer[conn] // a stack of connections with something to send, linked by conn.next
	kick  chan struct{}

	// owned by run
	held   []byte // frames that go out with the next write: these, or if nil gather
	gather []byte // frames on their way into one write
	try    try
	now    time.Time
	tally  tally
}

// push leaves a connection to be served. It takes no lock and never blocks. Whoever calls it has made the connection's
// writer running, so it is on the stack once.
func (w *sharedWriter) push(c *conn) {
	for {
		top := w.ready.Load()
		c.next = top
		if w.ready.CompareAndSwap(top, c) {
			if top == nil {
				select {
				case w.kick <- struct{}{}:
				default: // it has been told already
				}
			}
			return
		}
	}
}

func (w *sharedWriter) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.kick:
		}
		for c := w.take(); c != nil; c = w.take() {
			w.now = time.Now()
			for n := 1; c != nil; n++ {
				next := c.next
				c.next = nil
				c.serveShared(w)
				c = next
				if n%tallyEvery == 0 {
					w.now = time.Now()
					w.tally.flush()
				}
			}
			w.tally.flush()
		}
	}
}

// take empties the stack, and gives those on it in the order in which they came.
func (w *sharedWriter) take() *conn {
	var first *conn
	for c := w.ready.Swap(nil); c != nil; {
		c, c.next, first = c.next, first, c
	}
	return first
}

// serveShared is write by a shared writer.
func (c *conn) serveShared(w *sharedWriter) {
	for {
		c.state.CompareAndSwap(writerAgain, writerRunning)
		c.out.share(w)
		done := c.pumpShared()
		c.out.unshare()
		if !done {
			go c.write() // it finds what is left in c.out
			return
		}
		if c.state.CompareAndSwap(writerRunning, writerIdle) {
			return
		}
	}
}

// pumpShared is pump for a connection in good order. False: it needs a writer of its own, since it takes no more now, or
// comes to its end.
func (c *conn) pumpShared() bool {
	for worked := true; worked; {
		if c.ended.Load() || c.closeCause() != causeNone || c.mute {
			_ = c.flush()
			return c.mute && !c.ended.Load()
		}
		worked = c.round()
		if c.out.blocked() {
			return false
		}
	}
	return c.flush() && !c.out.blocked()
}

// tally is what a writer has sent since it last told the metrics, which cost more than a small write's own work.
type tally struct {
	metrics  *telemetry.Metrics
	messages [len(talliedTypes)]int
	bytes    int
	received time.Time // of the newest frame whose latency was told
}

// talliedTypes are the messages that come from feeds.
var talliedTypes = [...]string{"delta", "event", "snapshot", "status"}

// add counts a frame. Of a frame that goes to many clients the latency is told once for each tallyEvery of them.
func (t *tally) add(f *Frame, now time.Time) {
	for _, mc := range f.Messages {
		for i, typ := range talliedTypes {
			if typ == mc.Type {
				t.messages[i] += mc.N
				break
			}
		}
	}
	t.bytes += len(f.Bytes)
	if f.Snapshot != "" {
		t.metrics.Snapshot(f.Snapshot)
	}
	if !f.Received.IsZero() && f.Received != t.received {
		t.received = f.Received
		t.metrics.Latency("deliver", now.Sub(f.Received))
	}
}

func (t *tally) flush() {
	bytes := t.bytes
	for i, n := range t.messages {
		if n > 0 {
			t.metrics.Sent(talliedTypes[i], n, bytes)
			bytes = 0
		}
	}
	t.bytes, t.messages, t.received = 0, [len(talliedTypes)]int{}, time.Time{}
}
