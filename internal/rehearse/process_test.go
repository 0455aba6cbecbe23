package rehearse

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"confgate/internal/oracle/oracletest"
)

// process is a program that the test started, and that ends with the test at the latest.
type process struct {
	name  string
	cmd   *exec.Cmd
	guard *exec.Cmd
	dead  chan struct{} // closed when it has ended

	mu  sync.Mutex
	out bytes.Buffer
}

// guardScript kills a program when its standard input ends, which it also does when the test's process is killed.
const guardScript = `read -r line; kill -9 "$0"`

// start starts a program, whose output is shown where the test fails.
func start(t *testing.T, name, path string, env []string, args ...string) *process {
	t.Helper()
	p := &process{name: name, cmd: exec.Command(path, args...), dead: make(chan struct{})} //nolint:noctx // it ends by signals
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.dead)
		_ = p.cmd.Wait() // its state says it all
	}()
	p.guard = exec.Command("/bin/sh", "-c", guardScript, strconv.Itoa(p.cmd.Process.Pid)) //nolint:noctx // ended with the program
	if _, err := p.guard.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.guard.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.guard.Process.Kill()
		_ = p.guard.Wait()
		_ = p.cmd.Process.Kill() // it may have ended already
		<-p.dead
		if t.Failed() {
			t.Logf("%s (the end of its output):\n%s", name, oracletest.Tail(p.output(), 3000))
		}
	})
	return p
}

// Write keeps what the program says.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// term sends SIGTERM and waits for the end in order.
func (p *process) term(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	select {
	case <-p.dead:
	case <-time.After(oracletest.Patience):
		t.Fatalf("%s doesn't end", p.name)
	}
	if status := p.cmd.ProcessState.ExitCode(); status != 0 {
		t.Errorf("%s ended with status %d, want 0", p.name, status)
	}
}

// until waits until ok gives no error.
func until(t *testing.T, what string, ok func() error) {
	t.Helper()
	limit := time.Now().Add(oracletest.Patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%s: %v", what, err)
		}
		<-tick.C
	}
}
