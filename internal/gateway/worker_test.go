package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"confgate/internal/simulator"
	"confgate/internal/simulator/simulatortest"
)

// patience bounds every wait of these tests; nothing waits that long unless something is broken.
const patience = time.Minute

// workerOptions are those of a worker on free ports of loopback that holds all of the provider's conferences.
func workerOptions(t *testing.T, provider *simulator.Provider, origin string) Options {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "hmac")
	if err := os.WriteFile(secret, bytes.Repeat([]byte("k"), 32), 0o600); err != nil {
		t.Fatal(err)
	}
	opts := Options{
		Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", AuthHMACSecretFile: secret, WorkerID: "gw-test",
		ProviderURL: origin, ProviderRate: "100000/s", DrainTimeout: 4 * time.Second, LogLevel: "debug",
		LogOutput: new(logBuffer),
	}
	for _, c := range provider.Conferences() {
		opts.Conferences = append(opts.Conferences, Conference{ID: c.ID, Password: c.Password})
	}
	return opts
}

// logBuffer keeps a worker's log.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// running is a worker that a test runs.
type running struct {
	*Worker
	opts Options
	stop context.CancelFunc
	done chan error
}

// startWorker builds and runs a worker, and stops it when the test ends, unless that was done before.
func startWorker(t *testing.T, opts Options) *running {
	t.Helper()
	w, err := Build(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Worker: w, opts: opts, stop: cancel, done: make(chan error, 1)}
	go func() {
		r.done <- w.Run(ctx)
		close(r.done)
	}()
	t.Cleanup(func() {
		r.end(t)
		if t.Failed() {
			t.Logf("log of %s:\n%s", opts.WorkerID, opts.LogOutput)
		}
	})
	return r
}

// end stops the worker and waits for that.
func (r *running) end(t *testing.T) {
	t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		if err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	case <-time.After(patience):
		t.Fatal("Run has not returned")
	}
}

