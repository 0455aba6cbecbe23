package simulator

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"confgate/internal/confctl"

	"go.uber.org/zap"
)

// Provider is a simulated provider. Its methods may be called at any time from any goroutine.
type Provider struct {
	// immutable
	cfg    Config
	rooms  map[string]*room
	order  []*room
	tokens *tokens
	quota  *quota
	mux    *http.ServeMux

	requests calls
	fired    tally
	slow     atomic.Int64 // FaultPlan.Slow, for REST answers
	paused   atomic.Bool

	mu     sync.Mutex
	closed bool
	links  sync.WaitGroup // handlers of links; added to under mu while not closed
}

// New makes a provider with its conferences, which have started except for Config.NotStarted. It starts nothing: worlds
// change in Run and Step. It panics where cfg isn't valid; what came from outside is to be checked with Config.Validate.
func New(cfg Config) *Provider {
	if err := cfg.Validate(); err != nil {
		panic(err)
	}
	if cfg.Lively && cfg.Rate == 0 {
		cfg.Rate = 3 // a meeting at human pace
	}
	p := &Provider{cfg: cfg.withDefaults(), rooms: make(map[string]*room)}
	p.tokens = newTokens(&p.cfg, &p.fired)
	p.quota = &quota{limit: p.cfg.Quota, used: make(map[call]int)}
	p.slow.Store(int64(p.cfg.Faults.Slow))
	boot := time.Now().UnixMilli()
	dice := rand.New(rand.NewPCG(p.cfg.Seed, 0))
	for i := range p.cfg.Conferences {
		id := fmt.Sprintf("9%08d", dice.IntN(100_000_000))
		for p.rooms[id] != nil {
			id = fmt.Sprintf("9%08d", dice.IntN(100_000_000))
		}
		r := newRoom(id, i, &p.cfg, &p.fired, boot)
		r.password = confctl.NewSecret(fmt.Sprintf("%06d", dice.IntN(1_000_000)))
		if i == 0 && !p.cfg.Canary.Password.Empty() {
			r.password = p.cfg.Canary.Password
		}
		p.rooms[id] = r
		p.order = append(p.order, r)
		if i < p.cfg.Conferences-p.cfg.NotStarted {
			r.start()
		}
	}
	p.mux = p.routes()
	return p
}

// Handler serves the REST API and the WebSocket of the provider.
func (p *Provider) Handler() http.Handler { return p.mux }

// Run lets the worlds change at Config.Rate until ctx ends; then it closes the links as Close does.
func (p *Provider) Run(ctx context.Context) error {
	defer p.Close()
	tick := 10 * time.Millisecond
	if perTick := p.cfg.Rate * tick.Seconds(); perTick < 0.1 {
		tick = 50 * time.Millisecond
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	last := time.Now()
	cycle := cycle{every: p.cfg.Cycle, next: last.Add(p.cfg.Cycle)}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now := time.Now()
		elapsed := now.Sub(last)
		last = now
		if p.paused.Load() || p.cfg.Rate < 0 {
			continue
		}
		for _, r := range p.order {
			r.evolve(elapsed, &p.paused)
		}
		cycle.turn(p, now)
	}
}

// cycle ends the last conference and starts it anew, again and again.
type cycle struct {
	every time.Duration
	next  time.Time
}

func (c *cycle) turn(p *Provider, now time.Time) {
	if c.every <= 0 || now.Before(c.next) || len(p.order) == 0 {
		return
	}
	id := p.order[len(p.order)-1].id
	if p.EndConference(id) {
		c.next = now.Add(c.every / 4)
		return
	}
	p.StartConference(id)
	c.next = now.Add(c.every)
}

// Close closes every link with a close frame, waits until all of them are gone, and refuses new ones. It may be called
// more than once.
func (p *Provider) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	for _, r := range p.order {
		r.shutDown()
	}
	// A client that doesn't read must not hold up the end.
	stop := time.AfterFunc(2*closeTime, func() {
		for _, r := range p.order {
			r.cancelLinks()
		}
	})
	defer stop.Stop()
	p.links.Wait()
}

// Conferences lists the conferences with their chair passwords, in a fixed order.
func (p *Provider) Conferences() []Credential {
	all := make([]Credential, 0, len(p.order))
	for _, r := range p.order {
		_, password := r.status()
		all = append(all, Credential{ID: r.id, Password: password})
	}
	return all
}

