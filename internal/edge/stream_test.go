package edge

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"confgate/internal/conference"
)

// sse is one event as it came: "comment" events have no other member.
type sse struct{ event, id, data, retry string }

// events is an open event stream.
type events struct {
	t     *testing.T
	waits time.Duration
	resp  *http.Response
	lines chan string // closed at the end
	stop  context.CancelFunc
}

// stream opens one; header are name, value pairs.
func (w *world) stream(path string, header ...string) *events {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := w.client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	e := &events{t: w.t, waits: w.waits, resp: resp, lines: make(chan string), stop: cancel}
	w.t.Cleanup(func() {
		cancel()
		_ = resp.Body.Close()
		for range e.lines { // its goroutine ends before the test
		}
	})
	go func() {
		defer close(e.lines)
		r := bufio.NewReader(resp.Body)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			select {
			case e.lines <- strings.TrimSuffix(line, "\n"):
			case <-ctx.Done():
				return
			}
		}
	}()
	return e
}

// open opens a stream that is to succeed, and reads up to its subscribed message.
func (w *world) open(path string, header ...string) (*events, map[string]any) {
	w.t.Helper()
	e := w.stream(path, header...)
	if e.resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(e.resp.Body)
		w.t.Fatalf("%s = %d %s", path, e.resp.StatusCode, body)
	}
	if got := e.next(); got.retry < "1000" || got.retry > "2999" || len(got.retry) != 4 {
		w.t.Errorf("stream begins with %+v, want a retry of 1000 to 2999 ms", got)
	}
	var told map[string]any
	for _, typ := range []string{"welcome", "subscribed"} {
		told = nil
		if got := e.next(); got.event != typ || got.id != "" || json.Unmarshal([]byte(got.data), &told) != nil || told["type"] != typ {
			w.t.Fatalf("event = %+v, want %s without an id", got, typ)
		}
	}
	return e, told
}

// read is the next event; false: the stream has ended.
func (e *events) read() (sse, bool) {
	e.t.Helper()
	var got sse
	timer := time.NewTimer(e.waits)
	defer timer.Stop()
	for {
		var line string
		var ok bool
		select {
		case line, ok = <-e.lines:
		case <-timer.C:
			e.t.Fatal("no event came")
		}
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case !ok:
			return sse{}, false
		case line == "":
			return got, true
		case line == ":":
			got.event = "comment"
		case name == "event":
			got.event = value
		case name == "id":
			got.id = value
		case name == "data":
			got.data += value
		case name == "retry":
			got.retry = value
		default:
			e.t.Fatalf("line %q is no event's", line)
		}
	}
}

func (e *events) next() sse {
	e.t.Helper()
	got, ok := e.read()
	if !ok {
		e.t.Fatal("the stream has ended")
	}
	return got
}

func (e *events) want(list ...sse) {
	e.t.Helper()
	for _, want := range list {
		if got := e.next(); got != want {
			e.t.Fatalf("event = %+v\nwant    %+v", got, want)
		}
	}
}

func (e *events) wantEnd() {
	e.t.Helper()
	if got, ok := e.read(); ok {
		e.t.Fatalf("event = %+v, want the end", got)
	}
}

const eventsPath = "/v1/conferences/900/events"

var readView = conference.View(conference.Profile(0).VisibleTopics(), 0)

