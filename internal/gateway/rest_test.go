package gateway

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"confgate/internal/simulator"
	"confgate/internal/simulator/simulatortest"
)

// mint makes a token of the worker's secret.
func (r *running) mint(t *testing.T, scopes ...string) string {
	t.Helper()
	token, err := MintToken(TokenRequest{
		SecretFile: r.opts.AuthHMACSecretFile, Scopes: scopes, Conferences: []string{"*"}, TTL: time.Hour, Subject: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// get asks the worker's clients' listener; the body is open until the test ends.
func (r *running) get(t *testing.T, path, token string, header ...string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s%s", r.Addr(), path), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept-Encoding", "identity")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = resp.Body.Close()
	})
	return resp
}

// read is a whole answer as JSON.
func read(t *testing.T, resp *http.Response, into any) {
	t.Helper()
	data, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("answer %d %.200s: %v", resp.StatusCode, data, err)
	}
}

// What REST and an event stream show of a live conference is what a WebSocket shows.
func TestRESTAndEvents(t *testing.T) {
	t.Parallel()
	provider, origin := simulatortest.Start(t, simulator.Config{Conferences: 2, Participants: 30, Seed: 5, Rate: 0})
	w := startWorker(t, workerOptions(t, provider, origin))
	id := provider.Conferences()[0].ID
	token := w.mint(t, "read", "pii")
	c := w.dial(t, "read", "pii")
	c.send(`{"type":"subscribe","id":"1","conference":"` + id + `"}`)
	c.untilState("a live conference", func(s map[string]any) bool {
		link, _ := s["link"].(map[string]any)
		people, _ := s["participants"].(map[string]any)
		return link["state"] == "live" && len(people) == 30
	})

	// An event stream from a snapshot on.
	events := w.get(t, "/v1/conferences/"+id+"/events", token)
	lines := bufio.NewScanner(events.Body)
	lines.Buffer(nil, 16<<20)
	sse := &client{t: t}
	last, coming := "", "" // positions; one is coming until its message has come
	scan := func(what string, ok func() bool) {
		t.Helper()
		for !ok() {
			if !lines.Scan() {
				t.Fatalf("waiting for %s: the stream has ended: %v", what, lines.Err())
			}
			if data, found := strings.CutPrefix(lines.Text(), "data: "); found {
				var m map[string]any
				if err := json.Unmarshal([]byte(data), &m); err != nil {
					t.Fatal(err)
				}
				sse.take(m)
				if coming != "" {
					last, coming = coming, ""
				}
			} else if pos, found := strings.CutPrefix(lines.Text(), "id: "); found {
				coming = pos
			}
		}
	}
	scan("a snapshot", func() bool { return sse.state != nil })

	// The document, when the provider's first frames have settled. The others come as far, and not further unless they are asked.
	var doc, zipped map[string]any
	resp, tag := (*http.Response)(nil), ""
	for deadline := time.Now().Add(patience); ; {
		doc = nil
		resp = w.get(t, "/v1/conferences/"+id, token)
		read(t, resp, &doc)
		tag = resp.Header.Get("ETag")
		again := w.get(t, "/v1/conferences/"+id, token, "If-None-Match", tag)
		if again.StatusCode == http.StatusNotModified && resp.Header.Get("Confgate-Fresh") == "?1" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no document was fresh and the same when it was asked for again: Confgate-Fresh %s", resp.Header.Get("Confgate-Fresh"))
		}
	}
	if tag != `"`+last+`"` {
		scan("the document's position", func() bool { return tag == `"`+last+`"` })
	}
	if seq := tag[strings.LastIndexByte(tag, ':')+1 : len(tag)-1]; fmt.Sprint(c.seq) != seq {
		c.untilState("the document's position", func(map[string]any) bool { return fmt.Sprint(c.seq) == seq })
	}
	if !reflect.DeepEqual(doc, c.state) || !reflect.DeepEqual(sse.state, doc) {
		t.Errorf("REST, stream and WebSocket differ:\n%v\n%v\n%v", doc, sse.state, c.state)
	}
	resp = w.get(t, "/v1/conferences/"+id, token, "Accept-Encoding", "gzip")
	z, err := gzip.NewReader(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(&zipped); err != nil || resp.Header.Get("ETag") == tag && !reflect.DeepEqual(zipped, doc) {
		t.Errorf("by gzip it is another document: %v", err)
	}
	if resp := w.get(t, "/v1/conferences/nobody", token); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a conference that nobody knows = %d, want 404", resp.StatusCode)
	}

	// The list.
	var list struct {
		Worker      string
		Conferences []struct {
			ID, Title, Worker string
			Link              struct{ State string }
			Clients           int
			Counts            map[string]int
			Fresh             bool
		}
	}
	read(t, w.get(t, "/v1/conferences", token), &list)
	if list.Worker != "gw-test" || len(list.Conferences) != 2 {
		t.Fatalf("list = %+v, want two conferences", list)
	}
	for _, l := range list.Conferences {
		if l.Worker != "gw-test" || l.ID == id && (l.Clients != 2 || l.Counts["participants"] != 30 || l.Link.State != "live" || l.Title == "" || !l.Fresh) {
			t.Errorf("listed %+v, want two clients, 30 participants, live, with its title", l)
		}
	}

	// The stream goes on where it was, without a snapshot.
	_ = events.Body.Close()
	resumed := w.get(t, "/v1/conferences/"+id+"/events", token, "Last-Event-ID", last)
	lines = bufio.NewScanner(resumed.Body)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), `data: {"type":"subscribed"`) {
	}
	if !strings.HasSuffix(lines.Text(), `"recovered":true}`) {
		t.Errorf("resumed stream = %s, want recovered", lines.Text())
	}
	if strings.Contains(w.opts.LogOutput.(*logBuffer).String(), token) {
		t.Error("the log holds a token")
	}
}

