package session

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"confgate/internal/conference"
)

// An idle owner noticed only at its next change that the log had lost its epoch in a fail-over, or that it was fenced.
func TestIdleOwnerNoticesALostEpoch(t *testing.T) {
	t.Parallel()
	p, log := newFakeProvider(), newFakeLog()
	p.fulls = full(roster("p1", "p2"))
	run(t, log, p, func(*rig) {
		pass(time.Minute)
		begun := log.count("append")
		pass(10 * DefaultProbe)
		before := log.pos
		if got := log.count("append") - begun; got < 9 || got > 11 {
			t.Errorf("appends in ten idle intervals = %d, want one each %v", got, DefaultProbe)
		}
		if n := len(log.changes); uint64(n) != before.Seq {
			t.Errorf("changes = %d at %v, want that probes change nothing", n, before)
		}
		log.with(func() { log.pos, log.doc, log.did = conference.Position{}, conference.NewDoc(), false })
		pass(DefaultProbe + 200*time.Millisecond)
		if log.pos.Epoch != "e2" || !strings.Contains(log.topic(conference.Participants), "p2") {
			t.Errorf("log = %v with participants %s, want a new epoch with the state", log.pos, log.topic(conference.Participants))
		}
		pass(time.Minute)
		if log.pos.Epoch != "e2" {
			t.Errorf("epoch = %s, want e2 to stay", log.pos.Epoch)
		}
	})
}

func TestIdleOwnerNoticesTheFence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, log := newFakeProvider(), newFakeLog()
		p.fulls = full(roster("p1"))
		r := newRig(t, log, p).start(t.Context())
		defer r.cancel()
		pass(time.Minute)
		log.with(func() { log.claim.Term++ })
		pass(DefaultProbe)
		select {
		case err := <-r.result:
			if !errors.Is(err, conference.ErrFenced) {
				t.Errorf("Run() = %v, want ErrFenced", err)
			}
		default:
			t.Error("a fenced owner holds its link while nothing happens")
		}
	})
}

func TestProbesCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	p, log := newFakeProvider(), newFakeLog()
	p.fulls = full(roster("p1"))
	run(t, log, p, func(*rig) {
		before := log.count("append")
		pass(time.Minute)
		if got := log.count("append"); got != before {
			t.Errorf("appends in an idle minute = %d, want none", got-before)
		}
	}, func(c *Config) { c.Probe = -1 })
}
