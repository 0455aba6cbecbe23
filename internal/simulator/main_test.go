package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"confgate/internal/confctl"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen; nothing waits for it to pass.
const patience = time.Minute

var documented = []string{
	"ConfBasicInfoNotify", "ConfDynamicInfoNotify", "ParticipantsNotify", "AttendeesNotify", "SpeakerChangeNotify",
	"NetConditionNotify", "InviteResultNotify", "RealTimeSubtitleNotify", "WaitingListNotify", "InterpreterGroupNotify",
}

// kindsWithFulls is how many of them send a full frame on Subscribe.
const kindsWithFulls = 9

// bench is a provider on a real port.
type bench struct {
	*Provider
	t   *testing.T
	srv *httptest.Server
}

func serve(t *testing.T, cfg Config) *bench {
	t.Helper()
	p := New(cfg)
	srv := httptest.NewServer(p.Handler())
	t.Cleanup(func() {
		p.Close()
		srv.Close()
	})
	return &bench{Provider: p, t: t, srv: srv}
}

// soon is the time in which something must happen.
func (b *bench) soon() (context.Context, context.CancelFunc) {
	return context.WithTimeout(b.t.Context(), patience)
}

// run lets the worlds change until the test ends.
func (b *bench) run() {
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("Run() = %v, want nil", err)
		}
	})
}

func (b *bench) first() Credential { return b.Conferences()[0] }

// get makes a REST call and returns its status and body.
func get(
	t *testing.T, h http.Handler, method, path, conf string, headers map[string]string,
) (int, http.Header, map[string]any) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), method, path+"?conferenceID="+url.QueryEscape(conf), nil)
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	var body map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil {
		t.Fatalf("%s %s: answer isn't JSON: %v", method, path, err)
	}
	return rec.Code, rec.Header(), body
}

func logIn(t *testing.T, h http.Handler, c Credential) string {
	t.Helper()
	status, _, body := get(t, h, "GET", pathToken, c.ID, map[string]string{
		"X-Password": c.Password.Reveal(), "X-Login-Type": "1",
	})
	if status != http.StatusOK {
		t.Fatalf("token: status %d, body %v", status, body)
	}
	return body["data"].(map[string]any)["token"].(string)
}

func wsTokenOf(t *testing.T, h http.Handler, conf, token string) string {
	t.Helper()
	status, _, body := get(t, h, "GET", pathWSToken, conf, map[string]string{"X-Conference-Authorization": token})
	if status != http.StatusOK {
		t.Fatalf("wsToken: status %d, body %v", status, body)
	}
	return body["webSocketToken"].(string)
}

// client is one link, seen from outside.
type client struct {
	b     *bench
	conn  *websocket.Conn
	conf  string
	token string
	seq   int
}

// frame is a decoded frame; err is set where it couldn't be.
type frame struct {
	raw        []byte
	err        error
	Action     string
	MsgMode    int
	MsgID      string
	Version    int64
	CreateTime int64
	Sequence   string
	Type       string
	All        map[string]any
}

func (b *bench) dialRaw(conf, wsToken string) (*websocket.Conn, error) {
	u := "ws" + strings.TrimPrefix(b.srv.URL, "http") + pathWebSocket + "?confID=" + conf + "&tmpToken=" + wsToken
	conn, _, err := websocket.Dial(b.t.Context(), u, nil)
	if err == nil {
		conn.SetReadLimit(-1)
		b.t.Cleanup(func() { _ = conn.CloseNow() })
	}
	return conn, err
}

// dialled logs in and makes a link.
func (b *bench) dialled(c Credential) *client {
	b.t.Helper()
	token := logIn(b.t, b.Handler(), c)
	conn, err := b.dialRaw(c.ID, wsTokenOf(b.t, b.Handler(), c.ID, token))
	if err != nil {
		b.t.Fatalf("dial: %v", err)
	}
	return &client{b: b, conn: conn, conf: c.ID, token: token}
}

// linked is a link with a subscription to everything, whose full frames have been read.
func (b *bench) linked(c Credential) (*client, []frame) {
	b.t.Helper()
	cl := b.dialled(c)
	return cl, cl.subscribeAll()
}

func (c *client) send(frame string) {
	c.b.t.Helper()
	ctx, cancel := c.b.soon()
	defer cancel()
	if err := c.conn.Write(ctx, websocket.MessageText, []byte(frame)); err != nil {
		c.b.t.Fatalf("write: %v", err)
	}
}

func (c *client) sequence() string {
	c.seq++
	return fmt.Sprintf("%030d", c.seq)
}

func (c *client) subscribe(types []string, token string) string {
	c.b.t.Helper()
	seq := c.sequence()
	data, _ := json.Marshal(map[string]any{"subscribeType": types, "confToken": token})
	req, _ := json.Marshal(map[string]any{"action": "Subscribe", "sequence": seq, "data": string(data)})
	c.send(string(req))
	return seq
}

// subscribeAll subscribes to the documented types, checks the answer and reads until each kind's full frame has come. It
// returns all frames that were read, those before the answer too.
func (c *client) subscribeAll() []frame {
	c.b.t.Helper()
	seq := c.subscribe(documented, c.token)
	all := c.until("answer to Subscribe", func(f frame) bool { return f.Action == "Subscribe" && f.Sequence == seq })
	answer := all[len(all)-1]
	if data, _ := answer.All["data"].(map[string]any); data["returnCode"] != 0.0 {
		c.b.t.Fatalf("Subscribe was answered with %s", answer.raw)
	}
	all = all[:len(all)-1]
	fulls := make(map[string]frame)
	for len(fulls) < kindsWithFulls {
		f := c.next()
		all = append(all, f)
		if f.MsgMode == 0 && f.Action != "RealTimeSubtitleNotify" {
			fulls[f.Action] = f
		}
	}
	return all
}

