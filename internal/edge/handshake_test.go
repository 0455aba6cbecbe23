package edge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zapcore"
)

func TestTokenArrives(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	good, bad := token(t, Claims{Scopes: ScopeRead}), token(t, Claims{Scopes: ScopeRead})+"x"
	expired := token(t, Claims{Expires: time.Now().Add(-time.Minute)})
	auth := func(v string) http.Header { return http.Header{"Authorization": {v}} }
	tests := []struct {
		name      string
		header    http.Header
		protocols []string
		close     int // 0: admitted
	}{
		{"header", auth("Bearer " + good), []string{subprotocol}, 0},
		{"scheme in lower case", auth("bearer " + good), []string{subprotocol}, 0},
		{"subprotocol", nil, []string{subprotocol, bearerPrefix + good}, 0},
		{"subprotocol first", nil, []string{bearerPrefix + good, subprotocol}, 0},
		{"among others", nil, []string{"chat", subprotocol, bearerPrefix + good}, 0},
		{"header before subprotocol", auth("Bearer " + good), []string{subprotocol, bearerPrefix + bad}, 0},
		{"a proxy's own authorization", auth("Basic dTpw"), []string{subprotocol, bearerPrefix + good}, 0},
		{"missing", nil, []string{subprotocol}, 4401},
		{"bad", nil, []string{subprotocol, bearerPrefix + bad}, 4401},
		{"bad in header", auth("Bearer " + bad), []string{subprotocol, bearerPrefix + good}, 4401},
		{"expired", nil, []string{subprotocol, bearerPrefix + expired}, 4401},
		{"empty", nil, []string{subprotocol, "bearer."}, 4401},
		{"protocol not offered", auth("Bearer " + good), nil, 4409},
		{"another version", auth("Bearer " + good), []string{"confgate.v2"}, 4409},
		{"token only", nil, []string{bearerPrefix + good}, 4409},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := *w
			w.t = t
			c := w.dial(tt.header, tt.protocols...)
			answered := ""
			if tt.close != 4409 {
				answered = subprotocol
			}
			if got := c.ws.Subprotocol(); got != answered {
				t.Errorf("answered subprotocol = %q, want %q", got, answered)
			}
			if tt.close != 0 {
				c.wantClosed(tt.close)
				return
			}
			c.greet()
			c.alive()
		})
	}
}

func TestWelcome(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	exp := time.Now().Add(time.Hour).Truncate(time.Second)
	c := w.dial(nil, subprotocol, bearerPrefix+token(t, Claims{Scopes: ScopeRead | ScopePII, Expires: exp}))
	before := time.Now().UnixMilli() - 5000
	c.greet()
	session, _ := c.welcome["session"].(string)
	if now, _ := c.welcome["time"].(float64); int64(now) < before || int64(now) > time.Now().UnixMilli() {
		t.Errorf("welcome.time = %v, want now", c.welcome["time"])
	}
	if len(session) < 16 {
		t.Errorf("welcome.session = %q, want something unique", session)
	}
	delete(c.welcome, "session")
	delete(c.welcome, "time")
	want := map[string]any{
		"type": "welcome", "worker": "gw-0-x7", "heartbeatMs": 25000.0, "scopes": []any{"read", "pii"}, "expires": float64(exp.UnixMilli()),
	}
	if diff := cmp.Diff(want, c.welcome); diff != "" {
		t.Errorf("welcome (-want +got):\n%s", diff)
	}
	if other := w.connect(ScopeRead); other.welcome["session"] == session {
		t.Errorf("two connections share the session %q", session)
	}
}

func TestAuthNone(t *testing.T) {
	t.Parallel()
	w := loopback(t, func(c *Config) { c.Auth = Anyone{} })
	c := w.dial(nil, subprotocol)
	c.greet()
	if diff := cmp.Diff([]any{"read", "pii", "secrets", "admin"}, c.welcome["scopes"]); diff != "" || c.welcome["expires"] != nil {
		t.Errorf("scopes (-want +got):\n%s; expires = %v, want none", diff, c.welcome["expires"])
	}
	c.send(`{"type":"subscribe","id":"1","conference":"any","topics":["vendor"]}`)
	c.want(`{"type":"subscribed","id":"1","conference":"any","topics":["link","vendor"],"view":"a801","recovered":false}`)
}

