package faults

import (
	"strings"
	"testing"
	"time"

	"confgate/internal/proctest"
)

// noise is what a busy machine may add to a bound of the contract.
const noise = 700 * time.Millisecond

// handover is how long clients of a conference that is handed over may hear nothing.
const handover = 300 * time.Millisecond

// within checks a measured time against its bound.
func within(t *testing.T, what string, got, bound time.Duration) {
	t.Helper()
	t.Logf("%s: %v (bound %v)", what, got.Round(time.Millisecond), bound)
	if got > bound+noise {
		t.Errorf("%s: %v, want %v at the most", what, got, bound)
	}
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
	there, elsewhere := f.silences(w)
	within(t, "longest silence at clients of the dead worker", there, *leaseOf+2*time.Second)
	within(t, "longest silence at clients of others", elsewhere, *leaseOf+2*time.Second)
	if elsewhere < *leaseOf/2 {
		t.Errorf("the longest silence is %v: nobody was missed", elsewhere)
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
	p := w.term(t)
	if status := p.Exit(t); status != 0 {
		t.Errorf("exit status %d after SIGTERM, want 0", status)
	}
	f.settle(t)
	there, elsewhere := f.silences(w)
	within(t, "longest silence at clients of the leaving worker", there, handover)
	within(t, "longest silence at clients of others", elsewhere, handover)
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
	owned := f.owned(t, w)
	if len(owned) == 0 {
		t.Fatal("the worker to stop holds nothing")
	}
	f.measure()
	for f.redis.unplug(); ; f.redis.unplug() {
		pass(300 * time.Millisecond) // a dozen frames
		if f.redis.appends.Load() > 0 {
			break
		}
		f.redis.plug() // all appends wait for new connections: none is on its way
		pass(300 * time.Millisecond)
	}
	resume := w.stop(t)
	others := f.workers[1:]
	proctest.Until(t, "others take over", func() error {
		n := 0
		for _, o := range others {
			n += len(f.owned(t, o))
		}
		return differ("conferences of others", n, len(f.confs))
	})
	pass(*leaseOf)
	f.redis.plug() // what was on its way arrives late
	proctest.Until(t, "the late append is refused", func() error { return differ("anything refused", f.audit.refused() > 0, true) })
	resume()
	f.settle(t)
	pass(time.Second)
	_, elsewhere := f.silences(w)
	within(t, "longest silence at clients of others", elsewhere, *leaseOf+2*time.Second)
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
	f := startFleet(t, plan{conferences: *manyOf, readers: 4, participants: 10, rate: 8, restless: true})
	f.measure()
	for _, w := range f.workers {
		if status := w.term(t).Exit(t); status != 0 {
			t.Errorf("%s: exit status %d after SIGTERM, want 0", w.name, status)
		}
		w.start(t)
		f.settle(t)
	}
	there, _ := f.silences(f.workers...)
	t.Logf("%d readers, longest silence %v at 8 frames/s", len(f.readers), there.Round(time.Millisecond))
	_, _, unheld := f.links.end()
	within(t, "longest time of a conference without a link", unheld, handover)
	f.finish(t, outcome{overlaps: 4 * len(f.confs)})
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
		_, elsewhere := f.silences(w)
		within(t, "longest silence at clients of others", elsewhere, time.Second)
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
