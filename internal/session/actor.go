package session

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"confgate/internal/confctl"
	"confgate/internal/conference"
	"confgate/internal/subscribe"
	"confgate/internal/telemetry"
)

// phase is what the actor is at.
type phase uint8

const (
	opening    phase = iota // the log is being claimed and loaded
	resting                 // no link; the next try is due at wakeAt
	connecting              // a child gets a socket open
	linked                  // a socket is open
	blocked                 // the password was refused; only SetPassword goes on
	over                    // the conference has ended; its state is cleared at wakeAt
)

// mailSize is how many answers may wait for the actor: enough that a reader seldom stops, few enough that a burst of frames
// stays in the socket.
const mailSize = 256

// message is what a child goroutine answers with; the actor takes it in.
type message interface {
	handle(ctx context.Context, a *actor, now time.Time)
}

// actor is a session at work. All fields belong to the goroutine of run, but for those that say otherwise.
//
// What each frame touches of one comes first: where a thousand conferences take turns, none of it is in the processor's
// cache.
type actor struct {
	mail    chan message // children and callers send, run receives; never closed
	doubt   atomic.Bool  // the log says that it may have lost something; any goroutine may
	stopped atomic.Bool  // the context of run is done

	phase      phase
	filling    bool // a realTimeInfo call is under way
	refreshing bool
	unkept     bool // ctl isn't yet in the TokenStore
	keeping    bool // a call of the TokenStore is under way
	cleared    bool // the state of an ended conference was removed, and nothing has started since
	looked     bool // the TokenStore was asked for what the last owner left

	link      *link // the open socket; nil but in phase linked
	state     *conference.State
	tracker   *subscribe.Tracker
	m         *telemetry.Metrics // immutable
	ahead     *ahead             // this session is a successor whose conference is still another's; nil: it isn't
	failure   error              // why run must end
	refreshAt time.Time          // when to renew ctl; zero: not
	pub       publisher
	leaving   leaving

	// Immutable.
	cfg      Config
	provider provider
	log      *zap.Logger
	children sync.WaitGroup

	wakeAt  time.Time
	backoff *backoff.ExponentialBackOff
	early   int       // links in a row that the provider closed before it answered the Subscribe
	fillAt  time.Time // when the next realTimeInfo call may be

	ctl         control
	password    confctl.Secret
	given       time.Time // when somebody named it; zero: it was there from the start
	refusedAt   time.Time // when password was refused; zero: it wasn't
	lockedUntil time.Time

	hushed *hushed // the last change of the link that clients weren't told; nil: none

	moved   conference.LinkState // what the gauge of links counts this session as
	barred  string               // … and that of unavailable ones; empty: it isn't one
	garbage quiet                // bounds the lines about frames that can't be used
}

func newActor(cfg Config, p provider, mail chan message) *actor {
	a := &actor{
		cfg: cfg, provider: p, log: cfg.Logger, m: cfg.Metrics,
		mail:    mail,
		tracker: subscribe.New(subscribe.Config{Numbering: cfg.Numbering, Refresh: cfg.Refresh}),
		pub: publisher{
			queue: queue{maxBytes: cfg.QueueBytes, maxChanges: cfg.QueueChanges},
			again: newBackoff(),
		},
		backoff:  newBackoff(),
		password: cfg.Password,
	}
	a.pub.init(cfg.Log, a.nudge)
	return a
}

// run is the actor's loop: what came in, what is due, what the log is to be told, and again.
//
// All that wakes it comes by its mail, since a select among many channels costs more than most of what it is woken for.
func (a *actor) run(ctx context.Context) error {
	defer func() { a.count("", conference.ReasonNone) }()
	defer a.pub.release()
	if a.cfg.Successor {
		a.ahead = &ahead{seen: map[string]mark{}, last: map[string]bool{}}
		a.preload(ctx)
	}
	a.children.Go(func() { a.appender(ctx) })
	// A timer with a channel would be put among the runtime's each time that it is waited for.
	timer := time.AfterFunc(0, a.nudge)
	defer timer.Stop()
	defer context.AfterFunc(ctx, func() {
		a.stopped.Store(true)
		a.nudge()
	})()
	var wake time.Time // what the timer is set to
	for !a.stopped.Load() {
		now := time.Now()
		a.takeAnswers(ctx, now)
		next := a.due(ctx, now)
		a.flush(ctx, now)
		if a.failure != nil {
			return a.failure
		}
		if a.answerWaits(now) {
			continue
		}
		if !a.leaving.frozen {
			next = earlier(next, a.pub.due(now))
		}
		if next = byTimer(next, now); !next.Equal(wake) || !next.After(now) {
			wake = next
			timer.Reset(next.Sub(now))
		}
		a.receive(ctx, <-a.mail)
	}
	return nil
}

