package session

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseRate(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]Rate{
		"90/m": {90, time.Minute}, "1/s": {1, time.Second}, "5000/h": {5000, time.Hour},
	} {
		if got, err := ParseRate(s); err != nil || got != want || got.String() != s {
			t.Errorf("ParseRate(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "90", "90/d", "0/m", "-1/m", "x/m", "9999999/s", "90/m/s"} {
		if got, err := ParseRate(s); err == nil {
			t.Errorf("ParseRate(%q) = %v, want an error", s, got)
		}
	}
}

// within counts the calls of an API that a limiter allows in a span, and the most in any minute of it.
func within(t *testing.T, l *LocalLimiter, api string, span time.Duration) (all, most int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), span)
	defer cancel()
	var times []time.Time
	for l.Wait(ctx, api) == nil {
		now := time.Now()
		times = append(times, now)
		n := 0
		for _, at := range times {
			if now.Sub(at) < time.Minute {
				n++
			}
		}
		most = max(most, n)
	}
	return len(times), most
}

func TestLimiter(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		learn    []int // announced limits a minute, in order
		min, max int   // calls in five minutes
		most     int   // in any minute
	}{
		{"as configured", nil, 440, 460, 100},
		{"the provider allows more", []int{1000}, 440, 460, 100},
		{"the provider allows less", []int{20}, 85, 95, 20},
		{"lower, then as before", []int{20, 100}, 440, 460, 100},
		{"very little", []int{3}, 10, 11, 3},
		{"nonsense", []int{0, -5}, 440, 460, 100},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := NewLimiter(DefaultRate)
				for _, n := range tt.learn {
					l.Learn("token", n, time.Minute)
				}
				if got, most := within(t, l, "token", 5*time.Minute); got < tt.min || got > tt.max || most > tt.most {
					t.Errorf("calls in 5 min = %d, most in a minute %d; want %d to %d, at most %d", got, most, tt.min, tt.max, tt.most)
				}
				// Another API has a limit of its own.
				if got, _ := within(t, l, "dial", time.Second); got < 10 {
					t.Errorf("calls of another API at once = %d, want at least 10", got)
				}
			})
		})
	}
}

func TestLimiterGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	l := NewLimiter(Rate{Calls: 1, Per: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	if err := l.Wait(ctx, "token"); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := l.Wait(ctx, "token"); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait() = %v, want context.Canceled", err)
	}
}
