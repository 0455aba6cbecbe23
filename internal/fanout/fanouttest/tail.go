package fanouttest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"confgate/internal/conference"
	"confgate/internal/fanout"
)

// patience is how long a test waits for what must come. Nothing waits that long unless it fails.
const patience = time.Minute

// Tail is a follower that checks what it is given: that changes continue what came before without a hole, that their
// prev is right, that no position goes back within an epoch. It keeps the replica that they make.
type Tail struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu        sync.Mutex
	moved     chan struct{} // closed and replaced at each delivery
	broken    error
	pos       conference.Position
	prev      [conference.NumTopics]uint64
	doc       *conference.Doc
	fresh     bool
	snapshots []fanout.Snapshot
	entries   [][]conference.Stamped
	statuses  []fanout.Status
}

// StartTail follows a conference until the test ends.
func StartTail(tb testing.TB, log fanout.Follower, conf string, from conference.Position) *Tail {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	t := &Tail{
		cancel: cancel, done: make(chan struct{}), moved: make(chan struct{}), pos: from,
		doc: conference.NewDoc(), fresh: true,
	}
	go func() {
		defer close(t.done)
		Follow(ctx, log, conf, from, t.deliver)
	}()
	tb.Cleanup(t.Stop)
	return t
}

// Follow follows a conference until ctx is done.
func Follow(
	ctx context.Context, log fanout.Follower, conf string, from conference.Position, deliver func(fanout.Delivery),
) {
	kick := make(chan struct{}, 1)
	tail := log.Follow(conf, from, kick)
	defer tail.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-kick:
			tail.Step(ctx, deliver)
		}
	}
}

// Stop ends the follower, and waits for it.
func (t *Tail) Stop() {
	t.cancel()
	<-t.done
}

func (t *Tail) deliver(d fanout.Delivery) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer func() {
		close(t.moved)
		t.moved = make(chan struct{})
	}()
	if d.Received.IsZero() {
		t.fail("a delivery has no time")
	}
	switch {
	case d.Snapshot != nil:
		t.snapshot(d.Snapshot)
	case len(d.Entry) > 0:
		t.entry(d.Entry)
	case d.Status != nil:
		if d.Status.Fresh == t.fresh {
			t.fail("told fresh = %v twice", t.fresh)
		}
		t.fresh = d.Status.Fresh
		t.statuses = append(t.statuses, *d.Status)
	default:
		t.fail("an empty delivery")
	}
}

func (t *Tail) fail(format string, args ...any) {
	if t.broken == nil {
		t.broken = fmt.Errorf(format, args...)
	}
}

func (t *Tail) snapshot(s *fanout.Snapshot) {
	if s.Epoch == t.pos.Epoch && s.Seq < t.pos.Seq {
		t.fail("snapshot at %v after %v", s.Position, t.pos)
	}
	for i, e := range s.History {
		if i > 0 && e[0].Seq != s.History[i-1][len(s.History[i-1])-1].Seq+1 {
			t.fail("history has a hole before %d", e[0].Seq)
		}
	}
	if n := len(s.History); n > 0 {
		if e := s.History[n-1]; e[len(e)-1].Seq != s.Seq {
			t.fail("history ends at %d, snapshot at %d", e[len(e)-1].Seq, s.Seq)
		}
	}
	t.snapshots = append(t.snapshots, *s)
	t.pos, t.prev, t.doc = s.Position, s.Prev, s.Doc.Clone()
}

func (t *Tail) entry(entry []conference.Stamped) {
	for _, c := range entry {
		if c.Seq != t.pos.Seq+1 {
			t.fail("change %d after %d", c.Seq, t.pos.Seq)
		}
		// A follower that began at a position doesn't know what came before it on a topic.
		if known := t.prev[c.Topic]; known != 0 && c.Prev != known || c.Prev >= c.Seq {
			t.fail("change %d on %s has prev %d, want %d", c.Seq, c.Topic, c.Prev, known)
		}
		if err := t.doc.Patch(c.Change); err != nil {
			t.fail("change %d: %v", c.Seq, err)
		}
		t.pos.Seq = c.Seq
		if c.Body != nil { // a withheld event is in no chain
			t.prev[c.Topic] = c.Seq
		}
	}
	t.entries = append(t.entries, entry)
}

// Seen is what a Tail has been given so far.
type Seen struct {
	Position  conference.Position
	Fresh     bool
	Snapshots []fanout.Snapshot
	Entries   [][]conference.Stamped
	Statuses  []fanout.Status
	Doc       string // the replica, as JSON with everything in it
}

// Wait waits until what was seen is as wanted, and fails the test if it never is, or if something was wrong with it.
func (t *Tail) Wait(tb testing.TB, what string, ok func(Seen) bool) Seen {
	tb.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		t.mu.Lock()
		seen, broken, moved := t.seen(), t.broken, t.moved
		t.mu.Unlock()
		switch {
		case broken != nil:
			tb.Fatalf("follower: %v", broken)
		case ok(seen):
			return seen
		}
		select {
		case <-moved:
		case <-limit.C:
			tb.Fatalf("follower never got to: %s; it is at %v, fresh %v, %d snapshots, %d entries, document %s",
				what, seen.Position, seen.Fresh, len(seen.Snapshots), len(seen.Entries), seen.Doc)
		}
	}
}

func (t *Tail) seen() Seen {
	return Seen{
		Position: t.pos, Fresh: t.fresh, Snapshots: t.snapshots, Entries: t.entries, Statuses: t.statuses,
		Doc: JSON(t.doc),
	}
}

// WaitAt waits until the follower is at a position.
func (t *Tail) WaitAt(tb testing.TB, pos conference.Position) Seen {
	tb.Helper()
	return t.Wait(tb, fmt.Sprintf("position %v", pos), func(s Seen) bool { return s.Position == pos })
}

// JSON is a whole document.
func JSON(doc *conference.Doc) string {
	return string(doc.AppendJSON(nil, conference.StateTopics, conference.PII|conference.Secrets))
}
