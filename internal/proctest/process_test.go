package proctest

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func shell(t *testing.T, script string, env ...string) *Process {
	t.Helper()
	return Start(t, "shell", "/bin/sh", env, "-c", script)
}

func TestProcess(t *testing.T) {
	t.Parallel()
	p := shell(t, `echo "$WORD" >&2; read -r line; exit 7`, "WORD=hello")
	if status := p.Exit(t); status != 7 || !p.Ended() {
		t.Errorf("status %d, ended %v, want 7 and true", status, p.Ended())
	}
	if out := p.Output(); out != "hello\n" {
		t.Errorf("output %q, want hello", out)
	}
	if err := p.Says("hello"); err != nil {
		t.Errorf("Says = %v for what was said before the end", err)
	}
}

func TestSignals(t *testing.T) {
	t.Parallel()
	p := shell(t, "echo ready; exec sleep 600")
	if err := p.Says("ready"); err != nil {
		t.Fatal(err)
	}
	p.Signal(t, syscall.SIGSTOP)
	Until(t, "it stops", func() error {
		if s := p.State(); s != "T" {
			return fmt.Errorf("state %q", s)
		}
		return nil
	})
	if p.Ended() {
		t.Error("it has ended, want stopped")
	}
	p.Kill()
	p.Kill() // as the test's end does again
	if status := p.Exit(t); status != -1 {
		t.Errorf("status %d, killed, want -1", status)
	}
}

// TestSaysEnd waits for words that the program ends without.
func TestSaysEnd(t *testing.T) {
	t.Parallel()
	err := shell(t, "echo no").Says("yes")
	if want := "shell: it has ended: no\n"; err == nil || err.Error() != want {
		t.Errorf("Says = %v, want %s", err, want)
	}
}

// TestGuard kills a test's process, without a chance for cleanups: the program that it has started ends all the same.
func TestGuard(t *testing.T) {
	t.Parallel()
	if os.Getenv("GUARDED") != "" { // the process to be killed
		p := shell(t, "exec sleep 600")
		_, _ = fmt.Fprintf(os.Stdout, "started %d.\n", p.cmd.Process.Pid)
		p.Exit(t)
		return
	}
	test := Start(t, "test", os.Args[0], []string{"GUARDED=1"}, "-test.run=^TestGuard$", "-test.v")
	if err := test.Says(".\n"); err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(test.Output(), "started ")
	number, _, _ := strings.Cut(rest, ".\n")
	pid, err := strconv.Atoi(number)
	if err != nil || state(pid) == "" {
		t.Fatalf("no program %q has been started: %s", number, test.Output())
	}
	test.Kill()
	Until(t, "the program ends", func() error {
		if s := state(pid); s != "" && s != "Z" { // Z: dead, but nobody has asked for its status
			return fmt.Errorf("state %q", s)
		}
		return nil
	})
}
