package session

import (
	"context"
	"errors"

	"confgate/internal/confctl"
)

// ErrStopped says that the session doesn't run any more.
var ErrStopped = errors.New("session: stopped")

// Session holds one conference.
type Session struct {
	cfg      Config
	provider provider
	asks     chan message // from outside
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
		asks: make(chan message), stopped: make(chan struct{}),
	}, nil
}

// Run holds the conference until ctx is done (then it returns nil) or the log refuses this owner (an error that wraps
// conference.ErrFenced). When it returns, the link is closed and every goroutine has ended. It may be called once.
func (s *Session) Run(ctx context.Context) error {
	defer close(s.stopped)
	a := newActor(s.cfg, s.provider)
	ctx, cancel := context.WithCancel(ctx)
	// Deferred, so that a broken invariant that panics leaves nothing behind either.
	defer func() {
		a.closeLink()
		cancel()
		a.children.Wait()
		a.drain()
	}()
	return a.run(ctx, s.asks)
}

// SetPassword gives the session a chair password, as somebody named it. One that the provider has refused is tried again only
// after Config.SamePassword. It waits until Run takes it; ErrStopped when Run has returned.
func (s *Session) SetPassword(ctx context.Context, password confctl.Secret) error {
	return s.ask(ctx, named{password})
}

// ask gives the actor a message from outside.
func (s *Session) ask(ctx context.Context, m message) error {
	select {
	case s.asks <- m:
		return nil
	case <-s.stopped:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
