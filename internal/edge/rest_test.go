package edge

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"confgate/internal/conference"
)

// answer is what a REST request got.
type answer struct {
	status int
	header http.Header
	body   string
}

// request sends a request; header are name, value pairs.
func (w *world) request(method, path, body string, header ...string) answer {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), w.waits)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "identity")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := w.client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(data)}
}

// bearer is the header with a token of some scopes.
func bearer(t *testing.T, scopes Scopes, confs ...string) []string {
	t.Helper()
	return []string{"Authorization", "Bearer " + token(t, Claims{Scopes: scopes, Conferences: confs})}
}

// wantProblem checks an error's form and status.
func (a answer) wantProblem(t *testing.T, name string, status int) {
	t.Helper()
	var p struct {
		Type, Title, Detail string
		Status              int
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.status != status || p.Status != status ||
		p.Title != http.StatusText(status) || p.Type != "about:blank" || p.Detail == "" ||
		a.header.Get("Content-Type") != "application/problem+json" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: %d %v %s, want a problem with status %d", name, a.status, a.header, a.body, status)
	}
}

func TestRESTWhoMay(t *testing.T) {
	t.Parallel()
	w := loopback(t, func(c *Config) { c.Registry = &fakeRegistry{} })
	w.src.document = func(context.Context, DocumentRequest) (Document, error) { return Document{JSON: []byte(`{}`)}, nil }
	good := token(t, Claims{Scopes: ScopeRead, Conferences: []string{"900"}})
	expired := token(t, Claims{Scopes: ScopeRead, Expires: time.Now().Add(-time.Hour)})
	const one = "/v1/conferences/900"
	tests := []struct {
		name, method, path, auth string
		status                   int
		challenge                string
	}{
		{"list", "GET", "/v1/conferences", "Bearer " + good, 200, ""},
		{"document", "GET", one, "Bearer " + good, 200, ""},
		{"scheme in lower case", "GET", one, "bearer " + good, 200, ""},
		{"list without token", "GET", "/v1/conferences", "", 401, `Bearer realm="confgate"`},
		{"without token", "GET", one, "", 401, `Bearer realm="confgate"`},
		{"garbage", "GET", one, "Bearer x", 401, `Bearer realm="confgate", error="invalid_token"`},
		{"expired", "GET", one, "Bearer " + expired, 401, `Bearer realm="confgate", error="invalid_token"`},
		{"another scheme", "GET", one, "Basic " + good, 401, `Bearer realm="confgate"`},
		{"token in the query", "GET", one + "?access_token=" + good, "", 401, `Bearer realm="confgate"`},
		{"list by a token in the query", "GET", "/v1/conferences?access_token=" + good, "", 401, `Bearer realm="confgate"`},
		{"another conference", "GET", "/v1/conferences/901", "Bearer " + good, 403, `Bearer realm="confgate", error="insufficient_scope"`},
		{"no scope", "GET", one, bearer(t, 0)[1], 403, `Bearer realm="confgate", error="insufficient_scope"`},
		{"list without scope", "GET", "/v1/conferences", bearer(t, ScopeAdmin)[1], 403, `Bearer realm="confgate", error="insufficient_scope"`},
		{"topic beyond the scopes", "GET", one + "?topics=vendor", "Bearer " + good, 403, `Bearer realm="confgate", error="insufficient_scope"`},
		{"put without admin", "PUT", one, "Bearer " + good, 403, `Bearer realm="confgate", error="insufficient_scope"`},
		{"put of another conference", "PUT", one, bearer(t, ScopeAdmin, "901")[1], 403, `Bearer realm="confgate", error="insufficient_scope"`},
		{"delete without admin", "DELETE", one, "Bearer " + good, 403, `Bearer realm="confgate", error="insufficient_scope"`},
		{"delete without token", "DELETE", one, "", 401, `Bearer realm="confgate"`},
		{"events without token", "GET", one + "/events", "", 401, `Bearer realm="confgate"`},
		{"events of another conference", "GET", "/v1/conferences/901/events", "Bearer " + good, 403, `Bearer realm="confgate", error="insufficient_scope"`},
		{"not an id", "GET", "/v1/conferences/a%20b", "Bearer " + good, 404, ""},
		{"empty id", "GET", "/v1/conferences/", "Bearer " + good, 404, ""},
		{"long id", "GET", "/v1/conferences/" + strings.Repeat("1", 65), "Bearer " + good, 404, ""},
		{"nothing there", "GET", one + "/members", "Bearer " + good, 404, ""},
		{"deeper", "GET", one + "/events/1", "Bearer " + good, 404, ""},
		{"post to the list", "POST", "/v1/conferences", "Bearer " + good, 405, ""},
		{"post", "POST", one, "Bearer " + good, 405, ""},
		{"head of events", "HEAD", one + "/events", "Bearer " + good, 405, ""},
	}
	for _, tt := range tests {
		header := []string(nil)
		if tt.auth != "" {
			header = []string{"Authorization", tt.auth}
		}
		got := w.request(tt.method, tt.path, "", header...)
		if got.status != tt.status || got.header.Get("WWW-Authenticate") != tt.challenge {
			t.Errorf("%s: status %d, challenge %q, want %d and %q", tt.name, got.status, got.header.Get("WWW-Authenticate"), tt.status, tt.challenge)
		}
		if tt.status != 200 && tt.method != "HEAD" {
			got.wantProblem(t, tt.name, tt.status)
		}
		if tt.status == 405 && !strings.Contains(got.header.Get("Allow"), "GET") {
			t.Errorf("%s: Allow = %q, want GET in it", tt.name, got.header.Get("Allow"))
		}
	}
	w.awaitMetric(2, "downstream_requests_total", "code", "403", "route", "put")
	w.wantUntold(t, good)
}

