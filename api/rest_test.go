package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"
	"time"

	"confgate/internal/conference"
	"confgate/internal/edge"
)

// stage is a Source and a Registry whose conferences are named for what becomes of them.
type stage struct{}

var errStage = errors.New("broken")

func outcome(conf string) error {
	return map[string]error{
		"gone": edge.ErrNotFound, "late": edge.ErrUnavailable, "broken": errStage, "flagged": edge.ErrNamedByFlags,
		"full": edge.ErrFull, "unsealed": edge.ErrNoSealKey,
	}[conf]
}

func (stage) Subscribe(_ context.Context, req edge.Request) (edge.Subscription, error) {
	if err := outcome(req.Conference); err != nil {
		return nil, err
	}
	pos := conference.Position{Epoch: "c5k2", Seq: 41}
	change := conference.Stamped{Change: conference.Change{Topic: conference.Speakers, Time: 1, Body: []byte(`[]`)}, Seq: 42, Prev: 7}
	snapshot := edge.Encoder{}.Snapshot(nil, req.Conference, pos, []byte(`{"link":{"state":"live","since":1}}`), nil)
	delta := edge.Encoder{}.Delta(nil, req.Conference, change, change.Body)
	change.Seq, change.Prev = 43, 42
	other := edge.Encoder{}.Delta(nil, req.Conference, change, change.Body)
	both := bytes.Join([][]byte{[]byte("["), delta, []byte(","), other, []byte("]")}, nil)
	status := edge.Encoder{}.Status(nil, req.Conference, false, "log", 5)
	return &script{[]edge.Frame{{Bytes: snapshot}, {Bytes: both}, {Bytes: status}, {Released: true}}}, nil
}

func (stage) Document(_ context.Context, req edge.DocumentRequest) (edge.Document, error) {
	if err := outcome(req.Conference); err != nil {
		return edge.Document{}, err
	}
	d := edge.Document{Position: conference.Position{Epoch: "c5k2", Seq: 41}, JSON: []byte(`{"link":{"state":"live","since":1}}`)}
	if len(req.Have) > 0 {
		d.JSON = nil
	}
	return d, nil
}

func (stage) List(_ context.Context, may func(string) bool) ([]edge.Summary, error) {
	for _, conf := range []string{"late", "broken"} {
		if may(conf) {
			return nil, outcome(conf)
		}
	}
	return []edge.Summary{{Conference: "unknown"}, {
		Conference: "900", Known: true, Worker: "gw-1", Clients: 2, Fresh: true, Position: conference.Position{Epoch: "c5k2", Seq: 41},
		Summary: conference.Summary{
			Title: "Standup", LinkState: "stale", LinkReason: "gap", LinkSince: 5, Counts: map[conference.Topic]int{conference.Waiting: 1},
		},
	}}, nil
}

func (stage) Put(_ context.Context, conf string, _ []byte) (bool, error) {
	return conf == "new", outcome(conf)
}

func (stage) Delete(_ context.Context, conf string) error { return outcome(conf) }

// script is a Subscription that ends.
type script struct{ frames []edge.Frame }

func (*script) Recovered() bool { return false }

func (s *script) Next() (edge.Frame, bool) {
	f := s.frames[0]
	s.frames = s.frames[1:]
	return f, true
}

func (*script) Renew() {}
func (*script) Close() {}

