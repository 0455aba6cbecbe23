package gateway

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"

	"confgate/internal/confctl"
	"confgate/internal/fanout"
	"confgate/internal/ownership"
	"confgate/internal/session"
)

func TestGuard(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	tests := []struct {
		name         string
		run          func(context.Context) error
		panics       bool
		says, hushes string
	}{
		{"ends", func(context.Context) error { return nil }, false, "", ""},
		{"fails", func(context.Context) error { return broken }, false, "broken", ""},
		{"panics", func(context.Context) error { panic("frame with hunter2") }, true, "hold_test.go", "hunter2"},
		{"breaks a rule of the language", func(ctx context.Context) error {
			var none []int
			return errors.New(string(rune(none[len(ctx.Done())])))
		}, true, "index out of range", "nothing"},
	}
	for _, tt := range tests {
		var ended <-chan struct{}
		err := guard(t.Context(), func(ctx context.Context) error {
			ended = ctx.Done()
			return tt.run(ctx)
		})
		if errors.Is(err, errPanic) != tt.panics {
			t.Errorf("%s: guard() = %v, want a panic: %v", tt.name, err, tt.panics)
		}
		if err != nil && (!strings.Contains(err.Error(), tt.says) || tt.hushes != "" && strings.Contains(err.Error(), tt.hushes)) {
			t.Errorf("%s: guard() = %v, want %q in it and not %q", tt.name, err, tt.says, tt.hushes)
		}
		select {
		case <-ended:
		default:
			t.Errorf("%s: the context of what the session started isn't done", tt.name)
		}
	}
}

func TestHolderNeedsNoPassword(t *testing.T) {
	t.Parallel()
	h := holder{shared: session.Config{
		Log: fanout.NewMemoryLog(fanout.LogOptions{}), Limiter: session.NewLimiter(session.DefaultRate),
		API: &confctl.API{Base: &url.URL{Scheme: "https", Host: "provider"}},
	}}
	// A conference without a password is unavailable, as its clients are told; it isn't an error.
	if _, err := h.Open(&ownership.Hold{Conference: "900"}); err != nil {
		t.Errorf("Open() without a password = %v, want nil", err)
	}
	if _, err := h.Open(&ownership.Hold{}); err == nil {
		t.Error("Open() without a conference = nil, want an error")
	}
}
