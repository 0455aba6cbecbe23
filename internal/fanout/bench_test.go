package fanout_test

import (
	"context"
	"fmt"
	"testing"

	"confgate/internal/conference"
	"confgate/internal/edge"
	"confgate/internal/fanout"
	"confgate/internal/fanout/fanouttest"
)

// pump is a log that a benchmark feeds by hand.
type pump struct{ deliveries chan fanout.Delivery }

func (p *pump) Follow(_ string, _ conference.Position, kick chan<- struct{}) fanout.Tail {
	return newPushed(p.deliveries, kick)
}

// pumped starts a feed with the edge's own encoder and n readers.
func pumped(tb testing.TB, n int) (*pump, []*fanout.Reader) {
	tb.Helper()
	p := &pump{deliveries: make(chan fanout.Delivery)}
	feeds := fanout.NewFeeds(fanout.FeedOptions{Log: p, Encoder: edge.Encoder{}, WindowBytes: 1 << 20})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = feeds.Run(ctx)
	}()
	tb.Cleanup(func() {
		cancel()
		<-done
	})
	go func() {
		p.deliveries <- fanout.Delivery{Snapshot: &fanout.Snapshot{Checkpoint: conference.Checkpoint{
			Position: conference.Position{Epoch: "c1"}, Doc: conference.NewDoc(),
		}}}
	}()
	readers := make([]*fanout.Reader, n)
	for i := range readers {
		var err error
		if readers[i], err = feeds.Subscribe(ctx, fanout.Request{
			Conference: "900", Topics: conference.AllTopics, Wake: wakeFunc(func() {}),
		}); err != nil {
			tb.Fatal(err)
		}
		if _, ok := readers[i].Next(); !ok {
			tb.Fatal("no snapshot")
		}
	}
	return p, readers
}

// deliver hands one change to the feed, and waits until it is in the list.
func (p *pump) deliver(seq uint64) {
	change := conference.Stamped{Change: fanouttest.Set("p1", "Ann"), Seq: seq, Prev: seq - 1}
	p.deliveries <- fanout.Delivery{Entry: []conference.Stamped{change}}
	// The feed takes the first of these when it has done the change, the second then has the room of the first, and only then
	// is the third taken here.
	for range 3 {
		p.deliveries <- fanout.Delivery{}
	}
}

// One change, from the log's delivery to every reader's frame.
func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("readers=%d", n), func(b *testing.B) {
			p, readers := pumped(b, n)
			seq := uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				seq++
				p.deliver(seq)
				for _, r := range readers {
					if _, ok := r.Next(); !ok {
						b.Fatal("no frame")
					}
					if _, ok := r.Next(); ok { // registers for the next one
						b.Fatal("two frames")
					}
				}
			}
		})
	}
}

// One append to Redis and back, as an owner and a follower see it.
func BenchmarkRedisAppend(b *testing.B) {
	log := runLog(b, shared.URL(), keyring(b, keyFile), fanout.LogOptions{})
	conf := "bench"
	claim, _, err := log.Claim(b.Context(), conf)
	if err != nil {
		b.Fatal(err)
	}
	pos, err := log.Begin(b.Context(), conf, claim, conference.Stored{Image: conference.NewDoc().Image()})
	if err != nil {
		b.Fatal(err)
	}
	got := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	go func() {
		fanouttest.Follow(ctx, log, conf, conference.Position{}, func(fanout.Delivery) { got <- struct{}{} })
	}()
	<-got
	changes := []conference.Change{fanouttest.Set("p1", "Ann")}
	b.ReportAllocs()
	for b.Loop() {
		if pos, err = log.Append(b.Context(), conf, claim, pos, changes); err != nil {
			b.Fatal(err)
		}
		<-got
	}
}

// Reading what is there costs no memory.
func TestNextAllocatesNothing(t *testing.T) { //nolint:paralleltest // counts the process's allocations
	p, readers := pumped(t, 1)
	const entries = 200
	for seq := range uint64(entries) {
		p.deliver(seq + 1)
	}
	got := 0
	// A mean over runs would be rounded down; f runs once more to begin with.
	if n := testing.AllocsPerRun(1, func() {
		for range entries / 2 {
			if _, ok := readers[0].Next(); ok {
				got++
			}
		}
	}); n != 0 {
		t.Errorf("Next allocates %v times for %d frames, want never", n, entries/2)
	}
	if got != entries {
		t.Errorf("Next gave %d frames, want %d", got, entries)
	}
	if n := testing.AllocsPerRun(100, func() { readers[0].Next() }); n != 0 {
		t.Errorf("Next with nothing there allocates %v times, want never", n)
	}
}
