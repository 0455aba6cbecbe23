package simulator_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"confgate/internal/simulator"
)

// still is a provider whose worlds change only when they are told to, and its control API.
func still(t *testing.T) (*simulator.Provider, *simulator.Remote, string) {
	t.Helper()
	p := simulator.New(simulator.Config{Conferences: 3, Participants: 30, Rate: -1, Seed: 3, NotStarted: 1})
	server := httptest.NewServer(p.Control())
	t.Cleanup(func() {
		server.Close()
		p.Close()
	})
	remote, err := simulator.NewRemote(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return p, remote, server.URL
}

// What arrives by the control API is the truth, to the last member.
func TestRemoteTruth(t *testing.T) {
	t.Parallel()
	p, remote, _ := still(t)
	world, err := remote.World(t.Context())
	if err != nil || len(world.Conferences) != 3 || world.Rate >= 0 || !world.Conferences[0].Running || world.Conferences[2].Running {
		t.Fatalf("World = %+v, %v; want three conferences that stand still, the last not running", world, err)
	}
	id := world.Conferences[0].ID
	p.Step(id, 500)
	got, err := remote.Truth(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p.Truth(id), got); diff != "" || got.Steps != 500 || got.Basic.ChairPassword == "" {
		t.Errorf("Truth after %d steps (-want +got):\n%s", got.Steps, diff)
	}
	if _, err := remote.Truth(t.Context(), "1"); err == nil || !strings.Contains(err.Error(), `no conference "1"`) {
		t.Errorf("Truth of no conference = %v, want an error that says so", err)
	}
}

func TestRemoteDrive(t *testing.T) {
	t.Parallel()
	p, remote, _ := still(t)
	made, err := remote.Drive(t.Context(), nil, 500, 100*time.Millisecond)
	steps := [3]uint64{}
	for i, c := range p.Conferences() {
		steps[i] = p.Truth(c.ID).Steps
	}
	if err != nil || made < 2 || made > 51 || steps[0]+steps[1] != uint64(made) || steps[0]-steps[1] > 1 || steps[2] != 0 {
		t.Errorf("Drive = %d, %v; steps %v; want at most 50 changes, in turn at the two that run", made, err, steps)
	}
	one := p.Conferences()[1].ID
	made, err = remote.Drive(t.Context(), []string{one}, 500, 50*time.Millisecond)
	if now := p.Truth(one).Steps; err != nil || made == 0 || now != steps[1]+uint64(made) {
		t.Errorf("Drive of one = %d, %v; it is at step %d after %d", made, err, now, steps[1])
	}
}

// A client that goes ends what it asked for.
func TestRemoteDriveEndsWithItsClient(t *testing.T) {
	t.Parallel()
	p, _, _ := still(t)
	ended := make(chan struct{})
	handler := p.Control()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r)
		close(ended)
	}))
	defer server.Close()
	remote, err := simulator.NewRemote(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := remote.Drive(ctx, nil, 1000, simulator.MaxDriveTime)
		failed <- err
	}()
	id := p.Conferences()[0].ID
	for late := time.After(time.Minute); p.Truth(id).Steps < 10; {
		select {
		case err := <-failed:
			t.Fatalf("Drive = %v, want it to go on", err)
		case <-late:
			t.Fatal("nothing is driven")
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	if err := <-failed; err == nil {
		t.Error("Drive = nil where it was cut short, want an error")
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("the simulator goes on without its client")
	}
}

func TestControlRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, kind, body string
		status           int
		want             string
	}{
		{"no JSON type", "text/plain", `{"rate":1,"duration":"1s"}`, 415, "application/json"},
		{"no JSON", "application/json", `rate`, 400, `"rate": CHANGES_A_SECOND`},
		{"no rate", "application/json", `{"duration":"1s"}`, 400, "rate is 0"},
		{"no end", "application/json", `{"rate":1,"duration":"2h"}`, 400, `duration is "2h"`},
		{"unknown conference", "application/json", `{"rate":1,"duration":"1s","conferences":["x"]}`, 400, `no conference "x"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/drive", strings.NewReader(tt.body))
			req.Header.Set("Content-Type", tt.kind)
			p := simulator.New(simulator.Config{Rate: -1})
			defer p.Close()
			w := httptest.NewRecorder()
			p.Control().ServeHTTP(w, req)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("answer = %d %q, want %d and %q in it", w.Code, w.Body, tt.status, tt.want)
			}
		})
	}
}

// Whatever else answers is told from a simulator, and isn't quoted.
func TestRemoteElsewhere(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"a":"hunter2"}`)) }))
	defer server.Close()
	remote, err := simulator.NewRemote(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, err = remote.World(t.Context())
	if err == nil || !strings.Contains(err.Error(), "--control") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("World = %v, want an error that names the flag and quotes nothing", err)
	}
	for _, url := range []string{"", "127.0.0.1:9001", "https://127.0.0.1:1", "http://a:b@127.0.0.1:1", "http://127.0.0.1:1/x"} {
		if _, err := simulator.NewRemote(url); err == nil {
			t.Errorf("NewRemote(%q) = nil, want an error", url)
		}
	}
}
