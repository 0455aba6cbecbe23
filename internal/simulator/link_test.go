package simulator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

// A Subscribe is answered, and brings one full frame of each kind that has any, sealed as the reference says, soon and in
// no fixed order.
func TestSubscribeBringsFullFrames(t *testing.T) {
	t.Parallel()
	orders := make(map[string]bool)
	b := serve(t, Config{Seed: 4})
	conf := b.first()
	cl := b.dialled(conf)
	var last int64
	ids := make(map[string]bool)
	for range 5 {
		begin := time.Now()
		frames := cl.subscribeAll()
		if d := time.Since(begin); d > 10*time.Second {
			t.Errorf("full frames took %v: a gateway would have redialled", d)
		}
		var order []string
		for _, f := range frames {
			order = append(order, f.Action)
			if f.MsgMode != 0 || f.Version != f.CreateTime || f.Version <= last || f.All["confID"] != conf.ID {
				t.Errorf("%s: msgMode %d, version %d, createTime %d, confID %v after version %d",
					f.Action, f.MsgMode, f.Version, f.CreateTime, f.All["confID"], last)
			}
			if len(f.MsgID) != 32 || ids[f.MsgID] {
				t.Errorf("%s: msgID %q isn't 32 digits or not unique", f.Action, f.MsgID)
			}
			ids[f.MsgID] = true
			last = f.Version
		}
		orders[strings.Join(order, " ")] = true
		if slices.Sort(order); len(slices.Compact(order)) != kindsWithFulls || len(frames) != kindsWithFulls {
			t.Errorf("Subscribe brought %v, want each kind once", order)
		}
	}
	if len(orders) < 2 {
		t.Error("full frames came in the same order every time")
	}
	if got := b.Requests(); got["subscribe"] != 5 || got["dial"] != 1 || got["token"] != 1 || got["wsToken"] != 1 {
		t.Errorf("Requests() = %v, want 5 subscribe, 1 dial, 1 token, 1 wsToken", got)
	}
}

// Increments are numbered on, kind by kind or all together, and a Subscribe doesn't begin anew.
func TestNumbering(t *testing.T) {
	t.Parallel()
	for _, numbering := range []string{NumberPerKind, NumberPerConference} {
		t.Run(numbering, func(t *testing.T) {
			t.Parallel()
			b := serve(t, Config{Numbering: numbering, Seed: 8})
			conf := b.Conferences()[1] // its subtitles are increments, with quoted numbers
			cl, frames := b.linked(conf)
			b.Step(conf.ID, 300)
			frames = append(frames, cl.subscribeAll()...)
			b.Step(conf.ID, 300)
			frames = append(frames, cl.subscribeAll()...)
			next, counted := make(map[string]int64), 0
			for _, f := range incrementsOf(frames) {
				run := f.Action
				if numbering == NumberPerConference {
					run = ""
				}
				if next[run]++; f.Version != next[run] {
					t.Fatalf("%s is numbered %d, want %d", f.Action, f.Version, next[run])
				}
				counted++
				if _, text := f.All["version"].(string); text != (f.Action == "RealTimeSubtitleNotify") {
					t.Errorf("%s: version is a text: %t", f.Action, text)
				}
			}
			if counted < 300 {
				t.Errorf("%d increments in 600 steps, want at least 300", counted)
			}
		})
	}
}

// A client that merges what it gets knows the truth once the world stands still: whatever the world's speed.
func TestClientKnowsTheWorld(t *testing.T) {
	t.Parallel()
	b := serve(t, Config{Participants: 50, Rate: 2000, Seed: 2})
	b.run()
	conf := b.first()
	cl := b.dialled(conf)
	known, seen := make(model), 0
	cl.subscribe(documented, cl.token)
	for seen < 600 {
		f := cl.next()
		if f.Action != "Subscribe" {
			known.apply(t, f)
			seen++
		}
	}
	b.Pause()
	cl.subscribe([]string{"nothing"}, cl.token) // its answer is behind everything that was queued
	for f := cl.next(); f.Action != "Subscribe"; f = cl.next() {
		known.apply(t, f)
	}
	want := make(model)
	r := b.rooms[conf.ID]
	r.mu.Lock()
	for _, f := range fulls(r.world) {
		want.apply(t, f)
	}
	r.mu.Unlock()
	if diff := cmp.Diff(want, known); diff != "" {
		t.Errorf("the client's world differs (-world +client):\n%s", diff)
	}
}

