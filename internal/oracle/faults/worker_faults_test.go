package faults

import (
	"errors"
	"strings"
	"testing"
	"time"

	"confgate/internal/proctest"
)

// noise is what a busy machine and tests beside it may add to a bound of the contract. The full form has none.
const noise = 700 * time.Millisecond

// handover is how long clients of a conference that is handed over may hear nothing.
const handover = 300 * time.Millisecond

// drainTimeout is --drain-timeout of the workers.
const drainTimeout = 10 * time.Second

// within checks a measured time against its bound.
func within(t *testing.T, what string, got, bound time.Duration) {
	t.Helper()
	t.Logf("%s: %v (bound %v)", what, got.Round(time.Millisecond), bound)
	allowed := bound
	if !*full {
		allowed += noise
	}
	if got > allowed {
		t.Errorf("%s: %v, want %v at the most", what, got, allowed)
	}
}

// manyRate is how many frames a second many conferences bring each. Some of them change nothing, so the time between two
// appends is what can be told of a conference without an owner; at 25 it is up to 160 ms while nothing happens.
const manyRate = 25

// pace is the longest silence at a client while nothing happens, looked at for a while.
func (f *fleet) pace(t *testing.T) time.Duration {
	t.Helper()
	f.listen()
	pass(3 * time.Second)
	silence, gap := f.silences(t, f.workers...).there, f.gap(t)
	t.Logf("while nothing happens: longest silence %v, longest time without an append %v",
		silence.Round(time.Millisecond), gap.Round(time.Millisecond))
	return silence
}

// gap is the longest time in which a conference got no append.
func (f *fleet) gap(t *testing.T) time.Duration {
	t.Helper()
	longest, conf, until := f.audit.unowned()
	if conf == "" {
		t.Error("no append was measured")
	}
	t.Logf("the longest time without an append was that of %s: %v until %s", conf, longest.Round(time.Millisecond), until.Format(clockFormat))
	return longest
}

// unowned checks for how long a conference had no owner while its frames flowed: there was no append.
func (f *fleet) unowned(t *testing.T) {
	t.Helper()
	within(t, "longest time of a conference without an owner", f.gap(t), handover)
}

// An owner that is killed is followed by others when its lease is over; clients notice nothing but the pause.
func TestKilledOwner(t *testing.T) {
	t.Parallel()
	f := startFleet(t, plan{})
	w, owned := f.owner(t)
	f.measure()
	w.kill(t)
	f.settle(t)
	pass(time.Second)
	q := f.silences(t, w)
	within(t, "longest silence at clients of the dead worker", q.there, *leaseOf+2*time.Second)
	within(t, "longest silence at clients of others", q.elsewhere, *leaseOf+2*time.Second)
	if q.elsewhere < *leaseOf/2 {
		t.Errorf("the longest silence is %v: nobody was missed", q.elsewhere)
	}
	f.takeovers(t, "death", len(owned))
	w.start(t)
	f.settle(t)
	// It comes back to what is its own, by handover.
	f.finish(t, outcome{overlaps: len(f.confs)})
}

// takeovers checks that the workers that are up have taken over so many conferences for a reason, at least.
func (f *fleet) takeovers(t *testing.T, reason string, least int) {
	t.Helper()
	sum := 0
	for _, w := range f.workers {
		if _, up := w.endpoint(); up {
			sum += w.metric(t, `confgate_ownership_takeovers_total{reason="`+reason+`"}`)
		}
	}
	if sum < least {
		t.Errorf("%d takeovers by %s, want %d at least", sum, reason, least)
	}
}

// An owner that is asked to go hands over first: clients of other workers notice nothing, its own resume elsewhere.
func TestLeavingOwner(t *testing.T) {
	t.Parallel()
	f := startFleet(t, plan{})
	w, owned := f.owner(t)
	f.measure()
	asked := time.Now()
	p := w.term(t)
	if status := p.Exit(t); status != 0 {
		t.Errorf("exit status %d after SIGTERM, want 0", status)
	}
	within(t, "exit after SIGTERM", time.Since(asked), drainTimeout)
	f.settle(t)
	q := f.silences(t, w)
	t.Logf("longest reconnect of a client of the leaving worker: %v", q.away.Round(time.Millisecond))
	within(t, "longest silence at clients of the leaving worker", q.there, q.away+handover)
	within(t, "longest silence at clients of others", q.elsewhere, handover)
	f.unowned(t)
	f.takeovers(t, "handover", len(owned))
	w.start(t)
	f.settle(t)
	f.finish(t, outcome{overlaps: len(owned) + len(f.confs)})
}

