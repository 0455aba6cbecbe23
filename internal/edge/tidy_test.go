package edge

import (
	"testing"
	"time"
)

func TestTidyIsDueAfterAStorm(t *testing.T) {
	t.Parallel()
	var d tidier
	now := time.Unix(1611993595, 0)
	steps := []struct {
		name  string
		after time.Duration
		made  int64
		want  bool
	}{
		{"nothing yet", time.Second, 0, false},
		{"a few", time.Second, 50, false},
		{"in the storm", time.Second, 5000, false},
		{"just after", 100 * time.Millisecond, 0, false},
		{"calm", time.Second, 99, true},
		{"still calm", time.Second, 0, false},
		{"second storm", time.Second, 5000, false},
		{"calm, but tidied not long ago", time.Second, 0, false},
		{"a minute after", time.Minute, 0, true},
		{"drizzle", time.Hour, 99, false},
	}
	for _, s := range steps {
		now = now.Add(s.after)
		d.made.Add(s.made)
		if got := d.due(now); got != s.want {
			t.Errorf("%s: due() = %t, want %t", s.name, got, s.want)
		}
	}
}
