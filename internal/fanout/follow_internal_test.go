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

// Symptom: while a log was behind what it had acknowledged, each of its followers asked where it is again and again without
// a pause, for its own last question had woken it.
func TestFailedReadingIsNoReasonToReadAgain(t *testing.T) {
	t.Parallel()
	told := 0
	tl := &tail{
		log: &RedisLog{opts: LogOptions{}.withDefaults()}, mail: &follower{kick: make(chan struct{}, 1)}, fresh: true,
		catching: true, caught: make(chan catchUp, 1),
	}
	tl.caught <- catchUp{err: errBehind}
	tl.Step(t.Context(), func(Delivery) { told++ })
	if tl.catching || !tl.owing || told != 1 || !tl.mail.asks.Load() {
		t.Errorf("after a reading that failed: reading %v, owing %v, told %d, asks to be polled %v; want false, true, 1, true",
			tl.catching, tl.owing, told, tl.mail.asks.Load())
	}
}