// An owner that is stopped for longer than its lease, with an append still on its way, changes nothing when it goes on.
func TestStoppedOwner(t *testing.T) {
	t.Parallel()
	f := startFleet(t, plan{redisCable: true})
	w := f.workers[0]
	var owned []string
	proctest.Until(t, "the worker to stop holds a conference", func() error { // on a busy machine a handover takes seconds
		if owned = f.owned(t, w); len(owned) == 0 {
			return errors.New("it holds none")
		}
		return nil
	})
	f.measure()
	for f.redis.unplug(); ; f.redis.unplug() {
		pass(300 * time.Millisecond) // a dozen frames
		if f.redis.appends.Load() > 0 {
			break
		}
		f.redis.plug() // all appends wait for new connections: none is on its way
		pass(300 * time.Millisecond)
	}
	resume, stopped := w.stop(t), time.Now()
	others := f.workers[1:]
	proctest.Until(t, "others take over", func() error {
		n := 0
		for _, o := range others {
			n += len(f.owned(t, o))
		}
		return differ("conferences of others", n, len(f.confs))
	})
	pass(max(*leaseOf, spell(10*time.Second)-time.Since(stopped)))
	f.redis.plug() // what was on its way arrives late
	proctest.Until(t, "the late append is refused", func() error { return differ("anything refused", f.audit.refused() > 0, true) })
	resume()
	t.Logf("it was stopped for %v", time.Since(stopped).Round(time.Millisecond))
	f.settle(t)
	pass(time.Second)
	within(t, "longest silence at clients of others", f.silences(t, w).elsewhere, *leaseOf+2*time.Second)
	f.takeovers(t, "death", len(owned))
	n := w.metric(t, "confgate_fanout_fenced_total")
	t.Logf("the woken worker counted %d late appends", n)
	if n == 0 {
		t.Error("the woken worker counted no late append, and had one on its way")
	}
	f.finish(t, outcome{overlaps: len(owned) + len(f.confs)})
}

// All workers are restarted, one after the other, while many clients follow many conferences.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	f := startFleet(t, plan{conferences: *manyOf, readers: 4, participants: 10, rate: manyRate, restless: true})
	f.measure()
	for _, w := range f.workers {
		if status := w.term(t).Exit(t); status != 0 {
			t.Errorf("%s: exit status %d after SIGTERM, want 0", w.name, status)
		}
		w.start(t)
		f.settle(t)
	}
	q := f.silences(t, f.workers...)
	t.Logf("%d readers, longest silence %v", len(f.readers), q.there.Round(time.Millisecond))
	f.unowned(t)
	seen := f.links.figures()
	within(t, "longest time of a conference without a link", seen.unheld, handover)
	t.Logf("the machine held this test up for %v at the longest", seen.blind.Round(time.Millisecond))
	f.finish(t, outcome{overlaps: 4 * len(f.confs)})
}

// A worker that joins is handed about its share, each conference without a gap.
func TestWorkerJoins(t *testing.T) {
	t.Parallel()
	f := startFleet(t, plan{workers: 4, conferences: 2 * *manyOf, participants: 10, rate: manyRate})
	before := f.workers[3]
	if status := before.term(t).Exit(t); status != 0 {
		t.Errorf("exit status %d after SIGTERM, want 0", status)
	}
	f.settle(t)
	f.rest(t)
	own := f.pace(t)
	f.measure()
	before.start(t)
	f.rest(t)
	q, moved := f.silences(t, before), len(f.owned(t, before))
	t.Logf("%d of %d conferences moved", moved, len(f.confs))
	if n := len(f.confs); moved < n/5-1 || moved > n/3+1 {
		t.Errorf("%d of %d conferences moved to the fourth worker, want about a quarter", moved, n)
	}
	within(t, "longest silence at clients", max(q.there, q.elsewhere), own+handover)
	f.unowned(t)
	f.finish(t, outcome{overlaps: f.moves()})
}

// A provider that closes the older link of a conference is noticed, and later handovers go without one for a moment.
func TestProviderClosesOlderLink(t *testing.T) {
	t.Parallel()
	f := startFleet(t, plan{olderLink: true})
	for range 2 {
		w, _ := f.owner(t)
		f.measure()
		if status := w.term(t).Exit(t); status != 0 {
			t.Errorf("exit status %d after SIGTERM, want 0", status)
		}
		f.settle(t)
		within(t, "longest silence at clients of others", f.silences(t, w).elsewhere, time.Second)
		w.start(t)
		f.settle(t)
	}
	noticed, broken := 0, 0
	for _, w := range f.workers {
		for line := range lines(w.log()) {
			switch {
			case strings.HasPrefix(line.Msg, "the provider closes the older of two links"):
				noticed++
			case line.Msg == "letting go of a conference for its successor":
				broken++
			}
		}
	}
	if noticed == 0 || broken == 0 {
		t.Errorf("noticed %d times, %d handovers broke before they made; want some of each", noticed, broken)
	}
	f.finish(t, outcome{overlaps: len(f.confs)})
}
