package main

import (
	"bytes"
	"encoding/json"
	"testing"
)

// TestBenchAttaches puts a few clients on a demo.
func TestBenchAttaches(t *testing.T) {
	t.Parallel()
	stdout, _, _ := start(t, "demo", "--listen", "127.0.0.1:0", "--participants", "5", "--conferences", "1", "--rate", "50")
	url := stdout.match(t, `Open (http://127\.0\.0\.1:\d+/) in a browser`)[1]
	conf := stdout.match(t, `Conferences: ([\w-]+)\.`)[1]
	var out, progress bytes.Buffer
	code := run(t.Context(), []string{
		"bench", "--url", url, "--conference", conf, "--clients", "7", "--duration", "500ms", "--json",
	}, &out, &progress)
	var result struct {
		Windows []struct{ Deliveries, Lost int }
		Faults  []string
	}
	if err := json.Unmarshal(out.Bytes(), &result); code != 0 || err != nil {
		t.Fatalf("bench = %d, %v; wrote %s%s", code, err, &out, &progress)
	}
	if len(result.Windows) != 1 || result.Windows[0].Deliveries < 7 || result.Windows[0].Lost != 0 || len(result.Faults) != 0 {
		t.Errorf("bench = %+v, want a window with deliveries and without losses", result)
	}
}

// TestBenchScenarios plays presets with a few clients: the whole stage, with a server and a floor of their own.
func TestBenchScenarios(t *testing.T) {
	t.Parallel()
	for _, scenario := range []string{"fanout-1000", "reconnect", "slow", "flood"} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			var out, progress bytes.Buffer
			code := run(t.Context(), []string{
				"bench", "--scenario", scenario, "--clients", "20", "--runs", "1", "--window", "300ms",
			}, &out, &progress)
			if code != 0 || !bytes.Contains(out.Bytes(), []byte("1 runs)")) || bytes.Contains(out.Bytes(), []byte("FAULT")) {
				t.Errorf("bench --scenario %s = %d, wrote %s%s", scenario, code, &out, &progress)
			}
		})
	}
}
