package ownership

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"confgate/internal/telemetry"
)

const (
	// stepInterval is between two looks while a handover is under way: what clients notice of one is a few of these.
	stepInterval = 20 * time.Millisecond
	// retryInterval is between tries while the store is away.
	retryInterval = 250 * time.Millisecond
	// leaveTimeout bounds the goodbye to the store.
	leaveTimeout = 2 * time.Second
	// claimBatch is how many conferences are claimed, or moved on in a handover, at once.
	claimBatch = 128
)

// Worker is one worker's part in the fleet.
type Worker struct {
	cfg     Config
	mail    chan message // sessions, stores' answers and callers send, Run receives; never closed
	listing atomic.Pointer[listing]
	stopped chan struct{}
}

// message is what Run takes in.
type message func(ctx context.Context, a *actor, now time.Time)

// New makes a worker; Run starts it. A configuration that can't work is an error that says all that is wrong with it.
func New(cfg Config) (*Worker, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	w := &Worker{cfg: cfg, mail: make(chan message, 64), stopped: make(chan struct{})}
	w.listing.Store(&listing{})
	return w, nil
}

// Run takes part in the fleet until ctx is done. Then it ends all sessions, gives up what it held, and returns nil. It may
// be called once. A store that is away doesn't end it.
func (w *Worker) Run(ctx context.Context) error {
	defer close(w.stopped)
	a := newActor(w)
	children, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a.run(ctx, children)
	a.leave(children)
	cancel()
	a.children.Wait()
	return nil
}

