package fanout

import (
	"errors"
	"testing"
	"time"
)

// Symptom: clients were told that Redis is away, and in the same millisecond that it is back, by a poll that had begun before
// the follower had read the log again.
func TestOldPollDoesNotMakeAReadLogStale(t *testing.T) {
	t.Parallel()
	now := time.Now()
	told := 0
	tl := &tail{
		mail: &follower{kick: make(chan struct{}, 1)}, fresh: true, read: now,
		deliver: func(Delivery) { told++ },
	}
	tl.mail.pulse.Store(&pulse{err: errors.New("away"), asked: now.Add(-time.Millisecond)})
	tl.news(t.Context())
	if told != 0 {
		t.Errorf("the receiver was told %d things by a poll from before the log was read", told)
	}
	tl.mail.pulse.Store(&pulse{err: errors.New("away"), asked: now.Add(time.Millisecond)})
	tl.news(t.Context())
	if told != 1 || tl.fresh {
		t.Errorf("a poll from after the log was read told %d things, want that it is away", told)
	}
}
