package ownership

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"

	"confgate/internal/telemetry"
)

// poll renews, joins or looks.
func (a *actor) poll(ctx context.Context, m mode, now time.Time) {
	q := query{
		me: a.me, mode: m, ttl: a.cfg.LeaseTTL, fleet: a.fleet, version: a.version,
		info: info{Worker: a.cfg.Worker, Max: a.cfg.MaxConferences, Draining: a.drain != nil},
	}
	a.lookAt = time.Time{}
	if m != looking {
		a.renewAt = now.Add(a.interval)
	}
	asking := a.waiters // who comes from now on waits for the next answer: this one may be older than what they did
	a.waiters = nil
	a.call(ctx, func(ctx context.Context) message {
		// The lease counts from before the question: the store's began later.
		asked := time.Now()
		v, err := a.cfg.Store.poll(ctx, q)
		return func(_ context.Context, a *actor, now time.Time) {
			if a.polled(q, v, err, asked, now) {
				a.answered = append(a.answered, asking...)
			} else {
				a.waiters = append(a.waiters, asking...)
			}
		}
	})
}

// polled takes in what the store answered; false: nothing that is of use.
func (a *actor) polled(q query, v view, err error, asked, now time.Time) bool {
	if err != nil {
		a.away(err, now)
		return false
	}
	// A mere look finds it out too: who isn't among the living must not act on what it sees.
	if v.lost || !slices.ContainsFunc(v.workers, func(p peer) bool { return p.incarnation == q.me }) {
		a.lose(now)
		return false
	}
	a.back(now)
	if q.mode != looking {
		a.lease.extend(asked.Add(a.cfg.LeaseTTL - a.margin()))
	}
	if q.mode == joining {
		a.join(now)
	}
	a.take(q, v, now)
	a.seen = a.named
	// A lease that isn't renewed is over before the next renewal here: that moment is worth a look.
	for name, p := range a.workers {
		if left := p.over.Sub(now); name != a.me && left < a.interval {
			a.lookBy(p.over.Add(5 * time.Millisecond))
		}
	}
	a.changed()
	return true
}

// margin is how long before the end of its lease this worker stops appending: for clocks that run at other speeds, and
// for what is on its way.
func (a *actor) margin() time.Duration { return a.cfg.LeaseTTL / 10 }

// lookBy looks at the store then at the latest.
func (a *actor) lookBy(t time.Time) {
	if a.lookAt.IsZero() || t.Before(a.lookAt) {
		a.lookAt = t
	}
}

// join begins a membership.
func (a *actor) join(now time.Time) {
	a.joined, a.named = true, len(a.cfg.Conferences) == 0
	switch {
	case a.cfg.Store.alone():
		a.settled = now
	case a.previous == "":
		// Workers that start together should see each other before they share out.
		a.settled = now.Add(a.cfg.LeaseTTL / 12)
	default:
		// Who lost a lease may not be the only one: others shall find what is theirs before anybody takes it.
		a.settled = now.Add(a.cfg.LeaseTTL)
	}
	a.scanBy(a.settled)
	a.log.Info("joined the fleet", zap.String("incarnation", a.me))
}

// take brings the picture of the store up to date.
func (a *actor) take(q query, v view, now time.Time) {
	a.closes = v.closes
	workers := make(map[string]peerState, len(v.workers))
	for _, p := range v.workers {
		workers[p.incarnation] = peerState{p.info, now.Add(p.left)}
		if before, ok := a.workers[p.incarnation]; !ok || before.info != p.info {
			a.replace = true
		}
	}
	if len(workers) != len(a.workers) {
		a.replace = true
	}
	a.workers = workers
	if v.whole {
		gone := q.fleet != "" && q.fleet != v.fleet
		if gone {
			a.log.Warn("the fleet's records are gone, starting new ones")
			a.named, a.lost = len(a.cfg.Conferences) == 0, nil
		}
		for _, c := range a.confs {
			rec := record{conf: c.id}
			if gone && c.rec.stored {
				rec.stored, rec.sealed = true, c.rec.sealed
				a.lost = append(a.lost, rec)
			}
			c.rec = rec
		}
	}
	a.fleet, a.version = v.fleet, v.version
	for _, r := range v.records {
		a.record(r, now)
	}
	if v.whole {
		a.replace = true
	}
}

