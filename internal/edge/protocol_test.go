package edge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"confgate/internal/conference"
)

func TestSubscribe(t *testing.T) {
	t.Parallel()
	all := `"link","conference","participants","attendees","waiting","speakers","quality","interpreters","layout","invites","subtitles"`
	tests := []struct {
		name    string
		scopes  Scopes
		confs   []string
		request string
		want    string // the answer, or the code of an error
	}{
		{
			"as documented", ScopeRead, nil, `"topics":["participants","speakers"]`,
			`{"type":"subscribed","id":"1","conference":"900","topics":["link","participants","speakers"],"view":"r25","recovered":false}`,
		},
		{
			"all that read may see", ScopeRead,
			[]string{"900"},
			``,
			`{"type":"subscribed","id":"1","conference":"900","topics":[` + all + `],"view":"r7ff","recovered":false}`,
		},
		{
			"all that pii may see", ScopeRead | ScopePII, nil, ``,
			`{"type":"subscribed","id":"1","conference":"900","topics":[` + all + `],"view":"p7ff","recovered":false}`,
		},
		{
			"all", ScopeRead | ScopeSecrets, nil, ``,
			`{"type":"subscribed","id":"1","conference":"900","topics":[` + all + `,"vendor"],"view":"sfff","recovered":false}`,
		},
		{"link is part of it", ScopeRead, nil, `"topics":[]`, `{"type":"subscribed","id":"1","conference":"900","topics":["link"],"view":"r1","recovered":false}`},
		{
			"unknown topics are ignored", ScopeRead, nil, `"topics":["weather","layout"]`,
			`{"type":"subscribed","id":"1","conference":"900","topics":["link","layout"],"view":"r101","recovered":false}`,
		},
		{"known but forbidden topic", ScopeRead | ScopePII, nil, `"topics":["participants","vendor"]`, errForbidden},
		{"another conference", ScopeRead, []string{"901", "90"}, ``, errForbidden},
		{"not to read", ScopePII | ScopeSecrets | ScopeAdmin, nil, ``, errForbidden},
		{"bad id", ScopeRead, nil, `"conference":"a b"`, errBadRequest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := loopback(t, nil)
			c := w.connect(tt.scopes, tt.confs...)
			request := `{"type":"subscribe","id":"1","conference":"900"`
			if tt.request != "" {
				request += "," + tt.request
			}
			c.send(request + "}")
			if !strings.HasPrefix(tt.want, "{") {
				c.wantError("1", tt.want)
				if n := len(w.src.requests); n != 0 {
					t.Errorf("the source was asked %d times, want 0: a refusal says nothing about the conference", n)
				}
				c.alive()
				return
			}
			c.want(tt.want)
			req := <-w.src.requests
			if req.Conference != "900" || req.Profile != tt.scopes.Profile() || req.Resume != nil || !req.Topics.Has(conference.Link) {
				t.Errorf("request = %+v, want conference 900, the scopes' profile, link and no resume", req)
			}
		})
	}
}

func TestFramesFollowSubscribed(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	status := `{"type":"status","conference":"900","fresh":false,"reason":"log","since":1}`
	snapshot := `{"type":"snapshot","conference":"900","epoch":"e","seq":41,"state":{}}`
	w.src.answer("900", func(_ context.Context, req Request) (*fakeSub, error) {
		req.Wake() // as early as it is allowed
		return &fakeSub{frames: []Frame{
			text("status", status),
			{Bytes: []byte(snapshot), Messages: []MessageCount{{"snapshot", 1}}, Snapshot: "subscribe"},
		}}, nil
	})
	c := w.connect(ScopeRead)
	c.send(`{"type":"subscribe","id":"1","conference":"900","topics":["participants"]}`)
	c.want(`{"type":"subscribed","id":"1","conference":"900","topics":["link","participants"],"view":"r5","recovered":false}`, status, snapshot)
	sub := <-w.src.subs
	batch := `[{"type":"delta","seq":42},{"type":"event","seq":43},{"type":"delta","seq":44}]`
	sub.put(Frame{Bytes: []byte(batch), Messages: []MessageCount{{"delta", 2}, {"event", 1}}, Received: time.Now()})
	c.want(batch)
	c.alive() // everything before has been counted by then
	for _, m := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"downstream_messages_total", []string{"type", "snapshot"}, 1},
		{"downstream_messages_total", []string{"type", "status"}, 1},
		{"downstream_messages_total", []string{"type", "delta"}, 2},
		{"downstream_messages_total", []string{"type", "event"}, 1},
		{"downstream_messages_total", []string{"type", "subscribed"}, 1},
		{"downstream_snapshots_total", []string{"reason", "subscribe"}, 1},
		{"delivery_latency_seconds", []string{"stage", "deliver"}, 1},
		{"downstream_connections", nil, 1},
		{"downstream_subscriptions", nil, 1},
	} {
		if got := w.metric(m.name, m.labels...); got != m.want {
			t.Errorf("%s%v = %v, want %v", m.name, m.labels, got, m.want)
		}
	}
	_ = c.ws.Close(websocket.StatusNormalClosure, "")
	<-sub.done
	waitFor(t, w, func() bool { return w.metric("downstream_connections") == 0 })
	if got := w.metric("downstream_subscriptions"); got != 0 {
		t.Errorf("subscriptions after the close = %v, want 0", got)
	}
}

