package simulator

import (
	"context"
	"time"
)

// Drive makes changes at a rate, over the named conferences in turn, until ctx is done or the time is over, and tells how
// many it made. It panics where there is no such conference.
func (p *Provider) Drive(ctx context.Context, ids []string, rate float64, d time.Duration) (made int) {
	Pace(ctx, rate, d, func() {
		p.Step(ids[made%len(ids)], 1)
		made++
	})
	return made
}

// The ticks of Pace lie within these.
const (
	shortestTick = 100 * time.Microsecond
	longestTick  = 100 * time.Millisecond
)

// Pace calls f at an even pace, rate times a second, until ctx is done or the time is over. What a busy machine delays is
// made up for.
func Pace(ctx context.Context, rate float64, d time.Duration, f func()) {
	start := time.Now()
	period := longestTick
	if rate > 1/longestTick.Seconds() {
		period = max(time.Duration(float64(time.Second)/rate), shortestTick)
	}
	t := time.NewTicker(period)
	defer t.Stop()
	for done := 0.0; ; {
		now := time.Since(start)
		if now >= d {
			return
		}
		for ; done < now.Seconds()*rate && ctx.Err() == nil; done++ {
			f()
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}
