package ownership

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"confgate/internal/conference"
	"confgate/internal/telemetry"
)

// A session that ends by itself is started anew without haste.
const (
	restartFirst = time.Second
	restartMost  = time.Minute
)

// conf is a conference as this worker sees it.
type conf struct {
	id          string
	rec         record
	demandUntil time.Time // by this worker's monotonic clock

	// hold is the run under way; nil: none. The rest is its.
	hold        *Hold
	session     Session
	cancel      context.CancelFunc
	stopping    bool
	began       time.Time
	newPassword bool          // the stored password is another one than the run was given
	releaseNext bool          // the record is to go when the run has ended
	asking      chan struct{} // closed when the session has done what it was last asked
	prepared    bool          // the session was told that a successor dials
	resuming    bool          // and is being told that it came to nothing
	in          *incoming
	out         *outgoing

	wonAt   time.Time            // when this worker last came to hold it
	fails   int                  // runs in a row that ended by themselves
	retryAt time.Time            // when to run again
	avoid   map[string]time.Time // successors that came to nothing, and until when they aren't tried again
	asked   time.Time            // when the store last said whether the demand goes on
}

// work is what the store is to be told, as the last scan found it.
type work struct {
	claims, releases, forgets, looks []string
	steps                            []step
}

func (w *work) reset() { *w = work{} }

func (w *work) any() bool {
	return len(w.claims)+len(w.releases)+len(w.forgets)+len(w.looks)+len(w.steps) > 0
}

// scanBy scans then at the latest. A time that the present scan has seen pass brings nothing new: what is to be done about
// it waits for the store, whose answer brings the next scan.
func (a *actor) scanBy(t time.Time) {
	if !t.After(a.scanned) {
		return
	}
	if a.scanAt.IsZero() || t.Before(a.scanAt) {
		a.scanAt = t
	}
}

// scan compares what is with what should be, conference by conference, and collects what is to be done about it. It goes by
// the state alone, so that whatever was lost or came twice on the way, the next scan sets right.
func (a *actor) scan(ctx context.Context, now time.Time) {
	a.dirty, a.scanAt, a.scanned = false, time.Time{}, now
	a.work.reset()
	if !a.joined || !a.seen {
		if a.drain != nil && a.drain.over {
			for _, c := range a.confs {
				a.stopHold(c)
			}
		}
		a.checkDrain()
		a.publishListing(now)
		return
	}
	if a.replace {
		a.replace = false
		a.placeAll(now)
	}
	moving, coming := 0, false
	for _, c := range a.confs {
		if c.out != nil || c.stopping {
			moving++ // a link that is being closed is still one at the provider
		}
		coming = coming || c.rec.to == a.me
	}
	for _, c := range a.confs {
		a.consider(ctx, c, now, &moving)
	}
	if moving > 0 || coming {
		a.lookBy(now.Add(stepInterval))
	}
	a.checkDrain()
	a.publishListing(now)
}

func (a *actor) alive(incarnation string) bool {
	_, ok := a.workers[incarnation]
	return ok
}

// member says whether the fleet should hold a conference.
func (a *actor) member(c *conf, now time.Time) bool {
	known := c.rec.stored || slices.ContainsFunc(c.rec.namers, a.alive)
	return known && (!a.cfg.OnDemand || now.Before(c.demandUntil))
}

// placeAll works out anew which worker should hold what.
func (a *actor) placeAll(now time.Time) {
	var candidates []candidate
	for name, p := range a.workers {
		if !p.info.Draining {
			candidates = append(candidates, candidate{name, p.info.Worker, p.info.Max})
		}
	}
	var items []item
	for _, c := range a.confs {
		if !a.member(c, now) {
			continue
		}
		it := item{conf: c.id}
		if !c.rec.stored {
			it.only = c.rec.namers
		}
		items = append(items, it)
	}
	a.placed = place(items, candidates)
	left := 0
	for _, it := range items {
		if a.placed[it.conf] == "" && slices.ContainsFunc(candidates, it.fits) {
			left++
		}
	}
	crowded := left > 0
	if crowded && !a.crowded {
		a.log.Error("no worker has room for all conferences (--max-conferences)", zap.Int("left out", left))
	}
	a.crowded = crowded
}

// consider decides about one conference.
func (a *actor) consider(ctx context.Context, c *conf, now time.Time, moving *int) {
	in := a.member(c, now)
	owner := c.rec.owner
	if in && a.cfg.OnDemand {
		a.scanBy(c.demandUntil)
	}
	switch {
	case owner == a.me:
		a.considerOwn(ctx, c, in, now, moving)
	case owner != "" && a.alive(owner):
		if c.rec.to == a.me {
			a.considerIncoming(ctx, c, now)
			return
		}
		a.stopHold(c)
	case !in:
		// Nobody live holds it, and nobody should.
		a.stopHold(c)
		if c.hold == nil && !c.rec.stored && !slices.ContainsFunc(c.rec.namers, a.alive) {
			if owner == "" && len(c.rec.namers) == 0 && c.rec.term == 0 {
				delete(a.confs, c.id)
			} else if a.first() {
				a.work.forgets = append(a.work.forgets, c.id)
			}
		}
	case c.hold != nil && !c.stopping:
		// Held before the lease was lost, or dialled for an owner that has died: its link is there already.
		a.work.claims = append(a.work.claims, c.id)
	case c.hold == nil && a.placed[c.id] == a.me && a.held+len(a.work.claims) < a.cfg.MaxConferences:
		if now.Before(a.settled) {
			a.scanBy(a.settled)
			return
		}
		a.work.claims = append(a.work.claims, c.id)
	}
}