// Every answer that openapi.yaml describes can be had, and all that are given are described.
func TestEveryAnswer(t *testing.T) {
	t.Parallel()
	secret := bytes.Repeat([]byte("k"), edge.MinSecret)
	auth, err := edge.NewVerifier(edge.VerifierConfig{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	serve := func(change func(*edge.Config)) *httptest.Server {
		cfg := edge.Config{Source: stage{}, Registry: stage{}, Auth: auth, WorkerID: "gw-0-x7", RequestRate: -1}
		change(&cfg)
		return httptest.NewServer(edge.New(cfg).Handler())
	}
	plain := serve(func(*edge.Config) {})
	defer plain.Close()
	bare := serve(func(c *edge.Config) { c.Registry = nil })
	defer bare.Close()
	slow := serve(func(c *edge.Config) { c.RequestRate = 1 })
	defer slow.Close()
	token := func(sub string, scopes edge.Scopes, confs ...string) string {
		text, err := edge.Mint(secret, edge.Claims{Subject: sub, Scopes: scopes, Conferences: confs, Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	all := token("ann", edge.ScopeRead|edge.ScopeAdmin, "*")
	listed := token("ann", edge.ScopeRead, "900")
	v := validator(t, Strict)
	seen := make(map[string]bool)
	ask := func(srv *httptest.Server, method, path, token, body string, header ...string) (int, []byte) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var buf bytes.Buffer
		if _, err := buf.ReadFrom(resp.Body); err != nil {
			t.Fatal(err)
		}
		path, _, _ = strings.Cut(path, "?")
		asked := method
		if resp.StatusCode == http.StatusMethodNotAllowed { // is described where the path is read
			asked = http.MethodGet
		}
		if err := v.Answer(asked, path, resp.StatusCode, resp.Header, buf.Bytes()); err != nil {
			t.Errorf("%s %s = %d: %v in %v %s", method, path, resp.StatusCode, err, resp.Header, buf.Bytes())
		}
		for _, o := range v.rest {
			if o.method == asked && o.matches(path) {
				seen[fmt.Sprint(asked, " ", strings.Join(o.path, "/"), " ", resp.StatusCode)] = true
			}
		}
		return resp.StatusCode, buf.Bytes()
	}
	const list, put = "/v1/conferences", `{"password":"654321"}`
	ask(plain, "GET", list, listed, "")
	ask(plain, "GET", list, all, "")
	ask(plain, "GET", list, token("ann", edge.ScopeRead, "broken"), "")
	ask(plain, "GET", list, token("ann", edge.ScopeRead, "late"), "")
	for _, path := range []string{list, list + "/900", list + "/900/events"} {
		ask(plain, "GET", path, "", "")
		ask(plain, "GET", path, token("ann", 0, "*"), "")
		ask(plain, "POST", path, all, "")
		for code := 0; code != http.StatusTooManyRequests; {
			code, _ = ask(slow, "GET", path, all, "")
		}
	}
	_, stream := ask(plain, "GET", list+"/900/events?topics=speakers", all, "")
	checkStream(t, v, stream)
	ask(plain, "GET", list+"/900", all, "")
	ask(plain, "GET", list+"/900", all, "", "If-None-Match", `*`)
	for _, conf := range []string{"gone", "late", "broken"} {
		ask(plain, "GET", list+"/"+conf, all, "")
		ask(plain, "GET", list+"/"+conf+"/events", all, "")
		ask(plain, "PUT", list+"/"+conf, all, put, "Content-Type", "application/json")
		ask(plain, "DELETE", list+"/"+conf, all, "")
	}
	for _, conf := range []string{"900", "new", "full", "unsealed"} {
		ask(plain, "PUT", list+"/"+conf, all, put, "Content-Type", "application/json")
	}
	ask(plain, "PUT", list+"/900", all, put, "Content-Type", "text/plain")
	ask(plain, "PUT", list+"/900", all, "{", "Content-Type", "application/json")
	ask(plain, "PUT", list+"/900", all, strings.Repeat(" ", 70<<10), "Content-Type", "application/json")
	ask(plain, "DELETE", list+"/900", all, "")
	ask(plain, "DELETE", list+"/flagged", all, "")
	for _, method := range []string{"PUT", "DELETE"} {
		ask(plain, method, list+"/900", "", put)
		ask(plain, method, list+"/900", listed, put)
		ask(bare, method, list+"/900", all, put, "Content-Type", "application/json")
		for code := 0; code != http.StatusTooManyRequests; {
			code, _ = ask(slow, method, list+"/900", all, put)
		}
	}
	described := 0
	for _, o := range v.rest {
		for status := range o.answers {
			described++
			if key := fmt.Sprint(o.method, " ", strings.Join(o.path, "/"), " ", status); !seen[key] {
				t.Errorf("%s is described and never came", key)
			}
		}
	}
	if described < 40 {
		t.Errorf("openapi.yaml describes %d answers, want more", described)
	}
}

// checkStream checks each message of an event stream by the schemas of the WebSocket's, and that its id and type are those of
// the event.
func checkStream(t *testing.T, v *Validator, stream []byte) {
	t.Helper()
	var types []string
	event, id := "", ""
	for lines := bufio.NewScanner(bytes.NewReader(stream)); lines.Scan(); {
		switch field, value, _ := strings.Cut(lines.Text(), ": "); field {
		case "event":
			event = value
		case "id":
			id = value
		case "data":
			var m struct {
				Type string
				Seq  *int
			}
			if err := json.Unmarshal([]byte(value), &m); err != nil || m.Type != event || (m.Seq == nil) != (id == "") ||
				m.Seq != nil && !strings.HasSuffix(id, fmt.Sprint(":", *m.Seq)) {
				t.Errorf("event %q with the id %q holds %s", event, id, value)
			}
			if err := v.Server([]byte(value)); err != nil {
				t.Errorf("%v in %s", err, value)
			}
			types = append(types, m.Type)
			event, id = "", ""
		}
	}
	if got, want := strings.Join(types, " "), "welcome subscribed snapshot delta delta status unsubscribed"; got != want {
		t.Errorf("the stream held %s, want %s", got, want)
	}
}

func TestAnswerComplains(t *testing.T) {
	t.Parallel()
	v := validator(t, Strict)
	problem := `{"type":"about:blank","title":"Not Found","status":404,"detail":"x"}`
	typ := func(s string, more ...string) http.Header {
		h := http.Header{"Content-Type": {s}, "Cache-Control": {"private, no-cache"}, "Vary": {"Origin", "Authorization"}}
		for i := 0; i < len(more); i += 2 {
			h.Set(more[i], more[i+1])
		}
		return h
	}
	doc := typ("application/json", "ETag", `"c5k2:r1:4"`, "Confgate-Fresh", "?1")
	tests := []struct {
		name, method, path string
		status             int
		header             http.Header
		body               string
		ok                 bool
	}{
		{"problem", "GET", "/v1/conferences/1", 404, typ("application/problem+json"), problem, true},
		{"document", "GET", "/v1/conferences/1", 200, doc, `{}`, true},
		{"list", "GET", "/v1/conferences", 200, typ("application/json"), `{"worker":"w","conferences":[]}`, true},
		{"problem as plain JSON", "GET", "/v1/conferences/1", 404, typ("application/json"), problem, false},
		{"problem without detail", "GET", "/v1/conferences/1", 404, typ("application/problem+json"), `{}`, false},
		{"not JSON", "GET", "/v1/conferences/1", 404, typ("application/problem+json"), `x`, false},
		{"empty", "GET", "/v1/conferences/1", 404, typ("application/problem+json"), ``, false},
		{"document without a tag", "GET", "/v1/conferences/1", 200, typ("application/json", "Confgate-Fresh", "?1"), `{}`, false},
		{"document with a bad tag", "GET", "/v1/conferences/1", 200, typ("application/json", "Confgate-Fresh", "?1", "ETag", "x"), `{}`, false},
		{"list with a misspelt member", "GET", "/v1/conferences", 200, typ("application/json"), `{"worker":"w","conferences":[{"id":"1","titel":"x"}]}`, false},
		{"list with half a conference", "GET", "/v1/conferences", 200, typ("application/json"), `{"worker":"w","conferences":[{"id":"1","seq":1}]}`, false},
		{"limit without Retry-After", "GET", "/v1/conferences", 429, typ("application/problem+json"), problem, false},
		{"body where none is", "DELETE", "/v1/conferences/1", 204, typ("application/json"), `{}`, false},
		{"unknown status", "GET", "/v1/conferences", 418, typ("application/problem+json"), problem, false},
		{"unknown path", "GET", "/v1/people", 200, doc, `{}`, false},
		{"unknown method", "POST", "/v1/conferences", 200, doc, `{}`, false},
	}
	for _, tt := range tests {
		err := v.Answer(tt.method, tt.path, tt.status, tt.header, []byte(tt.body))
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: Answer = %v, want accepted: %t", tt.name, err, tt.ok)
		}
	}
}

// The references of openapi.yaml lead somewhere, and its examples are valid.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	doc, err := openAPI()
	if err != nil {
		t.Fatal(err)
	}
	if doc["openapi"] != "3.1.0" {
		t.Errorf("openapi = %v, want 3.1.0", doc["openapi"])
	}
	references := make(map[string]int)
	collect(doc, references)
	for ref := range references {
		file, local, _ := strings.Cut(ref, "#")
		if file == "" {
			if at(doc, strings.Split(strings.TrimPrefix(local, "/"), "/")) == nil {
				t.Errorf("reference to nothing: %s", ref)
			}
		} else if _, err := fs.Stat(files, path.Clean(file)); err != nil {
			t.Errorf("reference to nothing: %s", ref)
		}
	}
	v := validator(t, Strict)
	examples := 0
	var walk func(value any)
	walk = func(value any) {
		m := members(value)
		ref, _ := members(m["schema"])["$ref"].(string)
		for name, e := range members(m["examples"]) {
			data, err := json.Marshal(members(e)["value"])
			if err == nil {
				err = v.check(strings.TrimSuffix(path.Base(ref), ".json"), data)
			}
			if err != nil {
				t.Errorf("example %s: %v", name, err)
			}
			examples++
		}
		for _, item := range m {
			walk(item)
		}
	}
	walk(doc)
	if examples < 3 {
		t.Errorf("%d examples, want three at least", examples)
	}
}