// Truth is what a client that missed nothing knows of a conference now. It panics where there is no such conference.
func (p *Provider) Truth(id string) Truth { return p.room(id).truth() }

// Pause stops Run from changing the worlds. When it returns no frame is under way any more that isn't in its links'
// queues, those that waited to change places included.
func (p *Provider) Pause() {
	p.paused.Store(true)
	for _, r := range p.order {
		r.flush() // takes the lock that a change holds from its beginning to its end
	}
}

// Resume lets Run go on.
func (p *Provider) Resume() { p.paused.Store(false) }

// Heal switches all faults off, for links that have fallen silent too.
func (p *Provider) Heal() { p.SetFaults(FaultPlan{}) }

// SetFaults replaces the fault plan. It panics where the plan isn't valid.
func (p *Provider) SetFaults(plan FaultPlan) {
	if err := plan.validate(); err != nil {
		panic(err)
	}
	p.slow.Store(int64(plan.Slow))
	p.tokens.setPlan(plan)
	for _, r := range p.order {
		r.setPlan(plan)
	}
}

// Step makes n changes of a conference now, paused or not, and returns when their frames are in the links' queues. One
// that isn't running doesn't change.
func (p *Provider) Step(id string, n int) { p.room(id).step(n) }

// StartConference starts a conference that hasn't started or has ended, with a new world; false where it is running.
func (p *Provider) StartConference(id string) bool {
	started := p.room(id).start()
	if started {
		p.cfg.Log.Info("conference started", zap.String("conf", id))
	}
	return started
}

// EndConference ends a conference: its links are told, and closed; false where it isn't running.
func (p *Provider) EndConference(id string) bool {
	ended := p.room(id).end()
	if ended {
		p.tokens.drop(id)
		p.cfg.Log.Info("conference ended", zap.String("conf", id))
	}
	return ended
}

// SetPassword changes a conference's chair password. Control tokens that were given out stay good.
func (p *Provider) SetPassword(id string, password confctl.Secret) { p.room(id).setPassword(password) }

// CutLinks cuts the links of a conference without a close frame.
func (p *Provider) CutLinks(id string) { p.room(id).closeLinks(ending{abrupt: true}) }

// Links is how many links a conference has.
func (p *Provider) Links(id string) int { return p.room(id).count() }

// Inject sends raw bytes to the links of a conference that have subscribed to anything.
func (p *Provider) Inject(id string, frame []byte) { p.room(id).inject(slices.Clone(frame)) }

// Requests is how many REST calls of each API came ("token", "refresh", "wsToken", "realTimeInfo"), how many dials, and
// how many requests over the links ("subscribe", "heartbeat", "control").
func (p *Provider) Requests() map[string]int { return p.requests.counts() }

// Fired is how often each fault has fired, by the names of ParseFaults.
func (p *Provider) Fired() map[string]int { return p.fired.counts() }

func (p *Provider) room(id string) *room {
	r := p.rooms[id]
	if r == nil {
		panic("simulator: no conference " + id)
	}
	return r
}

// call is a kind of request, for counting.
type call int

const (
	callToken call = iota
	callRefresh
	callWSToken
	callRealTimeInfo
	callDial
	callSubscribe
	callHeartBeat
	callControl
	numCalls
)

func (c call) String() string {
	return [numCalls]string{
		"token", "refresh", "wsToken", "realTimeInfo", "dial", "subscribe", "heartbeat", "control",
	}[c]
}

type calls [numCalls]atomic.Int64

func (c *calls) add(k call) { c[k].Add(1) }

func (c *calls) counts() map[string]int {
	m := make(map[string]int, numCalls)
	for k := range numCalls {
		m[k.String()] = int(c[k].Load())
	}
	return m
}

// quota is how many REST calls of each API a minute allows.
type quota struct {
	limit int

	mu    sync.Mutex
	since time.Time
	used  map[call]int
}

// take counts a call; it reports what remains of the minute, and whether the call is within the limit.
func (q *quota) take(c call) (remain int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now := time.Now(); now.Sub(q.since) >= time.Minute {
		q.since = now
		clear(q.used)
	}
	q.used[c]++
	return max(0, q.limit-q.used[c]), q.used[c] <= q.limit
}
