package oracle

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"confgate/api"
	"confgate/internal/gateway"
	"confgate/internal/simulator"
	"confgate/internal/watch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of these tests; nothing waits that long unless something is broken.
const patience = 30 * time.Second

// startProvider runs a simulated provider until the test ends.
func startProvider(t *testing.T, cfg simulator.Config) (*simulator.Provider, string) {
	t.Helper()
	provider := simulator.New(cfg)
	server := httptest.NewServer(provider.Handler())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- provider.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("simulator.Run = %v", err)
		}
		server.Close()
	})
	return provider, server.URL
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

// worker is a whole gateway in this process.
type worker struct {
	*gateway.Worker
	log    *logBuffer
	secret string // file of the HMAC secret
}

// startWorker runs a worker that holds all of the provider's conferences, until the test ends.
func startWorker(t *testing.T, provider *simulator.Provider, origin string, change func(*gateway.Options)) *worker {
	t.Helper()
	w := &worker{log: new(logBuffer), secret: filepath.Join(t.TempDir(), "hmac")}
	if err := os.WriteFile(w.secret, bytes.Repeat([]byte("k"), 32), 0o600); err != nil {
		t.Fatal(err)
	}
	opts := gateway.Options{
		Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", AuthHMACSecretFile: w.secret, WorkerID: "gw-oracle",
		ProviderURL: origin, ProviderRate: "100000/s", DrainTimeout: time.Second, LogLevel: "debug", LogOutput: w.log,
	}
	for _, c := range provider.Conferences() {
		opts.Conferences = append(opts.Conferences, gateway.Conference{ID: c.ID, Password: c.Password})
	}
	if change != nil {
		change(&opts)
	}
	var err error
	if w.Worker, err = gateway.Build(opts); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		if t.Failed() {
			t.Logf("log (its end):\n%s", tail(w.log.String(), 4000))
		}
	})
	return w
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func (w *worker) url() string { return "http://" + w.Addr().String() }

// metrics is the worker's /metrics.
func (w *worker) metrics(t *testing.T) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.AdminAddr().String()+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// metric is the sum of a metric over its labels.
func metric(t *testing.T, text, name string) float64 {
	t.Helper()
	sum, found := 0.0, false
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || (rest[0] != ' ' && rest[0] != '{') {
			continue
		}
		var v float64
		if _, err := fmt.Sscan(rest[strings.LastIndexByte(rest, ' '):], &v); err != nil {
			t.Fatalf("metric %q: %v", line, err)
		}
		sum, found = sum+v, true
	}
	if !found {
		t.Errorf("/metrics has no %s", name)
	}
	return sum
}

// client is one reader of a conference.
type client struct {
	*watch.Client
	name   string
	conf   string
	topics []string // nil: all
	scopes Scopes
	raw    func([]byte)

	mu     sync.Mutex
	wrong  []string // messages that aren't as api/ says, and changes that emptied the roster
	nudge  chan<- struct{}
	cancel context.CancelFunc
	done   chan error
}

// startClient connects a reader, who follows its conference until the test ends.
func startClient(t *testing.T, w *worker, c *client) *client {
	t.Helper()
	scopes := []string{"read"}
	if c.scopes.PII {
		scopes = append(scopes, "pii")
	}
	if c.scopes.Secrets {
		scopes = append(scopes, "secrets")
	}
	token, err := gateway.MintToken(gateway.TokenRequest{
		SecretFile: w.secret, Scopes: scopes, Conferences: []string{c.conf}, TTL: time.Hour, Subject: c.name,
	})
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	c.Client, err = watch.NewClient(watch.Config{
		URL: w.url(), Conference: c.conf, Topics: c.topics,
		Token:      func(context.Context) (string, error) { return token, nil },
		HTTPClient: &http.Client{Transport: transport},
		OnMessage:  c.message, OnUpdate: c.update, MinBackoff: time.Millisecond, MaxBackoff: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.done = cancel, make(chan error, 1)
	go func() { c.done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-c.done; err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		transport.CloseIdleConnections()
	})
	return c
}

// schemas are those of api/, at their strictest: the simulator sends nothing outside the documented words.
var schemas = sync.OnceValues(func() (*api.Validator, error) { return api.NewValidator(api.Strict) })

// message is called for every message of the server, as it came.
func (c *client) message(raw []byte) {
	v, err := schemas()
	if err == nil {
		err = v.Server(raw)
	}
	if err != nil {
		c.complain("message isn't as api/ says: %v", err)
	}
	if c.raw != nil {
		c.raw(raw)
	}
}

func (c *client) complain(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.wrong) < 5 {
		c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
	}
}

