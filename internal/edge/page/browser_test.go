package page

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

// patience is how long a test waits for something that must come.
const patience = time.Minute

// browser is one Chromium for all tests of the package; each test has a profile and a tab of its own in it.
type browser struct {
	once sync.Once
	ctx  context.Context //nolint:containedctx // chromedp keeps its browser in a context
	stop func()
	err  error
}

var chromium browser

func TestMain(m *testing.M) {
	code := m.Run()
	if chromium.stop != nil {
		chromium.stop()
	}
	os.Exit(code)
}

func (b *browser) start() {
	path, err := exec.LookPath("chromium")
	if err != nil {
		b.err = fmt.Errorf("the browser tests need Chromium: apt-get install chromium (%w)", err)
		return
	}
	dir, err := os.MkdirTemp("", "confgate-chromium-")
	if err != nil {
		b.err = err
		return
	}
	allocator, cancelAllocator := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path), chromedp.UserDataDir(dir), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("headless", "new"), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-background-timer-throttling", true), chromedp.Flag("disable-renderer-backgrounding", true),
		chromedp.Flag("disable-backgrounding-occluded-windows", true), chromedp.Flag("hide-scrollbars", true),
		chromedp.WSURLReadTimeout(patience))
	ctx, cancel := chromedp.NewContext(allocator)
	b.ctx = ctx
	b.stop = func() {
		cancel()
		cancelAllocator()
		_ = os.RemoveAll(dir)
	}
	b.err = chromedp.Do(ctx)
}

// tab is a browser tab with a profile of its own.
type tab struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // chromedp keeps its tab in a context
}

// newTab opens an empty tab. Exceptions in it and violations of the page's policy fail the test.
func newTab(t *testing.T, width, height int64) *tab {
	t.Helper()
	chromium.once.Do(chromium.start)
	if chromium.err != nil {
		t.Fatal(chromium.err)
	}
	ctx, cancel := chromedp.NewContext(chromium.ctx, chromedp.WithNewBrowserContext())
	var listening sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		listening.Wait()
	})
	b := &tab{t, ctx}
	b.do(chromedp.EmulateViewport(width, height))
	console := chromedp.Console(ctx)
	listening.Go(func() {
		for m, err := range console {
			if err != nil {
				return // the tab was closed
			}
			if m.IsException() || strings.Contains(m.Text, "Content Security Policy") {
				t.Errorf("the page's console: %v", m)
			}
		}
	})
	return b
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// open loads the page with the one conference of these tests.
func (b *tab) open(g *gateway) {
	b.t.Helper()
	b.do(chromedp.Navigate(g.URL + "/#conf=900487914"))
}

// until waits for a JavaScript expression to become true.
func (b *tab) until(expression string) {
	b.t.Helper()
	_, err := chromedp.Run(b.ctx, chromedp.Poll[chromedp.Void](expression,
		chromedp.WithPollingInterval(15*time.Millisecond), chromedp.WithPollingTimeout(patience)))
	if err != nil {
		b.t.Fatalf("never true: %s (%v)\nthe page says:\n%v", expression, err, b.eval(`document.body.innerText`))
	}
}

// eval runs an expression, which may be a promise, and gives its value.
func (b *tab) eval(expression string) any {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[any](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// gateway is a server of confgate.v1 whose part the test plays.
type gateway struct {
	*httptest.Server
	mux   *http.ServeMux
	conns chan *peer
}

// peer is one accepted connection.
type peer struct {
	t      *testing.T
	conn   *websocket.Conn
	tokens []string // the subprotocols that the client offered
}

func newGateway(t *testing.T, cfg Config) *gateway {
	t.Helper()
	g := &gateway{mux: http.NewServeMux(), conns: make(chan *peer, 16)}
	g.mux.Handle("/", Handler(cfg))
	g.mux.HandleFunc("/v1/ws", func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"confgate.v1"}})
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		g.conns <- &peer{t, conn, r.Header.Values("Sec-WebSocket-Protocol")}
	})
	g.Server = httptest.NewServer(g.mux)
	t.Cleanup(g.Close)
	return g
}

// accept waits for the page to connect.
func (g *gateway) accept(t *testing.T) *peer {
	t.Helper()
	select {
	case p := <-g.conns:
		t.Cleanup(func() { _ = p.conn.CloseNow() })
		return p
	case <-time.After(patience):
		t.Fatal("the page did not connect")
		return nil
	}
}

// next is the client's next message.
func (p *peer) next() map[string]any {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	_, data, err := p.conn.Read(ctx)
	if err != nil {
		p.t.Fatalf("no message from the page: %v", err)
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		p.t.Fatalf("message from the page: %v", err)
	}
	return m
}

// want reads the client's next message and compares it, but for its id.
func (p *peer) want(want string) map[string]any {
	p.t.Helper()
	got := p.next()
	id := got["id"]
	delete(got, "id")
	var w map[string]any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		p.t.Fatal(err)
	}
	if diff := cmp.Diff(w, got); diff != "" {
		p.t.Fatalf("message from the page (-want +got):\n%s", diff)
	}
	got["id"] = id
	return got
}

func (p *peer) send(frames ...string) {
	p.t.Helper()
	for _, f := range frames {
		if !json.Valid([]byte(f)) {
			p.t.Fatalf("not JSON: %s", f)
		}
		if err := p.conn.Write(p.t.Context(), websocket.MessageText, []byte(f)); err != nil {
			p.t.Fatalf("write to the page: %v", err)
		}
	}
}

func (p *peer) welcome() {
	p.t.Helper()
	p.send(`{"type":"welcome","worker":"gw-0","session":"s1","time":1,"heartbeatMs":25000,"scopes":["read"]}`)
}

// subscribed greets, takes the first subscribe without resume, and answers with a snapshot at seq 40 of epoch e1.
func (p *peer) subscribed(state string) {
	p.t.Helper()
	p.welcome()
	m := p.want(`{"type":"subscribe","conference":"900487914"}`)
	p.granted(m, false)
	p.snapshot(40, state)
}

func (p *peer) granted(subscribe map[string]any, recovered bool) {
	p.t.Helper()
	p.send(fmt.Sprintf(`{"type":"subscribed","id":%q,"conference":"900487914","topics":["link","participants"],"view":"p3","recovered":%t}`,
		subscribe["id"], recovered))
}

func (p *peer) snapshot(seq int, state string) {
	p.t.Helper()
	p.send(fmt.Sprintf(`{"type":"snapshot","conference":"900487914","epoch":"e1","seq":%d,"state":%s}`, seq, state))
}

func delta(topic string, seq, prev int, patch string) string {
	return fmt.Sprintf(`{"type":"delta","conference":"900487914","topic":%q,"seq":%d,"prev":%d,"time":1611993595058,"patch":%s}`,
		topic, seq, prev, patch)
}

func event(topic string, seq, prev int, data string) string {
	return fmt.Sprintf(`{"type":"event","conference":"900487914","topic":%q,"seq":%d,"prev":%d,"time":1611993595058,"data":%s}`,
		topic, seq, prev, data)
}
