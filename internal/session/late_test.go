package session

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"confgate/internal/confctl"
	"confgate/internal/conference"
)

// The worker stood still with an append on its way. When it went on another had the conference: the session was ended while
// its lease held the append back, so nobody ever counted that it was too late.
func TestLateAppendIsAskedAbout(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		gated, away bool // how the append is kept from its answer
		fenced      bool // another worker claims meanwhile
		asked, late int  // appends after the end, and changes that the log line speaks of
	}{
		{name: "no answer", away: true, fenced: true, asked: 1, late: 2},
		{name: "held back by the gate", gated: true, fenced: true, asked: 1, late: 2},
		{name: "no answer, and nobody else came", away: true, asked: 1},
		{name: "held back, and nobody else came", gated: true, asked: 1},
		{name: "all was answered", fenced: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p, log, tenure := newFakeProvider(), newFakeLog(), newTenure()
				p.fulls = full(roster("p1", "p2"))
				close(tenure.gate)
				r := newRig(t, log, p, withTenure(tenure, false)).start(t.Context())
				pass(time.Minute)
				if tt.gated {
					tenure.gate = make(chan struct{})
				}
				log.with(func() { log.away = tt.away })
				if tt.gated || tt.away {
					p.wire().in <- notify("InviteResultNotify", confctl.Full, 0, // one frame, so that both changes are one append
						`[{"callNumber":"+98","resultCode":"11072076"},{"callNumber":"+99","resultCode":"11072076"}]`, "")
				}
				pass(time.Second)
				var content []conference.Stamped
				log.with(func() {
					log.away = false
					content = log.changes
					if tt.fenced {
						log.claim.Term++
					}
				})
				appends, began := log.count("append"), time.Now()
				r.stop(t)
				if took := time.Since(began); took > 0 {
					t.Errorf("the end took %v", took)
				}
				if got := log.count("append") - appends; got != tt.asked {
					t.Errorf("appends at the end = %d, want %d", got, tt.asked)
				}
				if len(log.changes) != len(content) {
					t.Errorf("the question changed the log: %d changes, before %d", len(log.changes), len(content))
				}
				lines := r.lines.FilterMessageSnippet("too late")
				if lines.Len() != min(tt.late, 1) || lines.FilterField(zap.Int("changes", tt.late)).Len() != lines.Len() {
					t.Errorf("lines about late changes: %v, want one about %d", lines.All(), tt.late)
				}
			})
		})
	}
}

// A log that doesn't answer holds the end of a session up for a moment only.
func TestLateQuestionIsBounded(t *testing.T) {
	t.Parallel()
	p, log := newFakeProvider(), &hangingLog{fakeLog: newFakeLog()}
	p.fulls = full(roster("p1"))
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, log.fakeLog, p, func(c *Config) { c.Log = log }).start(t.Context())
		pass(time.Minute)
		log.hangs.Store(true)
		p.wire().in <- subtitle("late")
		pass(time.Second)
		began := time.Now()
		r.stop(t)
		if took := time.Since(began); took != lateTimeout {
			t.Errorf("the end took %v, want %v", took, lateTimeout)
		}
	})
}
