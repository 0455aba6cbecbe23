package session

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"confgate/internal/confctl"
)

// ErrStopped says that the session doesn't run any more.
var ErrStopped = errors.New("session: stopped")

// Session holds one conference.
type Session struct {
	cfg      Config
	provider provider
	mail     chan message // the actor's
	stopped  chan struct{}
}

// New makes a session; Run starts it. A configuration that can't work is an error that says all that is wrong with it.
func New(cfg Config) (*Session, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Session{
		cfg: cfg, provider: newRemote(cfg),
		mail: make(chan message, mailSize), stopped: make(chan struct{}),
	}, nil
}

// Run holds the conference until ctx is done (then it returns nil) or the log refuses this owner (an error that wraps
// conference.ErrFenced). When it returns, the link is closed and every goroutine has ended. It may be called once.
func (s *Session) Run(ctx context.Context) error {
	defer close(s.stopped)
	a := newActor(s.cfg, s.provider, s.mail)
	ctx, cancel := context.WithCancel(ctx)
	// Deferred, so that a broken invariant that panics leaves nothing behind either.
	defer func() {
		a.closeLink()
		cancel()
		a.children.Wait()
		a.drain()
	}()
	return a.run(ctx)
}

// SetPassword gives the session a chair password, as somebody named it. One that the provider has refused is tried again only
// after Config.SamePassword. It waits until Run takes it; ErrStopped when Run has returned.
func (s *Session) SetPassword(ctx context.Context, password confctl.Secret) error {
	return s.ask(ctx, named{password})
}

// ask gives the actor a message from outside, and waits until it has taken it. One that isn't taken in time never is.
func (s *Session) ask(ctx context.Context, m message) error {
	a := &asked{message: m, done: make(chan struct{})}
	select {
	case s.mail <- a:
	case <-s.stopped:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-a.done:
		return nil
	case <-s.stopped:
	case <-ctx.Done():
	}
	switch {
	case !a.settled.CompareAndSwap(false, true): // it was just being taken
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		return ErrStopped
	}
}

// asked is a message from outside.
type asked struct {
	message
	settled atomic.Bool // the actor has taken it, or the caller has given up
	done    chan struct{}
}

func (m *asked) handle(ctx context.Context, a *actor, now time.Time) {
	if m.settled.CompareAndSwap(false, true) {
		m.message.handle(ctx, a, now)
		close(m.done)
	}
}
