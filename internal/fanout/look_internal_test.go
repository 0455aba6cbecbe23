package fanout

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"confgate/internal/conference"
)

// looks is a hub of one followed conference, whose server is looked at once a second.
type looks struct {
	*hub
	ch   *channel
	c    *connection
	seen shard
}

func newLooks() *looks {
	h := newHub(nil, LogOptions{}.withDefaults())
	h.attach("900", make(chan struct{}, 1))
	l := &looks{hub: h, ch: h.channels[channelOf("900")], c: &connection{}, seen: shard{run: "a"}}
	l.ch.conn, l.ch.confirmed = l.c, true
	return l
}

// look lets a second pass, and says whether the conference was polled then, or its followers told that its server is away.
func (l *looks) look(seq uint64) (polled, cut bool) {
	time.Sleep(time.Second)
	now := time.Now()
	asked, gone := l.quiet(sight{all: &l.seen}, now)
	if len(asked) > 0 {
		l.note(l.ch, &pulse{head: conference.Position{Epoch: "c1", Seq: seq}}, now)
	}
	return len(asked) > 0, len(gone) > 0
}

// until looks until the conference is polled.
func (l *looks) until(seq uint64) {
	for polled := false; !polled; {
		polled, _ = l.look(seq)
	}
}

// hear brings a message, a moment after the last look.
func (l *looks) hear() {
	time.Sleep(time.Millisecond)
	l.dispatch(l.ch.name, "c1 6 1\n")
}

// A subscription is suspected when a log moved though its channel was silent all the time, not when it was heard in between.
func TestSuspicion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLooks()
		l.until(5)
		l.until(5)
		l.hear()
		l.until(6)
		l.until(6)
		if l.c.owed.Load() != 0 {
			t.Error("a subscription that brought everything is suspected")
		}
		l.until(7)
		if l.c.owed.Load() == 0 {
			t.Error("a subscription that brought nothing isn't suspected")
		}
		now := time.Now()
		if soon, late := l.c.deaf(now, time.Second), l.c.deaf(now.Add(2*time.Second), time.Second); soon || !late {
			t.Errorf("deaf at once: %v, later: %v, want false, true", soon, late)
		}
		l.c.heard.Store(now.Add(time.Second).UnixNano())
		if l.c.deaf(now.Add(2*time.Second), time.Second) || l.c.owed.Load() != 0 {
			t.Error("a subscription that brought something since is still suspected")
		}
	})
}

// Each quiet conference cost one command a second of each worker that followed it.
func TestQuietConferencesArePolledSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLooks()
		polls := func(seconds int) (at []int) {
			for i := range seconds {
				polled, cut := l.look(5)
				if polled {
					at = append(at, i+1)
				}
				if cut {
					t.Errorf("told that the server is away after %d s", i+1)
				}
			}
			return at
		}
		first := polls(100)
		if len(first) < 6 || len(first) > 9 || first[0] != 1 || first[1] > 3 {
			t.Errorf("a conference that falls quiet is polled after %v s, want soon, and then ever more seldom", first)
		}
		if n := len(polls(3000)); n < 95 || n > 140 {
			t.Errorf("a quiet conference was polled %d times in 50 minutes, want about twice a minute", n)
		}
		// What is lost at the end of a busy spell is found by the next look but one.
		l.hear()
		if at := polls(2); !slices.Equal(at, []int{2}) {
			t.Errorf("after a message it is polled after %v s, want 2", at)
		}
		polls(100)
		l.seen.run = "b"
		if polled, _ := l.look(5); !polled {
			t.Error("it isn't polled where its server is another")
		}
		polls(100)
		l.ch.confirmed = false
		if at := polls(3); len(at) != 3 {
			t.Errorf("without a subscription it is polled after %v s, want each second", at)
		}
		l.ch.confirmed = true
		polls(100)
		l.ch.followers[0].asks.Store(true)
		if at := polls(3); len(at) != 3 {
			t.Errorf("with a follower that misses something it is polled after %v s, want each second", at)
		}
	})
}

// Followers are told of a server that doesn't answer, though none of them is polled.
func TestServerAwayIsToldWithoutPolls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLooks()
		for range 100 {
			l.look(5)
		}
		l.seen.err = errors.New("away")
		good := time.Now()
		if polled, cut := l.look(5); polled || !cut || !l.ch.good.Equal(good) {
			t.Errorf("polled %v, told %v, good until %v; want told only, and %v", polled, cut, l.ch.good, good)
		}
	})
}

// Owners are told when their server is another, a few at a time, and a session that has ended isn't.
func TestOwnersAreToldAtAPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(time.Hour)
		const owners = 10 * doubtBatch
		doubts := make([]chan struct{}, owners)
		letGo := make([]func(), owners)
		for i := range doubts {
			doubts[i] = make(chan struct{}, 1)
			letGo[i] = k.add("900", func() { poke(doubts[i]) })
		}
		go k.run(t.Context())
		told := func() (n int) {
			synctest.Wait()
			for _, d := range doubts {
				select {
				case <-d:
					n++
				default:
				}
			}
			return n
		}
		see := func(run string) {
			for _, ho := range k.held() {
				k.saw(ho, run)
			}
		}
		see("a")
		if n := told(); n != doubtBatch {
			t.Errorf("%d owners were told at once, want %d", n, doubtBatch)
		}
		time.Sleep(owners / doubtBatch * doubtPause)
		if n := told(); n != owners-doubtBatch {
			t.Errorf("%d owners were told later, want all others", n)
		}
		see("a")
		time.Sleep(time.Second)
		if n := told(); n != 0 {
			t.Errorf("%d owners were told though nothing has changed", n)
		}
		see("b")
		for _, f := range letGo {
			f()
		}
		time.Sleep(time.Second)
		if n := told(); n > doubtBatch {
			t.Errorf("%d owners were told, though they have let go", n)
		}
	})
}
