package gateway

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"confgate/internal/telemetry"
)

// guarded is an HTTP server with a bound on its sockets. "/hold" is answered when hold is closed, "/take" takes the socket
// over, and "/" is answered at once.
type guarded struct {
	*sockets
	addr string
	hold chan struct{}
	held chan struct{} // has one for each "/hold" under way
}

func startGuarded(t *testing.T, most int) *guarded {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &guarded{
		sockets: newSockets(most, telemetry.NewMetrics("v", "c", "go")), addr: ln.Addr().String(),
		hold: make(chan struct{}), held: make(chan struct{}, 100),
	}
	srv := g.guard(&http.Server{Handler: http.HandlerFunc(g.answer), ReadTimeout: time.Minute, IdleTimeout: time.Minute})
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve = %v, want ErrServerClosed", err)
		}
		g.until(t, "all are forgotten", func() bool { return len(g.open) == 0 && g.waiting == 0 && g.idle.Len() == 0 })
	})
	return g
}

func (g *guarded) answer(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/hold":
		g.held <- struct{}{}
		<-g.hold
	case "/take":
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		go func() {
			defer conn.Close()
			_, _ = io.Copy(conn, conn)
		}()
		return
	}
	_, _ = io.WriteString(w, "ok")
}

// until waits for the accounting, which follows what a client sees.
func (g *guarded) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; runtime.Gosched() {
		g.mu.Lock()
		done, waiting, idle := ok(), g.waiting, g.idle.Len()
		g.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not so in time: %s; %d wait, of them %d are idle", what, waiting, idle)
		}
	}
}

func (g *guarded) untilIdle(t *testing.T, n int) {
	t.Helper()
	g.until(t, fmt.Sprintf("%d are idle", n), func() bool { return g.idle.Len() == n })
}

func (g *guarded) untilWaiting(t *testing.T, n int) {
	t.Helper()
	g.until(t, fmt.Sprintf("%d wait", n), func() bool { return g.waiting == n })
}

// rawClient is a client's socket.
type rawClient struct {
	net.Conn
	r *bufio.Reader
}

func (g *guarded) dial(t *testing.T) rawClient {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return rawClient{conn, bufio.NewReader(conn)}
}

// send begins a request.
func (c rawClient) send(t *testing.T, path string, header ...string) {
	t.Helper()
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: h\r\n%s\r\n", path, strings.Join(header, "")); err != nil {
		t.Fatal(err)
	}
}

// get has a whole answer.
func (c rawClient) get(t *testing.T) {
	t.Helper()
	c.send(t, "/")
	c.answer(t)
}

func (c rawClient) answer(t *testing.T) {
	t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer resp.Body.Close()
	if data, err := io.ReadAll(resp.Body); err != nil || string(data) != "ok" {
		t.Fatalf("answer = %q, %v, want ok", data, err)
	}
}

// wantClosed waits for the end, and takes no time-out for it.
func (c rawClient) wantClosed(t *testing.T, what string) {
	t.Helper()
	_, err := c.r.ReadByte()
	if timeout := net.Error(nil); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("%s is open, want it closed (%v)", what, err)
	}
}

// wantRefused waits for the metric.
func (g *guarded) wantRefused(t *testing.T, limit string, want float64) {
	t.Helper()
	g.until(t, fmt.Sprintf("%v are refused for %s", want, limit), func() bool {
		families, err := g.metrics.Registry().Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == "confgate_downstream_refused_total" && m.GetLabel()[0].GetValue() == limit {
					return m.GetCounter().GetValue() == want
				}
			}
		}
		return false
	})
}

// Whoever opened keep-alives, had an answer on each and left them took all file descriptors. Those that are idle for
// longest give way, to a new socket and to one that becomes idle.
func TestIdleSocketsGiveWay(t *testing.T) {
	t.Parallel()
	g := startGuarded(t, 3)
	var idle []rawClient
	for i := range 3 {
		idle = append(idle, g.dial(t))
		idle[i].get(t)
		g.untilIdle(t, i+1)
	}
	idle[0].get(t) // so that the second is the oldest
	g.until(t, "the first is the newest", func() bool {
		return g.idle.Len() == 3 && g.idle.Back().Value.(net.Conn).RemoteAddr().String() == idle[0].LocalAddr().String()
	})

	g.dial(t).get(t)
	idle[1].wantClosed(t, "the oldest idle socket")
	g.untilIdle(t, 3)
	idle[2].get(t)
	g.untilIdle(t, 3)
	g.wantRefused(t, telemetry.LimitIdle, 1)

	// Sockets on which nothing comes drive out the idle ones, and no more than those.
	for i := range 3 {
		g.dial(t)
		g.untilIdle(t, 2-i)
	}
	g.dial(t).wantClosed(t, "a socket beyond the bound")
	idle[0].wantClosed(t, "an idle socket")
	idle[2].wantClosed(t, "an idle socket")
	g.wantRefused(t, telemetry.LimitPending, 1)
	g.wantRefused(t, telemetry.LimitIdle, 4)
}

// A request under way and a WebSocket have bounds of their own: they neither take a place nor lose their socket.
func TestServedSocketsTakeNoPlace(t *testing.T) {
	t.Parallel()
	g := startGuarded(t, 2)
	taken := g.dial(t)
	taken.send(t, "/take")
	if line, err := taken.r.ReadString('\n'); err != nil || !strings.Contains(line, " 101 ") {
		t.Fatalf("answer = %q, %v, want 101", line, err)
	}
	g.until(t, "none is kept", func() bool { return len(g.open) == 0 })
	var under []rawClient
	for range 4 {
		c := g.dial(t)
		c.send(t, "/hold")
		<-g.held
		under = append(under, c)
	}
	g.untilWaiting(t, 0)
	silent := []rawClient{g.dial(t), g.dial(t)}
	g.untilWaiting(t, 2)
	g.dial(t).wantClosed(t, "a socket beyond the bound")

	// Their answers are whole, though there is no place to be idle.
	close(g.hold)
	for _, c := range under {
		c.answer(t)
		c.wantClosed(t, "an idle socket beyond the bound")
	}
	if _, err := io.WriteString(taken, "\n\n"); err != nil {
		t.Error(err)
	}
	if line, err := taken.r.ReadString('\n'); err != nil {
		t.Errorf("the socket that was taken over = %q, %v, want it open", line, err)
	}
	for _, c := range silent {
		c.get(t)
	}
}

// An answered request whose body doesn't come holds its socket for a while longer. That is a pending one too.
func TestMissingBodiesTakePlaces(t *testing.T) {
	t.Parallel()
	g := startGuarded(t, 2)
	for i := range 2 {
		g.dial(t).send(t, "/", "Content-Length: 1000\r\n")
		g.until(t, "it is answered", func() bool {
			n := 0
			for _, k := range g.open {
				if k.stage == stageAnswered {
					n++
				}
			}
			return n == i+1
		})
	}
	g.dial(t).wantClosed(t, "a socket beyond the bound")
	g.wantRefused(t, telemetry.LimitPending, 1)
}
