package session

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"

	"confgate/internal/confctl"
	"confgate/internal/conference"
	"confgate/internal/heartbeat"
	"confgate/internal/subscribe"
)

func TestLive(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.fulls = full(roster("p1", "p2"))
	run(t, newFakeLog(), p, func(r *rig) {
		wantLink(t, r.log, "live")
		if got := r.log.topic(conference.Participants); !strings.Contains(got, `"p1"`) || !strings.Contains(got, `"p2"`) {
			t.Errorf("participants = %s, want p1 and p2", got)
		}
		p.wire().in <- renamed(1, "p1", "Zoe")
		pass(0)
		if got := r.log.topic(conference.Participants); !strings.Contains(got, `"Zoe"`) {
			t.Errorf("participants = %s, want Zoe among them", got)
		}
		if got := p.calls; len(got) != 4 {
			t.Errorf("calls = %v, want token, wsToken, dial, subscribe", got)
		}
	})
	if w := p.wire(); !w.polite.Load() {
		t.Error("the link was cut at the end, want it closed")
	}
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.fulls = full()
	wrong := func(c *Config) { c.Password = confctl.NewSecret("canary-wrong") }
	run(t, newFakeLog(), p, func(r *rig) {
		refusedAt := time.Now()
		pass(time.Hour)
		if got := p.count("token"); got != 1 {
			t.Errorf("token requests = %d, want 1", got)
		}
		wantLink(t, r.log, "unavailable/credentials")
		var lines []string
		for _, e := range r.lines.FilterLevelExact(zapcore.ErrorLevel).All() {
			lines = append(lines, e.Message)
		}
		if others := r.lines.FilterLevelExact(zapcore.WarnLevel).Len(); len(lines) != 1 || others != 0 {
			t.Errorf("error lines = %q and %d warnings, want one line alone", lines, others)
		}
		if time.Since(refusedAt) < DefaultSamePassword {
			t.Error("the bubble's time stands still")
		}
		set := func(pw string) {
			if err := r.set(pw); err != nil {
				t.Error(err)
			}
			pass(time.Second)
		}
		set("canary-wrong") // again, and long after: one more try
		if got := p.count("token"); got != 2 {
			t.Errorf("token requests after the same password an hour later = %d, want 2", got)
		}
		pass(DefaultSamePassword - 2*time.Second)
		set("canary-wrong")
		if got := p.count("token"); got != 2 {
			t.Errorf("token requests after the same password within 10 min = %d, want 2", got)
		}
		set("right")
		if got := p.count("token"); got != 3 {
			t.Errorf("token requests after another password = %d, want 3", got)
		}
		wantLink(t, r.log, "live")
	}, wrong)
}

// A password that came while another one was being refused was taken for the refused one, and never sent.
func TestPasswordComesWhileAnotherIsRefused(t *testing.T) {
	t.Parallel()
	t.Run("connecting", func(t *testing.T) {
		t.Parallel()
		p := newFakeProvider()
		p.fulls = full()
		p.onToken = func() error { time.Sleep(time.Second); return nil }
		run(t, newFakeLog(), p, func(r *rig) {
			if err := r.set("right"); err != nil {
				t.Error(err)
			}
			pass(time.Minute)
			wantLink(t, r.log, "live")
			if got := p.count("token"); got != 2 {
				t.Errorf("token requests = %d, want one for each password", got)
			}
		}, func(c *Config) { c.Password = confctl.NewSecret("canary-wrong") })
	})
	t.Run("renewing", func(t *testing.T) {
		t.Parallel()
		p := newFakeProvider()
		p.fulls, p.life = full(), time.Minute
		run(t, newFakeLog(), p, func(r *rig) {
			wantLink(t, r.log, "live")
			p.with(func() {
				p.password = "another"
				p.onToken = func() error { time.Sleep(time.Second); return nil }
				p.onRefresh = func() error { return refusalOf("refresh", "MMC.118000001", false) }
			})
			pass(40*time.Second + 500*time.Millisecond)
			if err := r.set("another"); err != nil {
				t.Error(err)
			}
			pass(5 * time.Second)
			wantLink(t, r.log, "live")
			if got := p.count("token"); got != 3 {
				t.Errorf("token requests = %d, want the first, the refused one and the new password's", got)
			}
			p.wire().fail(errAway)
			pass(time.Minute)
			wantLink(t, r.log, "live")
		})
	})
}

func TestRefusalOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	p, log := newFakeProvider(), newFakeLog()
	p.fulls = full()
	wrong := func(c *Config) { c.Password, c.RefusalKey = confctl.NewSecret("canary-wrong"), []byte("key") }
	run(t, log, p, func(r *rig) { wantLink(t, r.log, "unavailable/credentials") }, wrong)
	run(t, log, p, func(r *rig) {
		wantLink(t, r.log, "unavailable/credentials")
		if got := p.count("token"); got != 1 {
			t.Errorf("token requests of both processes = %d, want 1", got)
		}
	}, wrong)
	run(t, log, p, func(r *rig) { wantLink(t, r.log, "live") },
		func(c *Config) { c.RefusalKey = []byte("key") })
	if strings.Contains(string(log.memory), "canary") {
		t.Errorf("memory %s holds the password", log.memory)
	}
}

func TestLocked(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.fulls = full()
	p.onToken = func() error { return refusalOf("token", "MMC.111072064", true) }
	run(t, newFakeLog(), p, func(r *rig) {
		wantLink(t, r.log, "unavailable/locked")
		pass(DefaultLocked - time.Second)
		if got := p.count("token"); got != 1 {
			t.Errorf("token requests while locked = %d, want 1", got)
		}
		p.with(func() { p.onToken = nil })
		pass(2 * time.Second)
		wantLink(t, r.log, "live")
	})
}

func TestLockedWhileRenewing(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.life, p.fulls = 6*time.Second, full()
	run(t, newFakeLog(), p, func(r *rig) {
		p.with(func() {
			p.onRefresh = func() error { return refusalOf("refresh", "MMC.118000001", false) }
			p.onToken = func() error { return refusalOf("token", "MMC.111072064", true) }
		})
		pass(10 * time.Second)
		wantLink(t, r.log, "live")
		p.wire().fail(errors.New("cut"))
		pass(time.Minute)
		wantLink(t, r.log, "unavailable/locked")
		if got := p.count("token"); got != 2 {
			t.Errorf("token requests = %d, want 2: the first and the one that was told of the lock", got)
		}
		p.with(func() { p.onToken = nil })
		pass(DefaultLocked)
		wantLink(t, r.log, "live")
	})
}

func TestNotStarted(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.fulls = full()
	p.onToken = func() error { return refusalOf("token", "MMC.111072005", true) }
	run(t, newFakeLog(), p, func(r *rig) {
		pass(10 * time.Minute)
		wantLink(t, r.log, "waiting/not_started")
		times := p.at("token")
		for i := 1; i < len(times); i++ {
			if d := times[i].Sub(times[i-1]); d < DefaultPoll || d > DefaultPoll*6/5 {
				t.Errorf("poll %d came after %v, want %v to %v", i, d, DefaultPoll, DefaultPoll*6/5)
			}
		}
		if len(times) < 600/18 {
			t.Errorf("polls in 10 min = %d, want at least %d", len(times), 600/18)
		}
		if got := r.lines.FilterMessage("conference hasn't started").Len(); got != 1 {
			t.Errorf("lines about waiting = %d, want 1", got)
		}
		p.with(func() { p.onToken = nil })
		pass(DefaultPoll * 6 / 5)
		wantLink(t, r.log, "live")
	})
}

func TestControlTokenStaysFresh(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.life, p.fulls = 6*time.Second, full()
	run(t, newFakeLog(), p, func(r *rig) {
		pass(30 * time.Second)
		if got := p.count("refresh"); got != 7 {
			t.Errorf("refreshes in 30 s of a token of 6 s = %d, want 7", got)
		}
		if p.count("token") != 1 || p.count("dial") != 1 {
			t.Errorf("token requests and dials = %d, %d; want 1, 1", p.count("token"), p.count("dial"))
		}
		// A refused refresh: one token by password, and the link stays.
		p.with(func() { p.onRefresh = func() error { return refusalOf("refresh", "MMC.118000001", false) } })
		pass(4 * time.Second)
		if p.count("token") != 2 || p.count("dial") != 1 {
			t.Errorf("after a refused refresh token requests and dials = %d, %d; want 2, 1", p.count("token"), p.count("dial"))
		}
		// The password isn't right any more: one request says so, the link stays, and none follows.
		p.with(func() { p.password = "another" })
		pass(time.Minute)
		if p.count("token") != 3 || p.count("dial") != 1 {
			t.Errorf("after a refused password token requests and dials = %d, %d; want 3, 1", p.count("token"), p.count("dial"))
		}
		wantLink(t, r.log, "live")
		p.wire().fail(errors.New("cut"))
		pass(time.Minute)
		wantLink(t, r.log, "unavailable/credentials")
		if got := p.count("token"); got != 3 {
			t.Errorf("token requests after the link was lost = %d, want 3", got)
		}
	})
}