func TestEvents(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	e, subscribed := w.open(eventsPath+"?topics=speakers,invites", bearer(t, ScopeRead, "900")...)
	h := e.resp.Header
	if h.Get("Content-Type") != "text/event-stream" || h.Get("Cache-Control") != "private, no-cache" || h.Get("X-Accel-Buffering") != "no" {
		t.Errorf("header = %v, want an event stream that nobody holds back", h)
	}
	view := conference.View(conference.TopicSet(conference.Speakers, conference.Invites), 0)
	if subscribed["view"] != view || subscribed["recovered"] != false || fmt.Sprint(subscribed["topics"]) != "[link speakers invites]" {
		t.Errorf("subscribed = %v", subscribed)
	}
	req, sub := <-w.src.requests, <-w.src.subs
	if req.Conference != "900" || req.Resume != nil || conference.View(req.Topics, req.Profile) != view {
		t.Errorf("request = %+v", req)
	}
	snapshot := string(Encoder{}.Snapshot(nil, "900", conference.Position{Epoch: "c5k2", Seq: 41}, []byte(`{"speakers":[]}`), nil))
	status := string(Encoder{}.Status(nil, "900", false, "log", 7))
	delta := func(topic conference.Topic, seq uint64, body string) string {
		c := conference.Stamped{Change: conference.Change{Topic: topic, Time: 5, Body: []byte(body)}, Seq: seq, Prev: 1}
		return string(Encoder{}.Delta(nil, "900", c, c.Body))
	}
	id := func(seq int) string { return fmt.Sprintf("c5k2:%s:%d", view, seq) }
	sub.put(text("snapshot", snapshot), text("status", status), text("delta", delta(conference.Speakers, 42, "[]")))
	e.want(sse{"snapshot", id(41), snapshot, ""}, sse{"status", "", status, ""},
		sse{"delta", id(42), delta(conference.Speakers, 42, "[]"), ""})
	a, b := delta(conference.Speakers, 43, `[{"name":"\n\r"}]`), delta(conference.Invites, 44, "{\n\"ok\":\r\ntrue}")
	sub.put(Frame{Bytes: []byte("[" + a + "," + b + "]"), Messages: []MessageCount{{"delta", 1}, {"event", 1}}, Received: time.Now()})
	e.want(sse{"delta", id(43), a, ""}, sse{"event", id(44), strings.NewReplacer("\n", " ", "\r", " ").Replace(b), ""})
	again := string(Encoder{}.Snapshot(nil, "900", conference.Position{Epoch: "d", Seq: 1}, []byte(`{}`), [][]byte{[]byte(b)}))
	sub.put(Frame{Bytes: []byte(again), Messages: []MessageCount{{"snapshot", 1}}, Snapshot: "epoch"})
	got := e.next()
	if got.event != "snapshot" || got.id != "d:"+view+":1" {
		t.Errorf("event = %+v, want a snapshot of the epoch d", got)
	}
	for _, m := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"downstream_connections", nil, 1},
		{"downstream_subscriptions", nil, 1},
		{"downstream_messages_total", []string{"type", "delta"}, 2},
		{"downstream_messages_total", []string{"type", "event"}, 1},
		{"downstream_messages_total", []string{"type", "welcome"}, 1},
		{"downstream_snapshots_total", []string{"reason", "epoch"}, 1},
		{"delivery_latency_seconds", []string{"stage", "deliver"}, 1},
	} {
		w.awaitMetric(m.want, m.name, m.labels...)
	}
	sub.put(Frame{Released: true})
	e.want(sse{"unsubscribed", "", `{"type":"unsubscribed","conference":"900","reason":"released"}`, ""})
	e.wantEnd()
	<-sub.done
	w.settled(t, "released")
}

// settled waits for the end of a stream, and checks what is left and why it ended.
func (w *world) settled(t *testing.T, reason string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), w.waits)
	defer cancel()
	if err := w.srv.wait(ctx, func() int { return w.srv.active }); err != nil {
		t.Fatalf("the stream has a place still: %v", err)
	}
	if got := w.metric("downstream_closed_total", "reason", reason); got != 1 {
		t.Errorf("closed_total{%s} = %v, want 1", reason, got)
	}
	if c, s := w.metric("downstream_connections"), w.metric("downstream_subscriptions"); c != 0 || s != 0 {
		t.Errorf("%v connections and %v subscriptions are left, want none", c, s)
	}
}

func TestEventsResume(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	w.src.answer("900", func(_ context.Context, req Request) (*fakeSub, error) {
		return &fakeSub{recovered: req.Resume != nil}, nil
	})
	tests := []struct {
		name, last string
		want       *conference.Position
	}{
		{"first time", "", nil},
		{"where it was", "c5k2:" + readView + ":41", &conference.Position{Epoch: "c5k2", Seq: 41}},
		{"another view", "c5k2:r1:41", nil},
		{"no number", "c5k2:" + readView + ":x", nil},
		{"negative", "c5k2:" + readView + ":-1", nil},
		{"no epoch", ":" + readView + ":41", nil},
		{"something else", "41", nil},
		{"too many parts", "c5k2:" + readView + ":41:1", nil},
	}
	for _, tt := range tests {
		header := bearer(t, ScopeRead)
		if tt.last != "" {
			header = append(header, "Last-Event-ID", tt.last)
		}
		e, subscribed := w.open(eventsPath, header...)
		req, sub := <-w.src.requests, <-w.src.subs
		if (req.Resume == nil) != (tt.want == nil) || tt.want != nil && *req.Resume != *tt.want || subscribed["recovered"] != (tt.want != nil) {
			t.Errorf("%s: resume %v, recovered %v, want %v", tt.name, req.Resume, subscribed["recovered"], tt.want)
		}
		if elsewhere := tt.name == "another view"; (req.NotBefore != nil) != elsewhere || elsewhere && req.NotBefore.Seq != 41 {
			t.Errorf("%s: not before %v, want 41 of another view alone", tt.name, req.NotBefore)
		}
		if tt.want != nil { // the epoch goes on without a snapshot
			sub.put(text("delta", `{"type":"delta","seq":42}`))
			e.want(sse{"delta", "c5k2:" + readView + ":42", `{"type":"delta","seq":42}`, ""})
		}
		e.stop()
		<-sub.done
	}
}