func (c *client) read() (frame, error) {
	ctx, cancel := c.b.soon()
	defer cancel()
	_, data, err := c.conn.Read(ctx)
	if err != nil {
		return frame{}, err
	}
	return decode(data), nil
}

func (c *client) next() frame {
	c.b.t.Helper()
	f, err := c.read()
	if err != nil {
		c.b.t.Fatalf("read: %v", err)
	}
	return f
}

// until reads up to the first frame for which ok holds.
func (c *client) until(what string, ok func(frame) bool) []frame {
	c.b.t.Helper()
	var all []frame
	for {
		f, err := c.read()
		if err != nil {
			c.b.t.Fatalf("waiting for %s: %v after %d frames", what, err, len(all))
		}
		all = append(all, f)
		if ok(f) {
			return all
		}
	}
}

func (c *client) wantAnswer(action, seq string, code float64) frame {
	c.b.t.Helper()
	all := c.until("answer to "+action, func(f frame) bool { return f.Action == action && f.Sequence == seq })
	f := all[len(all)-1]
	data, _ := f.All["data"].(map[string]any)
	if got := data["returnCode"]; got != code {
		c.b.t.Fatalf("%s: returnCode = %v, want %v", action, got, code)
	}
	return f
}

// ended reads until the link is closed and returns how.
func (c *client) ended() websocket.StatusCode {
	c.b.t.Helper()
	for {
		if _, err := c.read(); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				c.b.t.Fatal("the link stays open")
			}
			return websocket.CloseStatus(err)
		}
	}
}

func decode(data []byte) frame {
	f := frame{raw: data}
	if f.err = json.Unmarshal(data, &f.All); f.err != nil {
		return f
	}
	f.Action, _ = f.All["action"].(string)
	f.MsgID, _ = f.All["msgID"].(string)
	f.Sequence, _ = f.All["sequence"].(string)
	f.Type, _ = f.All["type"].(string)
	f.MsgMode = int(number(f.All["msgMode"]))
	f.Version = number(f.All["version"])
	f.CreateTime = number(f.All["createTime"])
	return f
}

// number reads a number that may be quoted.
func number(v any) int64 {
	switch v := v.(type) {
	case float64:
		return int64(v)
	case string:
		var n int64
		_, _ = fmt.Sscan(v, &n)
		return n
	}
	return 0
}

// waitFor polls for something that another goroutine will bring about.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// model is a client that misses nothing: it knows what full frames said and increments changed.
type model map[string]map[string]map[string]any // action, element, key

func (m model) apply(t *testing.T, f frame) {
	t.Helper()
	if f.Action == "RealTimeSubtitleNotify" {
		return
	}
	if f.MsgMode == 0 {
		merge(m.of("fulls"), f.Action, nil)
		delete(m, f.Action)
	}
	kind := m.of(f.Action)
	rows, isList := f.All["data"].([]any)
	switch f.Action {
	case "ConfBasicInfoNotify", "ConfDynamicInfoNotify":
		isList = false
	}
	if !isList {
		for k, v := range f.All {
			switch k {
			case "confID", "msgID", "msgMode", "version", "createTime", "action":
			default:
				merge(kind, "", map[string]any{k: v})
			}
		}
		return
	}
	for i, r := range rows {
		row := r.(map[string]any)
		mode := number(row["mode"])
		id := m.identify(f.Action, row, i)
		if f.Action == "ParticipantsNotify" && mode == 1 {
			delete(m["NetConditionNotify"], id)
		}
		if mode == 1 {
			if kind[id] == nil && f.Action != "NetConditionNotify" && m.of("fulls")[f.Action] != nil {
				t.Errorf("%s removes %q, which isn't there", f.Action, id)
			}
			delete(kind, id)
			continue
		}
		flat := maps.Clone(row)
		if info, ok := row["pinfoMap"].(map[string]any); ok {
			delete(flat, "pinfoMap")
			maps.Copy(flat, info)
		}
		merge(kind, id, flat)
	}
}

func (m model) of(action string) map[string]map[string]any {
	if m[action] == nil {
		m[action] = make(map[string]map[string]any)
	}
	return m[action]
}

func merge(kind map[string]map[string]any, id string, values map[string]any) {
	if kind[id] == nil {
		kind[id] = make(map[string]any)
	}
	maps.Copy(kind[id], values)
}

// identify names the element that a row is about.
func (m model) identify(action string, row map[string]any, i int) string {
	text := func(k string) string { s, _ := row[k].(string); return s }
	switch action {
	case "ParticipantsNotify", "WaitingListNotify":
		return text("pid")
	case "NetConditionNotify":
		return text("participantID")
	case "InviteResultNotify":
		return text("callNumber")
	case "AttendeesNotify":
		for _, k := range []string{"participantID", "userUUID", "phone", "email", "sms"} {
			for id, known := range m[action] {
				if v := text(k); v != "" && known[k] == v {
					return id
				}
			}
		}
		return text("userUUID") + "/" + text("phone") + "/" + text("email") + "/" + text("sms")
	}
	return fmt.Sprint(i)
}

func incrementsOf(frames []frame) []frame {
	return slices.DeleteFunc(slices.Clone(frames), func(f frame) bool { return f.MsgMode != 1 })
}

// secret wraps a text.
func secret(s string) confctl.Secret { return confctl.NewSecret(s) }
