package edge

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"confgate/internal/conference"
)

func TestFramesFollowSubscribed(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	status := `{"type":"status","conference":"900","fresh":false,"reason":"log","since":1}`
	snapshot := `{"type":"snapshot","conference":"900","epoch":"e","seq":41,"state":{}}`
	w.src.answer("900", func(_ context.Context, req Request) (*fakeSub, error) {
		req.Wake.Wake() // as early as it is allowed
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
		w.awaitMetric(m.want, m.name, m.labels...)
	}
	_ = c.ws.Close(websocket.StatusNormalClosure, "")
	<-sub.done
	w.awaitMetric(0, "downstream_connections")
	w.awaitMetric(0, "downstream_subscriptions")
}

func TestBytesAreCountedOnce(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	c := w.dial(nil, subprotocol, bearerPrefix+token(t, Claims{Scopes: ScopeRead}))
	bytes := len(c.next()) // the welcome
	c.send(`{"type":"subscribe","conference":"900"}`)
	bytes += len(c.next())
	(<-w.src.subs).put(Frame{Bytes: make1000(), Messages: []MessageCount{{"delta", 2}, {"event", 1}}})
	bytes += len(c.next())
	c.alive()
	w.awaitMetric(float64(bytes+len(`{"type":"pong","id":"alive"}`)), "downstream_bytes_total")
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