// Run makes as many frames as the rate asks for; Pause stops it, Resume lets it go on where it was.
func TestRate(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{0.5, 7, 400} {
		synctest.Test(t, func(t *testing.T) {
			p := New(Config{Rate: rate, Conferences: 1})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() { _ = p.Run(ctx) }()
			r := p.order[0]
			frames := func(d time.Duration) int {
				before := r.sealed()
				time.Sleep(d)
				return r.sealed() - before
			}
			const span = 20 * time.Second
			want := int(rate * span.Seconds())
			// The last tick may fall just out of the span, and a change that makes several frames just into it.
			if got := frames(span); got < want-10 || got > want+10 {
				t.Errorf("%v frames a second made %d in %v, want %d", rate, got, span, want)
			}
			p.Pause()
			if got := frames(span); got != 0 {
				t.Errorf("a paused world made %d frames", got)
			}
			p.Resume()
			if got := frames(span); got < want-10 || got > want+10 {
				t.Errorf("resumed, %v frames a second made %d in %v, want %d", rate, got, span, want)
			}
		})
	}
}

func (r *room) sealed() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int(r.made)
}

func TestHeartBeat(t *testing.T) {
	t.Parallel()
	b := serve(t, Config{SilenceLimit: 700 * time.Millisecond})
	cl := b.dialled(b.first())
	for range 3 {
		seq := cl.sequence()
		cl.send(`{"action":"HeartBeat","sequence":"` + seq + `"}`)
		if f := cl.next(); f.Action != "HeartBeat" || f.Sequence != seq || len(f.All) != 2 {
			t.Errorf("answer to a heartbeat = %s, want its sequence %s", f.raw, seq)
		}
	}
	if code := cl.ended(); code != websocket.StatusPolicyViolation {
		t.Errorf("a silent link ended with %v, want %v", code, websocket.StatusPolicyViolation)
	}
	waitFor(t, "the link's end", func() bool { return b.Links(b.first().ID) == 0 })
}

// Connection tokens are good once, in time, for one conference.
func TestDialNeedsAFreshToken(t *testing.T) {
	t.Parallel()
	b := serve(t, Config{WSTokenLife: time.Hour})
	conf, other := b.Conferences()[0], b.Conferences()[1]
	control := logIn(t, b.Handler(), conf)
	token := wsTokenOf(t, b.Handler(), conf.ID, control)
	for _, tc := range []struct {
		name, conf, token string
		want              websocket.StatusCode
	}{
		{"made up", conf.ID, "cnr0", websocket.StatusPolicyViolation},
		{"none", conf.ID, "", websocket.StatusPolicyViolation},
		{"of another conference", other.ID, wsTokenOf(t, b.Handler(), conf.ID, control), websocket.StatusPolicyViolation},
		{"fresh", conf.ID, token, -1},
		{"spent", conf.ID, token, websocket.StatusPolicyViolation},
		{"unknown conference", "nosuch", wsTokenOf(t, b.Handler(), conf.ID, control), websocket.StatusPolicyViolation},
	} {
		conn, err := b.dialRaw(tc.conf, tc.token)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		cl := &client{b: b, conn: conn}
		if tc.want == -1 {
			cl.send(`{"action":"HeartBeat","sequence":"1"}`)
			if f := cl.next(); f.Action != "HeartBeat" {
				t.Errorf("%s: answer %s, want a heartbeat", tc.name, f.raw)
			}
			continue
		}
		if got := cl.ended(); got != tc.want {
			t.Errorf("%s: closed with %v, want %v", tc.name, got, tc.want)
		}
	}
}

// Subscribe is refused without the conference's own control token, and as a whole for unknown types where configured.
func TestSubscribeRefused(t *testing.T) {
	t.Parallel()
	b := serve(t, Config{RefuseUnknownTypes: true})
	cl := b.dialled(b.first())
	foreign := logIn(t, b.Handler(), b.Conferences()[1])
	cl.wantAnswer("Subscribe", cl.subscribe(documented, "stb0"), codeBadToken)
	cl.wantAnswer("Subscribe", cl.subscribe(documented, foreign), codeBadToken)
	cl.wantAnswer("Subscribe", cl.subscribe(append(slices.Clone(documented), "CustomMultiPicNotify"), cl.token), codeBadRequest)
	cl.send(`{"action":"Subscribe","sequence":"99","data":"{"}`)
	cl.wantAnswer("Subscribe", "99", codeBadRequest)
	b.Step(b.first().ID, 20)
	cl.send(`{"action":"HeartBeat","sequence":"1"}`)
	if f := cl.next(); f.Action != "HeartBeat" {
		t.Errorf("a link without a subscription got %s", f.raw)
	}
	cl.send(`garbage`) // unanswered, and survived
	cl.subscribe(documented, "Basic "+"!!!")
	cl.wantAnswer("Subscribe", fmt.Sprintf("%030d", cl.seq), codeBadToken)
	cl.subscribeAll()
}