func TestRefreshFailsForAWhile(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.fulls = full()
	run(t, newFakeLog(), p, func(r *rig) {
		p.with(func() { p.onRefresh = func() error { return errors.New("network") } })
		pass(29 * time.Minute)
		if got := p.count("refresh"); got < 8 || got > 10 {
			t.Errorf("tries in the last third of 30 min = %d, want 8 to 10", got)
		}
		p.with(func() { p.onRefresh = nil })
		pass(time.Minute)
		if p.count("token") != 1 || p.count("dial") != 1 {
			t.Errorf("token requests and dials = %d, %d; want 1, 1", p.count("token"), p.count("dial"))
		}
		wantLink(t, r.log, "live")
	})
}

func TestTokenRefusedOnTheWay(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.fulls = full()
	run(t, newFakeLog(), p, func(r *rig) {
		// The token at hand is refused once: another one by password, at once.
		refusals := 1
		p.with(func() {
			p.onWSToken = func() error {
				if refusals--; refusals >= 0 {
					return refusalOf("wsToken", "MMC.111081006", false)
				}
				return nil
			}
		})
		p.wire().fail(errors.New("cut"))
		pass(time.Second)
		wantLink(t, r.log, "live")
		if p.count("token") != 2 || p.count("wsToken") != 3 || p.count("dial") != 2 {
			t.Errorf("tokens, wsTokens, dials = %d, %d, %d; want 2, 3, 2", p.count("token"), p.count("wsToken"), p.count("dial"))
		}
		// A dial that refuses every token is retried with back-off, not in a loop.
		p.with(func() {
			p.onDial = func() error { return &confctl.Error{API: "dial", HTTPStatus: 401, Class: confctl.ClassToken} }
		})
		p.wire().fail(errors.New("cut"))
		pass(10 * time.Second)
		wantLink(t, r.log, "connecting/provider")
		if got := p.count("dial"); got < 4 || got > 40 {
			t.Errorf("dials in 10 s of refusals = %d, want a few", got)
		}
	})
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.fulls = full()
	p.onDial = func() error { return errors.New("no route") }
	run(t, newFakeLog(), p, func(r *rig) {
		pass(10 * time.Minute)
		wantLink(t, r.log, "connecting/network")
		times := p.at("dial")
		limit := 200 * time.Millisecond
		for i := 1; i < len(times); i++ {
			if d := times[i].Sub(times[i-1]); d > limit+time.Millisecond {
				t.Errorf("delay %d = %v, want at most %v", i, d, limit)
			}
			limit = min(2*limit, 30*time.Second)
		}
		// 9 delays until the longest, then 15 s on average.
		if len(times) < 20 || len(times) > 120 {
			t.Errorf("dials in 10 min = %d, want 20 to 120", len(times))
		}
		if got := r.lines.FilterMessage("link can't be opened").Len(); got != 1 {
			t.Errorf("lines about it = %d, want 1", got)
		}
		if got := p.count("token"); got != 1 {
			t.Errorf("token requests = %d, want 1: the token is still good", got)
		}
		p.with(func() { p.onDial = nil })
		pass(30 * time.Second)
		wantLink(t, r.log, "live")
		// Live for a while: the next loss begins with short delays.
		p.wire().fail(errors.New("cut"))
		pass(200 * time.Millisecond)
		wantLink(t, r.log, "live")
	})
}

func TestProviderThrottles(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.fulls = full()
	p.onToken = func() error {
		return &confctl.Error{API: "token", HTTPStatus: 429, Class: confctl.ClassLimit, RetryAfter: 40 * time.Second}
	}
	run(t, newFakeLog(), p, func(r *rig) {
		wantLink(t, r.log, "connecting/limit")
		pass(39 * time.Second)
		if got := p.count("token"); got != 1 {
			t.Errorf("token requests before the time that the provider asked for = %d, want 1", got)
		}
		p.with(func() { p.onToken = nil })
		pass(2 * time.Second)
		wantLink(t, r.log, "live")
	})
}

