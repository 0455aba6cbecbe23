package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

func trim(b []byte) []byte { return bytes.TrimSpace(b) }

// settle is how long memory is given to come to rest: a server may tidy up only some time after a storm.
const settle = 20 * time.Second

// idle measures the memory of connections that only wait, at the server and at a floor.
func (p *play) idle(ctx context.Context) error {
	for i := range p.opts.Runs {
		if err := p.begin(ctx, "--auth", "none"); err != nil {
			return err
		}
		target, err := p.stage.Floor(ctx)
		if err != nil {
			return err
		}
		warm, err := p.connect(ctx, Config{Clients: 10}) // the feed and the first code paths are there anyway
		if err != nil {
			return err
		}
		floor := NewCrowd(Config{Addr: target.Addr, Conferences: p.ids(), Clients: p.clients, Floor: true})
		ours, err := p.grown(ctx, p.server.PID, func() (*Crowd, error) { return p.connect(ctx, Config{Clients: p.clients}) })
		if err != nil {
			return err
		}
		bare, err := p.grown(ctx, target.PID, func() (*Crowd, error) { return floor, floor.Connect(ctx) })
		if err != nil {
			return err
		}
		warm.Close()
		p.result.add("resident memory per connection", "bytes", 10_000, ours)
		p.result.add("the floor's", "bytes", 0, bare)
		p.say("run %d of %d: %.0f bytes a connection, the floor %.0f", i+1, p.opts.Runs, ours, bare)
		p.stage.end(p.server.cmd)
		p.stage.end(target.cmd)
	}
	return nil
}

// grown is how many bytes a process grew by for each client.
func (p *play) grown(ctx context.Context, pid int, connect func() (*Crowd, error)) (float64, error) {
	before, err := resident(pid)
	if err != nil {
		return 0, err
	}
	c, err := connect()
	if err != nil {
		c.Close() // those that came
		return 0, err
	}
	defer c.Close()
	wait(ctx, settle)
	after, err := resident(pid)
	return float64(after-before) / float64(len(c.clients)), err
}

// slow measures what readers of a kilobyte a second do to the others.
func (p *play) slow(ctx context.Context) error {
	if err := p.begin(ctx, "--auth", "none"); err != nil {
		return err
	}
	var err error
	if p.crowd, err = p.connect(ctx, Config{Clients: p.clients - p.clients/10}); err != nil {
		return err
	}
	defer p.crowd.Close()
	if _, err := p.window(ctx, p.opts.Window/4); err != nil {
		return err
	}
	p.crowd.Arm()
	for i := range p.opts.Runs {
		without, err := p.window(ctx, p.opts.Window)
		if err != nil {
			return err
		}
		before, err := resident(p.server.PID)
		if err != nil {
			return err
		}
		slow, err := p.connect(ctx, Config{Clients: p.clients / 10, Slow: true})
		if err != nil {
			return err
		}
		with, err := p.window(ctx, p.opts.Window)
		if err != nil {
			return err
		}
		after, err := resident(p.server.PID)
		if err != nil {
			return err
		}
		failed := slow.Totals().Failed
		slow.Close()
		p.result.Windows = append(p.result.Windows, without, with)
		p.result.add("p99 without slow readers", "ms", 0, ms(without.Latency.P99))
		p.result.add("p99 of the others", "ms", 0, ms(with.Latency.P99))
		p.result.add("p99 of the others, in that without", "", 1.2, ms(with.Latency.P99)/ms(without.Latency.P99))
		p.result.add("memory grew by", "MB", 0, float64(after-before)/1e6)
		p.say("run %d of %d: p99 %v without, %v with slow readers, of whom %d were cut", i+1, p.opts.Runs, without.Latency.P99,
			with.Latency.P99, failed)
	}
	return p.verify(ctx)
}

