package session

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"confgate/internal/conference"
)

// An idle owner noticed only at its next change that the log had lost its epoch in a fail-over; once it asked by itself, each
// idle conference made a call twice a minute.
func TestIdleOwnerNoticesALostEpoch(t *testing.T) {
	t.Parallel()
	p, log := newFakeProvider(), newFakeLog()
	p.fulls = full(roster("p1", "p2"))
	run(t, log, p, func(*rig) {
		pass(time.Minute)
		before, calls := log.pos, len(log.calls)
		pass(10 * time.Minute)
		if got := log.calls[calls:]; len(got) > 0 {
			t.Errorf("an idle owner made calls of the log: %v, want none", got)
		}
		log.raise()
		pass(time.Millisecond)
		if got := log.calls[calls:]; !slices.Equal(got, []string{"append"}) || log.pos != before {
			t.Errorf("calls when the log is in doubt = %v and it moved from %v to %v, want one append of nothing", got, before, log.pos)
		}
		log.with(func() { log.pos, log.doc, log.did = conference.Position{}, conference.NewDoc(), false })
		log.raise()
		pass(200 * time.Millisecond)
		if log.pos.Epoch != "e2" || !strings.Contains(log.topic(conference.Participants), "p2") {
			t.Errorf("log = %v with participants %s, want a new epoch with the state", log.pos, log.topic(conference.Participants))
		}
		pass(time.Minute)
		if log.pos.Epoch != "e2" {
			t.Errorf("epoch = %s, want e2 to stay", log.pos.Epoch)
		}
	})
	if len(log.holds) != 0 {
		t.Errorf("%d holds of the log are left over", len(log.holds))
	}
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
		log.raise()
		synctest.Wait()
		select {
		case err := <-r.result:
			if !errors.Is(err, conference.ErrFenced) {
				t.Errorf("Run() = %v, want ErrFenced", err)
			}
		default:
			t.Error("a fenced owner holds its link while nothing happens")
		}
		if len(log.holds) != 0 {
			t.Error("a fenced owner still holds the log")
		}
	})
}
