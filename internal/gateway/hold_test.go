package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"confgate/internal/conference"
)

func TestHoldRestartsWithGrowingPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.DebugLevel)
		ctx, cancel := context.WithCancel(t.Context())
		var starts []time.Time
		var lives time.Duration
		hold(ctx, zap.New(core), func(ctx context.Context) error {
			starts = append(starts, time.Now())
			switch len(starts) {
			case 12: // lives long, so that the next pause is a first one
				lives = restartSettled
				time.Sleep(lives)
			case 14:
				cancel()
				<-ctx.Done()
				return ctx.Err()
			}
			return errors.New("broken")
		})
		if len(starts) != 14 {
			t.Fatalf("%d starts, want 14", len(starts))
		}
		nominal := restartFirst
		for i := 1; i < len(starts); i++ {
			got := starts[i].Sub(starts[i-1])
			if i == 12 {
				got, nominal = got-lives, restartFirst
			}
			if got < nominal/2 || got > nominal*3/2 {
				t.Errorf("pause %d = %v, want %v give or take a half", i, got, nominal)
			}
			nominal = min(2*nominal, restartMost)
		}
		if n := logs.Len(); n != 13 {
			t.Errorf("%d log lines, want one a restart, 13", n)
		}
	})
}

func TestHoldStopsWhenFenced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.DebugLevel)
		runs := 0
		hold(t.Context(), zap.New(core), func(context.Context) error {
			runs++
			return fmt.Errorf("session: append: %w", conference.ErrFenced)
		})
		if runs != 1 || logs.Len() != 1 {
			t.Errorf("%d runs, %d log lines, want 1 and 1", runs, logs.Len())
		}
	})
}

func TestHoldSurvivesPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.DebugLevel)
		ctx, cancel := context.WithCancel(t.Context())
		var children []context.Context
		hold(ctx, zap.New(core), func(ctx context.Context) error {
			children = append(children, ctx)
			switch len(children) {
			case 1:
				panic("frame with hunter2")
			case 2:
				var none []int
				_ = none[len(children)]
			}
			cancel()
			return nil
		})
		if len(children) != 3 || children[0].Err() == nil {
			t.Errorf("%d runs, want 3, and the first one's context done", len(children))
		}
		lines := logs.All()
		if len(lines) != 2 {
			t.Fatalf("%d log lines, want 2", len(lines))
		}
		first, second := fmt.Sprint(lines[0].ContextMap()), fmt.Sprint(lines[1].ContextMap())
		if strings.Contains(first, "hunter2") || !strings.Contains(first, "hold_test.go") {
			t.Errorf("the line of the first panic is %s, want its place and not its text", first)
		}
		if !strings.Contains(second, "index out of range") {
			t.Errorf("the line of the second panic is %s, want the runtime's words", second)
		}
	})
}
