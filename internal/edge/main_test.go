package edge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"confgate/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// How long a test waits for what must come: far longer than anything takes; in a bubble also longer than any time limit
// of the server.
const (
	realPatience   = time.Minute
	bubblePatience = 10 * time.Minute
)

// world is a server with clients to come.
type world struct {
	t       *testing.T
	src     *fakeSource
	srv     *Server
	metrics *telemetry.Metrics
	logs    *observer.ObservedLogs
	url     string
	client  *http.Client
	waits   time.Duration
}

// secret signs the tokens of the tests.
var secret = []byte("0123456789abcdef0123456789abcdef")

// loopback starts a server on a loopback socket.
func loopback(t *testing.T, change func(*Config)) *world {
	t.Helper()
	w := newWorld(t, change)
	hs := httptest.NewServer(w.srv.Handler())
	w.url, w.client, w.waits = hs.URL, hs.Client(), realPatience
	w.run(hs.Close)
	return w
}

// bubble starts a server on pipes, for tests inside a synctest bubble. A pipe holds nothing: what a client doesn't read
// isn't taken.
func bubble(t *testing.T, change func(*Config)) *world {
	t.Helper()
	w := newWorld(t, change)
	l := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	// As the gateway has them: a stream must outlive the timeouts of a request.
	hs := &http.Server{
		Handler: w.srv.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 20 * time.Second, WriteTimeout: 30 * time.Second,
	}
	served := make(chan error, 1)
	go func() { served <- hs.Serve(l) }()
	w.url, w.waits = "http://edge.test", bubblePatience
	w.client = &http.Client{Transport: &http.Transport{DialContext: l.dial}}
	w.run(func() {
		w.client.CloseIdleConnections()
		_ = hs.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve = %v, want ErrServerClosed", err)
		}
	})
	return w
}

func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	auth, err := NewVerifier(VerifierConfig{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.DebugLevel)
	w := &world{t: t, src: newFakeSource(), metrics: telemetry.NewMetrics("v", "c", "go"), logs: logs}
	cfg := Config{Source: w.src, Auth: auth, Metrics: w.metrics, Log: zap.New(core), WorkerID: "gw-0-x7"}
	if change != nil {
		change(&cfg)
	}
	w.srv = New(cfg)
	return w
}

// run runs the server until the test ends; stop closes its listener.
func (w *world) run(stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- w.srv.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			w.t.Errorf("Run() = %v, want nil", err)
		}
		stop()
	})
}

// wantUntold checks that no log line and no metric holds a token that was sent.
func (w *world) wantUntold(t *testing.T, token string) {
	t.Helper()
	for _, e := range w.logs.All() {
		if line := fmt.Sprint(e.Message, e.ContextMap()); strings.Contains(line, token) || strings.Contains(line, "access_token") {
			t.Errorf("a log line holds a token: %s", line)
		}
	}
	if strings.Contains(w.gathered(), token) {
		t.Error("a metric holds a token")
	}
}

// token mints one that is good for a day.
func token(t *testing.T, c Claims) string {
	t.Helper()
	if c.Subject == "" {
		c.Subject = "ann"
	}
	if c.Expires.IsZero() {
		c.Expires = time.Now().Add(24 * time.Hour)
	}
	if c.Conferences == nil {
		c.Conferences = []string{"*"}
	}
	s, err := Mint(secret, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// client is one connection to the server.
type client struct {
	t       *testing.T
	ws      *websocket.Conn
	waits   time.Duration
	welcome map[string]any
}

// dial opens a connection without reading from it.
func (w *world) dial(header http.Header, protocols ...string) *client {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), w.waits)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, w.url+"/v1/ws", &websocket.DialOptions{
		HTTPClient: w.client, HTTPHeader: header, Subprotocols: protocols,
	})
	if err != nil {
		w.t.Fatalf("dial: %v (%+v)", err, resp)
	}
	ws.SetReadLimit(-1)
	w.t.Cleanup(func() { _ = ws.CloseNow() })
	return &client{t: w.t, ws: ws, waits: w.waits}
}

