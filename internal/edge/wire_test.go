package edge

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"confgate/internal/conference"
)

func TestWire(t *testing.T) {
	t.Parallel()
	var e Encoder
	ms := time.UnixMilli
	tests := []struct {
		name string
		got  []byte
		want string
	}{
		{
			"welcome", appendWelcome(nil, welcome{
				worker: "gw-0-x7", session: "S1", now: ms(1611993595000), heartbeat: 25 * time.Second,
				scopes: ScopeRead, expires: ms(1611997195000),
			}),
			`{"type":"welcome","worker":"gw-0-x7","session":"S1","time":1611993595000,"heartbeatMs":25000,"scopes":["read"],"expires":1611997195000}`,
		},
		{
			"welcome without expiry", appendWelcome(nil, welcome{
				worker: "w", session: "S1", now: ms(1), heartbeat: time.Second, scopes: ScopeAdmin | ScopePII | ScopeRead | ScopeSecrets,
			}),
			`{"type":"welcome","worker":"w","session":"S1","time":1,"heartbeatMs":1000,"scopes":["read","pii","secrets","admin"]}`,
		},
		{
			"welcome after auth", appendWelcome(nil, welcome{id: "4", worker: "w", session: "S1", now: ms(1), heartbeat: time.Second}),
			`{"type":"welcome","id":"4","worker":"w","session":"S1","time":1,"heartbeatMs":1000,"scopes":[]}`,
		},
		{
			"subscribed",
			appendSubscribed(nil, "1", "900487914", conference.TopicSet(conference.Link, conference.Participants, conference.Speakers), "p3", false),
			`{"type":"subscribed","id":"1","conference":"900487914","topics":["link","participants","speakers"],"view":"p3","recovered":false}`,
		},
		{
			"subscribed without id", appendSubscribed(nil, "", "900487914", conference.TopicSet(conference.Link), "r1", true),
			`{"type":"subscribed","conference":"900487914","topics":["link"],"view":"r1","recovered":true}`,
		},
		{
			"snapshot", e.Snapshot(nil, "900487914", conference.Position{Epoch: "c5k2", Seq: 41}, []byte(`{"link":{}}`), nil),
			`{"type":"snapshot","conference":"900487914","epoch":"c5k2","seq":41,"state":{"link":{}}}`,
		},
		{
			"snapshot with events",
			e.Snapshot(nil, "900487914", conference.Position{Epoch: "c5k2", Seq: 41}, []byte(`{}`), [][]byte{[]byte(`{"a":1}`), []byte(`{"b":2}`)}),
			`{"type":"snapshot","conference":"900487914","epoch":"c5k2","seq":41,"state":{},"events":[{"a":1},{"b":2}]}`,
		},
		{
			"delta", e.Delta(nil, "900487914", conference.Stamped{
				Change: conference.Change{Topic: conference.Participants, Time: 1611993595058, Body: []byte(`{"secret":1}`)}, Seq: 44, Prev: 39,
			}, []byte(`{"pid1":{"muted":true},"pid2":null}`)),
			`{"type":"delta","conference":"900487914","topic":"participants","seq":44,"prev":39,"time":1611993595058,"patch":{"pid1":{"muted":true},"pid2":null}}`,
		},
		{
			"delta of which redaction leaves nothing",
			e.Delta(nil, "9", conference.Stamped{Change: conference.Change{Topic: conference.Info, Time: 7}, Seq: 1}, []byte(`{}`)),
			`{"type":"delta","conference":"9","topic":"conference","seq":1,"prev":0,"time":7,"patch":{}}`,
		},
		{
			"event", e.Delta(nil, "900487914", conference.Stamped{
				Change: conference.Change{Topic: conference.Invites, Time: 1611993595063}, Seq: 45, Prev: 12,
			}, []byte(`{"ok":false}`)),
			`{"type":"event","conference":"900487914","topic":"invites","seq":45,"prev":12,"time":1611993595063,"data":{"ok":false}}`,
		},
		{
			"status", e.Status(nil, "900487914", false, "log", 1611993595100),
			`{"type":"status","conference":"900487914","fresh":false,"reason":"log","since":1611993595100}`,
		},
		{
			"status fresh again", e.Status(nil, "900487914", true, "", 1611993595200),
			`{"type":"status","conference":"900487914","fresh":true,"since":1611993595200}`,
		},
		{
			"unsubscribed", appendUnsubscribed(nil, "2", "900487914", reasonAsked),
			`{"type":"unsubscribed","id":"2","conference":"900487914","reason":"asked"}`,
		},
		{
			"released", appendUnsubscribed(nil, "", "900487914", reasonReleased),
			`{"type":"unsubscribed","conference":"900487914","reason":"released"}`,
		},
		{"heartbeat", appendHeartbeat(nil, ms(1611993620000)), `{"type":"heartbeat","time":1611993620000}`},
		{"pong", appendPong(nil, "3"), `{"type":"pong","id":"3"}`},
		{"pong without id", appendPong(nil, ""), `{"type":"pong"}`},
		{
			"error", appendError(nil, "1", errForbidden, "no"),
			`{"type":"error","id":"1","code":"forbidden","message":"no"}`,
		},
		{
			"escapes", appendError(nil, "a\"b\\c\x00é\u2028", errBadRequest, "x"),
			`{"type":"error","id":"a\"b\\c\u0000é\u2028","code":"bad_request","message":"x"}`,
		},
	}
	for _, tt := range tests {
		if string(tt.got) != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, tt.got, tt.want)
		}
		if !json.Valid(tt.got) {
			t.Errorf("%s: %s isn't JSON", tt.name, tt.got)
		}
	}
}

func TestAppendStringRoundTrips(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		var got string
		if err := json.Unmarshal(appendString([]byte(nil), s), &got); err != nil || got != s {
			t.Fatalf("appendString(%q) reads as %q, %v", s, got, err)
		}
	})
}

//nolint:paralleltest // counts allocations, which others would add to
func TestEncoderAppendsWithoutAllocating(t *testing.T) {
	var e Encoder
	buf := make([]byte, 0, 4096)
	c := conference.Stamped{Change: conference.Change{Topic: conference.Participants, Time: 1611993595058}, Seq: 44, Prev: 39}
	body, events := []byte(`{"pid1":{"muted":true}}`), [][]byte{[]byte(`{}`)}
	allocs := testing.AllocsPerRun(100, func() {
		buf = e.Delta(buf[:0], "900487914", c, body)
		buf = e.Snapshot(buf, "900487914", conference.Position{Epoch: "c5k2", Seq: 41}, body, events)
		buf = e.Status(buf, "900487914", false, "log", 1611993595100)
		buf = appendHeartbeat(buf, time.UnixMilli(1))
	})
	if allocs != 0 {
		t.Errorf("encoding allocates %v times, want 0", allocs)
	}
}

func BenchmarkDelta(b *testing.B) {
	var e Encoder
	var buf []byte
	c := conference.Stamped{Change: conference.Change{Topic: conference.Participants, Time: 1611993595058}, Seq: 44, Prev: 39}
	body := []byte(`{"pid1":{"muted":true},"pid2":null}`)
	b.ReportAllocs()
	for b.Loop() {
		buf = e.Delta(buf[:0], "900487914", c, body)
	}
}
