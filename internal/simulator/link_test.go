package simulator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
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
		if d := time.Since(begin); d > time.Second {
			t.Errorf("full frames took %v, want tens of milliseconds", d)
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

// Run makes as many frames as the rate asks for, Pause stops it, Resume lets it go on.
func TestRate(t *testing.T) {
	t.Parallel()
	const rate = 400
	b := serve(t, Config{Rate: rate, Conferences: 1})
	b.run()
	conf := b.first()
	cl, _ := b.linked(conf)
	begin := time.Now()
	for range rate / 2 {
		cl.next()
	}
	if d := time.Since(begin); d < 250*time.Millisecond {
		t.Errorf("%d frames of %d a second took %v, want about 500 ms", rate/2, rate, d)
	}
	b.Pause()
	steps := b.Truth(conf.ID).Steps
	seq := cl.subscribe(documented, cl.token)
	cl.wantAnswer("Subscribe", seq, 0)
	cl.until("the last full frame", func() func(frame) bool {
		left := kindsWithFulls
		return func(frame) bool { left--; return left == 0 }
	}())
	if got := b.Truth(conf.ID).Steps; got != steps {
		t.Errorf("the paused world made %d steps", got-steps)
	}
	b.Resume()
	waitFor(t, "another step", func() bool { return b.Truth(conf.ID).Steps > steps })
}

func TestHeartBeat(t *testing.T) {
	t.Parallel()
	b := serve(t, Config{SilenceLimit: 400 * time.Millisecond})
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
		cl.send(fmt.Sprintf(`{"action":"ConfControl","sequence":%q,"type":%q,"data":"{\"conferenceID\":\"%s\",\"confToken\":\"%s\"%s}"}`,
			seq, typ, conf.ID, cl.token, strings.ReplaceAll(more, `"`, `\"`)))
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
		t.Errorf("the first increment is numbered %d at %d, want 1 after %d", inc[0].Version, inc[0].CreateTime, before.CreateTime)
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
	b := serve(t, Config{Cycle: 100 * time.Millisecond, Rate: 20})
	last := b.Conferences()[2].ID
	b.run()
	for _, want := range []Phase{Ended, Running, Ended} {
		waitFor(t, "the next phase", func() bool { return b.Truth(last).Phase == want })
	}
	if b.Truth(b.first().ID).Phase != Running {
		t.Error("another conference ended too")
	}
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
		_, _, err := cl.conn.Read(b.ctx)
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

// A new password shows in the frames, and doesn't end what the old one opened.
func TestSetPassword(t *testing.T) {
	t.Parallel()
	b := serve(t, Config{})
	conf := b.first()
	cl, _ := b.linked(conf)
	b.SetPassword(conf.ID, secret("new-password"))
	if f := cl.next(); f.Action != "ConfBasicInfoNotify" || !bytes.Contains(f.raw, []byte("new-password")) {
		t.Errorf("got %s, want the basic information with the new password", f.Action)
	}
	wantCode(t, b.Handler(), conf, 400, "MMC.111072065")
	conf.Password = secret("new-password")
	logIn(t, b.Handler(), conf)
	cl.subscribeAll()
}

// What is planted comes out where it should, and in the first conference only.
func TestCanary(t *testing.T) {
	t.Parallel()
	canary := Canary{
		Password: secret("canary-password"), Token: secret("canary-token"), JoinLink: secret("https://canary.example/join"),
		AuthInfo: secret("canary-auth"), Phone: "+999000111", Email: "canary@example.com", Account: "canary-account",
	}
	b := serve(t, Config{Canary: canary})
	conf := b.first()
	if conf.Password.Reveal() != "canary-password" {
		t.Error("the chair password isn't the canary's")
	}
	cl, frames := b.linked(conf)
	b.Step(conf.ID, 2000)
	frames = append(frames, cl.subscribeAll()...)
	for action, wants := range map[string][]string{
		"ConfBasicInfoNotify":    {"canary-password", "https://canary.example/join"},
		"ParticipantsNotify":     {"+999000111", "canary-account"},
		"AttendeesNotify":        {"+999000111", "canary@example.com", "canary-account"},
		"InviteResultNotify":     {"+999000111"},
		"InterpreterGroupNotify": {"canary-auth"},
	} {
		for _, want := range wants {
			i := slices.IndexFunc(frames[len(frames)-kindsWithFulls:], func(f frame) bool {
				return f.Action == action && f.MsgMode == 0 && bytes.Contains(f.raw, []byte(want))
			})
			if i < 0 {
				t.Errorf("after 2000 steps no full %s holds %q", action, want)
			}
		}
	}
	if !strings.Contains(cl.token, "canary-token") || !strings.Contains(wsTokenOf(t, b.Handler(), conf.ID, cl.token), "canary-token") {
		t.Error("tokens don't hold the canary")
	}
	_, others := b.linked(b.Conferences()[1])
	for _, f := range others {
		if bytes.Contains(f.raw, []byte("canary")) {
			t.Errorf("the second conference's %s holds a canary", f.Action)
		}
	}
}

// read with a context that is done tells the test's own time-out from a closed link.
func (c *client) silentFor(d time.Duration) bool {
	ctx, cancel := context.WithTimeout(c.b.ctx, d)
	defer cancel()
	_, _, err := c.conn.Read(ctx)
	return errors.Is(err, context.DeadlineExceeded)
}