func TestFullWorker(t *testing.T) {
	t.Parallel()
	w := loopback(t, func(c *Config) { c.MaxConnections = 1 })
	first := w.connect(ScopeRead)
	second := w.dial(nil, subprotocol, bearerPrefix+token(t, Claims{}))
	second.wantClosed(1013)
	first.alive()
	if err := first.ws.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Fatal(err)
	}
	waitFor(t, w, func() bool { return w.metric("downstream_closed_total", "reason", "client") == 1 })
	w.connect(ScopeRead).alive()
	w.awaitMetric(1, "downstream_closed_total", "reason", "full")
}

// waitFor waits for what follows a connection's end, each of which may have made it true.
func waitFor(t *testing.T, w *world, done func() bool) {
	t.Helper()
	for {
		w.srv.mu.Lock()
		gone := w.srv.gone
		w.srv.mu.Unlock()
		if done() {
			return
		}
		select {
		case <-gone:
		case <-time.After(w.waits):
			t.Fatal("waited in vain")
		}
	}
}

// Refused handshakes linger until their client answers the close frame; what comes when too many do gets a plain answer.
func TestFloodOfRefused(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	w.srv.mu.Lock()
	w.srv.refused += maxRefused
	w.srv.mu.Unlock()
	defer func() {
		w.srv.mu.Lock()
		w.srv.refused -= maxRefused
		w.srv.mu.Unlock()
	}()
	_, resp, err := websocket.Dial(t.Context(), w.url+"/v1/ws", &websocket.DialOptions{Subprotocols: []string{subprotocol}})
	if err == nil || resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Fatalf("dial = %v, %+v; want 429 with Retry-After", err, resp)
	}
	w.connect(ScopeRead).alive() // who has a token isn't concerned
}

// A connection that is complete only when all are being cut, is cut too; later ones aren't even upgraded.
func TestCutting(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	ours, theirs := net.Pipe()
	defer func() { _ = theirs.Close() }()
	c := newConn(w.srv, Identity{})
	c.nc = ours
	c.out.open(ours, time.Second, time.Second)
	w.srv.mu.Lock()
	w.srv.active++
	w.srv.draining, w.srv.cutting = true, true
	w.srv.mu.Unlock()
	w.srv.register(c)
	if _, err := theirs.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || c.closeCause() != causeLeaving {
		t.Errorf("late connection: read %v, cause %s; want it closed since the worker is leaving", err, c.closeCause().metric())
	}
	w.srv.release(c, "ann", true)
	_, resp, err := websocket.Dial(t.Context(), w.url+"/v1/ws", &websocket.DialOptions{Subprotocols: []string{subprotocol}})
	if err == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("dial = %v, %+v; want 503", err, resp)
	}
}