// record takes in what the store knows of a conference.
func (a *actor) record(r record, now time.Time) {
	c := a.confs[r.conf]
	if c == nil {
		c = &conf{id: r.conf}
		a.confs[r.conf] = c
	}
	if r.stored && (!c.rec.stored || string(c.rec.sealed) != string(r.sealed)) {
		c.newPassword = c.hold != nil
	}
	if r.owner != a.me {
		c.releaseNext = false
		if c.out != nil && r.owner == c.out.to {
			a.log.Info("handed over a conference", telemetry.Conference(c.id), zap.String("to", r.owner))
		}
	}
	c.rec, c.demandUntil = r, now.Add(r.demand)
	a.replace = true
	a.changed()
}

// away notes that the store doesn't answer.
func (a *actor) away(err error, now time.Time) {
	if a.awayAt.IsZero() {
		a.awayAt = now
		a.log.Warn("the fleet's store is away", zap.Error(err))
	}
	// The jitter keeps the workers of a fleet from coming back all together.
	retry := min(retryInterval, a.interval/4)
	a.renewAt = now.Add(retry + rand.N(retry/2+1))
}

func (a *actor) back(now time.Time) {
	if !a.awayAt.IsZero() {
		a.log.Info("the fleet's store is back", zap.Duration("away", now.Sub(a.awayAt)))
		a.awayAt = time.Time{}
	}
}

// watchLease says so when the lease lapses.
func (a *actor) watchLease(now time.Time) {
	valid, _ := a.lease.state()
	switch {
	case a.lapsed && valid:
		a.lapsed = false
		a.log.Info("the lease is good again")
	case !a.lapsed && !valid && a.joined:
		a.lapsed = true
		a.log.Warn("lost lease: nothing is appended until it is renewed", zap.Int("conferences", a.held))
		a.renewAt = now
	}
}

// lose begins a new incarnation: others may hold by now what this one did.
func (a *actor) lose(now time.Time) {
	a.log.Warn("the fleet took this worker for dead, joining it anew", zap.Int("conferences", a.held))
	a.back(now)
	a.lease.end()
	a.lapsed = true
	a.previous, a.me = a.me, a.cfg.Worker+"/"+newName()
	a.joined, a.renewAt = false, now
	for _, c := range a.confs {
		if c.hold != nil {
			c.hold.setOwned(false)
		}
		c.out = nil // a session that was prepared is told, where the conference is still this worker's
	}
	a.changed()
}

// nameOwn tells the store what this worker's flags name.
func (a *actor) nameOwn(ctx context.Context) {
	me, own := a.me, a.cfg.Conferences
	a.call(ctx, func(ctx context.Context) message {
		err := a.cfg.Store.name(ctx, me, own)
		return func(_ context.Context, a *actor, now time.Time) {
			if err != nil {
				a.away(err, now)
				return
			}
			a.named = true
			a.lookBy(now)
		}
	})
}

// restore tells a store that was emptied what was put before. Each worker does, since any of them may be the only one that is
// left, and none takes the conferences for deleted meanwhile.
func (a *actor) restore(ctx context.Context) {
	lost := a.lost
	a.lost = nil
	a.call(ctx, func(ctx context.Context) message {
		err := a.cfg.Store.restore(ctx, lost)
		return func(_ context.Context, a *actor, now time.Time) {
			if err != nil {
				a.lost = append(a.lost, lost...)
				a.away(err, now)
				return
			}
			a.log.Info("told the new records what was put", zap.Int("conferences", len(lost)))
			a.lookBy(now)
		}
	})
}
