package gateway

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"confgate/internal/conference"
	"confgate/internal/session"
	"confgate/internal/telemetry"
)

// A session ends by itself only when something is broken, so it is started anew without haste.
const (
	restartFirst = time.Second
	restartMost  = time.Minute
	// restartSettled is how long a session must have run for its end to count as the first again.
	restartSettled = 10 * time.Minute
)

// hold runs the session of one conference, again and again, until ctx is done or another worker has claimed the
// conference.
func hold(ctx context.Context, log *zap.Logger, run func(context.Context) error) {
	pause := &backoff.ExponentialBackOff{
		InitialInterval: restartFirst, MaxInterval: restartMost, Multiplier: 2, RandomizationFactor: 0.5,
	}
	pause.Reset()
	for {
		began := time.Now()
		err := guard(ctx, run)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, conference.ErrFenced):
			log.Warn("another worker holds this conference now, following it")
			return
		}
		if time.Since(began) >= restartSettled {
			pause.Reset()
		}
		delay := pause.NextBackOff()
		log.Error("session ended, starting it anew", zap.Error(err), telemetry.Delay(delay))
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
	}
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

// sessionRun is one run of a session from its configuration.
func sessionRun(cfg session.Config) func(context.Context) error {
	return func(ctx context.Context) error {
		s, err := session.New(cfg)
		if err != nil {
			return err
		}
		return s.Run(ctx)
	}
}
