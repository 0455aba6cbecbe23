package ownership

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"
)

const (
	// worthWaiting is the longest wait that a place in the schedule is taken for. Beyond, a caller asks again, so that
	// places aren't lost with callers that give up.
	worthWaiting = 30 * time.Second
	// learnedFor is how long a limit counts that the provider has named.
	learnedFor = 10 * time.Minute
	// aloneShare is the part of the rate that a worker takes for itself while Redis is away: others do the same.
	aloneShare = 4
	// rateTimeout bounds a question to Redis.
	rateTimeout = 2 * time.Second
)

// Rate is the limit of the whole fleet on calls at the provider, per API: so many per span, a ninth of them at once, so
// that no span sees more than 10/9 of it. While Redis is away each worker goes on at a quarter of the rate. It is safe
// for concurrent use.
type Rate struct {
	client   redis.UniversalClient
	script   *redis.Script
	interval time.Duration // between calls
	burst    int

	mu   sync.Mutex // held over map accesses only
	apis map[string]*apiRate
}

// apiRate is what this worker knows about one API.
type apiRate struct {
	turn  chan struct{} // of capacity 1: one caller at a time asks and waits, in the order they came
	alone *rate.Limiter // for while Redis is away

	// Guarded by Rate.mu.
	interval time.Duration // as learned last; 0: nothing
	burst    int
	untold   bool // Redis doesn't know it yet
}

// NewRate makes a limit of so many calls per span of time for each API. The client stays the caller's.
func NewRate(client redis.UniversalClient, calls int, per time.Duration) *Rate {
	return &Rate{
		client: client, script: redis.NewScript(script("rate")), interval: per / time.Duration(calls), burst: burstOf(calls),
		apis: map[string]*apiRate{},
	}
}

func burstOf(calls int) int { return max(1, calls/9) }

func (r *Rate) api(name string) *apiRate {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.apis[name]
	if a == nil {
		a = &apiRate{turn: make(chan struct{}, 1), alone: rate.NewLimiter(rate.Every(r.interval*aloneShare), 1)}
		r.apis[name] = a
	}
	return a
}

// Wait blocks until one more call of the API is allowed, to anyone in the fleet.
func (r *Rate) Wait(ctx context.Context, api string) error {
	a := r.api(api)
	select {
	case a.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("ownership: rate limit of %s: %w", api, context.Cause(ctx))
	}
	defer func() { <-a.turn }()
	for {
		wait, taken, err := r.ask(ctx, api, a)
		if err != nil {
			if err := a.alone.Wait(ctx); err != nil {
				return fmt.Errorf("ownership: rate limit of %s: %w", api, err)
			}
			return nil
		}
		if !taken {
			wait -= worthWaiting / 2
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("ownership: rate limit of %s: %w", api, context.Cause(ctx))
		}
		if taken {
			return nil
		}
	}
}

// ask is for a place in the schedule.
func (r *Rate) ask(ctx context.Context, api string, a *apiRate) (wait time.Duration, taken bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, rateTimeout)
	defer cancel()
	r.mu.Lock()
	interval, burst, untold := a.interval, a.burst, a.untold
	a.untold = false
	r.mu.Unlock()
	if !untold {
		interval = 0
	}
	tolerance := func(interval time.Duration, burst int) int64 {
		return (interval * time.Duration(burst-1)).Microseconds()
	}
	answer, err := r.script.Run(ctx, r.client, []string{fleetKey("rate:" + api)},
		r.interval.Microseconds(), tolerance(r.interval, r.burst), interval.Microseconds(), tolerance(interval, max(burst, 1)),
		worthWaiting.Microseconds(), int64(learnedFor/time.Second)).Slice()
	if err == nil && len(answer) != 2 {
		err = errAnswer
	}
	if err != nil {
		if untold {
			r.mu.Lock()
			a.untold = true
			r.mu.Unlock()
		}
		return 0, false, err
	}
	f := texts(answer)
	return milliseconds(f[0]) / 1000, f[1] == "1", nil
}

// Learn takes in what the provider says it allows: where that is less than the configured rate, the fleet keeps to nine
// tenths of it, until the provider says something else or hasn't said anything for ten minutes. It doesn't block.
func (r *Rate) Learn(api string, limit int, per time.Duration) {
	if limit <= 0 || per <= 0 {
		return
	}
	calls := max(1, limit-max(1, limit/10))
	a := r.api(api)
	r.mu.Lock()
	defer r.mu.Unlock()
	if interval := per / time.Duration(calls); interval != a.interval && (interval > r.interval || a.interval > r.interval) {
		a.interval, a.burst, a.untold = interval, burstOf(calls), true
	}
}