func TestBytesAreCountedOnce(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	c := w.connect(ScopeRead)
	c.send(`{"type":"subscribe","conference":"900"}`)
	c.next()
	c.alive()
	before := w.metric("downstream_bytes_total")
	(<-w.src.subs).put(Frame{Bytes: make1000(), Messages: []MessageCount{{"delta", 2}, {"event", 1}}})
	c.next()
	c.alive()
	if got, want := w.metric("downstream_bytes_total")-before, 1000+float64(len(`{"type":"pong","id":"alive"}`)); got != want {
		t.Errorf("bytes = %v, want %v", got, want)
	}
}

func make1000() []byte { return []byte(`"` + strings.Repeat("x", 998) + `"`) }

func TestResume(t *testing.T) {
	t.Parallel()
	const topics = `"topics":["participants","speakers"],` // view r25
	pos := &conference.Position{Epoch: "c5k2", Seq: 41}
	tests := []struct {
		name, resume string
		recovered    bool
		want         *conference.Position
	}{
		{"same view", `{"epoch":"c5k2","view":"r25","seq":41}`, true, pos},
		{"same view, not granted", `{"epoch":"c5k2","view":"r25","seq":41}`, false, pos},
		{"view of other topics", `{"epoch":"c5k2","view":"r5","seq":41}`, false, nil},
		{"view of another redaction", `{"epoch":"c5k2","view":"p25","seq":41}`, false, nil},
		{"no view", `{"epoch":"c5k2","seq":41}`, false, nil},
		{"no epoch", `{"view":"r25","seq":41}`, false, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := loopback(t, nil)
			w.src.answer("900", func(context.Context, Request) (*fakeSub, error) {
				return &fakeSub{recovered: tt.recovered, frames: []Frame{text("delta", `{"seq":42}`)}}, nil
			})
			c := w.connect(ScopeRead)
			c.send(`{"type":"subscribe","id":"1","conference":"900",` + topics + `"resume":` + tt.resume + `}`)
			c.want(fmt.Sprintf(
				`{"type":"subscribed","id":"1","conference":"900","topics":["link","participants","speakers"],"view":"r25","recovered":%v}`,
				tt.recovered), `{"seq":42}`)
			if diff := cmp.Diff(tt.want, (<-w.src.requests).Resume); diff != "" {
				t.Errorf("resume asked of the source (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSecondSubscribeReplaces(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	c := w.connect(ScopeRead)
	c.send(`{"type":"subscribe","id":"1","conference":"900"}`)
	c.next()
	first := <-w.src.subs
	first.put(text("delta", `{"old":1}`))
	c.want(`{"old":1}`)

	asked := make(chan struct{})
	w.src.answer("900", func(context.Context, Request) (*fakeSub, error) {
		close(asked)
		// The old subscription has plenty to say up to the last moment; what of it comes is before subscribed.
		for range 100 {
			first.put(text("delta", `{"old":2}`))
		}
		return &fakeSub{frames: []Frame{text("snapshot", `{"new":1}`)}}, nil
	})
	c.send(`{"type":"subscribe","id":"2","conference":"900","topics":[]}`)
	<-asked
	for {
		msg := c.next()
		if msg == `{"old":2}` {
			continue
		}
		if want := `{"type":"subscribed","id":"2","conference":"900","topics":["link"],"view":"r1","recovered":false}`; msg != want {
			t.Fatalf("message = %s, want %s", msg, want)
		}
		break
	}
	<-first.done
	first.wakeAnyway()
	second := <-w.src.subs
	second.put(text("delta", `{"new":2}`))
	c.want(`{"new":1}`, `{"new":2}`)
	c.alive()
	if got := w.metric("downstream_subscriptions"); got != 1 {
		t.Errorf("subscriptions = %v, want 1", got)
	}
}

func TestFailedSubscribeLeavesTheOldOne(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, request, code string
		err                 error
	}{
		{"not found", `"conference":"900"`, errNotFound, ErrNotFound},
		{"unavailable", `"conference":"900"`, errUnavailable, fmt.Errorf("feed: %w", ErrUnavailable)},
		{"broken", `"conference":"900"`, errInternal, errors.New("feed: secret sauce")},
		{"forbidden", `"conference":"900","topics":["vendor"]`, errForbidden, nil},
		{"bad", `"conference":"900","topics":0`, errBadRequest, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := loopback(t, nil)
			c := w.connect(ScopeRead)
			c.send(`{"type":"subscribe","id":"1","conference":"900"}`)
			c.next()
			old := <-w.src.subs
			if tt.err != nil {
				w.src.answer("900", func(context.Context, Request) (*fakeSub, error) { return nil, tt.err })
			}
			c.send(`{"type":"subscribe","id":"2",` + tt.request + `}`)
			if text := c.wantError("2", tt.code); strings.Contains(text, "sauce") {
				t.Errorf("the error's text %q tells of the inside", text)
			}
			old.put(text("delta", `{"still":1}`))
			c.want(`{"still":1}`)
			c.send(`{"type":"unsubscribe","id":"3","conference":"900"}`)
			c.want(`{"type":"unsubscribed","id":"3","conference":"900","reason":"asked"}`)
		})
	}
}

// A subscribe that waits at the source holds up neither pings nor other conferences, and keeps its own conference in order.
func TestWaitingSubscribe(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	arrived, goOn := make(chan struct{}, 2), make(chan error)
	w.src.answer("900", func(context.Context, Request) (*fakeSub, error) {
		arrived <- struct{}{}
		if err := <-goOn; err != nil {
			return nil, err
		}
		return &fakeSub{}, nil
	})
	c := w.connect(ScopeRead)
	c.send(`{"type":"subscribe","id":"1","conference":"900","topics":[]}`)
	<-arrived
	c.send(`{"type":"unsubscribe","id":"2","conference":"900"}`)
	c.send(`{"type":"subscribe","id":"3","conference":"900","topics":["layout"]}`)
	c.alive()
	c.send(`{"type":"subscribe","id":"4","conference":"901","topics":[]}`)
	c.want(`{"type":"subscribed","id":"4","conference":"901","topics":["link"],"view":"r1","recovered":false}`)
	goOn <- nil
	c.want(
		`{"type":"subscribed","id":"1","conference":"900","topics":["link"],"view":"r1","recovered":false}`,
		`{"type":"unsubscribed","id":"2","conference":"900","reason":"asked"}`,
	)
	<-arrived
	goOn <- ErrUnavailable
	c.wantError("3", errUnavailable)
	c.send(`{"type":"unsubscribe","id":"5","conference":"900"}`)
	c.wantError("5", errNotFound)

	c.send(`{"type":"subscribe","id":"6","conference":"900"}`)
	<-arrived
	c.send(`{"type":"unsubscribe","id":"7","conference":"900"}`)
	c.alive()
	goOn <- ErrNotFound
	c.wantError("6", errNotFound)
	c.wantError("7", errNotFound)
}

func TestUnsubscribe(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	c := w.connect(ScopeRead)
	c.send(`{"type":"unsubscribe","id":"1","conference":"900"}`)
	c.wantError("1", errNotFound)
	c.send(`{"type":"subscribe","conference":"900","topics":[]}`)
	c.want(`{"type":"subscribed","conference":"900","topics":["link"],"view":"r1","recovered":false}`)
	sub := <-w.src.subs
	for range 50 {
		sub.put(text("delta", `{"seq":1}`))
	}
	c.send(`{"type":"unsubscribe","id":"2","conference":"900"}`)
	for {
		if msg := c.next(); msg == `{"type":"unsubscribed","id":"2","conference":"900","reason":"asked"}` {
			break
		} else if msg != `{"seq":1}` {
			t.Fatalf("message = %s, want a delta or unsubscribed", msg)
		}
	}
	<-sub.done
	sub.put(text("delta", `{"seq":2}`))
	sub.wakeAnyway()
	c.alive() // nothing of the conference came after unsubscribed
	c.send(`{"type":"unsubscribe","id":"3","conference":"900"}`)
	c.wantError("3", errNotFound)
}

func TestReleased(t *testing.T) {
	t.Parallel()
	w := loopback(t, func(c *Config) { c.MaxSubscriptions = 2 })
	c := w.connect(ScopeRead)
	var subs []*fakeSub
	for _, conf := range []string{"900", "901"} {
		c.send(`{"type":"subscribe","conference":"` + conf + `","topics":[]}`)
		c.next()
		subs = append(subs, <-w.src.subs)
	}
	subs[0].put(text("delta", `{"last":1}`), Frame{Released: true})
	c.want(`{"last":1}`, `{"type":"unsubscribed","conference":"900","reason":"released"}`)
	<-subs[0].done
	subs[1].put(text("delta", `{"other":1}`))
	c.want(`{"other":1}`)
	c.send(`{"type":"unsubscribe","id":"3","conference":"900"}`)
	c.wantError("3", errNotFound)
	if got := w.metric("downstream_subscriptions"); got != 1 {
		t.Errorf("subscriptions = %v, want 1", got)
	}
	c.send(`{"type":"subscribe","conference":"902","topics":[]}`) // in the place that was freed
	c.want(`{"type":"subscribed","conference":"902","topics":["link"],"view":"r1","recovered":false}`)
}

// A feed that gets something while a reader finds nothing wakes it before the reader knows that it has to be woken.
func TestWakeDuringNext(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	late := text("delta", `{"seq":1}`)
	w.src.answer("900", func(context.Context, Request) (*fakeSub, error) { return &fakeSub{late: &late}, nil })
	c := w.connect(ScopeRead)
	c.send(`{"type":"subscribe","conference":"900","topics":[]}`)
	c.next()
	c.want(`{"seq":1}`)
}

// A second subscribe must not set its client back: the source is told to make the snapshot anew, and how far a client has
// been with another view.
func TestReplacingNeverGoesBack(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	c := w.connect(ScopeRead)
	for i, want := range []int32{0, 1} {
		c.send(`{"type":"subscribe","id":"1","conference":"900","resume":{"epoch":"e","view":"other","seq":7}}`)
		if msg := c.next(); !strings.Contains(msg, `"recovered":false`) {
			t.Fatalf("subscribed: %s", msg)
		}
		req, sub := <-w.src.requests, <-w.src.subs
		if req.Resume != nil || req.NotBefore == nil || *req.NotBefore != (conference.Position{Epoch: "e", Seq: 7}) {
			t.Errorf("subscribe %d asks to resume at %v, not before %v; want neither to resume nor anything before 7",
				i, req.Resume, req.NotBefore)
		}
		if got := sub.renewed.Load(); got != want {
			t.Errorf("subscription %d was renewed %d times, want %d", i, got, want)
		}
	}
}

func TestSubscriptionLimit(t *testing.T) {
	t.Parallel()
	w := loopback(t, func(c *Config) { c.MessageRate = -1 })
	c := w.connect(ScopeRead)
	subscribe := func(i int) {
		c.send(fmt.Sprintf(`{"type":"subscribe","id":"%d","conference":"c%d","topics":[]}`, i, i))
	}
	for i := range 256 {
		subscribe(i)
		if msg := c.next(); !strings.Contains(msg, `"subscribed"`) {
			t.Fatalf("subscription %d: %s", i+1, msg)
		}
	}
	subscribe(256)
	c.wantError("256", errTooMany)
	subscribe(7) // a second one replaces
	if msg := c.next(); !strings.Contains(msg, `"subscribed","id":"7"`) {
		t.Fatalf("replacing subscribe: %s", msg)
	}
	c.send(`{"type":"unsubscribe","conference":"c3"}`)
	c.next()
	subscribe(256)
	if msg := c.next(); !strings.Contains(msg, `"subscribed","id":"256"`) {
		t.Fatalf("subscribe in a freed place: %s", msg)
	}
	if got := w.metric("downstream_subscriptions"); got != 256 {
		t.Errorf("subscriptions = %v, want 256", got)
	}
}

// What waits for the source is bounded, for one conference as for many.
func TestPendingLimit(t *testing.T) {
	t.Parallel()
	w := loopback(t, func(c *Config) { c.MessageRate = -1 })
	goOn := make(chan struct{})
	w.src.answer("900", func(ctx context.Context, _ Request) (*fakeSub, error) {
		<-goOn
		return &fakeSub{}, nil
	})
	c := w.connect(ScopeRead)
	for range maxPending {
		c.send(`{"type":"subscribe","conference":"900"}`)
	}
	c.send(`{"type":"subscribe","id":"more","conference":"900"}`)
	c.wantError("more", errRateLimited)
	close(goOn)
	for range maxPending {
		if msg := c.next(); !strings.Contains(msg, `"subscribed"`) {
			t.Fatalf("message = %s, want subscribed", msg)
		}
	}
	c.alive()
}

// Frames of many subscriptions take turns: one that has always something holds up neither the others nor the answers.
func TestSubscriptionsTakeTurns(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	endless := text("delta", `{"busy":1}`)
	w.src.answer("busy", func(context.Context, Request) (*fakeSub, error) { return &fakeSub{endless: &endless}, nil })
	c := w.connect(ScopeRead)
	c.send(`{"type":"subscribe","conference":"quiet","topics":[]}`)
	c.next()
	quiet := <-w.src.subs
	c.send(`{"type":"subscribe","conference":"busy","topics":[]}`)
	c.next()
	c.send(`{"type":"ping","id":"1"}`)
	quiet.put(text("delta", `{"quiet":1}`))
	missing := map[string]bool{`{"quiet":1}`: true, `{"type":"pong","id":"1"}`: true}
	for busy := 0; len(missing) > 0; busy++ {
		if busy == 1e6 {
			t.Fatalf("%v didn't come among %d frames of the busy subscription", missing, busy)
		}
		delete(missing, c.next())
	}
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	c := w.connect(ScopeRead)
	for _, tt := range []struct{ send, id, text string }{
		{`not json`, "", "JSON"},
		{`[{"type":"ping","id":"1"}]`, "", "JSON object"},
		{`{"type":"mute","id":"2"}`, "2", `"mute"`},
		{`{"id":"3"}`, "3", "type"},
		{`{"type":"ping","id":4}`, "", "id"},
		{``, "", "JSON"},
	} {
		c.send(tt.send)
		if got := c.wantError(tt.id, errBadRequest); !strings.Contains(got, tt.text) {
			t.Errorf("error for %q = %q, want it to name %s", tt.send, got, tt.text)
		}
	}
	c.send(`{"type":"ping","later":{"version":2}}`)
	c.want(`{"type":"pong"}`)
}

func TestNotThisProtocol(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	ping := func(size int) string {
		msg := `{"type":"ping","id":"1","pad":""}`
		return msg[:len(msg)-2] + strings.Repeat("x", size-len(msg)) + `"}`
	}
	largest := w.connect(ScopeRead)
	largest.send(ping(64 << 10))
	largest.want(`{"type":"pong","id":"1"}`)
	for _, size := range []int{64<<10 + 1, 1 << 20} {
		c := w.connect(ScopeRead)
		c.send(ping(size))
		c.wantClosed(4409)
	}
	c := w.connect(ScopeRead)
	c.write(websocket.MessageBinary, `{"type":"ping"}`)
	c.wantClosed(4409)
	waitFor(t, w, func() bool { return w.metric("downstream_closed_total", "reason", "protocol") == 3 })
}

func TestAuth(t *testing.T) {
	t.Parallel()
	base := Claims{Scopes: ScopeRead | ScopePII, Conferences: []string{"900", "901"}}
	tests := []struct {
		name  string
		renew Claims
		raw   string // instead of renew
		code  string // of the error
		close int
	}{
		{"longer", Claims{Scopes: base.Scopes, Conferences: base.Conferences, Expires: time.Now().Add(3 * time.Hour)}, "", "", 0},
		{"more", Claims{Scopes: base.Scopes | ScopeSecrets, Conferences: []string{"*"}}, "", "", 0},
		{"less, but what is used", Claims{Scopes: base.Scopes, Conferences: []string{"900"}}, "", "", 0},
		{"without the conference", Claims{Scopes: base.Scopes, Conferences: []string{"901"}}, "", "", 4403},
		{"without the redaction", Claims{Scopes: ScopeRead}, "", "", 4403},
		{"not to read", Claims{Scopes: ScopePII}, "", "", 4403},
		{"another subject", Claims{Scopes: base.Scopes, Subject: "bob"}, "", errForbidden, 0},
		{"expired", Claims{Scopes: base.Scopes, Expires: time.Now().Add(-time.Hour)}, "", errUnauthorized, 0},
		{"garbage", Claims{}, "x.y.z", errUnauthorized, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := loopback(t, nil)
			c := w.dial(nil, subprotocol, bearerPrefix+token(t, base))
			c.greet()
			c.send(`{"type":"subscribe","conference":"900"}`)
			c.next()
			sub := <-w.src.subs
			tok := tt.raw
			if tok == "" {
				tok = token(t, tt.renew)
			}
			c.send(`{"type":"auth","id":"4","token":"` + tok + `"}`)
			switch {
			case tt.close != 0:
				c.wantClosed(tt.close)
				<-sub.done
				return
			case tt.code != "":
				c.wantError("4", tt.code)
			default:
				session := c.welcome["session"]
				c.greet()
				want := []any{}
				for _, n := range tt.renew.Scopes.Names() {
					want = append(want, n)
				}
				if diff := cmp.Diff(want, c.welcome["scopes"]); diff != "" || c.welcome["id"] != "4" || c.welcome["session"] != session {
					t.Errorf("welcome = %v, want the id, the same session and new scopes (-want +got):\n%s", c.welcome, diff)
				}
			}
			sub.put(text("delta", `{"on":1}`)) // the subscription goes on
			c.want(`{"on":1}`)
		})
	}
}

// The new token decides what can be subscribed to from then on.
func TestAuthChangesRights(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	c := w.connect(ScopeRead, "900")
	c.send(`{"type":"subscribe","id":"1","conference":"901"}`)
	c.wantError("1", errForbidden)
	c.send(`{"type":"auth","token":"` + token(t, Claims{Scopes: ScopeRead | ScopePII, Conferences: []string{"901"}}) + `"}`)
	c.greet()
	c.send(`{"type":"subscribe","id":"2","conference":"901","topics":[]}`)
	c.want(`{"type":"subscribed","id":"2","conference":"901","topics":["link"],"view":"p1","recovered":false}`)
	c.send(`{"type":"subscribe","id":"3","conference":"900"}`)
	c.wantError("3", errForbidden)
}

// A subscribe that waits while its token is replaced by one that doesn't allow it, comes to nothing.
func TestAuthOvertakesSubscribe(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	arrived, goOn := make(chan struct{}), make(chan struct{})
	w.src.answer("900", func(context.Context, Request) (*fakeSub, error) {
		close(arrived)
		<-goOn
		return &fakeSub{frames: []Frame{text("snapshot", `{"secret":1}`)}}, nil
	})
	c := w.connect(ScopeRead|ScopeSecrets, "900")
	c.send(`{"type":"subscribe","id":"1","conference":"900"}`)
	<-arrived
	c.send(`{"type":"auth","token":"` + token(t, Claims{Scopes: ScopeRead, Conferences: []string{"900"}}) + `"}`)
	c.greet()
	close(goOn)
	c.wantError("1", errForbidden)
	<-(<-w.src.subs).done
	c.alive()
}

func TestLeavesWhileSubscribing(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	arrived := make(chan struct{})
	w.src.answer("900", func(ctx context.Context, _ Request) (*fakeSub, error) {
		close(arrived)
		<-ctx.Done()
		return &fakeSub{}, nil // a source that doesn't look at its context
	})
	c := w.connect(ScopeRead)
	c.send(`{"type":"subscribe","conference":"900"}`)
	<-arrived
	_ = c.ws.CloseNow()
	<-(<-w.src.subs).done
	waitFor(t, w, func() bool { return w.metric("downstream_closed_total", "reason", "lost") == 1 })
}

func TestClientCloses(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	c := w.dial(http.Header{"Authorization": {"Bearer " + token(t, Claims{})}}, subprotocol)
	c.greet()
	if err := c.ws.Close(websocket.StatusNormalClosure, "bye"); err != nil {
		t.Errorf("Close = %v, want nil: the server echoes the code", err)
	}
	waitFor(t, w, func() bool { return w.metric("downstream_closed_total", "reason", "client") == 1 })
}
