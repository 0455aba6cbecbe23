package watch

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestClientFollows(t *testing.T) {
	t.Parallel()
	url := play(t, func(s *stage) {
		s.greet()
		if got, want := s.subscribe["topics"], any([]any{"participants"}); !cmp.Equal(got, want) {
			s.t.Errorf("topics = %v, want %v", got, want)
		}
		s.grant(false)
		s.snapshot("e1", 40, `{"participants":{"p1":{"name":"Ana"}}}`)
		s.send(`[`+participants(41, 30, `{"p2":{"name":"Bo"}}`)+`,`+participants(42, 41, `{"p1":null}`)+`]`,
			`{"type":"event","conference":"c1","topic":"invites","seq":43,"prev":0,"time":1,"data":{"ok":true}}`,
			`{"type":"confetti"}`, `{"type":"heartbeat","time":5}`,
			participants(41, 30, `{"p9":{}}`), `{"type":"delta","conference":"other","topic":"participants","seq":99,"prev":98,"patch":{"x":{}}}`,
			`{"type":"status","conference":"c1","fresh":false,"reason":"log","since":7}`)
		s.wait()
	})
	var raw, updates []string
	r := run(t, Config{
		URL: url, Topics: []string{"participants"},
		OnMessage: func(m []byte) { raw = append(raw, string(m)) },
		OnUpdate:  func(m *Message) { updates = append(updates, fmt.Sprint(m.Type, m.Seq)) },
	})
	got := r.until("not fresh", func(p Report) bool { return !p.Fresh })
	r.stop()
	if err := r.end(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	want := Report{
		Epoch: "e1", View: "v", Seq: 43, Document: []byte(`{"participants":{"p2":{"name":"Bo"}}}`), Whole: true,
		Counts: Counts{Snapshots: 1, Deltas: 2, Events: 1, Duplicates: 1}, Connected: true, Connects: 1,
		Stale: "log", StaleSince: 7, Worker: "gw-0", Messages: 11, Positions: got.Positions,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Report (-want +got):\n%s", diff)
	}
	if got.Positions["participants"] != 42 || got.Positions["invites"] != 43 || got.Positions["link"] != 40 {
		t.Errorf("positions = %v, want participants 42, invites 43, link 40", got.Positions)
	}
	if diff := cmp.Diff([]string{"snapshot40", "delta41", "delta42", "event43", "status0"}, updates); diff != "" {
		t.Errorf("updates (-want +got):\n%s", diff)
	}
	if len(raw) != 11 || raw[3] != participants(41, 30, `{"p2":{"name":"Bo"}}`) || raw[6] != `{"type":"confetti"}` {
		t.Errorf("messages = %q, want all 11 as they came", raw)
	}
}

func TestClientResumes(t *testing.T) {
	t.Parallel()
	var resumes []string
	note := func(s *stage) { resumes = append(resumes, s.resume()) }
	url := play(t,
		func(s *stage) {
			s.greet()
			note(s)
			s.grant(false)
			s.snapshot("e1", 40, `{}`)
			s.send(participants(41, 0, `{"p1":{}}`))
			s.wait() // until the client is disconnected
		},
		func(s *stage) {
			s.greet()
			note(s)
			s.grant(true)
			s.send(participants(44, 41, `{"p2":{}}`))
			s.close(1001)
		},
		func(s *stage) {
			s.greet()
			note(s)
			s.grant(false)
			// The connection breaks before the snapshot: the old document is worth nothing any more.
		},
		func(s *stage) {
			s.greet()
			note(s)
			s.grant(false)
			s.snapshot("e2", 7, `{"participants":{"p3":{}}}`)
			s.wait()
		},
	)
	r := run(t, Config{URL: url})
	r.untilDocument(`{"participants":{"p1":{}}}`)
	r.client.Disconnect()
	got := r.untilDocument(`{"participants":{"p3":{}}}`)
	if diff := cmp.Diff([]string{"", "e1/v/41", "e1/v/44", ""}, resumes); diff != "" {
		t.Errorf("resumes (-want +got):\n%s", diff)
	}
	if got.Counts.Snapshots != 2 || got.Counts.Resets != 1 || got.Connects != 4 || got.Recovered != 1 || got.Refused != 1 {
		t.Errorf("Report = %+v, want 2 snapshots, 1 reset, 4 connects, 1 resume granted, 1 refused", got)
	}
	if len(got.Violations) != 0 {
		t.Errorf("violations = %q, want none", got.Violations)
	}
}

// A client that is told where to connect each time resumes at another worker.
func TestClientMoves(t *testing.T) {
	t.Parallel()
	var resume string
	leaving := play(t, func(s *stage) {
		s.greet()
		s.grant(false)
		s.snapshot("e1", 40, `{}`)
		s.close(1001)
	})
	other := play(t, func(s *stage) {
		s.greet()
		resume = s.resume()
		s.grant(true)
		s.send(participants(41, 0, `{"p1":{}}`))
		s.wait()
	})
	places := []string{leaving, other}
	r := run(t, Config{Endpoint: func() string {
		place := places[0]
		places = places[1:]
		return place
	}})
	got := r.untilDocument(`{"participants":{"p1":{}}}`)
	if resume != "e1/v/40" || got.Counts.Snapshots != 1 || got.Recovered != 1 {
		t.Errorf("resumed from %q, %d snapshots, %d resumes granted; want e1/v/40, 1, 1", resume, got.Counts.Snapshots, got.Recovered)
	}
}

// An endpoint that is no URL ends the client.
func TestClientMovesNowhere(t *testing.T) {
	t.Parallel()
	c, err := NewClient(Config{Conference: "c1", Endpoint: func() string { return "gopher://there" }})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context()); err == nil {
		t.Error("Run = nil, want an error about the URL")
	}
}

