package faults

import (
	"bufio"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"confgate/internal/oracle/oracletest"
	"confgate/internal/proctest"
)

// worker is one gateway process, and the processes that follow it under its name when it is restarted.
type worker struct {
	name  string
	path  string // of the binary
	flags []string

	mu    sync.Mutex
	run   *proctest.Process
	url   string
	admin string
	up    bool // clients are sent there
	past  string
}

// start runs the worker and waits until it is ready.
func (w *worker) start(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	if w.run != nil {
		w.past += w.run.Output()
	}
	w.mu.Unlock()
	p := proctest.Start(t, w.name, w.path, nil, append([]string{
		"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--pprof", "--worker-id", w.name,
	}, w.flags...)...)
	var listen, admin string
	proctest.Until(t, w.name+" starts", func() error {
		if p.Ended() {
			return fmt.Errorf("%w: %s", proctest.ErrEnded, p.Output())
		}
		for line := range lines(p.Output()) {
			if line.Msg == "starting" {
				listen, admin = line.Listen, line.Admin
				_, err := oracletest.Get(t.Context(), "http://"+admin+"/readyz", "")
				return err
			}
		}
		return fmt.Errorf("it hasn't said where: %s", p.Output())
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.run, w.url, w.admin, w.up = p, "http://"+listen, "http://"+admin, true
}

// logLine is what these tests read of a log line.
type logLine struct{ Level, Msg, Listen, Admin string }

func lines(text string) func(yield func(logLine) bool) {
	return func(yield func(logLine) bool) {
		scan := bufio.NewScanner(strings.NewReader(text))
		scan.Buffer(nil, 1<<20)
		for scan.Scan() {
			var l logLine
			if err := json.Unmarshal(scan.Bytes(), &l); err == nil && !yield(l) {
				return
			}
		}
	}
}

// log is what all processes of the worker have said.
func (w *worker) log() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.past + w.run.Output()
}

// endpoint is where clients of the worker connect; false while none should.
func (w *worker) endpoint() (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.url, w.up
}

func (w *worker) route(up bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.up = up
}

func (w *worker) process() *proctest.Process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.run
}

// kill is kill -9.
func (w *worker) kill(t *testing.T) {
	t.Helper()
	w.route(false)
	p := w.process()
	p.Signal(t, syscall.SIGKILL)
	if status := p.Exit(t); status != -1 {
		t.Errorf("%s, killed, ended with status %d by itself", w.name, status)
	}
}

// term is SIGTERM, after which no client is sent there. Its exit is the caller's to wait for.
func (w *worker) term(t *testing.T) *proctest.Process {
	t.Helper()
	w.route(false)
	p := w.process()
	p.Signal(t, syscall.SIGTERM)
	return p
}

// stop is SIGSTOP, the returned function SIGCONT.
func (w *worker) stop(t *testing.T) (resume func()) {
	t.Helper()
	w.route(false)
	p := w.process()
	p.Signal(t, syscall.SIGSTOP)
	proctest.Until(t, w.name+" stops", func() error {
		return differ("state", p.State(), "T")
	})
	return func() {
		p.Signal(t, syscall.SIGCONT)
		w.route(true)
	}
}

// metrics is the worker's /metrics; the worker must be able to answer.
func (w *worker) metrics(t *testing.T) string {
	t.Helper()
	w.mu.Lock()
	admin := w.admin
	w.mu.Unlock()
	text, err := oracletest.Get(t.Context(), admin+"/metrics", "")
	if err != nil {
		t.Fatalf("%s: %v", w.name, err)
	}
	return text
}

// metric is a counter of the worker's, summed over the labels that name doesn't give; 0 where it doesn't exist yet.
func (w *worker) metric(t *testing.T, name string) int {
	t.Helper()
	v, _ := oracletest.Metric(t, w.metrics(t), name)
	return int(v)
}

// goroutines is how many the worker has.
func (w *worker) goroutines(t *testing.T) int {
	t.Helper()
	w.mu.Lock()
	admin := w.admin
	w.mu.Unlock()
	text, err := oracletest.Get(t.Context(), admin+"/debug/pprof/goroutine?debug=1", "")
	if err != nil {
		t.Fatalf("%s: %v", w.name, err)
	}
	first, _, _ := strings.Cut(text, "\n")
	n, err := strconv.Atoi(first[strings.LastIndexByte(first, ' ')+1:])
	if err != nil {
		t.Fatalf("%s: goroutines: %q", w.name, first)
	}
	return n
}

// owned are the conferences that the worker says it holds.
func (f *fleet) owned(t *testing.T, w *worker) []string {
	t.Helper()
	var list struct {
		Conferences []struct{ ID, Worker string }
	}
	url, _ := w.endpoint()
	text, err := oracletest.Get(t.Context(), url+"/v1/conferences", f.token)
	if err == nil {
		err = json.Unmarshal([]byte(text), &list)
	}
	if err != nil {
		t.Fatalf("%s: %v", w.name, err)
	}
	var ids []string
	for _, c := range list.Conferences {
		if c.Worker == w.name {
			ids = append(ids, c.ID)
		}
	}
	slices.Sort(ids)
	return ids
}
