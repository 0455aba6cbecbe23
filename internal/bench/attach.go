package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap/zapcore"

	"confgate/internal/simulator"
)

// maxWarm bounds how long a server is warmed.
const maxWarm = 2 * time.Second

// attached is a load that is on.
type attached struct {
	Load
	remote *simulator.Remote // nil: none
	stage  *Stage            // of the floor
	target *Target           // the floor; nil: none
	crowd  *Crowd
	bare   *Crowd // the floor's
	before int64  // bytes that the server had before the clients came
	result *Result
}

// Attach puts the load on, measures, and checks that no client lost a message or was left behind, and with a simulator that
// every document is the provider's. The result is there, as far as it came, also with an error.
func Attach(ctx context.Context, l Load) (*Result, error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	l.Log = zapcore.Lock(zapcore.AddSync(l.Log)) // progress comes from several goroutines
	a := &attached{Load: l, result: &Result{Scenario: "load", Clients: l.Clients}}
	var err error
	if a.remote, err = l.remote(); err != nil {
		return nil, err
	}
	if err := a.survey(ctx); err != nil {
		return nil, err
	}
	cfg, err := a.config()
	if err != nil {
		return nil, err
	}
	a.result.Groups = len(a.Conferences)
	defer a.close()
	err = a.open(ctx, cfg)
	if err == nil {
		err = a.measure(ctx)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return a.result, cutShort(ctx)
	case err != nil:
		return a.result, err
	}
	settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleWait) // also where the run was cut short
	defer cancel()
	a.judge(settling, a.result, a.crowd)
	a.compare(context.WithoutCancel(ctx), cfg)
	switch {
	case len(a.result.Faults) > 0:
		return a.result, errors.New("bench: the run failed: " + a.result.Faults[0])
	case ctx.Err() != nil:
		return a.result, cutShort(ctx)
	}
	return a.result, nil
}

func cutShort(ctx context.Context) error {
	return fmt.Errorf("bench: the run was cut short: %w", context.Cause(ctx))
}

// survey learns what the simulator has.
func (a *attached) survey(ctx context.Context) error {
	if a.remote == nil {
		return nil
	}
	world, err := a.remote.World(ctx)
	if err != nil {
		return fmt.Errorf("bench: --simulator: %w", err)
	}
	if world.Rate >= 0 {
		return errors.New("bench: the simulator changes its conferences by itself, so that nothing could be compared: start it with --rate -1")
	}
	all, running := len(a.Conferences) == 0, make(map[string]bool)
	for _, c := range world.Conferences {
		running[c.ID] = c.Running
		if all && c.Running {
			a.Conferences = append(a.Conferences, c.ID)
		}
	}
	for _, id := range a.Conferences {
		if !running[id] {
			return fmt.Errorf("bench: the simulator runs no conference %.64q", id)
		}
	}
	if len(a.Conferences) == 0 {
		return errors.New("bench: the simulator runs no conference")
	}
	return nil
}

// open connects the clients, and those of the floor.
func (a *attached) open(ctx context.Context, cfg Config) error {
	if a.Floor {
		a.stage = &Stage{Binary: a.Binary, Core: a.Core, Log: a.Log}
		if err := a.stage.PrepareRedis(ctx); err != nil {
			return err
		}
		var err error
		if a.target, err = a.stage.Floor(ctx); err != nil {
			return err
		}
	}
	a.crowd = NewCrowd(cfg)
	var err error
	if a.PID != 0 {
		if a.before, err = resident(a.PID); err != nil {
			return err
		}
	}
	if err := a.crowd.Connect(ctx); err != nil {
		return err
	}
	if err := a.memory("resident memory per connection, at once"); err != nil {
		return err
	}
	if a.target != nil {
		floorBefore, err := resident(a.target.PID)
		if err != nil {
			return err
		}
		a.bare = NewCrowd(Config{Addr: a.target.Addr, Conferences: a.Conferences, Clients: a.Clients, Floor: true})
		if err := a.bare.Connect(ctx); err != nil {
			return err
		}
		after, err := resident(a.target.PID)
		if err != nil {
			return err
		}
		a.result.add("the floor's memory per connection, at once", "bytes", 0, float64(after-floorBefore)/float64(a.Clients))
	}
	if a.remote == nil {
		return nil
	}
	if !a.Quiet { // as scenarios do, the first changes of a cold server aren't measured
		if _, err := a.remote.Drive(ctx, a.Conferences, a.Rate, min(a.Window/4, maxWarm)); err != nil {
			return fmt.Errorf("bench: --simulator: %w", err)
		}
	}
	if err := quiet(ctx, a.crowd); err != nil {
		return err
	}
	a.crowd.Arm() // the conferences stand still
	return nil
}

