package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"confgate/internal/gateway"
	"confgate/internal/oracle/oracletest"
	"confgate/internal/simulator"
)

// field is a simulated provider that stands still, its control API, and a worker that holds its conferences.
type field struct {
	provider *simulator.Provider
	control  *httptest.Server
	secret   string // file of what tokens are signed with
	url      string
}

func startField(t *testing.T, conferences int) *field {
	t.Helper()
	f := &field{
		provider: simulator.New(simulator.Config{Conferences: conferences, Participants: 10, Rate: -1, Seed: 5}),
		secret:   oracletest.SecretFile(t),
	}
	upstream := httptest.NewServer(f.provider.Handler())
	f.control = httptest.NewServer(f.provider.Control())
	t.Cleanup(func() {
		f.provider.Close()
		upstream.Close()
		f.control.Close()
	})
	opts := gateway.Options{
		Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", AuthHMACSecretFile: f.secret, WorkerID: "gw-bench",
		ProviderURL: upstream.URL, ProviderRate: "100000/s", DrainTimeout: time.Second, LogOutput: io.Discard,
	}
	for _, c := range f.provider.Conferences() {
		opts.Conferences = append(opts.Conferences, gateway.Conference{ID: c.ID, Password: c.Password})
	}
	w, err := gateway.Build(opts)
	if err != nil {
		t.Fatal(err)
	}
	f.url = "http://" + w.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	// Clients are told when a link comes to be live: it must be over before anybody waits for nothing.
	token := oracletest.Token(t, f.secret, []string{"read"}, "*")
	live := func() bool {
		list, err := oracletest.Get(t.Context(), f.url+"/v1/conferences", token)
		return err == nil && strings.Count(list, `"live"`) == conferences
	}
	if err := poll(t.Context(), "live links", live); err != nil {
		t.Fatal(err)
	}
	return f
}

// load is a short one on the field, with a token of the scopes.
func (f *field) load(t *testing.T, scopes ...string) Load {
	t.Helper()
	return Load{
		URL: f.url, Simulator: f.control.URL, Token: oracletest.Token(t, f.secret, scopes, "*"), Clients: 8, Runs: 2,
		Window: 200 * time.Millisecond, Rate: 200, PID: os.Getpid(), Log: io.Discard,
	}
}

// A load drives the simulator, and compares every document as far as its token lets it see them. No password gets out.
func TestAttach(t *testing.T) {
	t.Parallel()
	f := startField(t, 3)
	for _, scopes := range [][]string{{"read"}, {"read", "pii"}, {"read", "pii", "secrets"}} {
		checkAttach(t, f, scopes) // one after the other: each counts the changes of its own
	}
}

func checkAttach(t *testing.T, f *field, scopes []string) {
	t.Helper()
	l := f.load(t, scopes...)
	var progress, out bytes.Buffer
	l.Log = &progress
	r, err := Attach(t.Context(), l)
	if err != nil || len(r.Windows) != 2 || r.Windows[0].Deliveries < 2*8 || r.Groups != 3 {
		t.Fatalf("Attach for %v = %+v, %v; want two windows with deliveries", scopes, r, err)
	}
	if want := "3 of 3 compared by fresh clients, 3 are the provider's"; r.Documents != want {
		t.Errorf("documents for %v: %q, want %q", scopes, r.Documents, want)
	}
	if err := r.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"latency max", "deliveries a second", "changes a second", "memory per connection, at the end", "server CPU per million",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the result has no %q:\n%s", want, &out)
		}
	}
	if !strings.Contains(progress.String(), "run 2 of 2: ") {
		t.Errorf("progress = %s", &progress)
	}
	for _, c := range f.provider.Conferences() {
		if strings.Contains(out.String()+progress.String(), c.Password.Reveal()) {
			t.Error("the output shows a password")
		}
	}
}