// A worker that knows clients by published keys.
func TestTokenKeys(t *testing.T) {
	t.Parallel()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":"%s"}]}`, base64.RawURLEncoding.EncodeToString(public))
	}))
	defer issuer.Close()
	provider, origin := simulatortest.Start(t, simulator.Config{Conferences: 1, Participants: 3, Seed: 5})
	opts := workerOptions(t, provider, origin)
	opts.AuthHMACSecretFile, opts.AuthJWKSURL = "", issuer.URL+"/keys"
	w := startWorker(t, opts)
	sign := func(change func(*jwt.Token)) string {
		tok := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
			"sub": "ann", "exp": time.Now().Add(time.Minute).Unix(), "scope": "read", "conf": []string{"*"},
		})
		tok.Header["kid"] = "1"
		change(tok)
		text, err := tok.SignedString(private)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for name, tt := range map[string]struct {
		token string
		want  int
	}{
		"good":        {sign(func(*jwt.Token) {}), http.StatusOK},
		"unknown key": {sign(func(tok *jwt.Token) { tok.Header["kid"] = "2" }), http.StatusUnauthorized},
		"none":        {"", http.StatusUnauthorized},
	} {
		if resp := w.get(t, "/v1/conferences", tt.token); resp.StatusCode != tt.want {
			t.Errorf("%s: %d, want %d", name, resp.StatusCode, tt.want)
		}
	}
	if _, metrics := w.admin(t, "/metrics"); !strings.Contains(metrics, "confgate_auth_keys_stale 0") {
		t.Error("keys are said to be stale, or nothing is said")
	}
}

// Whoever sends the header of a request too slowly, or too much of one, is cut off and counted; others aren't concerned.
func TestSlowAndLargeHeaders(t *testing.T) {
	t.Parallel()
	provider, origin := simulatortest.Start(t, simulator.Config{Conferences: 1, Participants: 3, Seed: 5})
	opts := workerOptions(t, provider, origin)
	opts.HandshakeTimeout, opts.MaxHeaderBytes = 300*time.Millisecond, 4096
	w := startWorker(t, opts)
	dial := func(text string) net.Conn {
		t.Helper()
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", w.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(conn, text); err != nil && !strings.HasPrefix(text, "L") {
			t.Fatal(err)
		}
		return conn
	}
	began := time.Now()
	var slow []net.Conn
	for range 20 {
		slow = append(slow, dial("GET /v1/ws HTTP/1.1\r\nHost: h\r\nX-"))
	}
	silent := dial("")
	for _, conn := range append(slow, silent) {
		// Within the timeout nothing comes, then the end, whether or not the server says why.
		if data, err := io.ReadAll(conn); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("slow client read %q, %v, want the end", data, err)
		}
	}
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("slow clients were cut off after %v, want no earlier than 300ms", took)
	}
	large := dial("GET /v1/ws HTTP/1.1\r\nHost: h\r\nX-Large: " + strings.Repeat("x", 16<<10) + "\r\n\r\n")
	if line, err := bufio.NewReader(large).ReadString('\n'); err != nil || !strings.Contains(line, " 431 ") {
		t.Errorf("large header = %q, %v, want 431", line, err)
	}
	if resp := w.get(t, "/v1/conferences", w.mint(t, "read")); resp.StatusCode != http.StatusOK {
		t.Errorf("a good client = %d, want 200", resp.StatusCode)
	}
	const want = `confgate_downstream_refused_total{limit="header"} 21`
	for deadline := time.Now().Add(patience); ; {
		if _, metrics := w.admin(t, "/metrics"); strings.Contains(metrics, want) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no metric says %s", want)
		}
	}
}

