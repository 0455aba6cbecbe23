package fanouttest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Redis is a redis-server on a unix socket, without persistence.
type Redis struct {
	bin, dir, socket string
	args             []string

	mu    sync.Mutex
	cmd   *exec.Cmd
	guard *exec.Cmd
	dead  chan struct{} // closed when cmd has ended
}

// guardScript kills the server when its standard input ends, which it also does when the test's process is killed or panics.
const guardScript = `read -r line; kill -9 "$0"`

// StartRedis starts a redis-server for one test, and gives its URL. It is stopped when the test ends.
func StartRedis(tb testing.TB) (string, *Redis) {
	tb.Helper()
	r, err := RunRedis()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(r.Remove)
	return r.URL(), r
}

// RunRedis starts a redis-server for a whole package of tests; its TestMain has to Remove it.
func RunRedis() (*Redis, error) {
	dir, err := socketDir()
	if err != nil {
		return nil, err
	}
	return runRedis(dir, "--port", "0")
}

// socketDir makes a directory for sockets: a test's own has a path that is too long for one.
func socketDir() (string, error) { return os.MkdirTemp("", "confgate-") }

// runRedis takes dir over.
func runRedis(dir string, args ...string) (*Redis, error) {
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.Join(os.RemoveAll(dir), errors.New("no redis-server here: apt-get install redis-server"))
	}
	socket := filepath.Join(dir, "redis.sock")
	r := &Redis{bin: bin, dir: dir, socket: socket}
	r.args = append([]string{
		"--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", dir, "--daemonize", "no", "--logfile", "",
	}, args...)
	if err := r.start(); err != nil {
		r.Remove()
		return nil, err
	}
	return r, nil
}

// URL is where the server is, also after a restart.
func (r *Redis) URL() string { return "unix://" + r.socket }

// Socket is the path of the server's socket.
func (r *Redis) Socket() string { return r.socket }

func (r *Redis) start() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	// The server lives as long as the test wants, not as a context.
	cmd := exec.Command(r.bin, r.args...) //nolint:noctx // stopped by Stop
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	r.cmd, r.dead = cmd, make(chan struct{})
	lines := bufio.NewReader(out)
	var log strings.Builder
	for {
		line, err := lines.ReadString('\n')
		log.WriteString(line)
		if strings.Contains(strings.ToLower(line), "ready to accept connections") {
			break
		}
		if err != nil {
			_ = cmd.Wait()
			close(r.dead)
			return fmt.Errorf("redis-server didn't start: %w: %s", err, log.String())
		}
	}
	go func(dead chan struct{}) {
		defer close(dead)
		_, _ = io.Copy(io.Discard, lines)
		_ = cmd.Wait()
	}(r.dead)
	return r.watch(strconv.Itoa(cmd.Process.Pid))
}

// watch starts the process that ends the server if this one can't. The caller holds mu.
func (r *Redis) watch(pid string) error {
	r.guard = exec.Command("/bin/sh", "-c", guardScript, pid) //nolint:noctx // stopped by Stop
	if _, err := r.guard.StdinPipe(); err != nil {
		return err
	}
	return r.guard.Start()
}

// Stop kills the server, which loses all its data.
func (r *Redis) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd == nil {
		return
	}
	// The guard goes first, so that it never finds another process under the server's number.
	if r.guard != nil && r.guard.Process != nil {
		_ = r.guard.Process.Kill()
		_ = r.guard.Wait()
	}
	_ = r.cmd.Process.Kill() // it may have ended already
	<-r.dead
	r.cmd, r.guard = nil, nil
}

// Restart kills the server if it runs, and starts an empty one in its place.
func (r *Redis) Restart(tb testing.TB) {
	tb.Helper()
	r.Stop()
	if err := r.start(); err != nil {
		tb.Fatal(err)
	}
}

// Stall stops the server's clock, so to say: connections stay open, and nothing answers until Resume.
func (r *Redis) Stall(tb testing.TB) {
	tb.Helper()
	r.signal(tb, syscall.SIGSTOP)
}

// Resume ends a Stall.
func (r *Redis) Resume(tb testing.TB) {
	tb.Helper()
	r.signal(tb, syscall.SIGCONT)
}

func (r *Redis) signal(tb testing.TB, sig os.Signal) {
	tb.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd == nil {
		tb.Fatalf("redis-server isn't running: can't send it %v", sig)
	}
	if err := r.cmd.Process.Signal(sig); err != nil {
		tb.Fatal(err)
	}
}

// Remove stops the server and removes its directory.
func (r *Redis) Remove() {
	r.Stop()
	_ = os.RemoveAll(r.dir)
}
