package oracle_test

import (
	"slices"
	"testing"
	"time"

	"confgate/internal/confctl"
	"confgate/internal/fanout/fanouttest"
	"confgate/internal/gateway"
	"confgate/internal/oracle/oracletest"
	"confgate/internal/simulator"
	"confgate/internal/simulator/simulatortest"
)

// world is the size that the tests of this file run at.
func world(seed uint64, numbering string) simulator.Config {
	return simulator.Config{Conferences: 3, Participants: 200, Rate: 150, Seed: seed, Numbering: numbering}
}

// run lets the world go on for a while, and until enough has happened, with every third client dropping its connection now
// and then.
func run(t *testing.T, clients []*oracletest.Reader, d time.Duration, enough func() bool) {
	t.Helper()
	var some []*oracletest.Reader
	for i := 0; i < len(clients); i += 3 {
		some = append(some, clients[i])
	}
	begun := time.Now()
	ticker := time.NewTicker(70 * time.Millisecond)
	defer ticker.Stop()
	for i := 0; time.Since(begun) < d || !enough(); i++ {
		if time.Since(begun) > oracletest.Patience {
			t.Fatal("what should happen hasn't")
		}
		<-ticker.C
		some[i%len(some)].Disconnect()
	}
}

// resumed is how many resumes were granted to all clients together.
func resumed(clients []*oracletest.Reader) int {
	n := 0
	for _, c := range clients {
		n += c.Report().Recovered
	}
	return n
}

// allFired says whether each of some faults has fired.
func allFired(provider *simulator.Provider, faults []string) bool {
	fired := provider.Fired()
	return !slices.ContainsFunc(faults, func(fault string) bool { return fired[fault] == 0 })
}

// stores are the logs that the oracle runs over.
func stores(t *testing.T) map[string]func(*gateway.Options) {
	t.Helper()
	return map[string]func(*gateway.Options){
		"memory": func(*gateway.Options) {},
		"redis": func(o *gateway.Options) {
			url, _ := fanouttest.StartRedis(t)
			o.RedisURL = confctl.NewSecret(url)
			o.SealKeyFile = oracletest.SealKeyFile(t)
		},
	}
}

// Every client's document ends equal to the truth, over chains that are whole, after one snapshot, whatever topics and
// scopes it has and however often it reconnected.
func TestEveryDocumentEqualsTheTruth(t *testing.T) {
	t.Parallel()
	for name, store := range stores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			provider, origin := simulatortest.Start(t, world(1, simulator.NumberPerKind))
			w := startWorker(t, provider, origin, store)
			nudge := make(chan struct{}, 1)
			clients := audience(t, w, provider, nudge)
			run(t, clients, 3*time.Second, func() bool { return resumed(clients) >= 10 })
			provider.Pause()
			oracletest.AwaitTruth(t, provider, clients, nudge)
			oracletest.CheckHistory(t, clients)

			m := w.metrics(t)
			if n := metric(t, m, "confgate_upstream_frames_total"); n < 3*150 {
				t.Errorf("%v frames, want the world to have moved", n)
			}
			if n := metric(t, m, "confgate_upstream_gaps_total"); n != 0 {
				t.Errorf("%v gaps from a provider without faults, want 0", n)
			}
			if n := metric(t, m, "confgate_upstream_unknown_total"); n != 0 {
				t.Errorf("%v unknown, want 0", n)
			}
		})
	}
}

// The same with a provider that loses, repeats and swaps increments and cuts links, however it numbers them; compared when
// the faults have stopped and one refresh has run.
func TestFaultsHeal(t *testing.T) {
	t.Parallel()
	for _, numbering := range []string{simulator.NumberPerKind, simulator.NumberPerConference} {
		t.Run(numbering, func(t *testing.T) {
			t.Parallel()
			cfg := world(2, numbering)
			cfg.Faults = simulator.FaultPlan{Drop: 0.01, Repeat: 0.01, Swap: 0.01, Cut: 2 * time.Second, Garbage: 0.001, Unknown: 0.001, Seed: 7}
			provider, origin := simulatortest.Start(t, cfg)
			w := startWorker(t, provider, origin, func(o *gateway.Options) { o.RefreshInterval = 3 * time.Second })
			nudge := make(chan struct{}, 1)
			clients := audience(t, w, provider, nudge)
			faults := []string{"drop", "repeat", "swap", "cut", "garbage", "unknown"}
			run(t, clients, 5*time.Second, func() bool { return allFired(provider, faults) && resumed(clients) >= 10 })
			provider.Pause()
			provider.Heal()
			oracletest.AwaitTruth(t, provider, clients, nudge)
			oracletest.CheckHistory(t, clients)

			m := w.metrics(t)
			for _, name := range []string{
				"confgate_upstream_gaps_total", "confgate_upstream_resyncs_total", "confgate_upstream_reconnects_total",
				"confgate_upstream_unknown_total",
			} {
				if metric(t, m, name) == 0 {
					t.Errorf("%s = 0, want it counted", name)
				}
			}
		})
	}
}
