package edge

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/lxzan/gws"
	nhooyr "nhooyr.io/websocket"

	"confgate/internal/conference"
)

// talker is a connection by some library.
type talker interface {
	read() (string, error) // at the end the error is errClosed, with the code
	write(msg string) error
	close() error // with code 1000, and waits for the answer
}

// closedError is the end of a connection by a close frame.
type closedError struct{ code int }

func (e closedError) Error() string { return fmt.Sprint("closed with code ", e.code) }

// Every library's client connects, subscribes, gets frames of all sizes, resumes, and closes cleanly from either side.
func TestLibraries(t *testing.T) {
	t.Parallel()
	libraries := map[string]func(t *testing.T, url string, protocols []string) (talker, error){
		"coder/websocket":   dialCoder,
		"nhooyr.io":         dialNhooyr,
		"gorilla/websocket": dialGorilla,
		"gws":               dialGWS,
		"node ws":           nodeDialer(t),
	}
	for name, dial := range libraries {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := loopback(t, nil)
			w.src.answer("900", func(_ context.Context, req Request) (*fakeSub, error) {
				return &fakeSub{recovered: req.Resume != nil, frames: []Frame{text("delta", `{"type":"delta","seq":1}`)}}, nil
			})
			url := "ws" + strings.TrimPrefix(w.url, "http") + "/v1/ws"
			protocols := []string{subprotocol, bearerPrefix + token(t, Claims{Scopes: ScopeRead})}
			first, err := dial(t, url, protocols)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, first, `"type":"welcome"`)
			talk(t, first, `{"type":"subscribe","id":"1","conference":"900"}`)
			expect(t, first, `"recovered":false`)
			expect(t, first, `"seq":1`)
			sub := <-w.src.subs
			for _, n := range []int{2, 125, 126, 65535, 65536, 1 << 20} {
				sizes(t, first, sub, n)
			}
			burst(t, first, sub)
			if err := first.close(); err != nil {
				t.Fatalf("close = %v, want code 1000 answered", err)
			}

			second, err := dial(t, url, protocols)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, second, `"type":"welcome"`)
			view := conference.View(conference.TopicSet(conference.Link), 0)
			talk(t, second, fmt.Sprintf(`{"type":"subscribe","id":"2","conference":"900","topics":["link"],"resume":{"epoch":"c1","view":%q,"seq":5}}`, view))
			expect(t, second, `"recovered":true`)
			expect(t, second, `"seq":1`)
			ctx, cancel := context.WithTimeout(t.Context(), realPatience)
			defer cancel()
			drained := make(chan error, 1)
			go func() { drained <- w.srv.Drain(ctx, 0) }()
			if msg, err := second.read(); !errors.Is(err, closedError{codeLeaving}) {
				t.Errorf("read = %q, %v; want the end with code %d", msg, err, codeLeaving)
			}
			_ = second.close()
			if err := <-drained; err != nil {
				t.Errorf("Drain() = %v, want the client to have answered the close frame", err)
			}
		})
	}
}

func expect(t *testing.T, c talker, part string) {
	t.Helper()
	msg, err := c.read()
	if err != nil || !strings.Contains(msg, part) {
		t.Fatalf("read = %.200q, %v; want %s in it", msg, err, part)
	}
}

func talk(t *testing.T, c talker, msg string) {
	t.Helper()
	if err := c.write(msg); err != nil {
		t.Fatalf("write = %v", err)
	}
}

// sizes sends a message of n bytes as a feed has encoded it.
func sizes(t *testing.T, c talker, sub *fakeSub, n int) {
	t.Helper()
	msg := bytes.Repeat([]byte{'1'}, n)
	wire := append(Encoder{}.Header(nil, n), msg...)
	sub.put(Frame{Bytes: msg, Wire: wire, Messages: []MessageCount{{"delta", 1}}})
	if got, err := c.read(); err != nil || got != string(msg) {
		t.Fatalf("message of %d bytes came as %d bytes, %v", n, len(got), err)
	}
}