// Control over the link: the token is kept alive, subtitles are switched, everything else is refused.
func TestControlOverTheLink(t *testing.T) {
	t.Parallel()
	b := serve(t, Config{RotateTokens: true, Seed: 3})
	conf := b.first()
	cl, _ := b.linked(conf)
	control := func(typ, more string) frame {
		seq := cl.sequence()
		data := fmt.Sprintf(`{"conferenceID":%q,"confToken":%q%s}`, conf.ID, cl.token, more)
		cl.send(fmt.Sprintf(`{"action":"ConfControl","sequence":%q,"type":%q,"data":%q}`, seq, typ, data))
		all := cl.until("an answer", func(f frame) bool { return f.Action == "ConfControl" })
		f := all[len(all)-1]
		if f.Sequence != seq || f.Type != typ {
			t.Errorf("answer has sequence %s and type %s, want %s and %s", f.Sequence, f.Type, seq, typ)
		}
		return f
	}
	f := control("REFRESHTOKEN", "")
	data := f.All["data"].(map[string]any)["data"].(map[string]any)
	fresh, _ := data["token"].(string)
	if fresh == "" || fresh == cl.token || data["confTokenExpireTime"] != 1800.0 || data["wsURL"] == "" {
		t.Errorf("REFRESHTOKEN answered %v, want a new token for 1800 s", maps.Keys(data))
	}
	if code := control("REFRESHTOKEN", "").All["data"].(map[string]any)["returnCode"]; code != 111081006.0 {
		t.Errorf("REFRESHTOKEN with the old token: returnCode %v, want 111081006", code)
	}
	cl.token = fresh
	on := b.Truth(conf.ID).Dynamic.SubtitlesOn
	control("REALTIMESUBTITLE", fmt.Sprintf(`,"isSubtitle":"%s"`, zeroOne(!on)))
	if got := b.Truth(conf.ID).Dynamic.SubtitlesOn; got == on {
		t.Errorf("SubtitlesOn = %t after it was switched", got)
	}
	if code := control("NOSUCH", "").All["data"].(map[string]any)["returnCode"]; code == 0.0 {
		t.Error("an unknown command was answered with success")
	}
}

// A conference that ends says so and closes its links; it can start again, with other people and numbers from 1.
func TestConferenceEndsAndStartsAnew(t *testing.T) {
	t.Parallel()
	b := serve(t, Config{NotStarted: 1, Seed: 1})
	conf := b.first()
	cl, _ := b.linked(conf)
	b.Step(conf.ID, 50)
	before := b.Truth(conf.ID)
	if !b.EndConference(conf.ID) || b.EndConference(conf.ID) {
		t.Error("EndConference() isn't true once")
	}
	all := cl.until("Destroyed", func(f frame) bool { return f.All["state"] == "Destroyed" })
	if f := all[len(all)-1]; f.Action != "ConfDynamicInfoNotify" || f.MsgMode != 0 {
		t.Errorf("the last frame is %s, want a full ConfDynamicInfoNotify", f.raw)
	}
	if code := cl.ended(); code != websocket.StatusNormalClosure {
		t.Errorf("closed with %v, want 1000", code)
	}
	after := b.Truth(conf.ID)
	if after.Phase != Ended || after.Dynamic.State != "Destroyed" || len(after.Participants) != len(before.Participants) {
		t.Errorf("after the end: phase %v, state %s, %d participants", after.Phase, after.Dynamic.State, len(after.Participants))
	}
	wantCode(t, b.Handler(), conf, 400, "MMC.111072006")
	if b.Step(conf.ID, 5); b.Truth(conf.ID).Steps != after.Steps {
		t.Error("an ended conference goes on changing")
	}

	if !b.StartConference(conf.ID) || b.StartConference(conf.ID) {
		t.Error("StartConference() isn't true once")
	}
	cl, _ = b.linked(conf)
	b.Step(conf.ID, 20)
	again := b.Truth(conf.ID)
	for pid := range again.Participants {
		if _, same := before.Participants[pid]; same {
			t.Errorf("participant %s came back from the dead", pid)
		}
	}
	inc := incrementsOf(cl.until("an increment", func(f frame) bool { return f.MsgMode == 1 }))
	if inc[0].Version != 1 || inc[0].CreateTime < before.CreateTime {
		t.Errorf("the first increment is numbered %d at %d, want 1 after %d",
			inc[0].Version, inc[0].CreateTime, before.CreateTime)
	}

	late := b.Conferences()[2]
	if phase := b.Truth(late.ID).Phase; phase != NotStarted {
		t.Errorf("phase = %v, want NotStarted", phase)
	}
	wantCode(t, b.Handler(), late, 400, "MMC.111072005")
	b.StartConference(late.ID)
	b.linked(late)
}