// What can't be upgraded takes no place.
func TestUpgradeFails(t *testing.T) {
	t.Parallel()
	srv := New(Config{Source: newFakeSource(), Auth: Anyone{}}) // without metrics, log and page
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/ws", http.NoBody)
	for name, v := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": subprotocol,
	} {
		r.Header.Set(name, v)
	}
	srv.Handler().ServeHTTP(httptest.NewRecorder(), r) // which can't be hijacked
	if srv.active != 0 || srv.refused != 0 || len(srv.conns) != 0 {
		t.Errorf("after a failed upgrade: %d active, %d refused, %d registered; want none", srv.active, srv.refused, len(srv.conns))
	}
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	allowed := []string{"app.example.com", "https://*.example.org", "http://localhost:*"}
	tests := []struct {
		name, origin string
		allowed      []string
		want         bool
	}{
		{"no browser", "", nil, true},
		{"same host", "https://gw.example.com", nil, true},
		{"same host, other case", "https://GW.example.com", nil, true},
		{"another host", "https://evil.example.com", nil, false},
		{"another port", "https://gw.example.com:444", nil, false},
		{"opaque", "null", nil, false},
		{"garbage", "https://%zz", nil, false},
		{"listed", "http://app.example.com", allowed, true},
		{"listed with any scheme", "https://app.example.com", allowed, true},
		{"listed in another case", "https://APP.example.com", allowed, true},
		{"not listed", "https://app.example.net", allowed, false},
		{"suffix only", "https://evil-app.example.com", allowed, false},
		{"pattern", "https://a.example.org", allowed, true},
		{"pattern, wrong scheme", "http://a.example.org", allowed, false},
		{"pattern, not below", "https://example.org", allowed, false},
		{"any port", "http://localhost:5173", allowed, true},
		{"still the same host", "https://gw.example.com", allowed, true},
		{"everything", "https://evil.example.com", []string{"*"}, true},
		{"everything, opaque ones too", "null", []string{"*"}, true},
		{"opaque, beside a list", "null", allowed, false},
		{"opaque, beside any host with its scheme", "null", []string{"https://*", "*:*", "*.*"}, false},
		// Symptom: an IPv6 address was taken at the start, and its pages were refused: brackets were a pattern's set of characters.
		{"IPv6 address", "http://[::1]:8080", []string{"[::1]:8080"}, true},
		{"IPv6 address with its scheme", "http://[::1]:8080", []string{"http://[::1]:8080"}, true},
		{"IPv6 address, any port", "http://[2001:db8::1]:5173", []string{"http://[2001:DB8::1]:*"}, true},
		{"IPv6 address, wrong scheme", "https://[::1]:8080", []string{"http://[::1]:8080"}, false},
		{"another IPv6 address", "http://[::2]:8080", []string{"[::1]:*"}, false},
		{"brackets aren't a set", "http://1:8080", []string{"[::1]:8080"}, false},
	}
	for _, tt := range tests {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://gw.example.com/v1/ws", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if tt.origin != "" {
			r.Header.Set("Origin", tt.origin)
		}
		if got := newOrigins(tt.allowed).allow(r); got != tt.want {
			t.Errorf("%s: allow(%q) = %v, want %v", tt.name, tt.origin, got, tt.want)
		}
	}
	// Symptom of null and NULL: they were taken at the start, and admitted nothing.
	for _, p := range []string{"null", "NULL", "", "https://", "a b", "[", "https://a/path", "a,b"} {
		if err := CheckOrigin(p); err == nil {
			t.Errorf("CheckOrigin(%q) = nil, want an error", p)
		}
	}
	for _, p := range append(allowed, "*", "[::1]:8080") {
		if err := CheckOrigin(p); err != nil {
			t.Errorf("CheckOrigin(%q) = %v, want nil", p, err)
		}
	}
}

