package observe

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"confgate/internal/confctl"
	"confgate/internal/fanout/fanouttest"
	"confgate/internal/gateway"
	"confgate/internal/oracle/oracletest"
	"confgate/internal/proctest"
	"confgate/internal/simulator"
	"confgate/internal/simulator/simulatortest"
)

func TestMain(m *testing.M) {
	// A test that fails must end a Prometheus that it started, so there is no other exit than this.
	goleak.VerifyTestMain(m, goleak.Cleanup(os.Exit))
}

// fleet is workers over one Redis and one provider, in this process.
type fleet struct {
	provider *simulator.Provider
	workers  []*gateway.Worker
	stop     []func() // ends the worker of the same number, and waits for its end
	secret   string
	token    string
	confs    []string
}

// startFleet runs some workers that name all conferences, until the test ends.
func startFleet(t *testing.T, workers int, cfg simulator.Config, change func(*gateway.Options)) *fleet {
	t.Helper()
	redis, _ := fanouttest.StartRedis(t)
	provider, origin := simulatortest.Start(t, cfg)
	f := &fleet{provider: provider, secret: oracletest.SecretFile(t)}
	opts := gateway.Options{
		Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", RedisURL: confctl.NewSecret(redis), ProviderURL: origin,
		ProviderRate: "10000/s", AuthHMACSecretFile: f.secret, SealKeyFile: oracletest.SealKeyFile(t),
		HeartbeatInterval: time.Second, LeaseTTL: 2 * time.Second, DrainTimeout: 3 * time.Second, LogOutput: io.Discard,
	}
	for _, c := range provider.Conferences() {
		f.confs = append(f.confs, c.ID)
		opts.Conferences = append(opts.Conferences, gateway.Conference{ID: c.ID, Password: c.Password})
	}
	if change != nil {
		change(&opts)
	}
	f.token = oracletest.Token(t, f.secret, []string{"read", "admin"}, "*")
	for i := range workers {
		opts.WorkerID = fmt.Sprintf("gw-%d", i)
		w, err := gateway.Build(opts)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		end := sync.OnceFunc(func() {
			stop()
			if err := <-done; err != nil {
				t.Errorf("Run = %v", err)
			}
		})
		t.Cleanup(end)
		f.stop = append(f.stop, end)
		f.workers = append(f.workers, w)
	}
	return f
}

// metric is a sum over all workers.
func (f *fleet) metric(t *testing.T, name string) float64 {
	t.Helper()
	sum := 0.0
	for _, w := range f.workers {
		v, _ := oracletest.Metric(t, f.text(t, w), name)
		sum += v
	}
	return sum
}

func (f *fleet) text(t *testing.T, w *gateway.Worker) string {
	t.Helper()
	text, err := oracletest.Get(t.Context(), "http://"+w.AdminAddr().String()+"/metrics", "")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// awaitMetric waits until a sum over all workers is as wanted.
func (f *fleet) awaitMetric(t *testing.T, name string, want float64) {
	t.Helper()
	proctest.Until(t, name, func() error {
		if got := f.metric(t, name); got != want {
			return fmt.Errorf("%v, want %v", got, want)
		}
		return nil
	})
}

// TestRefusedAndLocked checks the gauges that the alerts about passwords rest on.
func TestRefusedAndLocked(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 1, simulator.Config{Conferences: 3, Rate: -1, LockAfter: 2}, func(o *gateway.Options) {
		// The first conference gets a wrong password; the second was locked by somebody else's wrong ones.
		o.Conferences[0].Password = confctl.NewSecret("wrong")
		for range 2 {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
				o.ProviderURL+"/v1/mmc/control/conferences/token?conferenceID="+o.Conferences[1].ID, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Password", "wrong")
			req.Header.Set("X-Login-Type", "1")
			resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
		}
	})
	f.awaitMetric(t, `confgate_upstream_links{state="live"}`, 1)
	f.awaitMetric(t, `confgate_upstream_unavailable_links{reason="credentials"}`, 1)
	f.awaitMetric(t, `confgate_upstream_unavailable_links{reason="locked"}`, 1)
	f.awaitMetric(t, `confgate_ownership_unowned_conferences`, 0)
}

// TestUnowned checks that conferences show for which the fleet has no room: a flag names one, PUT gives another, and of two
// workers that hold one each at the most, one leaves.
func TestUnowned(t *testing.T) {
	t.Parallel()
	var other gateway.Conference
	f := startFleet(t, 2, simulator.Config{Conferences: 2, Rate: -1}, func(o *gateway.Options) {
		o.MaxConferences, o.DrainTimeout, other = 1, time.Second, o.Conferences[1]
		o.Conferences = o.Conferences[:1]
	})
	f.awaitMetric(t, "confgate_ownership_conferences", 1)
	proctest.Until(t, "PUT is taken", func() error {
		body := strings.NewReader(`{"password":"` + other.Password.Reveal() + `"}`)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut,
			"http://"+f.workers[0].Addr().String()+"/v1/conferences/"+other.ID, body)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+f.token)
		req.Header.Set("Content-Type", "application/json")
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		return nil
	})
	f.awaitMetric(t, "confgate_ownership_conferences", 2)
	f.awaitMetric(t, "confgate_ownership_unowned_conferences", 0)
	f.stop[1]()
	f.workers = f.workers[:1]
	f.awaitMetric(t, "confgate_ownership_conferences", 1)
	f.awaitMetric(t, "confgate_ownership_unowned_conferences", 1)
}

// TestMetricsText has promtool judge the text of /metrics.
func TestMetricsText(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 1, simulator.Config{Conferences: 1}, nil)
	f.awaitMetric(t, `confgate_upstream_links{state="live"}`, 1)
	text := f.text(t, f.workers[0])
	if out, err := promtool(t, []byte(text), "check", "metrics"); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	if out, err := promtool(t, []byte(strings.ReplaceAll(text, "_seconds", "_milliseconds")), "check", "metrics"); err == nil {
		t.Errorf("promtool takes milliseconds as a unit, so it checks nothing: %s", out)
	}
}
