package session

import (
	"strings"
	"testing"
	"time"

	"confgate/internal/confctl"
	"confgate/internal/conference"
)

func TestGapIsHealed(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.fulls = full(roster("p1"))
	run(t, newFakeLog(), p, func(r *rig) {
		pass(5 * time.Second)
		p.wire().in <- renamed(1, "p1", "A")
		p.wire().in <- renamed(2, "p1", "B")
		pass(time.Second)
		p.with(func() {
			p.fulls = full(roster("p1", "p2"))
		})
		p.wire().in <- renamed(9, "p1", "C")
		pass(2 * time.Second)
		if got := p.count("subscribe"); got != 2 {
			t.Errorf("Subscribes = %d, want 2", got)
		}
		if got := r.log.topic(conference.Participants); !strings.Contains(got, `"p2"`) {
			t.Errorf("participants = %s, want p2 of the fresh full frame", got)
		}
		wantLink(t, r.log, "live")
	}, func(c *Config) { c.Numbering = "kind" })
}

func TestRosterByREST(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.roster = &confctl.RealTimeInfo{Participants: []confctl.RealTimeParticipant{{PID: "p7", Name: "Ada"}}}
	run(t, newFakeLog(), p, func(r *rig) {
		pass(3 * time.Second)
		if got := r.log.topic(conference.Participants); !strings.Contains(got, `"Ada"`) {
			t.Errorf("participants without full frames = %q, want those of realTimeInfo", got)
		}
		pass(8 * time.Second)
		wantLink(t, r.log, "connecting")
		if got := p.count("dial"); got != 2 {
			t.Errorf("dials after 11 s without a full frame = %d, want 2", got)
		}
		if got := p.count("realTimeInfo"); got > 2 {
			t.Errorf("realTimeInfo calls in 11 s = %d, want at most 2", got)
		}
		p.with(func() { p.fulls = full(roster("p8")) })
		pass(11 * time.Second)
		wantLink(t, r.log, "live")
		if got := r.log.topic(conference.Participants); strings.Contains(got, `"p7"`) {
			t.Errorf("participants = %s, want the full frame's alone", got)
		}
	})
}

func TestSubscribeListRefused(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.fulls = full()
	p.refuse = func(types []string) int64 {
		if len(types) == 10 {
			return 0
		}
		return 1
	}
	run(t, newFakeLog(), p, func(r *rig) {
		wantLink(t, r.log, "live")
		if p.count("subscribe") != 2 || p.count("dial") != 1 {
			t.Errorf("Subscribes and dials = %d, %d; want 2, 1", p.count("subscribe"), p.count("dial"))
		}
	}, func(c *Config) { c.Types = []string{"ParticipantsNotify", "FancyNotify"} })
}

func TestSubscribeRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		code       int64
		want       string
		subscribes int
		refreshes  int
		fresh      bool // the next try is with another token by password
	}{
		{"over", 111072006, "ended", 1, 0, false},
		{"not started", 111072005, "waiting/not_started", 1, 0, false},
		{"unknown", 7, "connecting/provider", 1, 0, false},
		{"token, twice", 111081006, "connecting/provider", 2, 1, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newFakeProvider()
			p.refuse = func([]string) int64 { return tt.code }
			run(t, newFakeLog(), p, func(r *rig) {
				wantLink(t, r.log, tt.want)
				links := p.count("dial") // the next may come at once: its delay is random
				if p.count("subscribe") != links*tt.subscribes || p.count("refresh") != links*tt.refreshes {
					t.Errorf("Subscribes and refreshes = %d, %d on %d links; want %d, %d on each",
						p.count("subscribe"), p.count("refresh"), links, tt.subscribes, tt.refreshes)
				}
				pass(time.Second)
				if got := p.count("token") > 1; got != tt.fresh {
					t.Errorf("another token by password = %v, want %v", got, tt.fresh)
				}
			})
		})
	}
}

func TestSubscribeRefusedForAnOldToken(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.fulls = full(roster("p1"))
	refusals := 1
	p.refuse = func([]string) int64 {
		if refusals--; refusals >= 0 {
			return 111081006
		}
		return 0
	}
	run(t, newFakeLog(), p, func(r *rig) {
		wantLink(t, r.log, "live")
		// The same once more, for a resync.
		p.with(func() { refusals = 1 })
		p.wire().in <- renamed(1, "p1", "A")
		p.wire().in <- renamed(5, "p1", "B")
		pass(5 * time.Second)
		wantLink(t, r.log, "live")
		if p.count("dial") != 1 || p.count("token") != 1 || p.count("refresh") != 2 || p.count("subscribe") != 4 {
			t.Errorf("calls = %v; want one token, one dial, and for each refusal a refresh and another Subscribe", p.calls)
		}
	}, func(c *Config) { c.Numbering = "kind" })
}

func TestClosedBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.fulls = full()
	p.onDial = func() error { return nil }
	run(t, newFakeLog(), p, func(r *rig) {
		// From now on the provider closes where authentication fails, and says no more: a token by password helps.
		p.with(func() {
			p.onDial = func() error {
				if p.tokens == 1 {
					return nil
				}
				p.refuse = nil
				return nil
			}
			p.refuse = func([]string) int64 {
				p.wires[len(p.wires)-1].fail(errClosedByPeer)
				return 0
			}
		})
		p.wire().fail(errClosedByPeer)
		pass(5 * time.Second)
		if got := p.count("token"); got != 2 {
			t.Errorf("token requests = %d, want a second after two links that were closed at once", got)
		}
		wantLink(t, r.log, "live")
	})
}
