package session

import (
	"context"
	"errors"
	"testing"
	"time"

	"confgate/internal/conference"
)

// slowLog answers an append that nobody waits for when the test says so.
type slowLog struct {
	*fakeLog
	pending chan func() // of capacity 1: answers
	refuse  error       // instead of appending; nil: appends
}

func (l *slowLog) AppendSoon(
	id string, c conference.Claim, after conference.Position, changes []conference.Change, answer func(conference.Position, error),
) bool {
	l.pending <- func() {
		if l.refuse != nil {
			answer(conference.Position{}, l.refuse)
			return
		}
		answer(l.Append(context.Background(), id, c, after, changes))
	}
	return true
}

// answer gives the answer to the append under way, and says whether there was one.
func (l *slowLog) answer() bool {
	select {
	case give := <-l.pending:
		give()
		return true
	default:
		return false
	}
}

// runSlow is a live session with one participant over a slowLog.
func runSlow(t *testing.T, fn func(r *rig, log *slowLog)) {
	t.Helper()
	p, log := newFakeProvider(), &slowLog{fakeLog: newFakeLog(), pending: make(chan func(), 1)}
	p.fulls = full(roster("p1"))
	run(t, log.fakeLog, p, func(r *rig) {
		for log.answer() {
			pass(time.Millisecond)
		}
		fn(r, log)
	}, func(c *Config) { c.Log = log })
}

// Changes that come while an append is under way go out when it is answered, though nothing else happens.
func TestAnswerIsAwaitedWhereChangesWait(t *testing.T) {
	t.Parallel()
	runSlow(t, func(r *rig, log *slowLog) {
		for n, name := range []string{"Ada", "Bea"} {
			r.provider.wire().in <- renamed(int64(n+1), "p1", name)
			pass(time.Millisecond)
		}
		for n := 1; n <= 2; n++ {
			if !log.answer() {
				t.Errorf("append %d isn't under way", n)
			}
			pass(time.Millisecond)
		}
		if log.answer() {
			t.Error("a third append is under way, want two")
		}
		if got := log.bodies(conference.Participants); len(got) != 3 {
			t.Errorf("changes of participants = %d, want the first and two names", len(got))
		}
	})
}

// An answer that nothing waits for is taken in all the same: the checkpoint comes a minute after it.
func TestCheckpointFollowsAnAnswerThatNothingWaitsFor(t *testing.T) {
	t.Parallel()
	runSlow(t, func(r *rig, log *slowLog) {
		pass(2 * time.Minute)
		for log.answer() {
			pass(time.Minute)
		}
		before := log.count("checkpoint")
		r.provider.wire().in <- renamed(1, "p1", "Ada")
		pass(time.Millisecond)
		if !log.answer() {
			t.Error("no append is under way")
		}
		pass(DefaultCheckpoint + ackWait + time.Second)
		if got := log.count("checkpoint") - before; got != 1 {
			t.Errorf("checkpoints = %d, want 1", got)
		}
	})
}

// A session whose log took longer to answer than answers may lie there went round without a pause till then.
func TestSlowAnswerKeepsNobodyBusy(t *testing.T) {
	t.Parallel()
	runSlow(t, func(r *rig, log *slowLog) {
		r.provider.wire().in <- renamed(1, "p1", "Ada")
		pass(DefaultCheckpoint + 3*ackWait) // time doesn't pass while somebody is busy
		if !log.answer() {
			t.Error("no append is under way")
		}
		pass(time.Millisecond)
		if got := log.bodies(conference.Participants); len(got) != 2 {
			t.Errorf("changes of participants = %d, want the first and the name", len(got))
		}
	})
}

// An append that has failed is done again by a call that waits, and one that the log refused isn't.
func TestFailedAppendIsRepeated(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		refuse  error
		appends int
		stopped bool
	}{
		{"no answer", errors.New("connection reset"), 1, false},
		{"fenced", conference.ErrFenced, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			runSlow(t, func(r *rig, log *slowLog) {
				before := log.count("append")
				log.refuse = tt.refuse
				r.provider.wire().in <- renamed(1, "p1", "Ada")
				pass(time.Millisecond)
				if !log.answer() {
					t.Error("no append is under way")
				}
				pass(time.Second)
				if got := log.count("append") - before; got != tt.appends {
					t.Errorf("appends that wait = %d, want %d", got, tt.appends)
				}
				if got := r.lines.FilterMessage("session stopped").Len() == 1; got != tt.stopped {
					t.Errorf("session stopped = %v, want %v", got, tt.stopped)
				}
				if tt.stopped {
					err := <-r.result
					if !errors.Is(err, conference.ErrFenced) {
						t.Errorf("Run() = %v, want fenced", err)
					}
					r.result <- nil // for stop
				}
			})
		})
	}
}

// The offer of a handover waits for the answer of the append before it.
func TestOfferAwaitsTheAnswer(t *testing.T) {
	t.Parallel()
	runSlow(t, func(r *rig, log *slowLog) {
		r.provider.wire().in <- renamed(1, "p1", "Ada")
		pass(time.Millisecond)
		offered := make(chan error, 1)
		go func() {
			_, err := r.Offer(context.Background())
			offered <- err
		}()
		pass(time.Second)
		select {
		case err := <-offered:
			t.Errorf("an offer was made, %v, before the last append was answered", err)
		default:
		}
		if !log.answer() {
			t.Error("no append is under way")
		}
		pass(time.Millisecond)
		select {
		case err := <-offered:
			if err != nil {
				t.Errorf("Offer() = %v", err)
			}
		default:
			t.Error("no offer after the answer")
		}
	})
}

// A timer goes by another clock than what tells when a conference has ended: set back, that one would have run out in vain.
func TestTimersGoByTheirOwnClock(t *testing.T) {
	t.Parallel()
	now := time.Now()
	want := now.Add(time.Minute)
	for _, at := range []time.Time{want, want.Round(0)} { // by both clocks, and by the wall's alone
		if got := byTimer(at, now); got.String() != want.String() { // which tells both
			t.Errorf("byTimer(%v) = %v, want %v", at, got, want)
		}
	}
}
