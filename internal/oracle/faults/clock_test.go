package faults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/build"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"confgate/internal/oracle/oracletest"
)

// fast is how far the clock of fastBinary is ahead.
const fast = time.Minute

// fastBinary is a gateway whose clock is ahead, built once.
func fastBinary(t *testing.T) string {
	t.Helper()
	path, err := fastBuild()
	must(t, err)
	return path
}

// fastBuild builds a gateway whose time.Now is ahead: wall clocks can't be shifted for one process, and the gateway has no
// switch for it. Its first build compiles the standard library too, later ones find it in the build cache.
var fastBuild = sync.OnceValues(func() (string, error) {
	source := filepath.Join(build.Default.GOROOT, "src", "time", "time.go")
	text, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	const read = "\tsec, nsec, mono := runtimeNow()\n"
	if n := bytes.Count(text, []byte(read)); n != 1 {
		return "", fmt.Errorf("time.Now reads the clock %d times in this Go, want once: adapt the patch", n)
	}
	dir := filepath.Dir(binary)
	patched, file, out := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "gateway-fast")
	if err := os.WriteFile(patched, bytes.Replace(text, []byte(read), []byte(read+"\tsec += 60\n"), 1), 0o600); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{source: patched}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return "", err
	}
	return out, oracletest.BuildGateway(out, "-overlay", file)
})

// A worker whose clock is a minute ahead holds, loses and takes over like any other.
func TestFastClock(t *testing.T) {
	t.Parallel()
	f := startFleet(t, plan{binary: fastBinary(t)})
	w := f.workers[0]
	if ahead := f.ahead(t, w); ahead < fast-5*time.Second || ahead > fast+5*time.Second {
		t.Fatalf("its clock is %v ahead, want a minute: the fault didn't come", ahead)
	}
	if ahead := f.ahead(t, f.workers[1]); ahead > 5*time.Second {
		t.Fatalf("the clock of another is %v ahead, want it right", ahead)
	}
	owned := f.owned(t, w)
	if len(owned) == 0 {
		t.Fatal("the worker with the wrong clock holds nothing")
	}

	f.measure()
	pass(*leaseOf + time.Second) // neither takes the other for dead
	q := f.silences(t, w)
	within(t, "longest silence without another fault", max(q.there, q.elsewhere), handover)
	f.untouched(t, f.provider.Requests()["dial"])

	f.measure()
	w.kill(t)
	f.settle(t)
	within(t, "longest silence after its death", f.silences(t, w).elsewhere, *leaseOf+2*time.Second)
	f.takeovers(t, "death", len(owned))
	w.start(t)
	f.settle(t)

	other := f.workers[1]
	if len(f.owned(t, other)) == 0 {
		other = f.workers[2]
	}
	f.measure()
	other.kill(t)
	f.settle(t)
	within(t, "longest silence after another's death", f.silences(t, other).elsewhere, *leaseOf+2*time.Second)
	other.start(t)
	f.settle(t)
	f.finish(t, outcome{overlaps: 2 * len(f.confs)})
}

// ahead is how far a worker's clock is before this process's.
func (f *fleet) ahead(t *testing.T, w *worker) time.Duration {
	t.Helper()
	url, _ := w.endpoint()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v1/conferences", nil)
	must(t, err)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	must(t, err)
	must(t, resp.Body.Close())
	date, err := http.ParseTime(resp.Header.Get("Date"))
	must(t, err)
	return time.Until(date)
}