// Symptom: the load compared no document. A simulator that tells another truth stands for a gateway that is wrong.
func TestAttachNoticesAWrongDocument(t *testing.T) {
	t.Parallel()
	f := startField(t, 2)
	other := simulator.New(simulator.Config{Conferences: 2, Participants: 10, Rate: -1, Seed: 5}) // the same ids
	defer other.Close()
	wrong := f.provider.Conferences()[1].ID
	other.Step(wrong, 1)
	l := f.load(t, "read", "pii", "secrets")
	crowd := NewCrowd(Config{Addr: strings.TrimPrefix(f.url, "http://"), Path: "/v1/ws", Token: l.Token, Conferences: []string{wrong}, Clients: 1})
	defer crowd.Close()
	if err := crowd.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	var r Result
	v := inspector{url: f.url, token: l.Token, say: l.say, truth: func(_ context.Context, id string) (simulator.Truth, error) {
		return other.Truth(id), nil
	}}
	_, err := v.document(t.Context(), crowd.groups[0], time.Now())
	if err == nil || !strings.Contains(err.Error(), "of conference "+wrong+" isn't the provider's") {
		t.Errorf("document = %v, want the topic that differs", err)
	}
	v.documents(t.Context(), crowd.groups, 1, &r)
	if len(r.Faults) != 1 || r.Documents != "1 of 1 compared by fresh clients, 0 are the provider's" {
		t.Errorf("documents: %q, faults %q; want the fault", r.Documents, r.Faults)
	}
	r = Result{}
	v.truth = func(_ context.Context, id string) (simulator.Truth, error) { return f.provider.Truth(id), nil }
	crowd.clients[0].seq.Add(1)
	_, err = v.document(t.Context(), crowd.groups[0], time.Now())
	if err == nil || !strings.Contains(err.Error(), "a fresh one is at") {
		t.Errorf("document = %v, want that the crowd is elsewhere", err)
	}
	crowd.clients[0].seq.Store(crowd.clients[0].seq.Load() - 1)
	v.documents(t.Context(), crowd.groups, 1, &r)
	if len(r.Faults) != 0 {
		t.Errorf("faults = %q where all is right, want none", r.Faults)
	}
}

// Symptom: a load on conferences in which nothing happens passed, having measured nothing.
func TestAttachNoticesSilence(t *testing.T) {
	t.Parallel()
	f := startField(t, 1)
	l := f.load(t, "read")
	l.Conferences, l.Simulator, l.Rate, l.Runs = []string{f.provider.Conferences()[0].ID}, "", 0, 1
	r, err := Attach(t.Context(), l)
	if err == nil || !strings.Contains(err.Error(), "no delivery at all") || r.Documents != "not compared, no --simulator" {
		t.Errorf("Attach = %+v, %v; want an error", r, err)
	}
	l.Quiet = true
	if r, err := Attach(t.Context(), l); err != nil {
		t.Errorf("Attach for connections only = %+v, %v; want no error", r, err)
	}
	l.Simulator = f.control.URL
	if r, err := Attach(t.Context(), l); err != nil || !strings.HasPrefix(r.Documents, "1 of 1") {
		t.Errorf("Attach for connections only, with a simulator = %+v, %v; want the document compared", r, err)
	}
}

// A server with TLS is spoken with, and one that isn't trusted is refused by a clear error.
func TestAttachTLS(t *testing.T) {
	t.Parallel()
	f := startField(t, 1)
	to, err := url.Parse(f.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(to))
	proxy.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that the load breaks off
	proxy.StartTLS()
	defer proxy.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: proxy.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	l := f.load(t, "read")
	l.URL, l.CAFile = proxy.URL, ca
	r, err := Attach(t.Context(), l)
	if err != nil || r.Windows[0].Deliveries == 0 || !strings.HasPrefix(r.Documents, "1 of 1 ") {
		t.Errorf("Attach = %+v, %v; want deliveries and a document", r, err)
	}
	l.CAFile = ""
	if _, err := Attach(t.Context(), l); err == nil || !strings.Contains(err.Error(), "--ca-file") || strings.Contains(err.Error(), "\n") {
		t.Errorf("Attach without the root = %v, want one line that names the flag", err)
	}
}