// memory adds what the server has grown by to the figures.
func (a *attached) memory(name string) error {
	if a.PID == 0 {
		return nil
	}
	now, err := resident(a.PID)
	if err != nil {
		return err
	}
	a.result.add(name, "bytes", 0, float64(now-a.before)/float64(a.Clients))
	return nil
}

func (a *attached) close() {
	for _, c := range []*Crowd{a.crowd, a.bare} {
		if c != nil {
			c.Close()
		}
	}
	if a.stage != nil {
		a.stage.Close()
	}
}

// measure makes the runs, each followed by the floor's, until ctx is done.
func (a *attached) measure(ctx context.Context) error {
	seqs := make([]uint64, len(a.Conferences))
	for i := 0; i < a.Runs && ctx.Err() == nil; i++ {
		w, err := observe(a.crowd, a.PID, func() error { return a.window(ctx) })
		if err != nil {
			return err
		}
		a.result.Windows = append(a.result.Windows, w)
		a.say("run %d of %d: %s", i+1, a.Runs, w)
		if a.target == nil || w.Deliveries == 0 || ctx.Err() != nil {
			a.figures(w)
			continue
		}
		f, err := a.stage.floorWindow(ctx, a.bare, a.target, w, a.Window, seqs)
		if ctx.Err() != nil {
			a.figures(w)
			return nil //nolint:nilerr // a floor that was cut short isn't compared
		}
		if err != nil {
			return err
		}
		a.result.Floors = append(a.result.Floors, f)
		a.say("floor %d of %d: %s", i+1, a.Runs, f)
		a.result.addPair(w, f, 0)
		a.result.addRest(w)
	}
	return a.memory("resident memory per connection, at the end")
}

// figures adds a run without a floor.
func (a *attached) figures(w Window) {
	if w.Deliveries == 0 {
		return
	}
	if a.PID != 0 {
		a.result.add("server CPU per million deliveries", "s", 0, w.CPUPerMillion)
	}
	a.result.addLatency(w)
	a.result.addRest(w)
}

func (r *Result) addRest(w Window) {
	r.add("latency max", "ms", 0, ms(w.Latency.Max))
	r.add("deliveries a second", "", 0, float64(w.Deliveries)/w.Seconds)
}

// window lets a window pass: driven, or as it comes.
func (a *attached) window(ctx context.Context) error {
	stop := reporting(a.crowd, a.Window, a.say)
	defer stop()
	if a.remote == nil || a.Quiet {
		wait(ctx, a.Window)
		return nil
	}
	start := time.Now()
	made, err := a.remote.Drive(ctx, a.Conferences, a.Rate, a.Window)
	if ctx.Err() != nil {
		return nil // what was seen until now counts
	}
	if err != nil {
		return fmt.Errorf("bench: --simulator: %w", err)
	}
	a.result.add("changes a second", "", 0, float64(made)/time.Since(start).Seconds())
	settling, cancel := context.WithTimeout(ctx, settleWait)
	defer cancel()
	if err := quiet(settling, a.crowd); err != nil && ctx.Err() == nil {
		a.say("the clients aren't at the same message %v after the last change", settleWait)
	}
	return nil
}

// judge says what went wrong on the way, when the clients have had the time to come to the newest message that one of their
// conference has.
func (a *attached) judge(ctx context.Context, r *Result, crowd *Crowd) {
	newest := crowd.Newest()
	if poll(ctx, "the last messages", func() bool { return crowd.Behind(newest) == 0 }) != nil {
		r.fault("%d clients were left behind the others of their conference", crowd.Behind(newest))
	}
	deliveries := int64(0)
	for _, w := range r.Windows {
		deliveries += w.Deliveries
	}
	if deliveries > 0 || a.Quiet {
		return
	}
	if a.Simulator != "" {
		r.fault("no delivery at all, though the simulator made changes: is it the provider of this gateway, which holds these conferences?")
		return
	}
	r.fault("no delivery at all: nothing changes in these conferences. --simulator has a simulated provider change them; " +
		"--rate 0 wants connections only")
}

// compare compares what can be compared at the end.
func (a *attached) compare(ctx context.Context, cfg Config) {
	if a.remote == nil {
		a.result.Documents = "not compared, no --simulator"
		a.result.faultTotals(a.crowd)
		return
	}
	v := inspector{url: a.URL, token: a.Token, truth: a.remote.Truth, patience: settleWait, say: a.say}
	if cfg.TLS != nil {
		v.http = &http.Client{Transport: &http.Transport{TLSClientConfig: cfg.TLS.Clone()}}
	}
	v.verify(ctx, a.crowd, a.result, len(a.Conferences))
}
