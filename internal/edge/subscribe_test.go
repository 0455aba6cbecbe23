package edge

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

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
	w.awaitMetric(1, "downstream_subscriptions")
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
