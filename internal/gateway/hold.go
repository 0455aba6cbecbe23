package gateway

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"confgate/internal/confctl"
	"confgate/internal/ownership"
	"confgate/internal/session"
)

// holder makes the sessions of the conferences that ownership gives this worker. The two don't know each other.
type holder struct {
	shared    session.Config            // less conference, password and tenure
	passwords map[string]confctl.Secret // of the conferences that this worker's flags name
}

// Open implements ownership.Holder.
func (h holder) Open(hold *ownership.Hold) (ownership.Session, error) {
	cfg := h.shared
	cfg.Conference, cfg.Tenure, cfg.Successor = hold.Conference, hold, hold.Successor
	cfg.Password = h.passwords[hold.Conference]
	if hold.Password != nil { // what was put is newer than what flags say
		cfg.Password = confctl.NewSecret(string(hold.Password))
	}
	s, err := session.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return held{s}, nil
}

// held is a session as ownership wants it: one whose panics are its own, and whose password comes as bytes.
type held struct{ *session.Session }

// Run implements ownership.Session.
func (h held) Run(ctx context.Context) error { return guard(ctx, h.Session.Run) }

// SetPassword implements ownership.Session.
func (h held) SetPassword(ctx context.Context, password []byte) error {
	return h.Session.SetPassword(ctx, confctl.NewSecret(string(password)))
}

// errPanic marks a session that broke one of its own rules.
var errPanic = errors.New("session panicked")

// guard makes a panic the end of one session and not of all. What the session started ends with it.
func guard(ctx context.Context, run func(context.Context) error) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			// A panic's value may quote a frame; the runtime's own quote indices and types only.
			what := fmt.Sprintf("%T", p)
			if e, ok := p.(runtime.Error); ok {
				what = e.Error()
			}
			err = fmt.Errorf("%w: %s at %s", errPanic, what, debug.Stack())
		}
	}()
	return run(ctx)
}