func TestReconnectWithoutGhosts(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.fulls = full(roster("p1", "p2"))
	run(t, newFakeLog(), p, func(r *rig) {
		before := len(r.log.changes)
		p.with(func() { p.fulls = full(roster("p1", "p3")) })
		p.wire().fail(errors.New("cut"))
		pass(time.Second)
		wantLink(t, r.log, "live")
		var patches []string
		for _, c := range r.log.changes[before:] {
			if c.Topic == conference.Participants {
				patches = append(patches, string(c.Body))
			} else if c.Topic != conference.Link {
				t.Errorf("change of %s: %s; want none but of link and participants", c.Topic, c.Body)
			}
		}
		if len(patches) != 1 || !strings.Contains(patches[0], `"p2":null`) || !strings.Contains(patches[0], `"p3":{`) ||
			strings.Contains(patches[0], `"p1"`) {
			t.Errorf("patches of participants = %q, want one that removes p2 and adds p3", patches)
		}
	})
}

func TestEnded(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		closes bool // the provider closes the link
	}{{"provider closes", true}, {"provider leaves the link open", false}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newFakeProvider()
			p.fulls = full(roster("p1"))
			run(t, newFakeLog(), p, func(r *rig) {
				p.wire().in <- dynamic("Destroyed")
				pass(0)
				wantLink(t, r.log, "ended")
				if tt.closes {
					p.wire().fail(errClosedByPeer)
				}
				p.with(func() { p.onToken = func() error { return refusalOf("token", "MMC.111072006", true) } })
				pass(endGrace + time.Millisecond)
				if !p.wire().closed() {
					t.Error("the link is still open")
				}
				pass(DefaultRetain - endGrace - time.Second)
				wantLink(t, r.log, "ended")
				if got := r.log.topic(conference.Participants); !strings.Contains(got, `"p1"`) {
					t.Errorf("participants before 5 min = %q, want the last state", got)
				}
				if got := p.count("token"); got != 1 {
					t.Errorf("token requests until then = %d, want 1", got)
				}
				pass(endGrace + time.Second)
				wantLink(t, r.log, "waiting/not_started")
				for topic := conference.Info; !topic.Event(); topic++ {
					if got := r.log.topic(topic); got != "" {
						t.Errorf("%s after 5 min = %s, want it gone", topic, got)
					}
				}
				// Still over for the provider: asked after, and not shown as ended again.
				pass(time.Minute)
				wantLink(t, r.log, "waiting/not_started")
				if got := p.count("token"); got < 3 {
					t.Errorf("token requests a minute later = %d, want some polls", got)
				}
				p.with(func() { p.onToken, p.fulls = nil, full(roster("p9")) })
				pass(DefaultPoll * 6 / 5)
				wantLink(t, r.log, "live")
				if got := r.log.topic(conference.Participants); !strings.Contains(got, `"p9"`) {
					t.Errorf("participants of the next time = %q, want p9", got)
				}
			})
		})
	}
}

func TestNextTimeOfAConference(t *testing.T) {
	t.Parallel()
	p, log := newFakeProvider(), newFakeLog()
	p.fulls = full(roster("p1"))
	run(t, log, p, func(r *rig) {
		p.wire().in <- dynamic("Destroyed")
		pass(0)
		wantLink(t, r.log, "ended")
	})
	// A restart within the 5 minutes finds it running again: what the last time left isn't an end of this one.
	run(t, log, p, func(r *rig) {
		pass(time.Minute)
		wantLink(t, r.log, "live")
		if p.count("dial") != 2 {
			t.Errorf("dials = %d, want 2", p.count("dial"))
		}
	})
}

func TestFramesOfAnOldLink(t *testing.T) {
	t.Parallel()
	r := newRig(t, newFakeLog(), newFakeProvider())
	a := newActor(r.cfg, r.provider)
	a.state, a.phase = conference.New(conf), linked
	a.link = &link{beats: heartbeat.New(time.Second)}
	a.tracker.LinkUp(time.Now(), subscribe.Kinds(subscribe.Documented()))
	frame, err := confctl.Decode(roster("p1")())
	if err != nil {
		t.Fatal(err)
	}
	received{link: &link{}, frame: frame, at: time.Now()}.handle(t.Context(), a, time.Now())
	if !a.pub.queue.empty() {
		t.Errorf("an old link's frame queued %d changes, want none", len(a.pub.queue.entries))
	}
	received{link: a.link, frame: frame, at: time.Now()}.handle(t.Context(), a, time.Now())
	if a.pub.queue.empty() {
		t.Error("the present link's frame queued nothing")
	}
}

