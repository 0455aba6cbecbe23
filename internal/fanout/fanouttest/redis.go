package fanouttest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"confgate/internal/proctest"
)

// Redis is a redis-server on a unix socket, without persistence.
type Redis struct {
	bin, dir, socket string
	args             []string

	mu  sync.Mutex
	run *proctest.Process // nil while stopped
}

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
	run, err := proctest.Run("redis-server", r.bin, nil, r.args...)
	if err != nil {
		return err
	}
	r.run = run
	return run.Says("eady to accept connections") // some versions begin a sentence with it
}

// Stop kills the server, which loses all its data.
func (r *Redis) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.run != nil {
		r.run.Kill()
		r.run = nil
	}
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

func (r *Redis) signal(tb testing.TB, sig syscall.Signal) {
	tb.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.run == nil {
		tb.Fatalf("redis-server isn't running: can't send it %v", sig)
	}
	r.run.Signal(tb, sig)
}

// Remove stops the server and removes its directory.
func (r *Redis) Remove() {
	r.Stop()
	_ = os.RemoveAll(r.dir)
}
