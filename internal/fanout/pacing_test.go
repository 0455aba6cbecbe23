package fanout_test

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"confgate/internal/conference"
	"confgate/internal/fanout"
	"confgate/internal/fanout/fanouttest"
)

// paced is a feed with a write rate and a reader that takes what there is whenever it is woken.
type paced struct {
	pump  *pump
	feeds *fanout.Feeds
	seq   uint64

	mu  sync.Mutex // the reader adds, the test looks
	got received
}

// received is what the reader has got.
type received struct {
	frames [][]uint64 // the seqs of each frame
	at     []time.Duration
}

func (p *paced) received() received {
	p.mu.Lock()
	defer p.mu.Unlock()
	return received{slices.Clone(p.got.frames), slices.Clone(p.got.at)}
}

// count is how many frames came behind the snapshot.
func (p *paced) count() int { return len(p.received().frames) - 1 }

func inPace(t *testing.T, rate int, f func(p *paced, ctx context.Context)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &paced{pump: &pump{deliveries: make(chan fanout.Delivery)}}
		p.feeds = fanout.NewFeeds(fanout.FeedOptions{Log: p.pump, Encoder: jsonEncoder{}, WriteRate: rate})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = p.feeds.Run(ctx)
		}()
		defer func() {
			cancel()
			<-done
		}()
		go func() {
			p.pump.deliveries <- fanout.Delivery{Snapshot: &fanout.Snapshot{Checkpoint: conference.Checkpoint{
				Position: conference.Position{Epoch: "c1"}, Doc: conference.NewDoc(),
			}}}
		}()
		woken := make(chan struct{}, 1)
		r := p.join(t, ctx, nil, func() { woken <- struct{}{} })
		start := time.Now()
		go func() {
			for {
				for f, ok := r.Next(); ok; f, ok = r.Next() {
					p.mu.Lock()
					p.got.frames, p.got.at = append(p.got.frames, seqs(f.Bytes)), append(p.got.at, time.Since(start))
					p.mu.Unlock()
				}
				select {
				case <-woken:
				case <-ctx.Done():
					return
				}
			}
		}()
		synctest.Wait()
		f(p, ctx)
	})
}

