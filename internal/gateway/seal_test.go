package gateway

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"confgate/internal/confctl"
	"confgate/internal/fanout/fanouttest"
	"confgate/internal/simulator"
	"confgate/internal/simulator/simulatortest"
)

// What was put under an old seal key is held by a worker that has a new one and keeps the old one below it, and no longer
// once the old one is gone: then the log says which conference needs its password again.
func TestSealKeyRotation(t *testing.T) {
	t.Parallel()
	url, _ := fanouttest.StartRedis(t)
	provider, origin := simulatortest.Start(t, simulator.Config{Conferences: 1, Participants: 3, Seed: 6})
	start := func(id string, keys ...string) *running {
		opts := workerOptions(t, provider, origin)
		opts.WorkerID, opts.RedisURL, opts.LeaseTTL = id, confctl.NewSecret(url), time.Second
		opts.Conferences = nil
		opts.SealKeyFile = filepath.Join(t.TempDir(), "seal")
		if err := os.WriteFile(opts.SealKeyFile, []byte(strings.Join(keys, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		return startWorker(t, opts)
	}
	before, after := strings.Repeat("5a", 32), strings.Repeat("a5", 32)
	conf := provider.Conferences()[0]

	w := start("gw-before", before)
	if got := w.administer(t, http.MethodPut, conf.ID, fmt.Sprintf(`{"password":%q}`, conf.Password.Reveal())); got != http.StatusCreated {
		t.Fatalf("PUT = %d, want 201", got)
	}
	await := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.After(patience); !ok(); {
			select {
			case <-deadline:
				t.Fatal("never came: " + what)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	live := func(w *running) {
		t.Helper()
		await("the worker holds it", func() bool { return w.owner(conf.ID) == w.opts.WorkerID })
		c := w.dial(t, "read")
		c.send(`{"type":"subscribe","conference":"` + conf.ID + `"}`)
		c.untilState("a live link", linkLive)
	}
	live(w)
	w.end(t)

	w = start("gw-between", after, before)
	live(w)
	w.end(t)

	w = start("gw-after", after)
	await("a line that the conference can't be held", func() bool { return strings.Contains(w.log(), "conference can't be held") })
	if log := w.log(); !strings.Contains(log, conf.ID) || strings.Contains(log, conf.Password.Reveal()) {
		t.Error("the log doesn't name the conference, or holds its password")
	}
}