func TestEventsRefused(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	for conf, err := range map[string]error{"gone": ErrNotFound, "late": ErrUnavailable, "broken": errors.New("innards")} {
		w.src.answer(conf, func(context.Context, Request) (*fakeSub, error) { return nil, err })
	}
	for conf, status := range map[string]int{"gone": 404, "late": 503, "broken": 500} {
		w.request("GET", "/v1/conferences/"+conf+"/events", "", bearer(t, ScopeRead)...).wantProblem(t, conf, status)
	}
	w.request("GET", eventsPath+"?topics=vendor", "", bearer(t, ScopeRead)...).wantProblem(t, "topic", 403)
	w.request("GET", eventsPath+"?access_token=x", "").wantProblem(t, "token", 401)
	ctx, cancel := context.WithTimeout(t.Context(), w.waits)
	defer cancel()
	if err := w.srv.wait(ctx, func() int { return w.srv.active }); err != nil {
		t.Errorf("refused streams have a place still: %v", err)
	}
}

// A page's EventSource can't send a header, so it has its token in the query, which is shown to nobody.
func TestEventsTokenInQuery(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	tok := token(t, Claims{Scopes: ScopeRead, Conferences: []string{"900"}})
	e, _ := w.open(eventsPath + "?access_token=" + tok)
	w.request("GET", eventsPath+"?access_token=x"+tok, "").wantProblem(t, "changed token", 401)
	// A header counts before the query.
	w.request("GET", eventsPath+"?access_token="+tok, "", "Authorization", "Bearer x").wantProblem(t, "header", 401)
	e.stop()
	w.settled(t, "client")
	w.wantUntold(t, tok)
}

func TestEventsHeartbeatAndExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t, nil)
		tok := token(t, Claims{Scopes: ScopeRead, Expires: time.Now().Add(2 * time.Minute)})
		began := time.Now()
		e, _ := w.open(eventsPath + "?access_token=" + tok)
		sub := <-w.src.subs
		last, n := began, 0
		for {
			got, ok := e.read()
			if !ok {
				break
			}
			if got != (sse{event: "comment"}) {
				t.Fatalf("event = %+v, want a comment", got)
			}
			if quiet := time.Since(last); quiet > DefaultHeartbeat || quiet < DefaultHeartbeat-3*time.Second {
				t.Errorf("a comment came after %v, want about %v and not more", quiet, DefaultHeartbeat)
			}
			last = time.Now()
			n++
			sub.put(text("delta", `{"type":"delta","seq":1}`)) // what comes between changes nothing about the comments
			e.next()
		}
		if lived := time.Since(began); lived < 2*time.Minute || lived > 2*time.Minute+2*time.Second || n < 4 || n > 5 {
			t.Errorf("the stream ended after %v and %d comments, want 2m and 4 or 5", lived, n)
		}
		<-sub.done
		w.settled(t, "expired")
		if got := w.request("GET", eventsPath+"?access_token="+tok, ""); got.status != http.StatusOK { // ends with the leeway
			t.Errorf("a stream within the leeway = %d, want 200", got.status)
		}
		time.Sleep(TokenLeeway)
		w.request("GET", eventsPath+"?access_token="+tok, "").wantProblem(t, "after the leeway", 401)
	})
}

// rawStream asks for a stream, and leaves the reading to the test.
func (w *world) rawStream(authorization string) net.Conn {
	w.t.Helper()
	conn, err := w.client.Transport.(*http.Transport).DialContext(w.t.Context(), "", "")
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: h\r\nAuthorization: %s\r\n\r\n", eventsPath, authorization); err != nil {
		w.t.Fatal(err)
	}
	return conn
}