// reconnect has all clients come back at once.
func (p *play) reconnect(ctx context.Context) error {
	if err := p.begin(ctx, "--auth", "none"); err != nil {
		return err
	}
	var err error
	if p.crowd, err = p.connect(ctx, Config{Clients: p.clients}); err != nil {
		return err
	}
	defer p.crowd.Close()
	if err := quiet(ctx, p.crowd); err != nil {
		return err
	}
	p.crowd.Arm()
	for i := range p.opts.Runs {
		if _, err := p.window(ctx, p.opts.Window/2); err != nil {
			return err
		}
		before, err := cpu(p.server.PID)
		if err != nil {
			return err
		}
		had := p.crowd.Totals().Snapshots
		start := time.Now()
		refused, err := p.crowd.Reconnect(ctx, func() { p.stage.provider.Drive(ctx, p.ids(), 100, 200*time.Millisecond) })
		if err != nil {
			return err
		}
		took := time.Since(start)
		after, err := cpu(p.server.PID)
		if err != nil {
			return err
		}
		snapshots := p.crowd.Totals().Snapshots - had
		p.result.add("all served after", "s", 10, took.Seconds())
		p.result.add("snapshots", "", 0, float64(snapshots))
		p.result.add("server CPU per client", "µs", 0, float64((after-before).Microseconds())/float64(p.clients))
		p.result.add("handshakes tried again", "", 0, float64(refused))
		if snapshots > 0 {
			p.result.fault("%d of the resumed clients were given a snapshot", snapshots)
		}
		p.say("run %d of %d: all back after %v", i+1, p.opts.Runs, took.Round(time.Millisecond))
	}
	if _, err := p.window(ctx, p.opts.Window/2); err != nil {
		return err
	}
	return p.verify(ctx)
}

// flood measures what handshakes without a token do to clients.
func (p *play) flood(ctx context.Context) error {
	file, token, err := p.secret(ctx)
	if err != nil {
		return err
	}
	if err := p.begin(ctx, "--auth-hmac-secret-file", file); err != nil {
		return err
	}
	if p.crowd, err = p.connect(ctx, Config{Clients: p.clients, Token: token}); err != nil {
		return err
	}
	defer p.crowd.Close()
	if _, err := p.window(ctx, p.opts.Window/4); err != nil {
		return err
	}
	p.crowd.Arm()
	for i := range p.opts.Runs {
		without, err := p.window(ctx, p.opts.Window)
		if err != nil {
			return err
		}
		stop, err := p.attack(ctx)
		if err != nil {
			return err
		}
		with, err := p.window(ctx, 2*p.opts.Window)
		attempts, answered, failure := stop()
		if err := errors.Join(err, failure); err != nil {
			return err
		}
		p.result.Windows = append(p.result.Windows, without, with)
		p.result.add("handshakes a second", "", 0, float64(attempts)/with.Seconds)
		p.result.add("a flood of 500 a second, in that", "", 1, 500*with.Seconds/float64(max(attempts, 1)))
		p.result.add("of them answered by the protocol", "", 0, float64(answered)/with.Seconds)
		p.result.add("p99 without the flood", "ms", 0, ms(without.Latency.P99))
		p.result.add("p99 during it", "ms", 0, ms(with.Latency.P99))
		p.result.add("p99 during the flood, in that without", "", 2, ms(with.Latency.P99)/ms(without.Latency.P99))
		p.say("run %d of %d: %d handshakes; p99 %v without, %v with", i+1, p.opts.Runs, attempts, without.Latency.P99, with.Latency.P99)
	}
	return p.verify(ctx)
}

// attack floods the server with handshakes until the function that it returns is called, which tells how many were made, and
// how many of them were upgraded. The flood takes what the other processes leave of their core, "nice": clients that have to
// share theirs with it are late by themselves.
func (p *play) attack(ctx context.Context) (stop func() (attempts, upgraded int64, err error), err error) {
	cmd, out, err := p.stage.child(ctx, false, "nice", "-n", "19", p.opts.Binary, "bench", "flood", "--addr", p.server.Addr)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewReader(out)
	if _, err := p.stage.greeted(cmd, lines, "flood"); err != nil {
		return nil, err
	}
	return func() (attempts, upgraded int64, err error) {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_, err = fmt.Fscanln(lines, &attempts, &upgraded)
		p.stage.end(cmd)
		if err != nil {
			return 0, 0, fmt.Errorf("bench: the flood said nothing: %w", err)
		}
		return attempts, upgraded, nil
	}, nil
}
