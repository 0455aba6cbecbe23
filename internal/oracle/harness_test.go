package oracle_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"confgate/internal/gateway"
	"confgate/internal/oracle"
	"confgate/internal/oracle/oracletest"
	"confgate/internal/simulator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
	w := &worker{log: new(logBuffer), secret: oracletest.SecretFile(t)}
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
			t.Logf("log (its end):\n%s", oracletest.Tail(w.log.String(), 4000))
		}
	})
	return w
}

func (w *worker) url() string { return "http://" + w.Addr().String() }

// metrics is the worker's /metrics.
func (w *worker) metrics(t *testing.T) string {
	t.Helper()
	text, err := oracletest.Get(t.Context(), "http://"+w.AdminAddr().String()+"/metrics", "")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// metric is the sum of a metric over its labels.
func metric(t *testing.T, text, name string) float64 {
	t.Helper()
	sum, found := oracletest.Metric(t, text, name)
	if !found {
		t.Errorf("/metrics has no %s", name)
	}
	return sum
}

// startReader connects a reader to a worker.
func startReader(t *testing.T, w *worker, r *oracletest.Reader) *oracletest.Reader {
	t.Helper()
	r.Endpoint, r.Secret = w.url, w.secret
	r.Start(t)
	return r
}

// audience is twenty readers of the provider's conferences, of all kinds.
func audience(t *testing.T, w *worker, provider *simulator.Provider, nudge chan<- struct{}) []*oracletest.Reader {
	t.Helper()
	topics := [][]string{
		nil,
		{"participants", "speakers"},
		{"quality"},
		{"conference", "attendees", "waiting", "layout"},
		{"interpreters", "invites", "subtitles"},
		nil,
	}
	scopes := []oracle.Scopes{{}, {PII: true}, {PII: true, Secrets: true}, {Secrets: true}}
	confs := provider.Conferences()
	var all []*oracletest.Reader
	for i := range 20 {
		all = append(all, startReader(t, w, &oracletest.Reader{
			Name: fmt.Sprintf("client %d", i), Conference: confs[i%len(confs)].ID, Topics: topics[i%len(topics)],
			Scopes: scopes[i%len(scopes)], Nudge: nudge,
		}))
	}
	return all
}