// connect opens a connection with a token of these scopes and reads the welcome.
func (w *world) connect(scopes Scopes, confs ...string) *client {
	w.t.Helper()
	c := w.dial(nil, subprotocol, bearerPrefix+token(w.t, Claims{Scopes: scopes, Conferences: confs}))
	c.greet()
	return c
}

// follow opens a connection and subscribes to the conference 900.
func (w *world) follow() (*client, *fakeSub) {
	w.t.Helper()
	c := w.connect(ScopeRead)
	c.send(`{"type":"subscribe","conference":"900","topics":[]}`)
	c.next()
	return c, <-w.src.subs
}

func (c *client) greet() {
	c.t.Helper()
	if err := json.Unmarshal([]byte(c.next()), &c.welcome); err != nil || c.welcome["type"] != "welcome" {
		c.t.Fatalf("first message = %v (%v), want a welcome", c.welcome, err)
	}
}

func (c *client) send(msg string) {
	c.t.Helper()
	c.write(websocket.MessageText, msg)
}

func (c *client) write(typ websocket.MessageType, msg string) {
	c.t.Helper()
	if err := c.ws.Write(context.Background(), typ, []byte(msg)); err != nil {
		c.t.Fatalf("send %.80s: %v", msg, err)
	}
}

func (c *client) read() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.waits)
	defer cancel()
	typ, data, err := c.ws.Read(ctx)
	if err == nil && typ != websocket.MessageText {
		return "", fmt.Errorf("frame of type %v, want text", typ)
	}
	return string(data), err
}

func (c *client) next() string {
	c.t.Helper()
	msg, err := c.read()
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return msg
}

// want reads messages and compares them.
func (c *client) want(msgs ...string) {
	c.t.Helper()
	for _, want := range msgs {
		if got := c.next(); got != want {
			c.t.Fatalf("message = %s\nwant      %s", got, want)
		}
	}
}

// wantError reads an error message and checks its id and code.
func (c *client) wantError(id, code string) string {
	c.t.Helper()
	var m struct{ Type, ID, Code, Message string }
	raw := c.next()
	if err := json.Unmarshal([]byte(raw), &m); err != nil || m.Type != "error" || m.ID != id || m.Code != code || m.Message == "" {
		c.t.Fatalf("message = %s, want an error with id %q and code %q, and a text", raw, id, code)
	}
	return m.Message
}

// wantClosed reads until the connection is closed and checks the code.
func (c *client) wantClosed(code int) {
	c.t.Helper()
	for {
		msg, err := c.read()
		if err == nil {
			c.t.Logf("before the close: %.100s", msg)
			continue
		}
		ce, ok := errors.AsType[websocket.CloseError](err)
		if !ok || int(ce.Code) != code || ce.Reason == "" || len(ce.Reason) > 123 {
			c.t.Fatalf("read = %v, want close code %d with a reason", err, code)
		}
		return
	}
}

// alive checks that the connection is open and that nothing else was sent before.
func (c *client) alive() {
	c.t.Helper()
	c.send(`{"type":"ping","id":"alive"}`)
	c.want(`{"type":"pong","id":"alive"}`)
}

// pipeListener accepts what dial connects.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (*pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// awaitMetric waits until a metric is as wanted. The server counts what it has done beside the client that sees it done, so
// that a look at once may come too early.
func (w *world) awaitMetric(want float64, name string, labels ...string) {
	w.t.Helper()
	limit, tick := time.After(w.waits), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for got := w.metric(name, labels...); got != want; got = w.metric(name, labels...) {
		select {
		case <-tick.C:
		case <-limit:
			w.t.Fatalf("%s%v = %v, want %v", name, labels, got, want)
		}
	}
}

// metric is a metric's value; labels are name, value pairs. Histograms give their count.
func (w *world) metric(name string, labels ...string) float64 {
	w.t.Helper()
	families, err := w.metrics.Registry().Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "confgate_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			got := make([]string, 0, len(labels))
			for _, l := range m.GetLabel() {
				got = append(got, l.GetName(), l.GetValue())
			}
			if strings.Join(got, ",") == strings.Join(labels, ",") {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return 0
}

// gathered is every metric as text, to search in.
func (w *world) gathered() string {
	w.t.Helper()
	families, err := prometheus.Gatherers{w.metrics.Registry()}.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	return fmt.Sprint(families)
}
