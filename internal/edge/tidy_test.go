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
		heap  uint64 // megabytes
		want  bool
	}{
		{"nothing yet", time.Second, 0, 50, false},
		{"a few", time.Second, 50, 50, false},
		{"in the storm", time.Second, 5000, 50, false},
		{"just after", 100 * time.Millisecond, 0, 50, false},
		{"calm", time.Second, 99, 50, true},
		{"still calm", time.Second, 0, 50, false},
		{"second storm", time.Second, 5000, 50, false},
		{"calm, but tidied not long ago", time.Second, 0, 50, false},
		{"a minute after", time.Minute, 0, 50, true},
		{"drizzle", time.Hour, 99, 50, false},
		{"third storm", time.Second, 5000, 300, false},
		{"calm, but the heap is larger than what is left", time.Minute, 0, 300, false},
		{"fourth storm", time.Second, 15_000, 300, false},
		{"calm, and both storms left more", time.Minute, 0, 300, true},
	}
	for _, s := range steps {
		now = now.Add(s.after)
		d.made.Add(s.made)
		if got := d.due(now, func() uint64 { return s.heap << 20 }); got != s.want {
			t.Errorf("%s: due() = %t, want %t", s.name, got, s.want)
		}
	}
}