// burst sends many messages at once, so that several frames come in one write.
func burst(t *testing.T, c talker, sub *fakeSub) {
	t.Helper()
	var frames []Frame
	for i := range 500 {
		msg := fmt.Appendf(nil, `{"type":"delta","seq":%d,"pad":%q}`, i, strings.Repeat("x", i))
		frames = append(frames, Frame{
			Bytes: msg, Wire: append(Encoder{}.Header(nil, len(msg)), msg...), Messages: []MessageCount{{"delta", 1}},
		})
	}
	sub.put(frames...)
	for i, f := range frames {
		if got, err := c.read(); err != nil || got != string(f.Bytes) {
			t.Fatalf("message %d of a burst = %.80q, %v; want %.80q", i, got, err, f.Bytes)
		}
	}
}

type coderTalker struct {
	ctx context.Context //nolint:containedctx // the test's
	ws  *websocket.Conn
}

func dialCoder(t *testing.T, url string, protocols []string) (talker, error) {
	t.Helper()
	ws, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{Subprotocols: protocols})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(-1)
	t.Cleanup(func() { _ = ws.CloseNow() })
	return coderTalker{t.Context(), ws}, nil
}

func (c coderTalker) read() (string, error) {
	_, data, err := c.ws.Read(c.ctx)
	if code := websocket.CloseStatus(err); code != -1 {
		err = closedError{int(code)}
	}
	return string(data), err
}

func (c coderTalker) write(msg string) error {
	return c.ws.Write(c.ctx, websocket.MessageText, []byte(msg))
}

func (c coderTalker) close() error { return c.ws.Close(websocket.StatusNormalClosure, "") }

type nhooyrTalker struct {
	ctx context.Context //nolint:containedctx // the test's
	ws  *nhooyr.Conn
}

func dialNhooyr(t *testing.T, url string, protocols []string) (talker, error) {
	t.Helper()
	ws, _, err := nhooyr.Dial(t.Context(), url, &nhooyr.DialOptions{Subprotocols: protocols})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(-1)
	t.Cleanup(func() { _ = ws.CloseNow() })
	return nhooyrTalker{t.Context(), ws}, nil
}

func (c nhooyrTalker) read() (string, error) {
	_, data, err := c.ws.Read(c.ctx)
	if code := nhooyr.CloseStatus(err); code != -1 {
		err = closedError{int(code)}
	}
	return string(data), err
}

func (c nhooyrTalker) write(msg string) error {
	return c.ws.Write(c.ctx, nhooyr.MessageText, []byte(msg))
}

func (c nhooyrTalker) close() error { return c.ws.Close(nhooyr.StatusNormalClosure, "") }

type gorillaTalker struct{ ws *gorilla.Conn }

func dialGorilla(t *testing.T, url string, protocols []string) (talker, error) {
	t.Helper()
	ws, resp, err := (&gorilla.Dialer{Subprotocols: protocols}).DialContext(t.Context(), url, nil)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	return gorillaTalker{ws}, nil
}

func (c gorillaTalker) read() (string, error) {
	_, data, err := c.ws.ReadMessage()
	if ce, ok := errors.AsType[*gorilla.CloseError](err); ok {
		err = closedError{ce.Code}
	}
	return string(data), err
}

func (c gorillaTalker) write(msg string) error {
	return c.ws.WriteMessage(gorilla.TextMessage, []byte(msg))
}

func (c gorillaTalker) close() error {
	err := c.ws.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(gorilla.CloseNormalClosure, ""))
	if err != nil {
		return err
	}
	if _, err = c.read(); !errors.Is(err, closedError{gorilla.CloseNormalClosure}) {
		return err
	}
	return nil
}

// gwsTalker gets messages by callbacks.
type gwsTalker struct {
	gws.BuiltinEventHandler
	ws    *gws.Conn
	texts chan string
	over  chan error
}

func dialGWS(t *testing.T, url string, protocols []string) (talker, error) {
	t.Helper()
	c := &gwsTalker{texts: make(chan string, 1000), over: make(chan error, 1)}
	ws, _, err := gws.NewClient(c, &gws.ClientOption{
		Addr: url, RequestHeader: http.Header{"Sec-WebSocket-Protocol": {strings.Join(protocols, ", ")}},
	})
	if err != nil {
		return nil, err
	}
	c.ws = ws
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ws.ReadLoop()
	}()
	t.Cleanup(func() {
		_ = ws.NetConn().Close()
		<-ended
	})
	return c, nil
}