func TestClientSubscribesAnewAfterALoss(t *testing.T) {
	t.Parallel()
	url := play(t, func(s *stage) {
		s.greet()
		s.grant(false)
		s.snapshot("e1", 40, `{}`)
		s.send(participants(43, 42, `{"p1":{}}`), participants(44, 43, `{"p2":{}}`))
		first := s.subscribe
		s.subscribe = s.receive()
		if s.resume() != "" || s.subscribe["type"] != "subscribe" || s.subscribe["id"] == first["id"] {
			s.t.Errorf("after a loss the client sent %v, want a subscribe of its own without resume", s.subscribe)
		}
		s.grant(false)
		s.snapshot("e1", 44, `{"participants":{"p2":{}}}`)
		s.wait()
	})
	r := run(t, Config{URL: url})
	got := r.untilDocument(`{"participants":{"p2":{}}}`)
	if got.Counts.Gaps != 1 || got.Connects != 1 || len(got.Violations) != 1 {
		t.Errorf("Report = %+v, want one gap, noted, on one connection", got)
	}
}

func TestClientEnds(t *testing.T) {
	t.Parallel()
	closing := func(code int) act { return func(s *stage) { s.greet(); s.close(code) } }
	refusing := func(code string) act {
		return func(s *stage) {
			s.greet()
			s.send(fmt.Sprintf(`{"type":"error","id":%q,"code":%q,"message":"no\u001b[31m"}`, s.subscribe["id"], code))
			s.wait()
		}
	}
	tests := []struct {
		name string
		act  act
		want error
	}{
		{"4401", closing(4401), ErrUnauthorized},
		{"4401 instead of a welcome", func(s *stage) { s.close(4401) }, ErrUnauthorized},
		{"4403", closing(4403), ErrForbidden},
		{"4409", closing(4409), ErrProtocol},
		{"not_found", refusing("not_found"), ErrNotFound},
		{"forbidden", refusing("forbidden"), ErrForbidden},
		{"unauthorized", refusing("unauthorized"), ErrUnauthorized},
		{"bad_request", refusing("bad_request"), ErrRefused},
		{"too_many_subscriptions", refusing("too_many_subscriptions"), ErrRefused},
		{"released", func(s *stage) {
			s.greet()
			s.grant(false)
			s.send(`{"type":"unsubscribed","conference":"c1","reason":"released"}`)
			s.wait()
		}, ErrReleased},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := run(t, Config{URL: play(t, tt.act)}).end()
			if !errors.Is(err, tt.want) {
				t.Errorf("Run = %v, want %v", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "\x1b") {
				t.Errorf("Run = %q, which controls the terminal", err)
			}
		})
	}
}

func TestClientTriesAgain(t *testing.T) {
	t.Parallel()
	good := func(s *stage) {
		s.greet()
		s.grant(false)
		s.snapshot("e1", 1, `{"participants":{"p1":{}}}`)
		s.wait()
	}
	tests := map[string]act{
		"broken":       func(*stage) {},
		"1000":         func(s *stage) { s.greet(); s.close(1000) },
		"1001":         func(s *stage) { s.greet(); s.close(1001) },
		"1011":         func(s *stage) { s.greet(); s.close(1011) },
		"1013":         func(s *stage) { s.close(1013) },
		"4408":         func(s *stage) { s.greet(); s.close(4408) },
		"4429":         func(s *stage) { s.greet(); s.close(4429) },
		"not JSON":     func(s *stage) { s.greet(); s.send(`{`); s.wait() },
		"not messages": func(s *stage) { s.greet(); s.send(`[1]`); s.wait() },
		"wrong member": func(s *stage) { s.greet(); s.send(`{"type":"delta","seq":"x"}`); s.wait() },
		"snapshot of nothing": func(s *stage) {
			s.greet()
			s.grant(false)
			s.send(`{"type":"snapshot","conference":"c1","state":4}`)
			s.wait()
		},
		"silence": func(s *stage) {
			s.send(`{"type":"welcome","worker":"gw-0","session":"s","time":1,"heartbeatMs":20,"scopes":["read"]}`)
			s.wait()
		},
	}
	for name, first := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := run(t, Config{URL: play(t, first, good)}).untilDocument(`{"participants":{"p1":{}}}`)
			if got.Counts.Snapshots != 1 {
				t.Errorf("snapshots = %d, want 1", got.Counts.Snapshots)
			}
		})
	}
}

