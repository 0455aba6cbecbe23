package proctest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait; nothing waits that long unless something is broken.
const patience = time.Minute

// guardScript kills a program when its standard input ends, which it also does when the test's process is killed or panics.
const guardScript = `read -r line; kill -9 "$0"`

// Process is a program that a test started.
type Process struct {
	name  string
	cmd   *exec.Cmd
	guard *exec.Cmd
	dead  chan struct{} // closed when it has ended and its output is complete

	mu   sync.Mutex
	out  bytes.Buffer
	more chan struct{} // closed when there is more output
}

// Start runs a program until the test ends; its environment is PATH and what env adds. The end of its output is shown where
// the test fails.
func Start(tb testing.TB, name, path string, env []string, args ...string) *Process {
	tb.Helper()
	p, err := Run(name, path, env, args...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		p.Kill()
		if out := p.Output(); tb.Failed() {
			tb.Logf("%s (the end of its output):\n%s", name, out[max(0, len(out)-3000):])
		}
	})
	return p
}

// Run starts a program that the caller has to Kill.
func Run(name, path string, env []string, args ...string) (*Process, error) {
	p := &Process{name: name, dead: make(chan struct{}), more: make(chan struct{})}
	p.cmd = exec.Command(path, args...) //nolint:noctx // it ends by signals
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("proctest: start %s: %w", name, err)
	}
	go func() {
		defer close(p.dead)
		_ = p.cmd.Wait() // its state says it all
	}()
	p.guard = exec.Command("/bin/sh", "-c", guardScript, strconv.Itoa(p.cmd.Process.Pid)) //nolint:noctx // ended with the program
	_, err := p.guard.StdinPipe()
	if err == nil {
		err = p.guard.Start()
	}
	if err != nil {
		p.Kill()
		return nil, fmt.Errorf("proctest: guard %s: %w", name, err)
	}
	return p, nil
}

// Write keeps what the program says.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.more)
	p.more = make(chan struct{})
	return p.out.Write(b)
}

// Output is what the program has said so far, on both streams.
func (p *Process) Output() string {
	out, _ := p.said()
	return out
}

func (p *Process) said() (string, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String(), p.more
}

// Says waits until the program has said a text; it is an error that it ends without.
func (p *Process) Says(text string) error {
	for {
		ended := p.Ended()
		out, more := p.said()
		if strings.Contains(out, text) {
			return nil
		}
		if ended {
			return fmt.Errorf("%s: %w: %s", p.name, ErrEnded, out)
		}
		select {
		case <-more:
		case <-p.dead:
		}
	}
}

// Kill ends the program as kill -9 does, if it still runs, and waits for its end.
func (p *Process) Kill() {
	// The guard goes first, so that it never finds another process under the program's number.
	if p.guard.Process != nil && p.guard.ProcessState == nil {
		_ = p.guard.Process.Kill()
		_ = p.guard.Wait()
	}
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.dead
}

// Signal sends a signal; that nobody is there to get it fails the test.
func (p *Process) Signal(tb testing.TB, s syscall.Signal) {
	tb.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		tb.Fatalf("%s: signal %v: %v", p.name, s, err)
	}
}

// Exit waits for the program's end and gives its status, -1 where a signal ended it.
func (p *Process) Exit(tb testing.TB) int {
	tb.Helper()
	select {
	case <-p.dead:
	case <-time.After(patience):
		tb.Fatalf("%s doesn't end", p.name)
	}
	return p.cmd.ProcessState.ExitCode()
}

// Ended reports whether the program has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

// State is the letter of the program's state in /proc: T is stopped. It is empty where there is no such process.
func (p *Process) State() string { return state(p.cmd.Process.Pid) }

func state(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
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

// ErrEnded is that a program has ended that should run.
var ErrEnded = errors.New("it has ended")

// Until waits until ok gives no error. What wraps ErrEnded won't get better: it fails the test at once.
func Until(tb testing.TB, what string, ok func() error) {
	tb.Helper()
	limit := time.Now().Add(patience)
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		if errors.Is(err, ErrEnded) || time.Now().After(limit) {
			tb.Fatalf("%s: %v", what, err)
		}
		<-tick.C
	}
}