// first says whether this is the worker that tidies up.
func (a *actor) first() bool {
	for name := range a.workers {
		if name < a.me {
			return false
		}
	}
	return true
}

// considerOwn decides about a conference that this worker holds.
func (a *actor) considerOwn(ctx context.Context, c *conf, in bool, now time.Time, moving *int) {
	released := a.drain != nil && (a.drain.over || len(a.placed) == 0 && !a.others())
	switch {
	case !in && a.cfg.OnDemand && (c.rec.stored || slices.ContainsFunc(c.rec.namers, a.alive)) && c.asked.Before(c.demandUntil):
		// Only that it came into demand is news; how long it stays there has to be asked.
		a.work.looks = append(a.work.looks, c.id)
	case !in || released || c.releaseNext:
		a.stopHold(c)
		if c.hold == nil {
			a.work.releases = append(a.work.releases, c.id)
		}
	case c.hold == nil:
		if now.Before(c.retryAt) {
			a.scanBy(c.retryAt)
			return
		}
		a.start(ctx, c, false, now)
		if c.hold != nil {
			c.hold.setOwned(true)
		}
	case c.stopping:
	default:
		// Who has made an offer has said that it appends no more.
		c.hold.setOwned(c.out == nil || !c.out.made)
		c.hold.give(nil) // a successor's run that was told no offer: its owner died, and the answer to the claim was lost
		c.in = nil
		a.renewPassword(ctx, c)
		a.considerMove(ctx, c, now, moving)
	}
}

// others says whether there is another worker to hand anything to.
func (a *actor) others() bool {
	for name, p := range a.workers {
		if name != a.me && !p.info.Draining {
			return true
		}
	}
	return false
}

// start begins a run.
func (a *actor) start(ctx context.Context, c *conf, successor bool, now time.Time) {
	password, err := a.cfg.Store.password(c.rec)
	if err != nil {
		a.log.Error("conference can't be held", telemetry.Conference(c.id), zap.Error(err))
		a.failed(c, now)
		return
	}
	var h *Hold
	ctx, cancel := context.WithCancel(ctx)
	h = newHold(c.id, password, a.lease, func(e holdEvent) {
		// A session must not wait for the actor, which may be about to cancel it.
		a.spawn(ctx, func(context.Context) message {
			return func(_ context.Context, a *actor, _ time.Time) { a.told(c, h, e) }
		})
	})
	h.Successor = successor
	session, err := a.cfg.Holder.Open(h)
	if err != nil {
		cancel()
		a.log.Error("conference can't be held", telemetry.Conference(c.id), zap.Error(err))
		a.failed(c, now)
		return
	}
	c.hold, c.session, c.cancel, c.stopping, c.began, c.newPassword = h, session, cancel, false, now, false
	c.prepared, c.resuming = false, false
	a.held++
	a.children.Go(func() {
		err := session.Run(ctx)
		cancel()
		// The actor takes this in whatever happens: leave waits for it.
		a.w.mail <- func(_ context.Context, a *actor, now time.Time) { a.ended(c, err, now) }
	})
}

// stopHold ends a run; ended comes later.
func (a *actor) stopHold(c *conf) {
	if c.hold != nil && !c.stopping {
		c.stopping = true
		c.hold.setOwned(false)
		c.cancel()
	}
	c.out, c.in = nil, nil
}

// ended takes in the end of a run.
func (a *actor) ended(c *conf, err error, now time.Time) {
	asked, began := c.stopping, c.began
	c.hold, c.session, c.cancel, c.asking, c.stopping, c.out, c.in = nil, nil, nil, nil, false, nil, nil
	a.held--
	a.changed()
	if asked {
		c.fails, c.retryAt = 0, time.Time{}
		return
	}
	if now.Sub(began) > restartMost {
		c.fails = 0
	}
	if errors.Is(err, conference.ErrFenced) {
		a.log.Warn("session was fenced", telemetry.Conference(c.id))
	} else {
		a.log.Error("session ended, starting it anew", telemetry.Conference(c.id), zap.Error(err))
	}
	a.failed(c, now)
	a.lookBy(now)
}

func (a *actor) failed(c *conf, now time.Time) {
	c.retryAt = now.Add(min(restartFirst<<min(c.fails, 10), restartMost))
	c.fails++
	a.scanBy(c.retryAt)
}

// renewPassword gives the run a password that was stored since it began.
func (a *actor) renewPassword(ctx context.Context, c *conf) {
	if !c.newPassword {
		return
	}
	c.newPassword = false
	password, err := a.cfg.Store.password(c.rec)
	if err != nil || password == nil {
		if err != nil {
			a.log.Error("new password can't be opened", telemetry.Conference(c.id), zap.Error(err))
		}
		return
	}
	a.ask(ctx, c, func(s Session, ctx context.Context) message {
		_ = s.SetPassword(ctx, password) // it fails where the run has ended, and the next one reads the store
		return nil
	})
}

// checkDrain ends a Drain when nothing is left.
func (a *actor) checkDrain() {
	if a.drain == nil || a.held > 0 {
		return
	}
	// A store that is away can't be told; the lease runs out by itself.
	unheard := !a.joined || (a.drain.over && !a.awayAt.IsZero())
	for _, c := range a.confs {
		if c.rec.owner == a.me && !unheard {
			return
		}
	}
	a.drained(a.drain.released)
}

// drained answers a Drain, once.
func (a *actor) drained(released int) {
	select {
	case a.drain.done <- released:
	default:
	}
}