func TestDocument(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	small := []byte(`{"link":{"state":"live"}}`)
	large := []byte(`{"participants":{` + strings.Repeat(`"p":{},`, 1000) + `"q":{}}}`)
	var mu sync.Mutex
	var asked DocumentRequest
	w.src.document = func(_ context.Context, req DocumentRequest) (Document, error) {
		mu.Lock()
		defer mu.Unlock()
		asked = req
		d := Document{Position: conference.Position{Epoch: "c5k2", Seq: 41}, Fresh: req.Conference != "stale", JSON: small}
		switch {
		case slices.Contains(req.Have, d.Position):
			d.JSON = nil
		case req.Conference == "large":
			d.JSON = large
		case req.Conference == "gone":
			return Document{}, ErrNotFound
		case req.Conference == "late":
			return Document{}, ErrUnavailable
		case req.Conference == "broken":
			return Document{}, errors.New("secret innards")
		}
		return d, nil
	}
	view := func(topics conference.Topics, p conference.Profile) string {
		return conference.View(topics|conference.TopicSet(conference.Link), p)
	}
	all := view(conference.Profile(0).VisibleTopics(), 0)
	tests := []struct {
		name, path string
		header     []string
		scopes     Scopes
		status     int
		etag, body string
	}{
		{"plain", "900", nil, ScopeRead, 200, `"c5k2:` + all + `:41"`, string(small)},
		{"by scopes", "900", nil, ScopeRead | ScopePII, 200, `"c5k2:` + view(conference.PII.VisibleTopics(), conference.PII) + `:41"`, string(small)},
		{"by topics", "900?topics=speakers,+participants,unknown&topics=quality", nil, ScopeRead, 200, `"c5k2:` +
			view(conference.TopicSet(conference.Speakers, conference.Participants, conference.Quality), 0) + `:41"`, string(small)},
		{"no topics", "900?topics=", nil, ScopeRead, 200, `"c5k2:` + view(0, 0) + `:41"`, string(small)},
		{"same", "900", []string{"If-None-Match", `"c5k2:` + all + `:41"`}, ScopeRead, 304, `"c5k2:` + all + `:41"`, ""},
		{"same by a list and weak", "900", []string{"If-None-Match", `"x", W/"c5k2:` + all + `:41" , "y"`}, ScopeRead, 304, `"c5k2:` + all + `:41"`, ""},
		{"any", "900", []string{"If-None-Match", `*`}, ScopeRead, 304, `"c5k2:` + all + `:41"`, ""},
		{"older", "900", []string{"If-None-Match", `"c5k2:` + all + `:40"`}, ScopeRead, 200, `"c5k2:` + all + `:41"`, string(small)},
		{"another view", "900", []string{"If-None-Match", `"c5k2:` + view(0, 0) + `:41"`}, ScopeRead, 200, `"c5k2:` + all + `:41"`, string(small)},
		{"no tag at all", "900", []string{"If-None-Match", `c5k2, "", "a:b", "::", "`}, ScopeRead, 200, `"c5k2:` + all + `:41"`, string(small)},
		{"large", "large", nil, ScopeRead, 200, `"c5k2:` + all + `:41"`, string(large)},
		{"large by gzip", "large", []string{"Accept-Encoding", "br, gzip;q=0.5"}, ScopeRead, 200, `"c5k2:` + all + `:41"`, string(large)},
		{"small isn't compressed", "900", []string{"Accept-Encoding", "gzip"}, ScopeRead, 200, `"c5k2:` + all + `:41"`, string(small)},
		{"gzip refused", "large", []string{"Accept-Encoding", "*, gzip;q=0"}, ScopeRead, 200, `"c5k2:` + all + `:41"`, string(large)},
	}
	for _, tt := range tests {
		header := append(bearer(t, tt.scopes), tt.header...)
		got := w.request("GET", "/v1/conferences/"+tt.path, "", header...)
		zipped := got.header.Get("Content-Encoding") == "gzip"
		if zipped != strings.HasSuffix(tt.name, "by gzip") {
			t.Errorf("%s: Content-Encoding = %q", tt.name, got.header.Get("Content-Encoding"))
		}
		body := got.body
		if zipped {
			body = unzip(t, body)
			if len(got.body) > len(body)/2 {
				t.Errorf("%s: %d bytes of %d, want fewer", tt.name, len(got.body), len(body))
			}
		}
		if got.status != tt.status || got.header.Get("ETag") != tt.etag || body != tt.body {
			t.Errorf("%s: %d, ETag %s, %.100s, want %d, %s, %.100s", tt.name, got.status, got.header.Get("ETag"), body, tt.status, tt.etag, tt.body)
		}
		vary := strings.Join(got.header.Values("Vary"), ", ")
		if got.header.Get("Cache-Control") != "private, no-cache" || !strings.Contains(vary, "Authorization") ||
			!strings.Contains(vary, "Accept-Encoding") || !strings.Contains(vary, "Origin") {
			t.Errorf("%s: Cache-Control %q, Vary %q, want private, no-cache, and by all that counts", tt.name, got.header.Get("Cache-Control"), vary)
		}
		head := w.request("HEAD", "/v1/conferences/"+tt.path, "", header...)
		got.header.Del("Date")
		head.header.Del("Date")
		got.header.Del("Transfer-Encoding")
		if zipped {
			got.header.Del("Content-Length")
		}
		if diff := cmp.Diff(got.header, head.header); head.status != got.status || head.body != "" || diff != "" {
			t.Errorf("%s: HEAD = %d %q, want as GET without a body; header (-GET +HEAD):\n%s", tt.name, head.status, head.body, diff)
		}
	}
	mu.Lock()
	if asked.Conference != "large" || asked.Profile != 0 || !asked.Topics.Has(conference.Link) {
		t.Errorf("the source was asked for %+v", asked)
	}
	mu.Unlock()
	for conf, status := range map[string]int{"gone": 404, "late": 503, "broken": 500} {
		got := w.request("GET", "/v1/conferences/"+conf, "", bearer(t, ScopeRead)...)
		got.wantProblem(t, conf, status)
		if strings.Contains(got.body, "innards") || (status == 503) != (got.header.Get("Retry-After") != "") {
			t.Errorf("%s: %v %s, want no innards, and Retry-After for 503", conf, got.header, got.body)
		}
	}
	for conf, want := range map[string]string{"900": "?1", "stale": "?0"} {
		if got := w.request("GET", "/v1/conferences/"+conf, "", bearer(t, ScopeRead)...); got.header.Get("Confgate-Fresh") != want {
			t.Errorf("%s: Confgate-Fresh = %q, want %s", conf, got.header.Get("Confgate-Fresh"), want)
		}
	}
}

