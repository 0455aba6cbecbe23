package fanout

import (
	"strings"
	"testing"
	"time"

	"confgate/internal/conference"
)

// quietEncoder writes nothing worth reading.
type quietEncoder struct{}

func (quietEncoder) Header(dst []byte, _ int) []byte { return dst }

func (quietEncoder) Delta(dst []byte, _ string, _ conference.Stamped, body []byte) []byte {
	return append(dst, body...)
}

func (quietEncoder) Snapshot(dst []byte, _ string, _ conference.Position, state []byte, _ [][]byte) []byte {
	return append(dst, state...)
}

func (quietEncoder) Status(dst []byte, _ string, _ bool, _ string, _ int64) []byte { return dst }

// In a conference where nothing happens, visitors that have left aren't kept.
func TestQuietFeedForgetsItsVisitors(t *testing.T) {
	t.Parallel()
	// The test's goroutine stands in for run's.
	f := newFeed("900", &NewFeeds(FeedOptions{Encoder: quietEncoder{}}).opts, true)
	if err := f.apply(Delivery{Snapshot: &Snapshot{Checkpoint: conference.Checkpoint{
		Position: conference.Position{Epoch: "c1"}, Doc: conference.NewDoc(),
	}}}); err != nil {
		t.Fatal(err)
	}
	visit := func() *Reader {
		r := &Reader{
			feed: f, topics: conference.AllTopics, wake: wakeFunc(func() {}), release: func() {}, fresh: true, attached: time.Now(),
		}
		if !f.attach(&attachment{reader: r, done: make(chan struct{})}) {
			t.Fatal("attach has to wait")
		}
		for range 2 {
			r.Next() // the snapshot, then nothing
		}
		return r
	}
	stays := visit()
	for range 1000 {
		visit().Close()
		f.serve()
	}
	n, found := 0, false
	for r := f.waiting.Load(); r != nil; r = r.waiting {
		n++
		found = found || r == stays
	}
	if n > 100 || !found || f.readers != 1 || f.profiles[0] != 1 {
		t.Errorf("%d readers wait, the one that stays among them: %v, %d and %d are counted; want few, true, 1 and 1",
			n, found, f.readers, f.profiles[0])
	}
}

func TestFollowerQueueIsBounded(t *testing.T) {
	t.Parallel()
	h := newHub(nil, LogOptions{})
	f := h.attach("900", make(chan struct{}, 1))
	big := message{text: strings.Repeat("x", queueBytes/4)}
	for i := range 6 {
		f.offer(big)
		if lost := f.resync.Load(); lost != (i >= 4) {
			t.Errorf("after %d messages of a quarter of the bound: lost %v", i+1, lost)
		}
	}
	if f.bytes != queueBytes {
		t.Errorf("%d bytes are queued, want %d", f.bytes, queueBytes)
	}
	if n := len(f.take(nil)); n != 4 || f.bytes != 0 {
		t.Errorf("%d messages were queued, and %d bytes are left of them; want 4 and 0", n, f.bytes)
	}
	h.detach(f)
	if len(h.channels) != 0 {
		t.Error("a conference that nobody follows is still listened to")
	}
}

// Who gave up waiting isn't kept either.
func TestFeedForgetsWhoGaveUp(t *testing.T) {
	t.Parallel()
	f := newFeed("900", &NewFeeds(FeedOptions{Encoder: quietEncoder{}}).opts, true)
	waits := &attachment{reader: &Reader{feed: f, at: &link{}}, done: make(chan struct{})}
	f.pending = append(f.pending, waits)
	for range 100 {
		a := &attachment{reader: &Reader{feed: f}, done: make(chan struct{})}
		if f.attach(a) {
			t.Fatal("attach was answered without a document")
		}
		f.pending = append(f.pending, a)
		a.state.Store(abandoned)
	}
	if len(f.pending) > 3 || f.pending[0] != waits {
		t.Errorf("%d attachments wait, want the one that does, and the last", len(f.pending))
	}
	if err := f.apply(Delivery{Snapshot: &Snapshot{Checkpoint: conference.Checkpoint{Doc: conference.NewDoc()}}}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-waits.done:
	default:
		t.Error("who waited wasn't answered when there was a document")
	}
	if f.readers != 1 || len(f.pending) != 0 {
		t.Errorf("%d readers, %d wait, want 1 and 0", f.readers, len(f.pending))
	}
}