// byTimer is a time by the clock that timers go by. One that a document tells, like a conference's end, is by the wall's alone:
// where that is set back, the timer has run out before the time has come, and has to be set anew.
func byTimer(t, now time.Time) time.Time { return now.Add(t.Sub(now)) }

// nudge wakes the actor: it looks after everything. Where its mail is full it is awake.
func (a *actor) nudge() {
	select {
	case a.mail <- nudge{}:
	default:
	}
}

type nudge struct{}

func (nudge) handle(context.Context, *actor, time.Time) {}

// doubtLog is called by the log.
func (a *actor) doubtLog() {
	a.doubt.Store(true)
	a.nudge()
}

// receive takes in a message and what else is there already, so that a burst of frames becomes one append.
func (a *actor) receive(ctx context.Context, m message) {
	now := time.Now()
	m.handle(ctx, a, now)
	for range mailSize - 1 {
		select {
		case m = <-a.mail:
			m.handle(ctx, a, now)
		default:
			return
		}
	}
}

// idle is how long the actor sleeps where nothing is due.
const idle = time.Hour

// due does what is due and says when to ask again.
func (a *actor) due(ctx context.Context, now time.Time) time.Time {
	next := now.Add(idle)
	switch a.phase {
	case opening, connecting, blocked:
	case resting:
		if a.leaving.prepared {
			break // a successor has the link
		}
		if !now.Before(a.wakeAt) {
			a.connect(ctx)
		} else {
			next = a.wakeAt
		}
	case over:
		if !now.Before(a.wakeAt) {
			a.clear(now)
		}
		next = a.wakeAt
	case linked:
		next = a.tend(now, next)
	}
	if a.phase != over && !a.quietly() {
		next = earlier(next, a.fill(ctx, now))
	}
	if a.phase == linked && !a.refreshAt.IsZero() && !a.refreshing {
		if !now.Before(a.refreshAt) {
			a.refresh(ctx)
		} else {
			next = earlier(next, a.refreshAt)
		}
	}
	a.keepToken(ctx) // last, since what was due may have ended the token's use, and nothing may be due for long
	return next
}

// spawn runs fn in a child goroutine, which answers with the message that fn makes. After ctx nobody listens.
func (a *actor) spawn(ctx context.Context, fn func(context.Context) message) {
	a.children.Go(func() {
		m := fn(ctx)
		select {
		case a.mail <- m:
		case <-ctx.Done():
			discard(m)
		}
	})
}

// discard lets go of what a message holds.
func discard(m message) {
	if c, ok := m.(connected); ok && c.wire != nil {
		c.wire.CloseNow()
	}
}

// drain discards what nobody read; all children have ended.
func (a *actor) drain() {
	for {
		select {
		case m := <-a.mail:
			discard(m)
		default:
			return
		}
	}
}

// stop ends the session after this turn.
func (a *actor) stop(err error) {
	if a.failure == nil {
		a.failure = err
		a.log.Error("session stopped", zap.Error(err))
	}
}

// quiet bounds the lines about one recurring thing: the first at once, then one a minute with a count.
type quiet struct {
	last       time.Time
	suppressed int
}

// quietSpan is the time between two such lines.
const quietSpan = time.Minute

// ready says whether a line is due, and how many went without one since the last.
func (q *quiet) ready(now time.Time) (suppressed int, ok bool) {
	if !q.last.IsZero() && now.Sub(q.last) < quietSpan {
		q.suppressed++
		return 0, false
	}
	suppressed, q.suppressed, q.last = q.suppressed, 0, now
	return suppressed, true
}