// admin asks the worker's operators' listener.
func (r *running) admin(t *testing.T, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://%s%s", r.AdminAddr(), path), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// client is a client of a worker, as plain as can be.
type client struct {
	t    *testing.T
	conn *websocket.Conn
	// pending are messages of a frame that was an array.
	pending []map[string]any
	state   map[string]any // the document of the one conference that it is subscribed to
	seq     float64        // of the last change or snapshot in it
}

// dial connects with a token of the given scopes for all conferences.
func (r *running) dial(t *testing.T, scopes ...string) *client {
	t.Helper()
	token, err := MintToken(TokenRequest{
		SecretFile: r.opts.AuthHMACSecretFile, Scopes: scopes, Conferences: []string{"*"}, TTL: time.Hour, Subject: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	conn, _, err := websocket.Dial(t.Context(), fmt.Sprintf("ws://%s/v1/ws", r.Addr()), &websocket.DialOptions{
		Subprotocols: []string{"confgate.v1", "bearer." + token}, HTTPClient: &http.Client{Transport: transport},
	})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(16 << 20)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &client{t: t, conn: conn}
}

func (c *client) send(text string) {
	c.t.Helper()
	if err := c.conn.Write(c.t.Context(), websocket.MessageText, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// next is the next message, or the error that ended the connection.
func (c *client) next() (map[string]any, error) {
	for len(c.pending) == 0 {
		ctx, cancel := context.WithTimeout(c.t.Context(), patience)
		_, data, err := c.conn.Read(ctx)
		cancel()
		if err != nil {
			return nil, err
		}
		if data[0] != '[' {
			data = append(append([]byte("["), data...), ']')
		}
		if err := json.Unmarshal(data, &c.pending); err != nil {
			return nil, err
		}
	}
	m := c.pending[0]
	c.pending = c.pending[1:]
	return m, nil
}

// until reads up to the first message for which ok is true.
func (c *client) until(what string, ok func(m map[string]any) bool) map[string]any {
	c.t.Helper()
	for {
		m, err := c.next()
		if err != nil {
			c.t.Fatalf("waiting for %s: %v", what, err)
		}
		if ok(m) {
			return m
		}
	}
}

func (c *client) untilType(typ string) map[string]any {
	c.t.Helper()
	return c.until(typ, func(m map[string]any) bool { return m["type"] == typ })
}

// untilState reads until the client's own copy of the document satisfies ok.
func (c *client) untilState(what string, ok func(state map[string]any) bool) {
	c.t.Helper()
	c.until(what, func(m map[string]any) bool {
		c.take(m)
		return c.state != nil && ok(c.state)
	})
}

// take applies a message to the client's own copy of the document.
func (c *client) take(m map[string]any) {
	if seq, ok := m["seq"].(float64); ok {
		c.seq = seq
	}
	switch m["type"] {
	case "snapshot":
		c.state, _ = m["state"].(map[string]any)
	case "delta":
		topic, _ := m["topic"].(string)
		if merged := merge(c.state[topic], m["patch"]); merged == nil {
			delete(c.state, topic)
		} else {
			c.state[topic] = merged
		}
	}
}

// merge applies a JSON Merge Patch (RFC 7396), by the book and not by the gateway's code.
func merge(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = map[string]any{}
	}
	for k, v := range p {
		if v == nil {
			delete(t, k)
		} else {
			t[k] = merge(t[k], v)
		}
	}
	return t
}

func linkLive(state map[string]any) bool {
	link, _ := state["link"].(map[string]any)
	return link["state"] == "live"
}

// TestWorkerEndToEnd runs a whole worker: provider, link, log, feed, client.
func TestWorkerEndToEnd(t *testing.T) {
	t.Parallel()
	provider, origin := simulatortest.Start(t, simulator.Config{Conferences: 2, Participants: 10, Rate: 50, Seed: 1})
	w := startWorker(t, workerOptions(t, provider, origin))
	conf := w.opts.Conferences[1].ID

	c := w.dial(t, "read")
	if m := c.untilType("welcome"); m["worker"] != "gw-test" {
		t.Errorf("welcome = %v, want the worker's id in it", m)
	}
	c.send(`{"type":"subscribe","id":"1","conference":"nobody"}`)
	if m := c.untilType("error"); m["code"] != "not_found" || m["id"] != "1" {
		t.Errorf("subscribing to an unknown conference: %v, want not_found", m)
	}
	c.send(`{"type":"subscribe","id":"2","conference":"` + conf + `"}`)
	if m := c.untilType("subscribed"); m["conference"] != conf || m["recovered"] != false {
		t.Errorf("subscribed = %v, want %s, not recovered", m, conf)
	}
	c.untilState("a live link", linkLive)
	c.until("five deltas", func() func(map[string]any) bool {
		n := 0
		return func(m map[string]any) bool {
			if m["type"] == "delta" {
				n++
			}
			return n == 5
		}
	}())

	// Once the world stands still, the document's people are the world's.
	provider.Pause()
	want := len(provider.Truth(conf).Participants)
	c.send(`{"type":"subscribe","id":"3","conference":"` + conf + `"}`)
	c.untilState(fmt.Sprintf("%d participants", want), func(state map[string]any) bool {
		people, _ := state["participants"].(map[string]any)
		return len(people) == want
	})

	if status, body := w.admin(t, "/readyz"); status != http.StatusOK {
		t.Errorf("/readyz = %d %q, want 200", status, body)
	}
	_, metrics := w.admin(t, "/metrics")
	for _, line := range []string{
		`confgate_upstream_links{state="live"} 2`, `confgate_downstream_connections 1`, `confgate_fanout_up 1`,
		`confgate_build_info{`,
	} {
		if !strings.Contains(metrics, line) {
			t.Errorf("/metrics has no %s", line)
		}
	}
	if status, _ := w.admin(t, "/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("/debug/pprof/ without --pprof = %d, want 404", status)
	}
	for _, cred := range provider.Conferences() {
		if strings.Contains(w.log(), cred.Password.Reveal()) {
			t.Error("the log shows a chair password")
		}
	}
}

// TestDrainOrder checks the order in which a worker leaves: not ready and clients sent away while the links are up, and
// the links after that.
func TestDrainOrder(t *testing.T) {
	t.Parallel()
	provider, origin := simulatortest.Start(t, simulator.Config{Conferences: 1, Participants: 3, Rate: 20, Seed: 2})
	w := startWorker(t, workerOptions(t, provider, origin))
	conf := w.opts.Conferences[0].ID
	c := w.dial(t, "read")
	c.send(`{"type":"subscribe","conference":"` + conf + `"}`)
	c.untilState("a live link", linkLive)
	// A second client that doesn't answer the close keeps the worker in its drain.
	silent := w.dial(t, "read")
	silent.untilType("welcome")

	w.stop()
	for {
		if _, err := c.next(); err != nil {
			if code := websocket.CloseStatus(err); code != websocket.StatusGoingAway {
				t.Errorf("the client was closed with %d (%v), want 1001", code, err)
			}
			break
		}
	}
	if status, _ := w.admin(t, "/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz while draining = %d, want 503", status)
	}
	if status, _ := w.admin(t, "/livez"); status != http.StatusOK {
		t.Errorf("/livez while draining = %d, want 200", status)
	}
	if n := provider.Links(conf); n != 1 {
		t.Errorf("%d links while clients leave, want 1 still", n)
	}
	late := w.dial(t, "read")
	if _, err := late.next(); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("a client that came late was given %v, want a close with 1001", err)
	}
	if _, err := silent.next(); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the second client was closed with %v, want 1001", err)
	}
	w.end(t)
	for deadline := time.After(patience); provider.Links(conf) != 0; { // the provider learns of it by the network
		select {
		case <-deadline:
			t.Fatalf("%d links after the end, want 0", provider.Links(conf))
		case <-time.After(time.Millisecond):
		}
	}
	for _, addr := range []net.Addr{w.Addr(), w.AdminAddr()} {
		if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr.String()); err == nil {
			conn.Close()
			t.Errorf("%s is still open after the end", addr)
		}
	}
}