// Sockets on which nothing comes can't be more than are allowed; those that are there don't lose their place.
func TestPendingSockets(t *testing.T) {
	t.Parallel()
	provider, origin := simulatortest.Start(t, simulator.Config{Conferences: 1, Participants: 3, Seed: 5})
	opts := workerOptions(t, provider, origin)
	opts.MaxPending, opts.HandshakeTimeout = 5, time.Minute
	w := startWorker(t, opts)
	dial := func() net.Conn {
		t.Helper()
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", w.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(patience))
		return conn
	}
	var first []net.Conn
	for range 5 {
		first = append(first, dial())
	}
	sixth := dial()
	if _, err := sixth.Read(make([]byte, 1)); err == nil {
		t.Error("a socket beyond the limit was kept")
	}
	if _, err := fmt.Fprintf(first[0], "GET /v1/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: confgate.v1\r\n"+
		"Authorization: Bearer %s\r\n\r\n", w.mint(t, "read")); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(first[0]).ReadString('\n'); err != nil || !strings.Contains(line, " 101 ") {
		t.Errorf("the first socket = %q, %v, want to be served", line, err)
	}
	// It is a WebSocket now, so there is a place again.
	c := w.dial(t, "read")
	c.untilType("welcome")
	if _, metrics := w.admin(t, "/metrics"); !strings.Contains(metrics, `confgate_downstream_refused_total{limit="pending"} 1`) {
		t.Error("the refused socket wasn't counted")
	}
}

// administer puts or deletes a conference, and gives the answer's status.
func (w *running) administer(t *testing.T, method, id, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, fmt.Sprintf("http://%s/v1/conferences/%s", w.Addr(), id), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.mint(t, "read", "admin"))
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// A conference that was put is held, shown and released; one that flags name stays.
func TestPutAndDelete(t *testing.T) {
	t.Parallel()
	provider, origin := simulatortest.Start(t, simulator.Config{Conferences: 2, Participants: 3, Seed: 5})
	opts := workerOptions(t, provider, origin)
	named, put := opts.Conferences[0], opts.Conferences[1]
	opts.Conferences = opts.Conferences[:1]
	w := startWorker(t, opts)
	admin := w.mint(t, "read", "admin")
	ask := func(method, id, body string) int {
		t.Helper()
		return w.administer(t, method, id, body)
	}
	if got := ask(http.MethodDelete, put.ID, ""); got != http.StatusNotFound {
		t.Errorf("DELETE of an unknown conference = %d, want 404", got)
	}
	body := fmt.Sprintf(`{"password":%q}`, put.Password.Reveal())
	for _, want := range []int{http.StatusCreated, http.StatusOK} {
		if got := ask(http.MethodPut, put.ID, body); got != want {
			t.Errorf("PUT = %d, want %d", got, want)
		}
	}
	c := w.dial(t, "read")
	c.send(`{"type":"subscribe","id":"1","conference":"` + put.ID + `"}`)
	c.untilState("a live conference", func(s map[string]any) bool {
		link, _ := s["link"].(map[string]any)
		people, _ := s["participants"].(map[string]any)
		return link["state"] == "live" && len(people) == 3
	})
	if got := ask(http.MethodDelete, named.ID, ""); got != http.StatusConflict {
		t.Errorf("DELETE of a conference that flags name = %d, want 409", got)
	}
	if got := ask(http.MethodDelete, put.ID, ""); got != http.StatusNoContent {
		t.Errorf("DELETE = %d, want 204", got)
	}
	// Symptom: whoever followed it was told that nobody holds it, and for ever nothing more.
	if m := c.untilType("unsubscribed"); m["conference"] != put.ID || m["reason"] != "released" {
		t.Errorf("after the DELETE a client was told %v, want that the conference was released", m)
	}
	if resp := w.get(t, "/v1/conferences/"+put.ID, admin); resp.StatusCode != http.StatusNotFound {
		t.Errorf("the released conference = %d, want 404", resp.StatusCode)
	}
	if strings.Contains(w.opts.LogOutput.(*logBuffer).String(), put.Password.Reveal()) {
		t.Error("the log holds a password")
	}
}