func (p *paced) join(t *testing.T, ctx context.Context, at *conference.Position, wake func()) *fanout.Reader {
	t.Helper()
	r, err := p.feeds.Subscribe(ctx, fanout.Request{Conference: "900", Topics: conference.AllTopics, Resume: at, Wake: wakeFunc(wake)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// change makes n changes now.
func (p *paced) change(n int) {
	for range n {
		p.seq++
		p.pump.deliveries <- fanout.Delivery{
			Entry:    []conference.Stamped{{Change: fanouttest.Set("p1", "Ann"), Seq: p.seq, Prev: p.seq - 1}},
			Received: time.Now(),
		}
	}
	synctest.Wait()
}

// seqs lists the seqs of a frame's messages; a snapshot has none.
func seqs(frame []byte) []uint64 {
	var list []message
	if json.Unmarshal(frame, &list) != nil {
		var m message
		if json.Unmarshal(frame, &m) != nil || m.Type == "snapshot" {
			return nil
		}
		return []uint64{m.Seq}
	}
	var out []uint64
	for _, m := range list {
		out = append(out, m.Seq)
	}
	return out
}

// What a frame holds is consecutive, and nothing is missing.
func (p *paced) check(t *testing.T) {
	t.Helper()
	next := uint64(1)
	for i, f := range p.received().frames {
		for _, seq := range f {
			if seq != next {
				t.Fatalf("frame %d has %v, want %d next", i, f, next)
			}
			next++
		}
	}
	if next != p.seq+1 {
		t.Errorf("frames end before %d, want up to %d", next, p.seq)
	}
}

// step is for how long a change is held at the most.
const step = time.Second / fanout.DefaultWriteRate

func TestPacing(t *testing.T) {
	t.Parallel()
	t.Run("quiet", func(t *testing.T) {
		t.Parallel()
		inPace(t, fanout.DefaultWriteRate, func(p *paced, _ context.Context) {
			for range 200 { // 50 a second
				p.change(1)
				time.Sleep(20 * time.Millisecond)
			}
			p.check(t)
			if n := p.count(); n != 200 {
				t.Errorf("%d frames for 200 changes at 50 a second, want each at once", n)
			}
		})
	})
	t.Run("burst", func(t *testing.T) {
		t.Parallel()
		inPace(t, fanout.DefaultWriteRate, func(p *paced, _ context.Context) {
			for range 1000 { // a second's worth
				p.change(1)
				time.Sleep(time.Millisecond)
			}
			time.Sleep(step)
			synctest.Wait()
			p.check(t)
			const want = fanout.DefaultWriteRate + 10
			if n := p.count(); n < want-20 || n > want+10 {
				t.Errorf("%d frames for 1000 changes in a second, want about %d", n, want)
			}
			got := p.received()
			for i := 1; i < len(got.frames); i++ {
				first := time.Duration(got.frames[i][0]-1) * time.Millisecond // when it was made
				if late := got.at[i] - first; late > step {
					t.Fatalf("change %d came %v late, want a step at most", got.frames[i][0], late)
				}
			}
		})
	})
	t.Run("a handful at once", func(t *testing.T) {
		t.Parallel()
		inPace(t, fanout.DefaultWriteRate, func(p *paced, _ context.Context) {
			time.Sleep(time.Second)
			p.change(15)
			if n := p.count(); n != 10 {
				t.Errorf("%d frames at once, want the 10 of a burst", n)
			}
			time.Sleep(step)
			synctest.Wait()
			p.check(t)
			if n := p.count(); n != 11 {
				t.Errorf("%d frames in all, want one more for what was held", n)
			}
		})
	})
	t.Run("off", func(t *testing.T) {
		t.Parallel()
		inPace(t, 0, func(p *paced, _ context.Context) {
			p.change(500)
			p.check(t)
			if n := p.count(); n != 500 {
				t.Errorf("%d frames for 500 changes, want each on its own", n)
			}
		})
	})
	t.Run("never more than a thousand", func(t *testing.T) {
		t.Parallel()
		inPace(t, fanout.DefaultWriteRate, func(p *paced, _ context.Context) {
			p.change(2500)
			if n := p.count(); n < 12 {
				t.Errorf("%d frames for 2500 changes at once, want no more than 1000 held", n)
			}
			time.Sleep(step)
			synctest.Wait()
			p.check(t)
		})
	})
}

// Who joins while changes are held sees them in its snapshot, or as what it missed, and never twice.
func TestJoinWhileHeld(t *testing.T) {
	t.Parallel()
	inPace(t, fanout.DefaultWriteRate, func(p *paced, ctx context.Context) {
		p.change(14)
		fresh := p.join(t, ctx, nil, func() {})
		f, _ := fresh.Next()
		var m message
		if err := json.Unmarshal(f.Bytes, &m); err != nil || m.Type != "snapshot" || m.Seq != 14 {
			t.Fatalf("first frame = %s, want a snapshot at 14", f.Bytes)
		}
		p.change(3)
		resumed := p.join(t, ctx, &conference.Position{Epoch: "c1", Seq: 12}, func() {})
		if !resumed.Recovered() {
			t.Fatal("resume from 12 wasn't granted")
		}
		var got []uint64
		for f, ok := resumed.Next(); ok; f, ok = resumed.Next() {
			got = append(got, seqs(f.Bytes)...)
		}
		if len(got) != 5 || got[0] != 13 || got[4] != 17 {
			t.Errorf("resumed reader got %v, want 13 to 17", got)
		}
		if f, ok := fresh.Next(); !ok || len(seqs(f.Bytes)) != 3 || seqs(f.Bytes)[0] != 15 {
			t.Errorf("fresh reader got %s, want 15 to 17 in one frame", f.Bytes)
		}
		synctest.Wait()
		p.check(t)
	})
}