// send gives Run a message.
func (w *Worker) send(ctx context.Context, m message) error {
	select {
	case w.mail <- m:
		return nil
	case <-w.stopped:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Drain hands everything to other workers, and returns when nothing is left here. Where ctx is done first, or nobody else
// is there, what is left is released without more ado; the error says how many these were.
func (w *Worker) Drain(ctx context.Context) error {
	done := make(chan int, 1)
	begin := func(_ context.Context, a *actor, _ time.Time) {
		a.drain = &drain{done: done}
		a.changed()
		a.renewAt = time.Time{}
	}
	if err := w.send(ctx, begin); err != nil && !errors.Is(err, ctx.Err()) {
		return fmt.Errorf("ownership: drain: %w", err)
	}
	select {
	case n := <-done:
		return drained(n)
	case <-w.stopped:
		return nil
	case <-ctx.Done():
	}
	hurry := func(_ context.Context, a *actor, _ time.Time) {
		if a.drain != nil {
			a.drain.over = true
			a.changed()
		}
	}
	if err := w.send(context.WithoutCancel(ctx), hurry); err != nil {
		return nil //nolint:nilerr // the worker has stopped, so nothing is left
	}
	select {
	case n := <-done:
		return drained(n)
	case <-w.stopped:
		return nil
	}
}

func drained(released int) error {
	if released > 0 {
		return fmt.Errorf("ownership: %d conferences were released without a successor", released)
	}
	return nil
}

// drain is a Drain under way.
type drain struct {
	over     bool     // time is: release
	done     chan int // of capacity 1
	released int
}

// actor is a worker at work. All fields belong to the goroutine of run.
type actor struct {
	// Immutable.
	cfg      Config
	w        *Worker
	log      *zap.Logger
	children sync.WaitGroup
	interval time.Duration // between renewals
	lease    *lease

	me       string // incarnation
	previous string // the one before, whose lease was lost
	joined   bool
	named    bool     // the store knows what this worker's flags name
	lost     []record // what was put before the store was emptied, and it wasn't told again yet
	seen     bool     // and was looked at since: what it says is whole
	busy     bool     // a call of the store is under way; only one is at a time

	fleet   string
	version uint64
	closes  bool // the provider closes the older of two links
	workers map[string]peerState
	confs   map[string]*conf
	held    int // runs that aren't over

	renewAt time.Time // when to renew or join
	lookAt  time.Time // when to look; zero: with the next renewal
	settled time.Time // before it, nothing new is claimed: others are coming too
	awayAt  time.Time // since when the store doesn't answer; zero: it does
	lapsed  bool      // the lease has lapsed, and that was said

	dirty   bool      // scan has something to look at
	scanAt  time.Time // when it has anyway
	scanned time.Time // when scan last ran
	replace bool      // workers or conferences have changed, so that placed is out of date
	placed  map[string]string
	crowded bool // some conference finds no room, and that was said
	work    work
	wanted  map[string]bool // conferences that this worker has clients for
	tell    []string        // of these the store is to be told at once
	wantAt  time.Time       // when to tell all of them again
	tellOld int             // reports that the provider closed the older link, not told yet
	drain   *drain
	waiters []chan struct{} // closed when the store was looked at next, and the list is made
	// answered are those of waiters for whom the store was looked at.
	answered []chan struct{}
}

// peerState is a live worker as last seen.
type peerState struct {
	info info
	over time.Time // when its lease is, unless it is renewed; by this worker's monotonic clock
}

func newActor(w *Worker) *actor {
	a := &actor{
		cfg: w.cfg, w: w, log: w.cfg.Logger, interval: w.cfg.LeaseTTL / 3, lease: newLease(),
		me: w.cfg.Worker + "/" + newName(), workers: map[string]peerState{}, confs: map[string]*conf{},
		placed: map[string]string{}, wanted: map[string]bool{},
	}
	a.work.reset()
	return a
}

func (a *actor) changed() { a.dirty = true }

// run is the actor's loop: what is due, what came in, and again.
func (a *actor) run(ctx, children context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		a.watchLease(now)
		if a.dirty || (!a.scanAt.IsZero() && !now.Before(a.scanAt)) {
			a.scan(children, now)
		}
		a.next(children, now)
		timer.Reset(a.due(now).Sub(now))
		select {
		case <-ctx.Done():
			return
		case m := <-a.w.mail:
			m(children, a, time.Now())
		case <-timer.C:
		}
	}
}

// due is when something is due that no message brings about.
func (a *actor) due(now time.Time) time.Time {
	next := now.Add(time.Hour)
	for _, t := range []time.Time{a.scanAt, a.lease.deadline()} {
		if !t.IsZero() && t.After(now) && t.Before(next) {
			next = t
		}
	}
	if a.dirty || (!a.scanAt.IsZero() && !a.scanAt.After(now)) {
		return now
	}
	calls := []time.Time{a.renewAt, a.lookAt, a.wantAt}
	switch {
	case a.busy:
		return next
	case !a.joined || !a.awayAt.IsZero():
		calls = calls[:1] // nothing else is called before that has succeeded
	}
	for _, t := range calls {
		if t.Before(next) && (!t.IsZero() || t.Equal(a.renewAt)) {
			next = t
		}
	}
	return next
}

// spawn runs fn in a child goroutine, which answers with the message that fn makes; nil is none.
func (a *actor) spawn(ctx context.Context, fn func(context.Context) message) {
	a.children.Go(func() {
		m := fn(ctx)
		if m == nil {
			return
		}
		select {
		case a.w.mail <- m:
		case <-ctx.Done():
		}
	})
}

// call does one thing at the store. There is only ever one under way, so that answers can't overtake each other.
func (a *actor) call(ctx context.Context, fn func(context.Context) message) {
	a.busy = true
	a.spawn(ctx, func(ctx context.Context) message {
		ctx, cancel := context.WithTimeout(ctx, a.interval)
		defer cancel()
		m := fn(ctx)
		return func(ctx context.Context, a *actor, now time.Time) {
			a.busy = false
			m(ctx, a, now)
		}
	})
}

// next begins the most urgent call of the store, where none is under way.
func (a *actor) next(ctx context.Context, now time.Time) {
	if a.busy {
		return
	}
	switch {
	case !now.Before(a.renewAt):
		mode := renewing
		if !a.joined {
			mode = joining
		}
		a.poll(ctx, mode, now)
	case !a.joined || !a.awayAt.IsZero():
	case !a.named:
		a.nameOwn(ctx)
	case len(a.lost) > 0:
		a.restore(ctx)
	// What was found out by a call comes before what was worked out without it.
	case !a.lookAt.IsZero() && !now.Before(a.lookAt):
		a.poll(ctx, looking, now)
	case a.work.any():
		a.doWork(ctx)
	case len(a.tell) > 0 || (!a.wantAt.IsZero() && !now.Before(a.wantAt)):
		a.tellDemand(ctx, now)
	case a.tellOld > 0:
		a.tellClosesOlder(ctx)
	}
}

// tellDemand tells the store which conferences this worker has clients for.
func (a *actor) tellDemand(ctx context.Context, now time.Time) {
	confs := a.tell
	if !a.wantAt.IsZero() && !now.Before(a.wantAt) {
		for c := range a.wanted {
			confs = append(confs, c)
		}
		a.wantAt = now.Add(a.cfg.Linger / 3)
	}
	a.tell = nil
	if len(confs) == 0 {
		a.wantAt = time.Time{}
		return
	}
	a.call(ctx, func(ctx context.Context) message {
		err := a.cfg.Store.want(ctx, a.cfg.Linger, confs)
		return func(_ context.Context, a *actor, now time.Time) {
			if err != nil {
				a.tell = append(a.tell, confs...)
				a.away(err, now)
				return
			}
			a.lookBy(now)
		}
	})
}

func (a *actor) tellClosesOlder(ctx context.Context) {
	a.tellOld--
	a.call(ctx, func(ctx context.Context) message {
		seen, err := a.cfg.Store.closesOlder(ctx)
		return func(_ context.Context, a *actor, now time.Time) {
			if err != nil {
				a.tellOld++
				a.away(err, now)
				return
			}
			a.log.Warn("the provider closes the older of two links: handovers break before they make for a day",
				zap.Int64("seen", seen))
			a.closes = true
		}
	})
}

// leave ends all sessions and gives up everything.
func (a *actor) leave(ctx context.Context) {
	var held []string
	for id, c := range a.confs {
		if c.rec.owner == a.me || c.hold != nil {
			held = append(held, id)
		}
		a.stopHold(c)
	}
	// Their ends come by mail, and so do answers of the store.
	for a.held > 0 || a.busy {
		m := <-a.w.mail
		m(ctx, a, time.Now())
	}
	a.cfg.Metrics.Owned(0)
	a.cfg.Metrics.Unowned(0)
	if a.drain != nil {
		a.drained(0)
	}
	if !a.joined {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	err := a.cfg.Store.release(ctx, a.me, held)
	if err == nil {
		err = a.cfg.Store.leave(ctx, a.me)
	}
	if err != nil {
		a.log.Warn("left without a word, the store is away", zap.Error(err), telemetry.Delay(a.cfg.LeaseTTL))
		return
	}
	a.log.Info("left the fleet")
}