// The floor gets as many messages of the same size, and the ratio to it is there.
func TestAttachFloor(t *testing.T) {
	t.Parallel()
	f := startField(t, 2)
	l := f.load(t, "read")
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l.Floor, l.Binary, l.Clients, l.Rate, l.Runs, l.Window = true, binary, 61, 600, 1, time.Second
	r, err := Attach(t.Context(), l)
	if err != nil || len(r.Floors) != 1 {
		t.Fatalf("Attach = %+v, %v; want a floor's window", r, err)
	}
	w, floor := r.Windows[0], r.Floors[0]
	if n := float64(floor.Deliveries) / float64(w.Deliveries); n < 0.9 || n > 1.1 {
		t.Errorf("the floor made %d deliveries, the server %d; want as many", floor.Deliveries, w.Deliveries)
	}
	if a, b := floor.Bytes/floor.Deliveries, w.Bytes/w.Deliveries; a != b {
		t.Errorf("the floor's messages have %d bytes, the server's %d; want the same", a, b)
	}
	i := slices.IndexFunc(r.Figures, func(f *Figure) bool { return f.Name == "server CPU per delivery, in the floor's" })
	if i < 0 || r.Figures[i].Median <= 0 {
		t.Errorf("no ratio to the floor in %+v", r.Figures)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

// A load that is cut short stops the simulator, and says so.
func TestAttachCutShort(t *testing.T) {
	t.Parallel()
	f := startField(t, 1)
	l := f.load(t, "read")
	l.Window = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := Attach(ctx, l)
		ended <- err
	}()
	id := f.provider.Conferences()[0].ID
	if err := poll(t.Context(), "changes", func() bool { return f.provider.Truth(id).Steps > 10 }); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "cut short") {
		t.Errorf("Attach = %v, want that it was cut short", err)
	}
}

// A simulator that makes changes by itself can't be compared with.
func TestAttachWantsAWorldThatStandsStill(t *testing.T) {
	t.Parallel()
	p := simulator.New(simulator.Config{Rate: 5})
	defer p.Close()
	control := httptest.NewServer(p.Control())
	defer control.Close()
	l := Load{URL: "http://127.0.0.1:1", Simulator: control.URL, Clients: 3, Runs: 1, Window: time.Second, Rate: 1, Log: io.Discard}
	if _, err := Attach(t.Context(), l); err == nil || !strings.Contains(err.Error(), "--rate -1") {
		t.Errorf("Attach = %v, want an error that says how to start it", err)
	}
}

// Symptom: a token that the gateway refuses was two minutes of waiting for subscriptions.
func TestAttachTellsARefusedToken(t *testing.T) {
	t.Parallel()
	f := startField(t, 1)
	l := f.load(t, "read")
	l.Token = "nonsense"
	if _, err := Attach(t.Context(), l); err == nil || !strings.Contains(err.Error(), "close code was 4401") {
		t.Errorf("Attach = %v, want the close code", err)
	}
}

// Long windows say how they go.
func TestReporting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var lines []string
		crowd := NewCrowd(Config{Conferences: []string{"1"}, Clients: 1})
		defer crowd.Close()
		stop := reporting(crowd, time.Minute, func(format string, _ ...any) { lines = append(lines, format) })
		time.Sleep(25 * time.Second)
		stop()
		if len(lines) != 2 {
			t.Errorf("%d lines in 25 s, want 2", len(lines))
		}
	})
}

// Symptom: a server that stopped sending to some of the clients passed, as a loss shows only by the message behind it.
func TestClientsLeftBehindAreAFault(t *testing.T) {
	t.Parallel()
	crowd := NewCrowd(Config{Conferences: []string{"1", "2"}, Clients: 6})
	defer crowd.Close()
	for i, cl := range crowd.clients {
		cl.seq.Store([]uint64{40, 7}[i%2]) // conferences have nothing to do with each other
	}
	a := attached{Load: Load{Quiet: true}}
	var good, bad Result
	a.judge(t.Context(), &good, crowd)
	if len(good.Faults) != 0 {
		t.Errorf("faults = %q where all have the same, want none", good.Faults)
	}
	crowd.clients[0].seq.Store(41)
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	a.judge(impatient, &bad, crowd)
	if len(bad.Faults) != 1 || !strings.HasPrefix(bad.Faults[0], "2 clients") {
		t.Errorf("faults = %q, want two clients that were left behind", bad.Faults)
	}
}
