package session

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"confgate/internal/confctl"
	"confgate/internal/conference"
)

// fakeTenure is a tenure that a test gives and takes.
type fakeTenure struct {
	gate                   chan struct{} // closed: open
	offers                 chan []byte
	live, caughtUp, closed atomic.Int64
}

func newTenure() *fakeTenure {
	return &fakeTenure{gate: make(chan struct{}), offers: make(chan []byte, 1)}
}

func (f *fakeTenure) Gate(ctx context.Context) error {
	select {
	case <-f.gate:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (f *fakeTenure) Open() bool {
	select {
	case <-f.gate:
		return true
	default:
		return false
	}
}

func (f *fakeTenure) Live()                  { f.live.Add(1) }
func (f *fakeTenure) Offered() <-chan []byte { return f.offers }
func (f *fakeTenure) CaughtUp()              { f.caughtUp.Add(1) }
func (f *fakeTenure) LinkClosed()            { f.closed.Add(1) }

func withTenure(f *fakeTenure, successor bool) option {
	return func(c *Config) { c.Tenure, c.Successor = f, successor }
}

// pair is an old owner, live, and a successor beside it over the same log and provider.
type pair struct {
	t                *testing.T // the bubble's
	log              *fakeLog
	p                *fakeProvider
	old, successor   *rig
	tenure, ofOld    *fakeTenure
	oldWire, newWire *fakeWire
}

// both sends a frame on both links, as the provider does.
func (p *pair) both(frame []byte) {
	p.oldWire.in <- frame
	p.newWire.in <- frame
}

// handover runs a test in a bubble with an old owner that has two people, and a successor whose link is up.
func handover(t *testing.T, fn func(p *pair)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &pair{t: t, log: newFakeLog(), p: newFakeProvider(), tenure: newTenure(), ofOld: newTenure()}
		close(p.ofOld.gate)
		p.p.fulls = full(roster("p1", "p2"))
		p.old = newRig(t, p.log, p.p, withTenure(p.ofOld, false)).start(t.Context())
		pass(time.Millisecond)
		wantLink(t, p.log, "live")
		p.oldWire = p.p.wire()
		p.oldWire.in <- renamed(1, "p1", "Zoe")
		pass(time.Second)
		p.p.fulls = func() [][]byte {
			return full(func() []byte {
				return notify("ParticipantsNotify", confctl.Full, 0, "["+row("p1", "Zoe")+","+row("p2", "name of p2")+"]", "")
			})()
		}
		p.successor = newRig(t, p.log, p.p, withTenure(p.tenure, true)).start(t.Context())
		pass(time.Millisecond)
		p.newWire = p.p.wire()
		fn(p)
		p.successor.stop(t)
		p.old.stop(t)
	})
}

// count is how many events of a topic the log has whose body holds a text.
func (p *pair) count(topic conference.Topic, text string) int {
	n := 0
	p.log.with(func() {
		for _, c := range p.log.changes {
			if c.Topic == topic && strings.Contains(string(c.Body), text) {
				n++
			}
		}
	})
	return n
}