// A client that takes nothing is cut off after a while, one that takes a little isn't; what waits for it stays in the feed.
func TestEventsSlowReader(t *testing.T) {
	t.Parallel()
	large := `{"type":"snapshot","epoch":"e","seq":1,"state":"` + strings.Repeat("x", 100*chunk) + `"}`
	t.Run("takes nothing", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := bubble(t, nil)
			e, _ := w.open(eventsPath, bearer(t, ScopeRead)...)
			sub := <-w.src.subs
			f := text("snapshot", large)
			began := time.Now()
			sub.put(f, f, f)
			<-sub.done // the client's reader has stopped: nobody takes its lines
			if stalled := time.Since(began); stalled < DefaultWriteStall || stalled > DefaultWriteStall+closeWait {
				t.Errorf("cut off after %v, want %v", stalled, DefaultWriteStall)
			}
			if len(sub.frames) != 2 {
				t.Errorf("%d of 3 frames were left in the feed, want 2", len(sub.frames))
			}
			e.stop()
			w.settled(t, "too_slow")
		})
	})
	t.Run("takes a little", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := bubble(t, nil)
			conn := w.rawStream(bearer(t, ScopeRead)[1])
			defer func() { _ = conn.Close() }()
			sub := <-w.src.subs
			sub.put(text("snapshot", large))
			began := time.Now()
			taken := 0
			for buf := make([]byte, chunk); taken < len(large); time.Sleep(DefaultWriteStall / 2) {
				n, err := io.ReadFull(conn, buf)
				if taken += n; err != nil {
					t.Fatalf("after %v and %d bytes: %v", time.Since(began), taken, err)
				}
			}
			if time.Since(began) < 2*DefaultWriteStall {
				t.Errorf("it took %v, which shows nothing", time.Since(began))
			}
		})
	})
}

// Symptom: a stream whose token had expired went on for as long as its client took the rest of a snapshot, a little at a time.
func TestEventsExpiryOfSlowReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t, nil)
		const life = time.Minute
		tok := token(t, Claims{Scopes: ScopeRead, Expires: time.Now().Add(life)})
		began := time.Now()
		conn, read := w.rawStream("Bearer "+tok), make(chan struct{})
		defer func() { _ = conn.Close(); <-read }()
		sub := <-w.src.subs
		sub.put(text("snapshot", `{"type":"snapshot","epoch":"e","seq":1,"state":"`+strings.Repeat("x", 100*chunk)+`"}`))
		go func() {
			defer close(read)
			for buf := make([]byte, 1024); ; time.Sleep(time.Second) {
				if _, err := io.ReadFull(conn, buf); err != nil {
					return
				}
			}
		}()
		<-sub.done
		if lived := time.Since(began); lived < life || lived > life+closeWait+2*maxTick {
			t.Errorf("the stream was written for %v, want %v and %v at the most to finish an event", lived, life, closeWait)
		}
		w.settled(t, "expired")
	})
}

// Streams are moved away like connections, and cut where they don't go.
func TestEventsDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t, nil)
		var all []*events
		for range 4 {
			e, _ := w.open(eventsPath, bearer(t, ScopeRead)...)
			all = append(all, e)
		}
		stuck := w.stream(eventsPath, bearer(t, ScopeRead)...) // reads nothing more
		for range 4 {
			<-w.src.subs
		}
		sub := <-w.src.subs
		sub.put(text("snapshot", `{"type":"snapshot","epoch":"e","seq":1,"state":"`+strings.Repeat("x", 100*chunk)+`"}`))
		synctest.Wait()
		began := time.Now()
		drained := make(chan error, 1)
		ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Second, errors.New("time is over"))
		defer cancel()
		go func() { drained <- w.srv.Drain(ctx, 10*time.Second) }()
		var first, last time.Duration
		for i, e := range all {
			e.wantEnd()
			if at := time.Since(began); i == 0 {
				first = at
			} else {
				last = max(last, at)
			}
		}
		if last > 10*time.Second || last-first < 2*time.Second && last < 4*time.Second {
			t.Errorf("streams ended from %v to %v, want them spread over 10s", first, last)
		}
		w.request("GET", eventsPath, "", bearer(t, ScopeRead)...).wantProblem(t, "a new one meanwhile", 503)
		if err := <-drained; err == nil || time.Since(began) != 20*time.Second {
			t.Errorf("Drain = %v after %v, want the cause after 20s: one stream takes nothing", err, time.Since(began))
		}
		stuck.stop()
	})
}

func TestHead(t *testing.T) {
	t.Parallel()
	for msg, want := range map[string]string{
		`{"type":"delta","conference":"c","topic":"link","seq":18446744073709551615,"prev":1,"patch":{"seq":1}}`: "delta  18446744073709551615 true",
		`{"type":"snapshot","conference":"c","epoch":"e","seq":0,"state":{}`:                                     "snapshot e 0 true",
		`{"type":"status","conference":"c","fresh":true,"since":1}`:                                              "status  0 false",
		`{"type":"pong"}`:                       "pong  0 false",
		`{"x":{"seq":1},"y":[2],"type":"pong"}`: "pong  0 false",
		`[]`:                                    "  0 false",
		``:                                      "  0 false",
		`{"type":7}`:                            "  0 false",
	} {
		typ, epoch, seq, placed := head([]byte(msg))
		if got := fmt.Sprint(typ, " ", epoch, " ", seq, " ", placed); got != want {
			t.Errorf("head(%s) = %q, want %q", msg, got, want)
		}
	}
}
