package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
)

// benched is what bench prints as JSON, as far as it is looked at here.
type benched struct {
	Windows, Floors []struct{ Deliveries, Lost int }
	Documents       string
	Faults          []string
}

// benchJSON runs bench, and reads what it prints.
func benchJSON(t *testing.T, args ...string) (result benched) {
	t.Helper()
	var out, progress bytes.Buffer
	code := run(t.Context(), append([]string{"bench", "--json"}, args...), &out, &progress)
	if err := json.Unmarshal(out.Bytes(), &result); code != 0 || err != nil {
		t.Fatalf("bench = %d, %v; wrote %s%s", code, err, &out, &progress)
	}
	return result
}

// TestBenchAttaches puts a few clients on a demo.
func TestBenchAttaches(t *testing.T) {
	t.Parallel()
	stdout, _, _ := start(t, "demo", "--listen", "127.0.0.1:0", "--participants", "5", "--conferences", "1", "--rate", "50")
	url := stdout.match(t, `Open (http://127\.0\.0\.1:\d+/) in a browser`)[1]
	conf := stdout.match(t, `Conferences: ([\w-]+)\.`)[1]
	result := benchJSON(t, "--url", url, "--conference", conf, "--clients", "7", "--duration", "600ms", "--runs", "2")
	if len(result.Windows) != 2 || result.Windows[0].Deliveries < 7 || result.Windows[0].Lost != 0 || len(result.Faults) != 0 {
		t.Errorf("bench = %+v, want two windows with deliveries and without losses", result)
	}
	if result.Documents != "not compared, no --simulator" {
		t.Errorf("documents: %q, want to be told that they weren't compared", result.Documents)
	}
}

// TestBenchDrives has bench drive a simulator by its control address, beside a floor.
func TestBenchDrives(t *testing.T) {
	t.Parallel()
	stdout, told, _ := start(t, "simulate", "--listen", "127.0.0.1:0", "--conferences", "2", "--participants", "5", "--rate", "-1",
		"--control", "127.0.0.1:0")
	control := told.match(t, `^control API at (http://127\.0\.0\.1:\d+)$`)[1]
	flags := append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--auth", "none"},
		strings.Fields(stdout.match(t, `^--provider-url .*$`)[0])...)
	_, stderr, _ := start(t, flags...)
	addr := stderr.match(t, `"listen":"([^"]+)"`)[1]
	stderr.match(t, `"msg":"ready"`)
	result := benchJSON(t, "--url", "http://"+addr, "--simulator", control, "--rate", "300", "--clients", "6", "--runs", "1",
		"--window", "300ms", "--floor", "--pid", strconv.Itoa(os.Getpid()))
	if len(result.Windows) != 1 || result.Windows[0].Deliveries < 6 || len(result.Floors) != 1 || result.Floors[0].Deliveries < 6 {
		t.Errorf("bench = %+v, want a window with deliveries, and a floor's", result)
	}
	if want := "2 of 2 compared by fresh clients, 2 are the provider's"; result.Documents != want {
		t.Errorf("documents: %q, want %q", result.Documents, want)
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
