package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

// act is the server's part in one connection. Where it returns, the connection is broken without a word.
type act func(s *stage)

// stage is one connection of a scripted server.
type stage struct {
	t         *testing.T
	ctx       context.Context //nolint:containedctx // of the request
	conn      *websocket.Conn
	offered   string // the subprotocols that the client asked for
	subscribe map[string]any
}

// play serves one connection after the other by the given acts; more connections than acts fail the test.
func play(t *testing.T, acts ...act) string {
	t.Helper()
	turns := make(chan act, len(acts))
	for _, a := range acts {
		turns <- a
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/ws", func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{protocol}})
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		defer conn.CloseNow()
		select {
		case next := <-turns:
			// The request's own context ends with the handler.
			next(&stage{t: t, ctx: r.Context(), conn: conn, offered: r.Header.Get("Sec-WebSocket-Protocol")})
		default:
			t.Error("the client connected once more than expected")
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// send writes frames; a client that has left shows elsewhere.
func (s *stage) send(frames ...string) {
	for _, f := range frames {
		_ = s.conn.Write(s.ctx, websocket.MessageText, []byte(f))
	}
}

// receive is the client's next message; nil where the connection ended.
func (s *stage) receive() map[string]any {
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	_, data, err := s.conn.Read(ctx)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			s.t.Error("server: the client sent nothing")
		}
		return nil
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		s.t.Errorf("server: message from the client: %v", err)
	}
	return m
}

// greet welcomes and takes the first subscribe.
func (s *stage) greet() {
	s.send(`{"type":"welcome","worker":"gw-0","session":"s","time":1,"heartbeatMs":25000,"scopes":["read"]}`)
	s.subscribe = s.receive()
}

func (s *stage) grant(recovered bool) {
	s.send(fmt.Sprintf(`{"type":"subscribed","id":%q,"conference":"c1","topics":["link","participants","invites","subtitles"],"view":"v","recovered":%t}`,
		s.subscribe["id"], recovered))
}

func (s *stage) snapshot(epoch string, seq int, state string) {
	s.send(fmt.Sprintf(`{"type":"snapshot","conference":"c1","epoch":%q,"seq":%d,"state":%s}`, epoch, seq, state))
}

// resume is what the client asked to resume, as it reads; "" where it didn't.
func (s *stage) resume() string {
	r, ok := s.subscribe["resume"].(map[string]any)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%v/%v/%v", r["epoch"], r["view"], r["seq"])
}

func (s *stage) close(code int) { _ = s.conn.Close(websocket.StatusCode(code), "") }

// wait blocks until the client has gone.
func (s *stage) wait() {
	for s.receive() != nil {
	}
}

func participants(seq, prev int, patch string) string {
	return fmt.Sprintf(`{"type":"delta","conference":"c1","topic":"participants","seq":%d,"prev":%d,"time":1611993595058,"patch":%s}`, seq, prev, patch)
}

// running is a Client at work.
type running struct {
	t       *testing.T
	client  *Client
	changed chan struct{}
	done    chan error
	stop    context.CancelFunc
}

// run starts a client of conference c1 with short pauses, and stops it with the test.
func run(t *testing.T, cfg Config) *running {
	t.Helper()
	r := &running{t: t, changed: make(chan struct{}, 1), done: make(chan error, 1)}
	cfg.Conference = "c1"
	if cfg.MinBackoff == 0 {
		cfg.MinBackoff, cfg.MaxBackoff = time.Millisecond, 10*time.Millisecond
	}
	touch := func() {
		select {
		case r.changed <- struct{}{}:
		default: // noted already
		}
	}
	onUpdate, onNotice := cfg.OnUpdate, cfg.OnNotice
	cfg.OnUpdate = func(m *Message) {
		if onUpdate != nil {
			onUpdate(m)
		}
		touch()
	}
	cfg.OnNotice = func(n Notice) {
		if onNotice != nil {
			onNotice(n)
		}
		touch()
	}
	client, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.client = client
	ctx, cancel := context.WithCancel(t.Context())
	r.stop = cancel
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		r.done <- client.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-finished
	})
	return r
}

// until waits for a report that fits.
func (r *running) until(what string, fits func(Report) bool) Report {
	r.t.Helper()
	late := time.After(patience)
	for {
		report := r.client.Report()
		if fits(report) {
			return report
		}
		select {
		case <-r.changed:
		case err := <-r.done:
			r.t.Fatalf("never %s: Run = %v; %s", what, err, report.Document)
		case <-late:
			r.t.Fatalf("never %s: %+v; %s", what, report, report.Document)
		}
	}
}

func (r *running) untilDocument(want string) Report {
	r.t.Helper()
	return r.until("document "+want, func(p Report) bool { return string(p.Document) == want })
}

// end waits for Run to return.
func (r *running) end() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(patience):
		r.t.Fatal("Run didn't return")
		return nil
	}
}
