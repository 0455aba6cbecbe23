package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"go.uber.org/zap/zapcore"

	"confgate/internal/simulator"
)

// Scenario is a preset: what is set up, and what must be shown.
type Scenario struct {
	Name, About string

	conferences, clients int
	rate                 float64 // changes a second, over all conferences
	ratio                float64 // limit of the server's CPU per delivery, in the floor's
	play                 func(p *play, ctx context.Context) error
}

// Scenarios lists the presets.
func Scenarios() []Scenario {
	return []Scenario{
		{
			Name: "fanout-1000", About: "1 conference, 1 000 clients, 50 changes a second; latency too",
			conferences: 1, clients: 1000, rate: 50, ratio: 1.1, play: (*play).fanOut,
		},
		{
			Name: "fanout-5000", About: "1 conference, 5 000 clients, 10 changes a second",
			conferences: 1, clients: 5000, rate: 10, ratio: 1.1, play: (*play).fanOut,
		},
		{
			Name: "burst", About: "1 conference, 1 000 clients, 1 000 changes a second",
			conferences: 1, clients: 1000, rate: 1000, ratio: 0.3, play: (*play).fanOut,
		},
		{
			Name: "many", About: "1 000 conferences of 5 clients, 1 000 changes a second",
			conferences: 1000, clients: 5000, rate: 1000, ratio: 1.5, play: (*play).fanOut,
		},
		{
			Name: "idle", About: "memory of 10 000 subscribed connections", conferences: 1, clients: 10_000, play: (*play).idle,
		},
		{
			Name: "slow", About: "1 000 clients, every tenth reads a kilobyte a second",
			conferences: 1, clients: 1000, rate: 50, play: (*play).slow,
		},
		{
			Name: "reconnect", About: "5 000 clients come back at once and resume",
			conferences: 1, clients: 5000, rate: 10, play: (*play).reconnect,
		},
		{
			Name: "flood", About: "1 000 clients beside a flood of handshakes without a token",
			conferences: 1, clients: 1000, rate: 50, play: (*play).flood,
		},
	}
}

// Options say how scenarios run. Zero means the default, unless said otherwise.
type Options struct {
	Binary  string        // of the gateway; must be there
	Core    string        // what server and floor are pinned to; empty: nothing
	Runs    int           // default 5
	Window  time.Duration // of a measurement; default 5 s
	Clients int           // instead of the preset's
	Log     io.Writer     // progress; must be there
}

// play is a scenario that runs.
type play struct {
	Scenario
	opts   Options
	stage  *Stage
	server *Target
	crowd  *Crowd
	result *Result
}

// Run plays a scenario. The result is there, as far as it came, also with an error.
func (s Scenario) Run(ctx context.Context, opts Options) (*Result, error) {
	if opts.Runs <= 0 {
		opts.Runs = 5
	}
	if opts.Window <= 0 {
		opts.Window = 5 * time.Second
	}
	if opts.Clients > 0 {
		s.clients = opts.Clients
	}
	// The server's lines and the play's come from two goroutines.
	opts.Log = zapcore.Lock(zapcore.AddSync(opts.Log))
	p := &play{
		Scenario: s, opts: opts, stage: &Stage{Binary: opts.Binary, Core: opts.Core, Log: opts.Log},
		result: &Result{Scenario: s.Name, Clients: s.clients, Groups: s.conferences},
	}
	defer p.stage.Close()
	if err := p.stage.Prepare(ctx, simulator.Config{Conferences: s.conferences, Seed: 7}); err != nil {
		return p.result, err
	}
	err := s.play(p, ctx)
	if err == nil && len(p.result.Faults) > 0 {
		err = errors.New("bench: the run failed: " + p.result.Faults[0])
	}
	return p.result, err
}

func (p *play) say(format string, args ...any) {
	_, _ = fmt.Fprintf(p.opts.Log, p.Name+": "+format+"\n", args...)
}

// begin starts a server and waits until it holds all conferences.
func (p *play) begin(ctx context.Context, args ...string) error {
	var err error
	if p.server, err = p.stage.Serve(ctx, args...); err != nil {
		return err
	}
	p.say("server is process %d at %s, operators at %s", p.server.PID, p.server.Addr, p.server.Admin)
	return poll(ctx, "links", func() bool {
		for _, c := range p.stage.provider.Conferences() {
			if p.stage.provider.Links(c.ID) == 0 {
				return false
			}
		}
		return true
	})
}

func (p *play) ids() []string {
	var ids []string
	for _, c := range p.stage.provider.Conferences() {
		ids = append(ids, c.ID)
	}
	return ids
}

// connect makes a crowd at the server.
func (p *play) connect(ctx context.Context, cfg Config) (*Crowd, error) {
	cfg.Addr, cfg.Path, cfg.Conferences = p.server.Addr, "/v1/ws", p.ids()
	cfg.Progress = func(n int) { p.say("%d clients connected", n) }
	c := NewCrowd(cfg)
	return c, c.Connect(ctx)
}

