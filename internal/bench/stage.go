package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"confgate/internal/simulator"
)

// startWait is how long a process may take to be there.
const startWait = 30 * time.Second

// Stage is what a scenario plays on: a Redis, a simulated provider in this process, and a server of its own process.
type Stage struct {
	Binary string // the gateway's
	Core   string // what the server and the floor are pinned to, as taskset wants it; empty: not pinned
	Log    io.Writer

	dir      string
	redisURL string
	redis    *redis.Client
	provider *simulator.Provider
	children []*exec.Cmd
	closers  []func()
}

// child starts a process that ends with the stage.
func (s *Stage) child(ctx context.Context, pinned bool, name string, args ...string) (*exec.Cmd, io.ReadCloser, error) {
	if pinned && s.Core != "" {
		name, args = "taskset", append([]string{"-c", s.Core, name}, args...)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, fmt.Errorf("bench: %w", err)
	}
	return cmd, out, nil
}

func (s *Stage) start(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("bench: start %s: %w", filepath.Base(cmd.Path), err)
	}
	s.children = append(s.children, cmd)
	return nil
}

// Close ends all processes, the last one first, and removes what they wrote.
func (s *Stage) Close() {
	for _, cmd := range slices.Backward(s.children) {
		s.end(cmd)
	}
	for _, f := range slices.Backward(s.closers) {
		f()
	}
}

// end stops a process, kindly first.
func (s *Stage) end(cmd *exec.Cmd) {
	if cmd.ProcessState != nil {
		return
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	_ = cmd.Wait() // ended by a signal
}

// Prepare starts Redis and the provider.
func (s *Stage) Prepare(ctx context.Context, world simulator.Config) error {
	if err := s.PrepareRedis(ctx); err != nil {
		return err
	}
	return s.provide(ctx, world)
}

// PrepareRedis starts Redis alone, which is all that a floor needs.
func (s *Stage) PrepareRedis(ctx context.Context) error {
	var err error
	if s.dir, err = os.MkdirTemp("", "confgate-bench-"); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	s.closers = append(s.closers, func() { _ = os.RemoveAll(s.dir) })
	socket := filepath.Join(s.dir, "redis.sock")
	cmd, _, err := s.child(ctx, false, "redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no",
		"--dir", s.dir)
	if err != nil {
		return err
	}
	if err := s.start(cmd); err != nil {
		return err
	}
	s.redisURL = "unix://" + socket
	opts, err := redis.ParseURL(s.redisURL)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	s.redis = redis.NewClient(opts)
	s.closers = append(s.closers, func() { _ = s.redis.Close() })
	return poll(ctx, "redis", func() bool { return s.redis.Ping(ctx).Err() == nil })
}

// provide runs the simulated provider, whose worlds change only when they are told to.
func (s *Stage) provide(ctx context.Context, world simulator.Config) error {
	world.Rate = -1
	s.provider = simulator.New(world)
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	server := &http.Server{Handler: s.provider.Handler(), ReadHeaderTimeout: startWait}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(ln)
	}()
	s.closers = append(s.closers, func() {
		s.provider.Close()
		_ = server.Close()
		<-ended
	})
	return s.configure(ln.Addr().String())
}

// configure writes the server's configuration: so many conferences wouldn't fit a command line.
func (s *Stage) configure(provider string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "provider-url: http://%s\nprovider-rate: 600000/m\nredis-url: %q\nlisten: 127.0.0.1:0\nadmin-listen: 127.0.0.1:0\n"+
		"max-conferences: 10000\ndrain-timeout: 1s\nseal-key-file: %q\nconference:\n", provider, s.redisURL, s.file("seal"))
	for _, c := range s.provider.Conferences() {
		fmt.Fprintf(&b, "  - %q\n", c.ID+"="+c.Password.Reveal()) // it opens a simulated conference
	}
	// What is sealed with it ends with the run.
	if err := os.WriteFile(s.file("seal"), []byte(strings.Repeat("5e", 32)), 0o600); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if err := os.WriteFile(s.file("gateway.yaml"), []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}

func (s *Stage) file(name string) string { return filepath.Join(s.dir, name) }

// Target is a server under load.
type Target struct {
	Addr, Admin string
	PID         int
	cmd         *exec.Cmd
}