func unzip(t *testing.T, body string) string {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestAcceptsGzip(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]bool{
		"": false, "gzip": true, "GZIP": true, "x-gzip": true, "br": false, "*": true, "*;q=0": false, "br, gzip": true, "gzip;q=0": false,
		"gzip; q=0.001": true, "gzip;q=0, *": false, "*, gzip;q=0": false, "*;q=0, gzip": true, "gzip;q=x": false, "identity, *;q=0.0": false,
	} {
		if got := acceptsGzip([]string{header}); got != want {
			t.Errorf("acceptsGzip(%q) = %t, want %t", header, got, want)
		}
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	w.src.list = []Summary{
		{
			Conference: "900", Known: true, Worker: "gw-1", Clients: 3, Fresh: true, Position: conference.Position{Epoch: "c5k2", Seq: 41},
			Summary: conference.Summary{
				Title: "Standup", LinkState: "stale", LinkReason: "gap", LinkSince: 1611993595000,
				Counts: map[conference.Topic]int{conference.Participants: 2, conference.Waiting: 0},
			},
		},
		{Conference: "901", Known: true, Position: conference.Position{Epoch: "e"}},
		{Conference: "902", Worker: "gw-2"},
	}
	const first = `{"id":"900","title":"Standup","link":{"state":"stale","reason":"gap","since":1611993595000},"worker":"gw-1",` +
		`"fresh":true,"clients":3,"counts":{"participants":2,"waiting":0},"epoch":"c5k2","seq":41}`
	const second = `{"id":"901","fresh":false,"clients":0,"epoch":"e","seq":0}`
	for confs, want := range map[string]string{
		"*":   `{"worker":"gw-0-x7","conferences":[` + first + `,` + second + `,{"id":"902","worker":"gw-2"}]}`,
		"901": `{"worker":"gw-0-x7","conferences":[` + second + `]}`,
		"999": `{"worker":"gw-0-x7","conferences":[]}`,
	} {
		got := w.request("GET", "/v1/conferences", "", bearer(t, ScopeRead, confs)...)
		if got.status != 200 || got.body != want || got.header.Get("Content-Type") != "application/json" ||
			got.header.Get("Cache-Control") != "private, no-cache" || got.header.Get("ETag") != "" {
			t.Errorf("list of %s = %d %v\n%s\nwant\n%s", confs, got.status, got.header, got.body, want)
		}
	}
	w.src.listErr = ErrUnavailable
	w.request("GET", "/v1/conferences", "", bearer(t, ScopeRead)...).wantProblem(t, "list", 503)
}

func TestCORS(t *testing.T) {
	t.Parallel()
	w := loopback(t, func(c *Config) { c.AllowedOrigins = []string{"https://app.example.com", "*.example.org"} })
	w.src.document = func(context.Context, DocumentRequest) (Document, error) { return Document{JSON: []byte(`{}`)}, nil }
	tests := []struct {
		name, method, origin, path string
		status                     int
		allowed                    string
	}{
		{"no page", "GET", "", "/v1/conferences/900", 200, ""},
		{"same origin", "GET", w.url, "/v1/conferences/900", 200, w.url},
		{"named", "GET", "https://app.example.com", "/v1/conferences/900", 200, "https://app.example.com"},
		{"by pattern", "GET", "http://a.example.org", "/v1/conferences", 200, "http://a.example.org"},
		{"other scheme", "GET", "http://app.example.com", "/v1/conferences/900", 403, ""},
		{"other", "GET", "https://evil.example", "/v1/conferences/900", 403, ""},
		{"null", "GET", "null", "/v1/conferences/900", 403, ""},
		{"other's put", "PUT", "https://evil.example", "/v1/conferences/900", 403, ""},
		{"other's events", "GET", "https://evil.example", "/v1/conferences/900/events", 403, ""},
		{"an error can be read too", "POST", "https://app.example.com", "/v1/conferences", 405, "https://app.example.com"},
		{"preflight", "OPTIONS", "https://app.example.com", "/v1/conferences/900", 204, "https://app.example.com"},
		{"preflight of events", "OPTIONS", "https://app.example.com", "/v1/conferences/900/events", 204, "https://app.example.com"},
		{"other's preflight", "OPTIONS", "https://evil.example", "/v1/conferences/900", 403, ""},
		{"preflight of nothing", "OPTIONS", "https://app.example.com", "/v1/conferences/900/x", 404, "https://app.example.com"},
	}
	for _, tt := range tests {
		header := bearer(t, ScopeRead)
		if tt.method == "OPTIONS" {
			header = []string{"Access-Control-Request-Method", "PUT"} // a preflight carries no token
		}
		if tt.origin != "" {
			header = append(header, "Origin", tt.origin)
		}
		got := w.request(tt.method, tt.path, "", header...)
		h := got.header
		if got.status != tt.status || h.Get("Access-Control-Allow-Origin") != tt.allowed || h.Get("Access-Control-Allow-Credentials") != "" ||
			!slices.Contains(h.Values("Vary"), "Origin") {
			t.Errorf("%s: %d %v, want %d and the origin %q", tt.name, got.status, h, tt.status, tt.allowed)
		}
		if tt.status == 204 {
			methods := map[bool]string{true: "GET, OPTIONS", false: "GET, HEAD, PUT, DELETE, OPTIONS"}[strings.HasSuffix(tt.path, "events")]
			if h.Get("Access-Control-Allow-Methods") != methods || h.Get("Allow") != methods ||
				!strings.Contains(h.Get("Access-Control-Allow-Headers"), "Authorization") || h.Get("Access-Control-Max-Age") == "" {
				t.Errorf("%s: %v, want the methods %s and the header Authorization", tt.name, h, methods)
			}
		}
		if tt.status == 200 && tt.allowed != "" && !strings.Contains(h.Get("Access-Control-Expose-Headers"), "ETag") {
			t.Errorf("%s: the page can't see the ETag", tt.name)
		}
	}
	if got := w.request("OPTIONS", "/v1/conferences", ""); got.status != 204 || got.header.Get("Allow") != "GET, HEAD, OPTIONS" ||
		got.header.Get("Access-Control-Allow-Methods") != "" {
		t.Errorf("OPTIONS = %d %v, want 204 and Allow only", got.status, got.header)
	}
}

func TestRequestRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t, func(c *Config) { c.RequestRate = 1 })
		ann := bearer(t, ScopeRead)
		for i := range 10 {
			got := w.request("GET", "/v1/conferences", "", ann...)
			if i < 2 {
				if got.status != 200 {
					t.Errorf("request %d at once = %d, want 200", i+1, got.status)
				}
				continue
			}
			got.wantProblem(t, "beyond the rate", 429)
			if s := got.header.Get("Retry-After"); len(s) != 1 || s < "1" || s > "5" {
				t.Errorf("Retry-After = %q, want 1 to 5", s)
			}
		}
		bob := token(t, Claims{Subject: "bob", Scopes: ScopeRead})
		if got := w.request("GET", "/v1/conferences", "", "Authorization", "Bearer "+bob); got.status != 200 {
			t.Errorf("another subject's request = %d, want 200", got.status)
		}
		if got := w.metric("downstream_refused_total", "limit", "requests"); got != 8 {
			t.Errorf("refused_total{requests} = %v, want 8", got)
		}
		time.Sleep(time.Second)
		if got := w.request("GET", "/v1/conferences", "", ann...); got.status != 200 {
			t.Errorf("a second later = %d, want 200", got.status)
		}
	})
}