// Cycle ends and starts the last conference all by itself.
func TestCycle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Cycle: time.Minute})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = p.Run(ctx) }()
		first, last := p.Conferences()[0].ID, p.Conferences()[2].ID
		time.Sleep(59 * time.Second)
		for i, want := range []Phase{Running, Ended, Running, Ended} {
			if got := p.Truth(last).Phase; got != want {
				t.Errorf("turn %d: phase %v, want %v", i, got, want)
			}
			time.Sleep([]time.Duration{2 * time.Second, 15 * time.Second, time.Minute, 0}[i])
		}
		if p.Truth(first).Phase != Running {
			t.Error("another conference ended too")
		}
	})
}

func TestNewerLinkClosesOlder(t *testing.T) {
	t.Parallel()
	for _, closes := range []bool{false, true} {
		b := serve(t, Config{ClosesOlderLink: closes})
		conf := b.first()
		old, _ := b.linked(conf)
		young, _ := b.linked(conf)
		if closes {
			if code := old.ended(); code != websocket.StatusPolicyViolation {
				t.Errorf("the older link ended with %v", code)
			}
			waitFor(t, "one link", func() bool { return b.Links(conf.ID) == 1 })
		} else {
			if n := b.Links(conf.ID); n != 2 {
				t.Errorf("Links() = %d, want 2", n)
			}
			old.subscribeAll()
		}
		young.subscribeAll()
	}
}

func TestInject(t *testing.T) {
	t.Parallel()
	b := serve(t, Config{})
	cl, _ := b.linked(b.first())
	b.Inject(b.first().ID, []byte("not json at all"))
	if f := cl.next(); string(f.raw) != "not json at all" {
		t.Errorf("got %q, want what was injected", f.raw)
	}
}

// A client that leaves too much unread is closed, and doesn't disturb the others.
func TestSlowConsumer(t *testing.T) {
	t.Parallel()
	b := serve(t, Config{Participants: 100, QueueBytes: 256 << 10})
	conf := b.first()
	slow := b.dialled(conf)
	slow.wantAnswer("Subscribe", slow.subscribe(documented, slow.token), 0)
	waitFor(t, "the slow link's end", func() bool {
		b.Step(conf.ID, 200)
		return b.Links(conf.ID) == 0
	})
	cl, _ := b.linked(conf)
	cl.subscribeAll()
}

func TestCutLinks(t *testing.T) {
	t.Parallel()
	b := serve(t, Config{})
	conf := b.first()
	cl, _ := b.linked(conf)
	b.CutLinks(conf.ID)
	if code := cl.ended(); code != -1 {
		t.Errorf("a cut link was closed with %v, want no close frame", code)
	}
	waitFor(t, "no link", func() bool { return b.Links(conf.ID) == 0 })
}

// Close ends links with a close frame, refuses new ones and waits for all, even for clients that don't read.
func TestClose(t *testing.T) {
	t.Parallel()
	b := serve(t, Config{})
	conf := b.first()
	cl, _ := b.linked(conf)
	b.linked(conf) // never reads again
	token := wsTokenOf(t, b.Handler(), conf.ID, cl.token)
	done := make(chan websocket.StatusCode, 1)
	go func() {
		_, _, err := cl.conn.Read(t.Context())
		done <- websocket.CloseStatus(err)
	}()
	b.Close()
	if code := <-done; code != websocket.StatusGoingAway {
		t.Errorf("closed with %v, want 1001", code)
	}
	if n := b.Links(conf.ID); n != 0 {
		t.Errorf("Links() = %d after Close", n)
	}
	if _, err := b.dialRaw(conf.ID, token); err == nil {
		t.Error("a closed provider lets a link in")
	}
	b.Close()
}

// silentFor says whether nothing comes for d, the link's end neither. It ends the link.
func (c *client) silentFor(d time.Duration) bool {
	ctx, cancel := context.WithTimeout(c.b.t.Context(), d)
	defer cancel()
	_, _, err := c.conn.Read(ctx)
	return errors.Is(err, context.DeadlineExceeded)
}