// Serve starts a gateway and waits until it listens.
func (s *Stage) Serve(ctx context.Context, args ...string) (*Target, error) {
	cmd, _, err := s.child(ctx, true, s.Binary, append([]string{"serve", "--config", s.file("gateway.yaml"), "--pprof"}, args...)...)
	if err != nil {
		return nil, err
	}
	logs, err := cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	if err := s.start(cmd); err != nil {
		return nil, err
	}
	t := &Target{PID: cmd.Process.Pid, cmd: cmd}
	found := make(chan bool, 1)
	go s.follow(logs, t, found)
	select {
	case ok := <-found:
		if !ok {
			return nil, errors.New("bench: the server ended at once")
		}
		return t, nil
	case <-time.After(startWait):
		return nil, errors.New("bench: the server doesn't start")
	}
}

// follow reads a server's log for its addresses, and passes on what is worse than information.
func (s *Stage) follow(logs io.Reader, t *Target, found chan<- bool) {
	lines := bufio.NewScanner(logs)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct{ Level, Msg, Listen, Admin string }
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			_, _ = fmt.Fprintln(s.Log, lines.Text())
			continue
		}
		if line.Listen != "" {
			t.Addr, t.Admin = line.Listen, line.Admin
			found <- true
		}
		if line.Level != "info" && line.Level != "debug" {
			_, _ = fmt.Fprintln(s.Log, lines.Text())
		}
	}
	if t.Addr == "" {
		found <- false
	}
	_, _ = io.Copy(io.Discard, logs)
}

// Floor starts a floor and waits until it listens.
func (s *Stage) Floor(ctx context.Context) (*Target, error) {
	cmd, out, err := s.child(ctx, true, s.Binary, "bench", "floor", "--redis-url", s.redisURL)
	if err != nil {
		return nil, err
	}
	line, err := s.greeted(cmd, bufio.NewReader(out), "floor")
	if err != nil {
		return nil, err
	}
	return &Target{Addr: strings.TrimSpace(line), PID: cmd.Process.Pid, cmd: cmd}, nil
}

// greeted starts a process and waits for the line by which it says that it is at work.
func (s *Stage) greeted(cmd *exec.Cmd, out *bufio.Reader, name string) (line string, err error) {
	cmd.Stderr = s.Log
	if err := s.start(cmd); err != nil {
		return "", err
	}
	if line, err = out.ReadString('\n'); err != nil {
		return "", fmt.Errorf("bench: the %s ended at once: %w", name, err)
	}
	return line, nil
}

// floorWindow has a floor send as many messages of the same size as a server sent in a window, at the same pace.
func (s *Stage) floorWindow(ctx context.Context, floor *Crowd, t *Target, w Window, d time.Duration, seqs []uint64) (Window, error) {
	size := int(w.Bytes / max(w.Deliveries, 1))
	rate := float64(w.Deliveries) * float64(len(floor.groups)) / float64(len(floor.clients)) / d.Seconds()
	return observe(floor, t.PID, func() error {
		if err := s.publish(ctx, rate, d, size, seqs); err != nil {
			return err
		}
		return quiet(ctx, floor)
	})
}

// publish has the floor write messages of a size at a rate, over the groups in turn.
func (s *Stage) publish(ctx context.Context, rate float64, d time.Duration, size int, seqs []uint64) error {
	i := 0
	var failed error
	simulator.Pace(ctx, rate, d, func() {
		g := i % len(seqs)
		i++
		seqs[g]++
		if err := s.redis.Publish(ctx, floorChannel, floorMessage(g, seqs[g], size, time.Now())).Err(); err != nil {
			failed = fmt.Errorf("bench: publish: %w", err)
		}
	})
	return failed
}

// round is how long a publish takes to a subscriber, alone, at a rate, while other things go on.
func (s *Stage) round(ctx context.Context, rate float64, d time.Duration) (Latency, error) {
	const channel = "confgate-bench-round"
	sub := s.redis.Subscribe(ctx, channel)
	defer func() { _ = sub.Close() }()
	if _, err := sub.Receive(ctx); err != nil {
		return Latency{}, fmt.Errorf("bench: %w", err)
	}
	var h histogram
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			got, err := sub.Receive(ctx)
			if err != nil {
				return
			}
			if m, ok := got.(*redis.Message); ok {
				if sent, err := strconv.ParseInt(m.Payload, 10, 64); err == nil {
					h.add(time.Since(time.Unix(0, sent)), 1)
				}
			}
		}
	}()
	var failed error
	simulator.Pace(ctx, rate, d, func() {
		if err := s.redis.Publish(ctx, channel, time.Now().UnixNano()).Err(); err != nil {
			failed = fmt.Errorf("bench: %w", err)
		}
	})
	_ = sub.Close()
	<-ended
	return h.take(), failed
}
