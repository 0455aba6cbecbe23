package edge

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"confgate/internal/telemetry"
)

// try opens a connection and gives the status of the answer: 101 where it was upgraded.
func (w *world) try(token string) int {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), w.waits)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, w.url+"/v1/ws", &websocket.DialOptions{
		HTTPClient: w.client, Subprotocols: []string{subprotocol, bearerPrefix + token},
	})
	if err == nil {
		w.t.Cleanup(func() { _ = ws.CloseNow() })
		return http.StatusSwitchingProtocols
	}
	if resp == nil {
		w.t.Fatal(err)
	}
	if s := resp.Header.Get("Retry-After"); resp.StatusCode == http.StatusTooManyRequests && (len(s) != 1 || s < "1" || s > "5") {
		w.t.Errorf("Retry-After = %q, want 1 to 5", s)
	}
	return resp.StatusCode
}

// A storm is let in at the rate that is set, the rest hears when to come again, before anything is upgraded.
func TestHandshakeRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t, func(c *Config) { c.HandshakeRate = 8 })
		good, bad := token(t, Claims{Scopes: ScopeRead}), "x"
		storm := func(token string, n int) (in, out int) {
			for range n {
				switch status := w.try(token); status {
				case http.StatusSwitchingProtocols:
					in++
				case http.StatusTooManyRequests:
					out++
				default:
					t.Errorf("handshake = %d, want 101 or 429", status)
				}
			}
			return in, out
		}
		// Without a good token there is a quarter of the rate, and it is a share of its own.
		if in, out := storm(bad, 100); in != 4 || out != 96 {
			t.Errorf("bad tokens: %d upgraded and %d refused, want 4 and 96", in, out)
		}
		if in, out := storm(good, 100); in != 16 || out != 84 {
			t.Errorf("good tokens: %d upgraded and %d refused, want 16 and 84", in, out)
		}
		if got := w.request("GET", eventsPath, "", "Authorization", "Bearer "+good); got.status != http.StatusTooManyRequests {
			t.Errorf("event stream = %d, want 429", got.status)
		} else {
			got.wantProblem(t, "event stream", 429)
		}
		time.Sleep(time.Second)
		if in, _ := storm(good, 100); in != 8 {
			t.Errorf("%d upgraded a second later, want 8", in)
		}
		if got := w.metric("downstream_refused_total", "limit", "handshakes"); got != 96+84+1+92 {
			t.Errorf("refused_total{handshakes} = %v, want %d", got, 96+84+1+92)
		}
		// REST isn't a handshake.
		if got := w.request("GET", "/v1/conferences", "", "Authorization", "Bearer "+good); got.status != http.StatusOK {
			t.Errorf("list = %d, want 200", got.status)
		}
	})
}

func TestNoHandshakeRate(t *testing.T) {
	t.Parallel()
	p := newPace(-1)
	for range 100_000 {
		if !p.allow(true) || !p.allow(false) {
			t.Fatal("a handshake was refused without a limit")
		}
	}
}

func TestConnectionsPerSubject(t *testing.T) {
	t.Parallel()
	w := loopback(t, func(c *Config) { c.MaxPerSubject = 2 })
	ann := token(t, Claims{Scopes: ScopeRead})
	dial := func(tok string) *client { return w.dial(nil, subprotocol, bearerPrefix+tok) }
	a := dial(ann)
	a.greet()
	stream, _ := w.open(eventsPath, "Authorization", "Bearer "+ann)
	dial(ann).wantClosed(codeFull)
	w.request("GET", eventsPath, "", "Authorization", "Bearer "+ann).wantProblem(t, "a third", 429)
	dial(token(t, Claims{Subject: "bob", Scopes: ScopeRead})).greet() // others aren't concerned
	w.awaitMetric(2, "downstream_refused_total", "limit", "subject_connections")
	// Either kind gives its place back.
	stream.stop()
	_ = a.ws.Close(websocket.StatusNormalClosure, "")
	ctx, cancel := context.WithTimeout(t.Context(), w.waits)
	defer cancel()
	if err := w.srv.wait(ctx, func() int { return w.srv.subject("ann").connections }); err != nil {
		t.Fatalf("places are taken still: %v", err)
	}
	dial(ann).greet()
	dial(ann).greet()
}

func TestFullForStreams(t *testing.T) {
	t.Parallel()
	w := loopback(t, func(c *Config) { c.MaxConnections = 1 })
	w.connect(ScopeRead)
	got := w.request("GET", eventsPath, "", bearer(t, ScopeRead)...)
	got.wantProblem(t, "stream at a full worker", 503)
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	w.awaitMetric(1, "downstream_refused_total", "limit", "connections")
	if got := w.request("GET", "/v1/conferences", "", bearer(t, ScopeRead)...); got.status != 200 {
		t.Errorf("list at a full worker = %d, want 200", got.status)
	}
}

// Each refusal of a connection's own limits is counted.
func TestRefusalsAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t, func(c *Config) { c.MaxSubscriptions, c.MessageRate, c.MaxMessage = 1, 2, 4096 })
		c := w.connect(ScopeRead)
		c.send(`{"type":"subscribe","conference":"1"}`)
		c.next()
		c.send(`{"type":"subscribe","id":"a","conference":"2"}`)
		c.wantError("a", errTooMany)
		for i := range 3 { // with the two before one more than twice the rate
			c.send(fmt.Sprintf(`{"type":"ping","id":"%d"}`, i))
			c.next()
		}
		big := w.connect(ScopeRead)
		big.send(`{"type":"ping","id":"` + strings.Repeat(" ", 4096) + `"}`)
		big.wantClosed(codeProtocol)
		synctest.Wait()
		for _, limit := range []string{"subscriptions", "messages", "message_size"} {
			if got := w.metric("downstream_refused_total", "limit", limit); got != 1 {
				t.Errorf("refused_total{%s} = %v, want 1", limit, got)
			}
		}
	})
}

// What is remembered of subjects is forgotten when it says nothing any more.
func TestSubjectsAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t, nil)
		for i := range 100 {
			w.request("GET", "/v1/conferences", "", "Authorization", "Bearer "+token(t, Claims{Subject: fmt.Sprint(i), Scopes: ScopeRead}))
		}
		w.connect(ScopeRead)
		count := func() int {
			w.srv.mu.Lock()
			defer w.srv.mu.Unlock()
			return len(w.srv.subjects)
		}
		if n := count(); n != 101 {
			t.Errorf("%d subjects, want 101", n)
		}
		time.Sleep(2 * sweepEvery)
		if n := count(); n != 1 {
			t.Errorf("%d subjects a while later, want the one that is connected", n)
		}
	})
}

// Every limit that is counted is one of those that the metric begins with.
func TestLimitsOfCauses(t *testing.T) {
	t.Parallel()
	known := map[string]bool{"": true}
	for _, l := range telemetry.Limits {
		known[l] = true
	}
	for cause := range closeCause(numCauses) {
		if !known[cause.limit()] {
			t.Errorf("cause %s counts for the limit %q, which isn't known", cause.metric(), cause.limit())
		}
	}
}