func TestHandover(t *testing.T) {
	t.Parallel()
	handover(t, func(p *pair) {
		t := p.t
		if p.tenure.live.Load() != 1 || p.oldWire == p.newWire {
			t.Fatalf("the successor was live %d times, want once, over a link of its own", p.tenure.live.Load())
		}
		if got := p.log.count("claim"); got != 1 {
			t.Errorf("claims before the offer = %d, want the old owner's alone", got)
		}
		p.both(subtitle("both before"))
		p.both(renamed(2, "p2", "Yan"))
		// This one the successor hears of only later.
		late := renamed(3, "p1", "Xiu")
		p.oldWire.in <- late
		pass(time.Millisecond)
		if err := p.old.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		data, err := p.old.Offer(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"Zoe", "Xiu", "both before"} {
			if strings.Contains(string(data), secret) {
				t.Errorf("offer %s holds %q of the conference", data, secret)
			}
		}
		var at conference.Position
		p.log.with(func() { at = p.log.pos })
		p.both(subtitle("after"))
		pass(time.Millisecond)
		p.log.with(func() {
			if p.log.pos != at {
				t.Errorf("position after the offer = %v, want %v: the old owner appends no more", p.log.pos, at)
			}
		})
		p.tenure.offers <- data
		pass(time.Millisecond)
		if n := p.tenure.caughtUp.Load(); n != 0 {
			t.Errorf("caught up %d times while a frame that the old owner applied is missing, want not", n)
		}
		p.newWire.in <- late
		pass(time.Millisecond)
		if n := p.tenure.caughtUp.Load(); n != 1 {
			t.Errorf("caught up %d times, want once", n)
		}
		close(p.tenure.gate)
		pass(time.Millisecond)
		p.newWire.in <- renamed(4, "p2", "Wei")
		p.newWire.in <- subtitle("later")
		pass(time.Millisecond)

		for _, text := range []string{"both before", "after", "later"} {
			if n := p.count(conference.Subtitles, text); n != 1 {
				t.Errorf("subtitle %q was appended %d times, want once", text, n)
			}
		}
		if got := p.log.topic(conference.Participants); !strings.Contains(got, "Xiu") || !strings.Contains(got, "Wei") {
			t.Errorf("participants = %s, want Xiu and Wei", got)
		}
		for _, name := range []string{"Zoe", "Yan", "Xiu", "Wei"} {
			if n := p.count(conference.Participants, name); n != 1 {
				t.Errorf("the name %s was appended %d times, want once", name, n)
			}
		}
		wantLink(t, p.log, "live")
		if n := p.count(conference.Link, "connecting"); n > 1 {
			t.Errorf("clients were told %d times of a link that connects, want at the start alone", n)
		}
		if p.log.epochs != 1 {
			t.Errorf("epochs = %d, want 1", p.log.epochs)
		}
	})
}