func TestClientAsksAgainWhereUnavailable(t *testing.T) {
	t.Parallel()
	url := play(t, func(s *stage) {
		s.greet()
		for _, code := range []string{"unavailable", "internal", "rate_limited", "of_a_newer_protocol"} {
			s.send(`{"type":"error","id":"nobody's","code":"forbidden","message":""}`,
				fmt.Sprintf(`{"type":"error","id":%q,"code":%q,"message":"later"}`, s.subscribe["id"], code))
			s.subscribe = s.receive()
		}
		s.grant(false)
		s.snapshot("e1", 1, `{"participants":{"p1":{}}}`)
		s.wait()
	})
	if got := run(t, Config{URL: url}).untilDocument(`{"participants":{"p1":{}}}`); got.Connects != 1 {
		t.Errorf("connects = %d, want 1", got.Connects)
	}
}

// A slow reader isn't a silent server: the time that a hook takes doesn't count, and what came meanwhile is read.
func TestClientSlowHookIsNotSilence(t *testing.T) {
	t.Parallel()
	const heartbeat = 30 * time.Millisecond
	url := play(t, func(s *stage) {
		s.send(fmt.Sprintf(`{"type":"welcome","worker":"gw-0","session":"s","time":1,"heartbeatMs":%d,"scopes":[]}`, heartbeat.Milliseconds()))
		s.subscribe = s.receive()
		s.grant(false)
		s.snapshot("e1", 1, `{}`)
		s.send(participants(2, 0, `{"p1":{}}`))
		s.wait()
	})
	var once atomic.Bool
	r := run(t, Config{URL: url, OnUpdate: func(m *Message) {
		if m.Type == "snapshot" && once.CompareAndSwap(false, true) {
			<-time.After(4 * heartbeat)
		}
	}})
	if got := r.untilDocument(`{"participants":{"p1":{}}}`); got.Connects != 1 {
		t.Errorf("connects = %d, want 1", got.Connects)
	}
}

func TestNewClientRefuses(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"scheme":     {URL: "ftp://host", Conference: "c1"},
		"no host":    {URL: "https://", Conference: "c1"},
		"not a URL":  {URL: "http://[", Conference: "c1"},
		"user":       {URL: "http://me:hunter2@host", Conference: "c1"},
		"query":      {URL: "http://host/?access_token=hunter2", Conference: "c1"},
		"conference": {URL: "http://host", Conference: "c 1"},
		"none":       {URL: "http://host"},
	} {
		if _, err := NewClient(cfg); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("NewClient(%s) = %v, want an error that shows no secret", name, err)
		}
	}
}

func TestEndpoint(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"http://h:1":             "ws://h:1/v1/ws",
		"https://h/":             "wss://h/v1/ws",
		"ws://h/v1/ws":           "ws://h/v1/ws",
		"wss://h/gate/":          "wss://h/gate/v1/ws",
		"http://h/#conf=900":     "ws://h/v1/ws",
		"https://h/gate/v1/ws#x": "wss://h/gate/v1/ws",
	} {
		if got, err := endpoint(raw); err != nil || got != want {
			t.Errorf("endpoint(%q) = %q, %v, want %q", raw, got, err, want)
		}
	}
}

func TestBackoffIsBoundedAndJittered(t *testing.T) {
	t.Parallel()
	const low, high = 200 * time.Millisecond, 30 * time.Second
	b := newBackoff(low, high)
	var most time.Duration
	distinct := make(map[time.Duration]bool)
	for i := range 60 {
		d := b.NextBackOff()
		if limit := min(low<<min(i, 20), high) + 1; d < 0 || d > limit {
			t.Errorf("wait %d = %s, want at most %s", i, d, limit)
		}
		most = max(most, d)
		distinct[d] = true
	}
	if len(distinct) < 50 || most < high/4 {
		t.Errorf("%d different waits, the longest %s: want jitter, and long waits in the end", len(distinct), most)
	}
}