// fanOut measures deliveries, in turn at the server and at the floor.
func (p *play) fanOut(ctx context.Context) error {
	if err := p.begin(ctx, "--auth", "none"); err != nil {
		return err
	}
	var err error
	if p.crowd, err = p.connect(ctx, Config{Clients: p.clients}); err != nil {
		return err
	}
	defer p.crowd.Close()
	target, err := p.stage.Floor(ctx)
	if err != nil {
		return err
	}
	floor := NewCrowd(Config{Addr: target.Addr, Conferences: p.ids(), Clients: p.clients, Floor: true})
	if err := floor.Connect(ctx); err != nil {
		return err
	}
	defer floor.Close()
	// To get warm. Also, a server tidies up after a storm of handshakes, which is no cost of deliveries.
	if _, err := p.window(ctx, p.opts.Window); err != nil {
		return err
	}
	p.crowd.Arm()
	seqs := make([]uint64, p.conferences)
	for i := range p.opts.Runs {
		w, round, err := p.windowAndRound(ctx)
		if err != nil {
			return err
		}
		f, err := p.stage.floorWindow(ctx, floor, target, w, p.opts.Window, seqs)
		if err != nil {
			return err
		}
		p.result.Windows, p.result.Floors = append(p.result.Windows, w), append(p.result.Floors, f)
		p.say("run %d of %d: %.2f s CPU per million deliveries, the floor %.2f; p99 %v", i+1, p.opts.Runs, w.CPUPerMillion,
			f.CPUPerMillion, w.Latency.P99)
		p.compare(w, f, round)
	}
	return p.verify(ctx)
}

// compare adds a run and its floor to the figures.
func (p *play) compare(w, f Window, round Latency) {
	r := p.result
	r.addPair(w, f, p.ratio)
	r.add("round through Redis p99", "ms", 0, ms(round.P99))
	limit := 0.0
	if p.Name == "fanout-1000" {
		limit = 1
	}
	fan := time.Duration(f.CPUPerMillion * 1e3 * float64(p.clients/p.conferences)) // microseconds each
	allowed := 3*ms(round.P99) + ms(fan)
	r.add("p99, in 3 Redis rounds and the floor's fan-out", "", limit, ms(w.Latency.P99)/allowed)
	if w.Lost > 0 || f.Lost > 0 {
		r.fault("%d messages lost, %d at the floor", w.Lost, f.Lost)
	}
}

// window observes the crowd while the provider makes changes.
func (p *play) window(ctx context.Context, d time.Duration) (Window, error) {
	return observe(p.crowd, p.server.PID, func() error {
		stop := reporting(p.crowd, d, p.say)
		p.stage.provider.Drive(ctx, p.ids(), p.rate, d)
		stop()
		return quiet(ctx, p.crowd)
	})
}

// windowAndRound is a window during which rounds through Redis are measured too.
func (p *play) windowAndRound(ctx context.Context) (Window, Latency, error) {
	var round Latency
	measured := make(chan error, 1)
	go func() {
		var err error
		round, err = p.stage.round(ctx, 50, p.opts.Window)
		measured <- err
	}()
	w, err := p.window(ctx, p.opts.Window)
	return w, round, errors.Join(err, <-measured)
}

// quiet waits until all clients are at the same place, and nothing came for a moment.
func quiet(ctx context.Context, c *Crowd) error {
	last := int64(-1)
	since := time.Now()
	return poll(ctx, "the last messages", func() bool {
		now := c.Totals().Deliveries
		if now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) >= 100*time.Millisecond && c.Settled()
	})
}

// checked is how many conferences verify compares with the provider's truth.
const checked = 20

// verify compares what the clients saw with each other, and fresh documents with the provider's truth.
func (p *play) verify(ctx context.Context) error {
	inspector{
		url: "http://" + p.server.Addr, token: p.crowd.cfg.Token, patience: settleWait, say: p.say,
		truth: func(_ context.Context, id string) (simulator.Truth, error) { return p.stage.provider.Truth(id), nil },
	}.verify(ctx, p.crowd, p.result, checked)
	return nil
}

// secret writes a secret for tokens and mints one.
func (p *play) secret(ctx context.Context) (file, token string, err error) {
	file = p.stage.file("hmac")
	if err := os.WriteFile(file, []byte("a secret that guards a simulated conference"), 0o600); err != nil {
		return "", "", fmt.Errorf("bench: %w", err)
	}
	cmd, out, err := p.stage.child(ctx, false, p.opts.Binary, "token", "--auth-hmac-secret-file", file, "--conference", "*",
		"--scope", "read,pii,secrets", "--ttl", "1h")
	if err != nil {
		return "", "", err
	}
	if err := p.stage.start(cmd); err != nil {
		return "", "", err
	}
	text, err := io.ReadAll(out)
	return file, string(trim(text)), err
}