func TestForeignOriginIsRefused(t *testing.T) {
	t.Parallel()
	w := loopback(t, func(c *Config) { c.AllowedOrigins = []string{"app.example.com"} })
	dial := func(origin string) (*http.Response, error) {
		ws, resp, err := websocket.Dial(t.Context(), w.url+"/v1/ws", &websocket.DialOptions{
			HTTPHeader:   http.Header{"Origin": {origin}},
			Subprotocols: []string{subprotocol, bearerPrefix + token(t, Claims{})},
		})
		if err == nil {
			_ = ws.CloseNow()
		}
		return resp, err
	}
	if resp, err := dial("https://evil.example.com"); err == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("dial from a foreign origin = %v, %v; want 403", resp, err)
	}
	if resp, err := dial("https://app.example.com"); err != nil {
		t.Errorf("dial from a listed origin = %v, %v; want success", resp, err)
	}
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "page "+r.URL.Path) })
	with := loopback(t, func(c *Config) { c.Page = page })
	without := loopback(t, nil)
	upgrade := http.Header{
		"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	but := func(name, value string) http.Header {
		h := upgrade.Clone()
		h.Set(name, value)
		return h
	}
	tests := []struct {
		name   string
		w      *world
		method string
		path   string
		header http.Header
		status int
		want   map[string]string // headers
	}{
		{"page", with, "GET", "/", nil, 200, nil},
		{"page's file", with, "HEAD", "/app.js", nil, 200, nil},
		{"page is only read", with, "POST", "/", nil, 405, map[string]string{"Allow": "GET, HEAD"}},
		{"no page", without, "GET", "/", nil, 404, nil},
		{"unknown endpoint", with, "GET", "/v1/nothing", nil, 404, nil},
		{"no directory", with, "GET", "/v1", nil, 404, nil},
		{"wrong method", with, "POST", "/v1/ws", upgrade, 405, map[string]string{"Allow": "GET"}},
		{"no upgrade", with, "GET", "/v1/ws?access_token=x", nil, 426, map[string]string{"Upgrade": "websocket"}},
		{"another upgrade", with, "GET", "/v1/ws", but("Upgrade", "h2c"), 426, nil},
		{"another version", with, "GET", "/v1/ws", but("Sec-Websocket-Version", "8"), 426, map[string]string{"Sec-WebSocket-Version": "13"}},
		{"short key", with, "GET", "/v1/ws", but("Sec-Websocket-Key", "c2hvcnQ="), 400, nil},
		{"no base64", with, "GET", "/v1/ws", but("Sec-Websocket-Key", "%%%"), 400, nil},
	}
	for _, tt := range tests {
		r, err := http.NewRequestWithContext(t.Context(), tt.method, tt.w.url+tt.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if tt.header != nil {
			r.Header = tt.header.Clone()
		}
		resp, err := tt.w.client.Do(r)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != tt.status {
			t.Errorf("%s: status = %d (%v), want %d", tt.name, resp.StatusCode, err, tt.status)
		}
		if resp.Header.Get("X-Content-Type-Options") != "nosniff" || resp.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: headers = %v, want the security headers", tt.name, resp.Header)
		}
		for name, want := range tt.want {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s = %q, want %q", tt.name, name, got, want)
			}
		}
		if tt.status < 400 {
			continue
		}
		var p struct {
			Type, Title, Detail string
			Status              int
		}
		if err := json.Unmarshal(body, &p); err != nil || p.Type != "about:blank" || p.Title != http.StatusText(tt.status) ||
			p.Status != tt.status || p.Detail == "" || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: body = %s as %s (%v), want a problem", tt.name, body, resp.Header.Get("Content-Type"), err)
		}
		if strings.Contains(string(body), "access_token") {
			t.Errorf("%s: body = %s, repeats the query", tt.name, body)
		}
	}
}

// Whatever goes wrong with a token, in the handshake or later, nothing of it is in a log line, a metric or a message.
func TestTokensStayOut(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	good := token(t, Claims{Scopes: ScopeRead, Subject: "canary-subject"})
	bad := good[:len(good)-4] + "AAAA"
	var said strings.Builder
	for _, tok := range []string{bad, good} {
		c := w.dial(nil, subprotocol, bearerPrefix+tok)
		for {
			msg, err := c.read()
			if err != nil {
				fmt.Fprintln(&said, err)
				break
			}
			said.WriteString(msg)
			if strings.Contains(msg, `"welcome"`) {
				c.send(`{"type":"auth","id":"1","token":"` + bad + `"}`)
				c.send(`{"type":"auth","id":"2","token":"` + good + `"}`)
				c.send(`{"type":"auth","id":"3","token":["` + good + `"]}`)
			}
			if strings.Contains(msg, `"id":"3"`) {
				_ = c.ws.Close(websocket.StatusNormalClosure, "")
			}
		}
	}
	for _, e := range w.logs.All() {
		enc, err := zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "m"}).EncodeEntry(e.Entry, e.Context)
		if err != nil {
			t.Fatal(err)
		}
		said.WriteString(enc.String())
	}
	said.WriteString(w.gathered())
	parts := strings.Split(good, ".")
	for _, canary := range append(parts, "AAAA", "canary-subject", string(secret)) {
		if strings.Contains(said.String(), canary) {
			t.Errorf("%.20s… appears in:\n%s", canary, said.String())
		}
	}
	if !strings.Contains(said.String(), "4401") && !strings.Contains(said.String(), errUnauthorized) {
		t.Errorf("neither refusal was seen in:\n%s", said.String())
	}
}
