package edge

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// roundSource has one conference, all of whose readers get the same frame once a round.
type roundSource struct {
	*fakeSource
	frame Frame
	round atomic.Uint64
	subs  chan *roundSub
}

type roundSub struct {
	src  *roundSource
	wake Waker
	seen uint64
}

func (s *roundSource) Subscribe(_ context.Context, req Request) (Subscription, error) {
	sub := &roundSub{src: s, wake: req.Wake}
	s.subs <- sub
	return sub, nil
}

func (*roundSub) Recovered() bool { return false }

func (*roundSub) Renew() {}
func (*roundSub) Close() {}

func (s *roundSub) Next() (Frame, bool) {
	now := s.src.round.Load()
	if s.seen == now {
		return Frame{}, false
	}
	s.seen = now
	return s.src.frame, true
}

// audience connects n clients that count the frames that they get.
func audience(t *testing.T, w *world, src *roundSource, n int) (subs []*roundSub, got *atomic.Int64) {
	t.Helper()
	got = &atomic.Int64{}
	var readers sync.WaitGroup
	t.Cleanup(readers.Wait)
	for range n {
		c := w.raw()
		msg := `{"type":"subscribe","conference":"900"}`
		c.write(frame(0x80|opText, msg))
		if _, payload, err := readFrame(c.r); err != nil || !bytes.Contains(payload, []byte("subscribed")) {
			t.Fatalf("frame = %s, %v; want subscribed", payload, err)
		}
		subs = append(subs, <-src.subs)
		t.Cleanup(func() { _ = c.nc.Close() })
		readers.Go(func() {
			buf := make([]byte, len(src.frame.Wire))
			for {
				if _, err := io.ReadFull(c.r, buf); err != nil {
					return
				}
				got.Add(1)
			}
		})
	}
	return subs, got
}

func newRoundSource(size int) *roundSource {
	msg := bytes.Repeat([]byte{'1'}, size)
	wire := append(Encoder{}.Header(nil, size), msg...)
	return &roundSource{
		fakeSource: newFakeSource(), subs: make(chan *roundSub, 1000),
		frame: Frame{Bytes: wire[len(wire)-size:], Wire: wire, Messages: []MessageCount{{"delta", 1}}, Received: time.Now()},
	}
}

// A delivery, from the feed's wake to the bytes in the socket, costs no memory, however many clients there are.
func TestDeliveryAllocatesNothing(t *testing.T) { //nolint:paralleltest // counts the process's allocations
	src := newRoundSource(300)
	w := loopback(t, func(c *Config) { c.Source = src })
	const clients, rounds = 20, 200
	subs, got := audience(t, w, src, clients)
	want := int64(0)
	deliver := func() {
		src.round.Add(1)
		for _, s := range subs {
			s.wake.Wake()
		}
		for want += clients; got.Load() < want; {
			runtime.Gosched()
		}
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	deliver()
	// Counted in all, as testing.AllocsPerRun rounds down; the runtime's own few are allowed for.
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		deliver()
	}
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; n > rounds/10 {
		t.Errorf("%d deliveries allocate %d times, want %d at most", rounds*clients, n, rounds/10)
	}
	if sent := w.metric("downstream_messages_total", "type", "delta"); sent < rounds*clients {
		t.Errorf("metrics count %v deltas, want %d at least: was something else measured?", sent, rounds*clients)
	}
}

// A client that stalls while others read holds up nobody, and gets everything, in order, when it reads again.
func TestStalledClientHoldsUpNobody(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	stalled, fast := w.raw(), w.raw()
	for _, c := range []*raw{stalled, fast} {
		c.write(frame(0x80|opText, `{"type":"subscribe","conference":"900"}`))
		if _, _, err := readFrame(c.r); err != nil {
			t.Fatal(err)
		}
	}
	subs := []*fakeSub{<-w.src.subs, <-w.src.subs}
	pad := bytes.Repeat([]byte{'x'}, 4<<10)
	const frames = 5000 // 20 MiB: far more than any buffer takes
	for i := range frames {
		msg := fmt.Appendf(nil, "%d%s", i, pad)
		f := Frame{Bytes: msg, Wire: append(Encoder{}.Header(nil, len(msg)), msg...), Messages: []MessageCount{{"delta", 1}}}
		for _, s := range subs {
			s.put(f)
		}
	}
	for _, c := range []*raw{fast, stalled} {
		for i := range frames {
			if _, payload, err := readFrame(c.r); err != nil || !bytes.HasPrefix(payload, fmt.Append(nil, i, "x")) {
				t.Fatalf("frame %d = %.20q, %v", i, payload, err)
			}
		}
	}
}

// A wake for nothing, as by changes that the client doesn't see, sends nothing. In a busy conference it must not pass for a
// message: the client would get no heartbeats.
func TestWakeForNothingIsNoMessage(t *testing.T) {
	t.Parallel()
	src := newRoundSource(300)
	w := loopback(t, func(c *Config) { c.Source = src })
	subs, _ := audience(t, w, src, 1)
	c, ok := w.srv.connections()[0].(*conn)
	if !ok {
		t.Fatal("the connection isn't a WebSocket's")
	}
	idle := func() {
		for c.state.Load() != writerIdle {
			runtime.Gosched()
		}
	}
	idle()
	sent := c.lastSent.Load()
	subs[0].wake.Wake()
	idle()
	if now := c.lastSent.Load(); now != sent {
		t.Errorf("a wake for nothing counts as sent %v after the last message", time.Duration(now-sent))
	}
}

// A subscription that has ended is let go, also where its client stays: with it the feed's document would be kept.
func TestEndedSubscriptionIsLetGo(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	c, sub := w.follow()
	gone := make(chan struct{})
	runtime.AddCleanup(sub, func(gone chan struct{}) { close(gone) }, gone)
	c.send(`{"type":"unsubscribe","conference":"900"}`)
	c.next()
	deadline := time.After(w.waits)
	for {
		runtime.GC()
		select {
		case <-gone:
			c.alive()
			return
		case <-deadline:
			t.Fatal("the connection keeps a subscription that has ended")
		default:
			runtime.Gosched()
		}
	}
}

// Until the server runs, and where a socket can't be tried, connections write by goroutines of their own.
func TestWritersBeforeRun(t *testing.T) {
	t.Parallel()
	s := New(Config{Source: newFakeSource(), Auth: Anyone{}})
	if s.shared.on.Load() {
		t.Fatal("shared writers run before Run")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	for !s.shared.on.Load() {
		runtime.Gosched()
	}
	cancel()
	if err := <-ran; err != nil {
		t.Errorf("Run() = %v", err)
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if newWriter(a, time.Second, time.Second).raw != nil {
		t.Error("a pipe can be written to without waiting")
	}
}
