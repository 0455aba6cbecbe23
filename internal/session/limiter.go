package session

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Rate is so many calls per span of time.
type Rate struct {
	Calls int
	Per   time.Duration
}

// DefaultRate stays below the provider's documented limit of 100 calls a minute.
var DefaultRate = Rate{Calls: 90, Per: time.Minute}

// rateUnits are the spans that a rate may be given in.
var rateUnits = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}

// ParseRate reads "90/m": calls, and s, m or h.
func ParseRate(s string) (Rate, error) {
	calls, unit, _ := strings.Cut(s, "/")
	n, err := strconv.Atoi(calls)
	per, ok := rateUnits[unit]
	if err != nil || !ok || n <= 0 || n > 1_000_000 {
		return Rate{}, fmt.Errorf("session: rate %q: want calls per s, m or h, as 90/m", s)
	}
	return Rate{Calls: n, Per: per}, nil
}

// String is the form that ParseRate reads.
func (r Rate) String() string {
	for unit, per := range rateUnits {
		if per == r.Per {
			return strconv.Itoa(r.Calls) + "/" + unit
		}
	}
	return fmt.Sprintf("%d/%v", r.Calls, r.Per)
}

// perSecond is the rate as the limiter counts it.
func (r Rate) perSecond() rate.Limit { return rate.Limit(float64(r.Calls) / r.Per.Seconds()) }

// LocalLimiter is a Limiter for a fleet of one worker. It is safe for concurrent use.
type LocalLimiter struct {
	configured Rate

	mu   sync.Mutex // held over map accesses only
	apis map[string]*rate.Limiter
}

// NewLimiter makes a limiter that allows r for each API. A ninth of a span's calls may come at once, so that with the steady
// rate no span ever sees more than 10/9 of r: 100 a minute for the default 90.
func NewLimiter(r Rate) *LocalLimiter {
	return &LocalLimiter{configured: r, apis: map[string]*rate.Limiter{}}
}

func (l *LocalLimiter) limiter(api string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	lim := l.apis[api]
	if lim == nil {
		lim = rate.NewLimiter(l.configured.perSecond(), burst(l.configured.Calls))
		l.apis[api] = lim
	}
	return lim
}

func burst(calls int) int { return max(1, calls/9) }

// Wait blocks until one more call of the API is allowed.
func (l *LocalLimiter) Wait(ctx context.Context, api string) error {
	if err := l.limiter(api).Wait(ctx); err != nil {
		return fmt.Errorf("session: rate limit of %s: %w", api, err)
	}
	return nil
}

// Learn lowers the API's rate to nine tenths of what the provider allows, where that is less than the configured rate; a
// later, higher word raises it again, as far as the configured rate.
func (l *LocalLimiter) Learn(api string, limit int, per time.Duration) {
	if limit <= 0 || per <= 0 {
		return
	}
	// What is left out is the burst, so that both together never exceed the limit.
	announced := Rate{Calls: max(1, limit-max(1, limit/10)), Per: per}
	use := l.configured
	if announced.perSecond() < use.perSecond() {
		use = announced
	}
	lim := l.limiter(api)
	if lim.Limit() != use.perSecond() {
		lim.SetLimit(use.perSecond())
		lim.SetBurst(burst(use.Calls))
	}
}
