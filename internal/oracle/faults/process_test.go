package faults

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"confgate/internal/oracle/oracletest"
)

// process is a program that a test started, and that ends with the test at the latest.
type process struct {
	name  string
	cmd   *exec.Cmd
	guard *exec.Cmd
	dead  chan struct{} // closed when it has ended and its output is complete

	mu  sync.Mutex
	out bytes.Buffer
}

// guardScript kills a program when its standard input ends, which it also does when the test's process is killed or panics.
const guardScript = `read -r line; kill -9 "$0"`

// startProcess starts a program; its output, both streams, is kept.
func startProcess(t *testing.T, name, path string, args ...string) *process {
	t.Helper()
	p := &process{name: name, cmd: exec.Command(path, args...), dead: make(chan struct{})} //nolint:noctx // it ends by signals
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
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
	t.Cleanup(p.kill)
	return p
}

// Write keeps what the program says.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

// output is what the program has said so far.
func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// kill ends the program as kill -9 does, if it still runs, and waits for its end.
func (p *process) kill() {
	// The guard goes first, so that it never finds another process under the program's number.
	if p.guard.ProcessState == nil {
		_ = p.guard.Process.Kill()
		_ = p.guard.Wait()
	}
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.dead
}

// signal sends a signal; that nobody is there to get it fails the test.
func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("%s: signal %v: %v", p.name, s, err)
	}
}

// exit waits for the program's end and gives its status, -1 where a signal ended it.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-p.dead:
	case <-time.After(oracletest.Patience):
		t.Fatalf("%s doesn't end:\n%s", p.name, oracletest.Tail(p.output(), 2000))
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) ended() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

var errEnded = errors.New("it has ended")

// until waits until ok gives no error.
func until(t *testing.T, what string, ok func() error) {
	t.Helper()
	limit := time.Now().Add(oracletest.Patience)
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		if errors.Is(err, errEnded) || time.Now().After(limit) {
			t.Fatalf("%s: %v", what, err)
		}
		<-tick.C
	}
}

// pass lets time go by, in which the world moves.
func pass(d time.Duration) { <-time.After(d) }

// differ is an error unless got is want.
func differ[T comparable](what string, got, want T) error {
	if got == want {
		return nil
	}
	return fmt.Errorf("%s is %v, want %v", what, got, want)
}

// state is the letter of the program's state in /proc: T is stopped.
func (p *process) state() string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return ""
	}
	// The name before it may contain anything, brackets too.
	rest := text[bytes.LastIndexByte(text, ')')+1:]
	if fields := bytes.Fields(rest); len(fields) > 0 {
		return string(fields[0])
	}
	return ""
}