func (c *gwsTalker) OnMessage(_ *gws.Conn, m *gws.Message) {
	c.texts <- m.Data.String()
	_ = m.Close()
}

func (c *gwsTalker) OnClose(_ *gws.Conn, err error) {
	if ce, ok := errors.AsType[*gws.CloseError](err); ok {
		err = closedError{int(ce.Code)}
	}
	c.over <- err
	close(c.texts)
}

func (c *gwsTalker) read() (string, error) {
	msg, ok := <-c.texts
	if !ok {
		return "", <-c.over
	}
	return msg, nil
}

func (c *gwsTalker) write(msg string) error { return c.ws.WriteString(msg) }

func (c *gwsTalker) close() error { return c.ws.WriteClose(1000, nil) }

// nodeScript is a client on Node's ws that is led by lines of JSON.
const nodeScript = `
const WebSocket = require("ws");
const [url, ...protocols] = process.argv.slice(2);
const ws = new WebSocket(url, protocols);
const tell = (o) => process.stdout.write(JSON.stringify(o) + "\n");
ws.on("open", () => tell({open: ws.protocol}));
ws.on("message", (data) => tell({text: data.toString()}));
ws.on("close", (code) => { tell({code}); process.exit(0); });
ws.on("error", (e) => tell({error: String(e)}));
require("readline").createInterface({input: process.stdin}).on("line", (line) => {
  const o = JSON.parse(line);
  if (o.close) ws.close(1000); else ws.send(o.text);
});
`

// nodeWS is the version of Node's ws that the test installs.
const nodeWS = "ws@8.18.3"

type nodeTalker struct {
	in  io.Writer
	out *bufio.Reader
}

// nodeLine is what the script says.
type nodeLine struct {
	Open  *string `json:"open"`
	Text  *string `json:"text"`
	Code  int     `json:"code"`
	Error string  `json:"error"`
}

// nodeDialer installs ws once.
func nodeDialer(t *testing.T) func(t *testing.T, url string, protocols []string) (talker, error) {
	t.Helper()
	dir := nodeDir(t)
	return func(t *testing.T, url string, protocols []string) (talker, error) {
		t.Helper()
		return dialNode(t, dir, url, protocols)
	}
}

func dialNode(t *testing.T, dir, url string, protocols []string) (talker, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", append([]string{filepath.Join(dir, "client.js"), url}, protocols...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	c := &nodeTalker{in: in, out: bufio.NewReader(out)}
	line, err := c.next()
	if err == nil && (line.Open == nil || *line.Open != subprotocol) {
		err = fmt.Errorf("first line is %+v, want it open with %s", line, subprotocol)
	}
	return c, err
}

// nodeDir installs ws into a directory of the test's own.
func nodeDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "client.js"), []byte(nodeScript), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "npm", "install", "--prefix", dir, "--prefer-offline", "--no-audit", "--no-fund",
		"--no-save", "--ignore-scripts", "--omit=peer", "--omit=optional", nodeWS)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm install %s: %v: %s (the test needs Node and npm: apt-get install nodejs npm)", nodeWS, err, out)
	}
	return dir
}

func (c *nodeTalker) next() (nodeLine, error) {
	var l nodeLine
	line, err := c.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &l)
	}
	if err == nil && l.Error != "" {
		err = errors.New(l.Error)
	}
	return l, err
}

func (c *nodeTalker) read() (string, error) {
	l, err := c.next()
	if err == nil && l.Text == nil {
		return "", closedError{l.Code}
	}
	if err != nil {
		return "", err
	}
	return *l.Text, nil
}

func (c *nodeTalker) write(msg string) error {
	return json.NewEncoder(c.in).Encode(map[string]string{"text": msg})
}

func (c *nodeTalker) close() error {
	_ = json.NewEncoder(c.in).Encode(map[string]bool{"close": true}) // it may have ended already
	_, err := c.read()
	if errors.Is(err, closedError{1000}) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