// Symptom: in a rolling restart of many conferences a client heard nothing for 2.2 s. The old owner's periodic check fell into
// the overlap: its full frames came on its own link alone, and the successor waited its 2 s for them.
func TestHandoverWaitsForNothingThatChangedNothing(t *testing.T) {
	t.Parallel()
	handover(t, func(p *pair) {
		t := p.t
		p.both(renamed(2, "p2", "Yan"))
		pass(time.Millisecond)
		if err := p.old.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		again := func() []byte {
			return notify("ParticipantsNotify", confctl.Full, 0, "["+row("p1", "Zoe")+","+row("p2", "Yan")+"]", "")
		}
		for _, f := range full(again)() {
			p.oldWire.in <- f
		}
		p.oldWire.in <- renamed(3, "p2", "Yan") // what it is called anyway
		pass(time.Millisecond)
		data, err := p.old.Offer(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p.tenure.offers <- data
		pass(time.Millisecond)
		if n := p.tenure.caughtUp.Load(); n != 1 {
			t.Errorf("caught up %d times though only full frames that changed nothing are missing, want once", n)
		}
		close(p.tenure.gate)
		pass(time.Millisecond)
	})
}

// The successor's full frames check the whole: an owner whose successor dials doesn't ask for more.
func TestPreparedOwnerDoesNotSubscribe(t *testing.T) {
	t.Parallel()
	handover(t, func(p *pair) {
		t := p.t
		if err := p.old.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		asked := p.p.count("subscribe")
		p.oldWire.in <- renamed(9, "p2", "Yan") // a gap
		pass(5 * time.Second)
		if n := p.p.count("subscribe") - asked; n != 0 {
			t.Errorf("an owner whose successor dials subscribed %d times to heal a gap, want not", n)
		}
		if err := p.old.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		pass(5 * time.Second)
		if n := p.p.count("subscribe") - asked; n == 0 {
			t.Error("it didn't heal the gap after Resume")
		}
	})
}

func TestHandoverThatComesToNothing(t *testing.T) {
	t.Parallel()
	handover(t, func(p *pair) {
		t := p.t
		if _, err := p.old.Offer(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.oldWire.in <- renamed(2, "p2", "Yan")
		pass(time.Minute)
		if n := p.count(conference.Participants, "Yan"); n != 0 {
			t.Errorf("a change was appended %d times after the offer, want not", n)
		}
		if err := p.old.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		pass(time.Millisecond)
		if n := p.count(conference.Participants, "Yan"); n != 1 {
			t.Errorf("the change was appended %d times after Resume, want once", n)
		}
		p.oldWire.in <- renamed(3, "p2", "Wei")
		pass(time.Millisecond)
		if n := p.count(conference.Participants, "Wei"); n != 1 {
			t.Errorf("the next change was appended %d times, want once", n)
		}
	})
}

func TestOwnerDiesBeforeItsOffer(t *testing.T) {
	t.Parallel()
	handover(t, func(p *pair) {
		t := p.t
		p.both(subtitle("both"))
		p.newWire.in <- renamed(2, "p2", "Yan")
		pass(time.Millisecond)
		p.tenure.offers <- nil
		close(p.tenure.gate)
		pass(time.Millisecond)
		wantLink(t, p.log, "live")
		if n := p.count(conference.Participants, "Yan"); n != 1 {
			t.Errorf("the change was appended %d times, want once", n)
		}
	})
}

func TestPreparedOwnerDoesNotDial(t *testing.T) {
	t.Parallel()
	handover(t, func(p *pair) {
		t := p.t
		if err := p.old.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		dials := p.p.count("dial")
		p.oldWire.fail(fmt.Errorf("%w with status 1000", errClosedByPeer))
		pass(time.Minute)
		if got := p.p.count("dial") - dials; got != 0 {
			t.Errorf("dials of an owner whose successor has a link = %d, want none", got)
		}
		if p.ofOld.closed.Load() != 1 {
			t.Errorf("reports that the provider closed the older link = %d, want 1", p.ofOld.closed.Load())
		}
		wantLink(t, p.log, "live") // the successor's is
		if err := p.old.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		if got := p.p.count("dial") - dials; got != 1 {
			t.Errorf("dials after Resume = %d, want 1", got)
		}
		wantLink(t, p.log, "live")
	})
}

func TestNothingIsAppendedWithoutTenure(t *testing.T) {
	t.Parallel()
	p, log := newFakeProvider(), newFakeLog()
	var tenure *fakeTenure
	p.fulls = full(roster("p1"))
	run(t, log, p, func(_ *rig) {
		pass(time.Minute)
		if len(log.calls) != 0 {
			t.Errorf("calls of the log without tenure = %v, want none", log.calls)
		}
		close(tenure.gate)
		pass(time.Second)
		wantLink(t, log, "live")
	}, func(c *Config) { tenure = newTenure(); c.Tenure = tenure })
}

// A conference that hasn't started has no link to hand over, and isn't asked after twice.
func TestHandoverOfWhatHasNotStarted(t *testing.T) {
	t.Parallel()
	p, log := newFakeProvider(), newFakeLog()
	var tenure *fakeTenure
	p.fulls = full()
	p.onToken = func() error { return refusalOf("token", "MMC.111072005", true) }
	run(t, log, p, func(_ *rig) { wantLink(t, log, "waiting/not_started") })
	calls := len(p.calls)
	run(t, log, p, func(_ *rig) {
		if tenure.live.Load() != 1 || len(p.calls) != calls {
			t.Errorf("live %d times after %d calls, want once without a call", tenure.live.Load(), len(p.calls)-calls)
		}
		tenure.offers <- []byte(`{}`)
		pass(time.Millisecond)
		if tenure.caughtUp.Load() != 1 {
			t.Errorf("caught up %d times, want once", tenure.caughtUp.Load())
		}
		p.with(func() { p.onToken = nil })
		close(tenure.gate)
		pass(time.Minute)
		wantLink(t, log, "live")
	}, func(c *Config) { tenure = newTenure(); withTenure(tenure, true)(c) })
}