// TestBuildRefuses checks that Build names what is wrong with files, and leaves nothing open.
func TestBuildRefuses(t *testing.T) {
	t.Parallel()
	short := writeFile(t, "short", "hunter2")
	empty, lines := writeFile(t, "empty", "\n"), writeFile(t, "lines", "hunter2\nhunter2\n")
	secret := writeFile(t, "hmac", strings.Repeat("s", 32))
	tests := []struct {
		name, flag string
		opts       Options
	}{
		{"short secret", "auth-hmac-secret-file", Options{AuthHMACSecretFile: short}},
		{"no secret", "auth-hmac-secret-file", Options{AuthHMACSecretFile: short + "x"}},
		{"short seal key", "seal-key-file", Options{AuthHMACSecretFile: secret, SealKeyFile: short}},
		{"no seal key", "seal-key-file", Options{AuthHMACSecretFile: secret, SealKeyFile: short + "x"}},
		{"CA file", "provider-ca-file", Options{AuthHMACSecretFile: secret, ProviderCAFile: short}},
		{
			"empty password file", "conference",
			Options{AuthHMACSecretFile: secret, Conferences: []Conference{{ID: "c", File: empty}}},
		},
		{
			// Symptom: the request with it couldn't be made, which was retried for ever as an error of the network.
			"password of two lines", "conference",
			Options{AuthHMACSecretFile: secret, Conferences: []Conference{{ID: "c", File: lines}}},
		},
		{"conference without password", "conference", Options{AuthHMACSecretFile: secret, Conferences: []Conference{{ID: "c"}}}},
		{"validated too", "listen", Options{AuthHMACSecretFile: secret, Listen: "nowhere"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.opts.Listen == "" {
				tt.opts.Listen = "127.0.0.1:0"
			}
			tt.opts.AdminListen, tt.opts.LogOutput = "127.0.0.1:0", io.Discard
			w, err := Build(tt.opts)
			if err == nil {
				_ = w.Close()
			}
			bad, ok := errors.AsType[*BadValue](err)
			if !ok || bad.Flag != tt.flag {
				t.Fatalf("Build = %v, want a bad value of --%s", err, tt.flag)
			}
			if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("Build = %q, want one line without the file's content", err)
			}
		})
	}
}

// TestBuildTakenPort checks that a port that is taken shows at once, and that the other listener isn't left open.
func TestBuildTakenPort(t *testing.T) {
	t.Parallel()
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	opts := Options{Auth: AuthNone, Listen: "127.0.0.1:0", AdminListen: taken.Addr().String(), LogOutput: io.Discard}
	if _, err := Build(opts); err == nil || !strings.Contains(err.Error(), "--admin-listen") {
		t.Errorf("Build on a taken port = %v, want an error that names --admin-listen", err)
	}
}

// TestRunFails checks that a part's failure ends Run with its error.
func TestRunFails(t *testing.T) {
	t.Parallel()
	w, err := Build(Options{Auth: AuthNone, Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", LogOutput: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	_ = w.clients.Close() // as if the system took it away
	if err := w.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "serve") {
		t.Errorf("Run with a broken listener = %v, want an error", err)
	}
}

// untilChange reads up to a delta of the participants, by which the conference is known to go on.
func (c *client) untilChange(conf string) {
	c.t.Helper()
	c.until("a change of participants", func(m map[string]any) bool {
		return m["type"] == "delta" && m["topic"] == "participants" && m["conference"] == conf
	})
}

// log is what the worker has logged so far.
func (r *running) log() string { return r.opts.LogOutput.(*logBuffer).String() }