func TestUnusableIncrementIsHealed(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.fulls = full(roster("p1"))
	run(t, newFakeLog(), p, func(*rig) {
		pass(5 * time.Second)
		p.wire().in <- notify("ParticipantsNotify", confctl.Increment, 1, `["what?"]`, "")
		pass(time.Minute)
		// One, and another where the first one's full frames were made in the same millisecond.
		if got := p.count("subscribe"); got != 2 && got != 3 {
			t.Errorf("Subscribes after an increment that can't be used = %d, want one or two more than the first", got)
		}
	})
}

func TestSilentProvider(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.fulls = full()
	run(t, newFakeLog(), p, func(r *rig) {
		pass(5 * time.Minute)
		wantLink(t, r.log, "live")
		p.silent.Store(true)
		silentSince := time.Now()
		pass(DefaultHeartbeat * 8 / 5)
		wantLink(t, r.log, "stale/heartbeat")
		p.with(func() { p.onDial = func() error { return errors.New("no route") } })
		pass(time.Until(silentSince.Add(DefaultHeartbeat*5/2 + time.Millisecond)))
		if !p.wire().closed() {
			t.Errorf("the link is open after 2.5 intervals of silence; link = %s", r.log.link())
		}
		p.with(func() { p.onDial = nil })
		p.silent.Store(false)
		pass(time.Minute)
		wantLink(t, r.log, "live")
		if got := p.count("dial"); got < 2 {
			t.Errorf("dials = %d, want at least 2", got)
		}
	})
}

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
				if p.count("subscribe") != tt.subscribes || p.count("refresh") != tt.refreshes {
					t.Errorf("Subscribes and refreshes = %d, %d; want %d, %d",
						p.count("subscribe"), p.count("refresh"), tt.subscribes, tt.refreshes)
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

func TestGarbage(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.fulls = full(roster("p1"))
	run(t, newFakeLog(), p, func(r *rig) {
		for range 150 {
			p.wire().in <- []byte(`canary-garbage{`)
			p.wire().in <- []byte(`{"action":"MysteryNotify","msgMode":0,"data":{}}`)
			pass(time.Second)
		}
		wantLink(t, r.log, "live")
		lines := r.lines.FilterMessage("frame from the provider can't be used").All()
		if len(lines) != 3 || lines[1].ContextMap()["suppressed"] != int64(59) || lines[2].ContextMap()["suppressed"] != int64(59) {
			t.Errorf("lines about 150 s of garbage = %v, want three, the later ones with 59 suppressed", lines)
		}
		for _, e := range lines {
			if text := e.ContextMap()["error"]; strings.Contains(text.(string), "canary") {
				t.Errorf("line %v holds the frame", text)
			}
		}
		if got := p.count("dial"); got != 1 {
			t.Errorf("dials = %d, want 1", got)
		}
	})
}

func TestSetPasswordAfterTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, newFakeLog(), newFakeProvider()).start(t.Context())
		synctest.Wait()
		r.stop(t)
		if err := r.set("x"); !errors.Is(err, ErrStopped) {
			t.Errorf("SetPassword() after Run = %v, want ErrStopped", err)
		}
	})
}

func TestNoSecretsInLines(t *testing.T) {
	t.Parallel()
	p, log := newFakeProvider(), newFakeLog()
	p.password = "canary-password"
	p.fulls = full(roster("p1"))
	run(t, log, p, func(r *rig) {
		p.wire().fail(errors.New("cut"))
		pass(time.Hour)
		p.with(func() { p.password = "another" })
		p.with(func() { p.onRefresh = func() error { return refusalOf("refresh", "MMC.118000001", false) } })
		pass(time.Hour)
		p.wire().fail(errors.New("cut"))
		pass(time.Hour)
		wantLink(t, log, "unavailable/credentials")
		for _, e := range r.lines.All() {
			for k, v := range e.ContextMap() {
				if s, ok := v.(string); ok && strings.Contains(s, "canary") {
					t.Errorf("line %q has %s = %q", e.Message, k, s)
				}
			}
		}
		if r.lines.Len() == 0 {
			t.Error("no lines at all")
		}
	}, func(c *Config) { c.Password = confctl.NewSecret("canary-password") })
	if strings.Contains(string(log.memory), "canary") {
		t.Errorf("memory %s holds a secret", log.memory)
	}
}