// update is called for everything that the client applied: it looks for changes that empty a roster, and nudges whoever
// waits for documents.
func (c *client) update(m *watch.Message) {
	if m.Type == "delta" && m.Topic == "participants" {
		var patch map[string]json.RawMessage
		err := json.Unmarshal(m.Patch, &patch)
		gone := 0
		for _, v := range patch {
			if string(v) == "null" {
				gone++
			}
		}
		if err != nil || patch == nil || gone > 60 {
			c.complain("participants %d removes %d at once", m.Seq, gone)
		}
	}
	select {
	case c.nudge <- struct{}{}:
	default:
	}
}

// differs says how the client's document differs from the truth; empty where it doesn't.
func (c *client) differs(truth simulator.Truth) (string, error) {
	want, err := Expect(truth, c.scopes)
	if err != nil {
		return "", err
	}
	got, err := Normal(c.Report().Document)
	if err != nil {
		return "", err
	}
	link, _ := got["link"].(map[string]any)
	if link["state"] != "live" {
		return fmt.Sprintf("link is %v", link), nil
	}
	delete(got, "link")
	if c.topics != nil {
		maps.DeleteFunc(want, func(topic string, _ any) bool { return !slices.Contains(c.topics, topic) })
	}
	return cmp.Diff(want, got), nil
}

// awaitTruth waits until every client's document equals the provider's truth, which must stand still.
func awaitTruth(t *testing.T, provider *simulator.Provider, clients []*client, nudge <-chan struct{}) {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		wrong := 0
		var first string
		for _, c := range clients {
			diff, err := c.differs(provider.Truth(c.conf))
			if err != nil {
				t.Fatal(err)
			}
			if diff != "" {
				if wrong++; wrong == 1 {
					first = c.name + " of " + c.conf + ":\n" + diff
				}
			}
		}
		if wrong == 0 {
			return
		}
		select {
		case <-nudge:
		case <-late.C:
			t.Fatalf("%d of %d documents aren't the truth; %s", wrong, len(clients), tail(first, 3000))
		}
	}
}

// audience is twenty readers of the provider's conferences, of all kinds.
func audience(t *testing.T, w *worker, provider *simulator.Provider, nudge chan<- struct{}) []*client {
	t.Helper()
	topics := [][]string{
		nil,
		{"participants", "speakers"},
		{"quality"},
		{"conference", "attendees", "waiting", "layout"},
		{"interpreters", "invites", "subtitles"},
		nil,
	}
	scopes := []Scopes{{}, {PII: true}, {PII: true, Secrets: true}, {Secrets: true}}
	confs := provider.Conferences()
	var all []*client
	for i := range 20 {
		all = append(all, startClient(t, w, &client{
			name: fmt.Sprintf("client %d", i), conf: confs[i%len(confs)].ID, topics: topics[i%len(topics)],
			scopes: scopes[i%len(scopes)], nudge: nudge,
		}))
	}
	return all
}

// checkHistory checks what clients saw on the way: whole chains, no reset, no roster that empties, and one snapshot.
func checkHistory(t *testing.T, clients []*client) {
	t.Helper()
	for _, c := range clients {
		r := c.Report()
		for _, v := range r.Violations {
			t.Errorf("%s: %s", c.name, v)
		}
		c.mu.Lock()
		for _, w := range c.wrong {
			t.Errorf("%s: %s", c.name, w)
		}
		c.mu.Unlock()
		if r.Counts.Snapshots != 1 || r.Counts.Resets != 0 || r.Refused != 0 || r.Counts.Gaps != 0 {
			t.Errorf("%s: %d snapshots, %d resets, %d resumes refused, %d gaps; want 1, 0, 0, 0 (%d connections, %d resumed)",
				c.name, r.Counts.Snapshots, r.Counts.Resets, r.Refused, r.Counts.Gaps, r.Connects, r.Recovered)
		}
	}
}

// sealKeyFile is a file with a key for secrets in Redis.
func sealKeyFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "seal")
	if err := os.WriteFile(file, []byte(strings.Repeat("5e", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
