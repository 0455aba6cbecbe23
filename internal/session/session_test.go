package session

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// Symptom: a worker that took an ended conference over let it stay for five minutes more, or, where the provider said that it
// hasn't started, showed it as waiting with the last time's roster.
func TestEndOutlivesItsOwner(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"MMC.111072006", "MMC.111072005"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p, log := newFakeProvider(), newFakeLog()
				p.fulls = full(roster("p1"))
				first := newRig(t, log, p).start(t.Context())
				pass(time.Millisecond)
				p.wire().in <- dynamic("Destroyed")
				pass(2 * time.Minute)
				first.stop(t)
				p.with(func() { p.onToken = func() error { return refusalOf("token", code, true) } })
				second := newRig(t, log, p).start(t.Context())
				pass(DefaultRetain - 2*time.Minute - time.Second)
				wantLink(t, log, "ended")
				if got := log.topic(conference.Participants); !strings.Contains(got, `"p1"`) {
					t.Errorf("participants before 5 min = %q, want the last state", got)
				}
				pass(2 * time.Second)
				wantLink(t, log, "waiting/not_started")
				if got := log.topic(conference.Participants); got != "" {
					t.Errorf("participants after 5 min = %s, want them gone", got)
				}
				second.stop(t)
			})
		})
	}
}

// Symptom: a conference that ended while its link was lost, and is to start again some day, was waiting with the last time's
// roster until then.
func TestNotStartedAfterItWas(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.fulls = full(roster("p1"))
	run(t, newFakeLog(), p, func(r *rig) {
		p.with(func() {
			p.onToken = func() error { return refusalOf("token", "MMC.111072005", true) }
			p.onWSToken = func() error { return refusalOf("wsToken", "MMC.111072005", false) }
		})
		p.wire().fail(errors.New("cut"))
		pass(time.Minute)
		wantLink(t, r.log, "ended")
		pass(DefaultRetain)
		wantLink(t, r.log, "waiting/not_started")
		if got := r.log.topic(conference.Participants); got != "" {
			t.Errorf("participants after 5 min = %s, want them gone", got)
		}
	})
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
	a := newActor(r.cfg, r.provider, make(chan message, mailSize))
	a.state, a.phase = conference.New(conf), linked
	a.link = &link{beats: *heartbeat.New(time.Second)}
	a.tracker.LinkUp(time.Now(), subscribe.Kinds(subscribe.Documented()))
	from := func(l *link) *received {
		m := &received{link: l, at: time.Now()}
		m.err = m.frame.Decode(roster("p1")())
		return m
	}
	from(&link{}).handle(t.Context(), a, time.Now())
	if !a.pub.queue.empty() {
		t.Errorf("an old link's frame queued %d changes, want none", len(a.pub.queue.entries))
	}
	from(a.link).handle(t.Context(), a, time.Now())
	if a.pub.queue.empty() {
		t.Error("the present link's frame queued nothing")
	}
}

// numbered is a message that notes that it was taken in.
type numbered struct {
	seen *[]int
	n    int
}

func (m numbered) handle(context.Context, *actor, time.Time) { *m.seen = append(*m.seen, m.n) }

// A gateway that was starved of its processor, or met a burst, showed gaps from a provider that had lost nothing, and was
// stale until it had asked for full frames: of each full mailbox one message went untold.
func TestFullMailboxLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, newFakeLog(), newFakeProvider())
	a := newActor(r.cfg, r.provider, make(chan message, mailSize))
	var seen, want []int
	for n := range mailSize {
		a.mail <- numbered{&seen, n + 1}
		want = append(want, n)
	}
	want = append(want, mailSize)
	a.receive(t.Context(), numbered{&seen, 0})
	if len(seen) > mailSize {
		t.Errorf("%d messages were taken in at once, want %d at most", len(seen), mailSize)
	}
	for len(a.mail) > 0 {
		a.receive(t.Context(), <-a.mail)
	}
	if !slices.Equal(seen, want) {
		t.Errorf("messages taken in: %v, want %v", seen, want)
	}
}

// A caller that has given up isn't obeyed later: an owner that was asked to hand over, and told that nothing came of it, would
// never dial again.
func TestAskThatWasGivenUp(t *testing.T) {
	t.Parallel()
	s := &Session{mail: make(chan message, 2), stopped: make(chan struct{})}
	var seen []int
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan error, 1)
	go func() { answer <- s.ask(ctx, numbered{&seen, 1}) }()
	late := <-s.mail
	cancel()
	if err := <-answer; !errors.Is(err, context.Canceled) {
		t.Errorf("ask = %v, want %v", err, context.Canceled)
	}
	late.handle(t.Context(), nil, time.Now())
	if len(seen) != 0 {
		t.Error("a message was taken in after its sender had given up")
	}
	go func() { answer <- s.ask(t.Context(), numbered{&seen, 2}) }()
	(<-s.mail).handle(t.Context(), nil, time.Now())
	if err := <-answer; err != nil || !slices.Equal(seen, []int{2}) {
		t.Errorf("ask = %v, and %v was taken in; want nil and 2", err, seen)
	}
	go func() { answer <- s.ask(t.Context(), numbered{&seen, 3}) }()
	<-s.mail
	close(s.stopped)
	if err := <-answer; !errors.Is(err, ErrStopped) {
		t.Errorf("ask of a session that stops = %v, want %v", err, ErrStopped)
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
		for beats := p.beats.Load(); p.beats.Load() == beats; {
			pass(time.Millisecond)
		}
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
