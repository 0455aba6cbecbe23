package ownership

import (
	"context"
	"time"

	"go.uber.org/zap"

	"confgate/internal/telemetry"
)

const (
	// dialPatience is how long a successor may take until its link is live: two calls and a dial at a busy provider.
	dialPatience = 10 * time.Second
	// claimAfter is how long a successor may take to become as far as the offer; then it claims all the same.
	claimAfter = 2 * time.Second
	// claimPatience is how long an owner that has offered waits for the claim until it goes on itself.
	claimPatience = claimAfter + 2*time.Second
	// sessionPatience bounds what a session is asked to do.
	sessionPatience = 5 * time.Second
	// avoidance is how long a successor that came to nothing isn't asked again for the same conference.
	avoidance = 30 * time.Second
	// drainDwell is how long a conference that has just come stays before a worker that leaves hands it on: the one that
	// had it before shall have closed its link.
	drainDwell = 10 * stepInterval
	// drainMoves is how many conferences a worker that leaves hands over at once.
	drainMoves = 32
)

// outgoing is a handover of what this worker holds.
type outgoing struct {
	to       string
	breaks   bool // the link goes before the successor dials
	proposed bool // the store has it
	deadline time.Time
	asked    bool // the session was asked for the offer
	offer    []byte
	made     bool // the session has made the offer: it appends no more
	told     bool // the store has the offer
	failed   bool // withdraw it
}

// incoming is a handover to this worker.
type incoming struct {
	live     bool
	offered  bool
	caughtUp bool
	claimAt  time.Time
}

// considerMove decides about handing over a conference that this worker holds.
func (a *actor) considerMove(ctx context.Context, c *conf, now time.Time, moving *int) {
	switch {
	case c.out != nil:
	case c.rec.to != "":
		// A proposal that seemed to fail.
		a.work.steps = append(a.work.steps, step{conf: c.id, action: withdraw})
		return
	case c.prepared:
		a.resume(ctx, c)
		return
	default:
		a.considerProposal(c, now, moving)
		return
	}
	o := c.out
	dead := !a.alive(o.to)
	gone := o.proposed && c.rec.to != o.to
	if dead || gone || !now.Before(o.deadline) {
		o.failed = true
	}
	switch {
	case o.failed:
		a.work.steps = append(a.work.steps, step{conf: c.id, action: withdraw})
	case !o.proposed && c.rec.to == o.to:
		a.prepare(ctx, c, o) // though the answer was lost
		a.changed()
	case !o.proposed:
		way := proposed
		if o.breaks {
			way = breaking
		}
		a.work.steps = append(a.work.steps, step{conf: c.id, action: propose, to: o.to, phase: way})
	case c.rec.phase == ready && !o.asked:
		o.asked = true
		a.askOffer(ctx, c, o)
	case o.made && !o.told && o.breaks:
		a.letGo(c)
	case o.made && !o.told && c.rec.phase == offered:
		o.told = true // though the answer was lost
	case o.made && !o.told:
		a.work.steps = append(a.work.steps, step{conf: c.id, action: makeOffer, to: o.to, offer: o.offer})
	}
	a.scanBy(o.deadline)
}

// considerProposal begins a handover where the conference belongs elsewhere.
func (a *actor) considerProposal(c *conf, now time.Time, moving *int) {
	if a.placed[c.id] == a.me {
		return
	}
	limit, dwell := max(1, a.held/10), c.wonAt.Add(a.interval)
	if a.drain != nil {
		limit, dwell = drainMoves, c.wonAt.Add(drainDwell)
	} else if a.settled.After(dwell) {
		dwell = a.settled // not all who are alive have been seen
	}
	if now.Before(dwell) {
		a.scanBy(dwell)
		return
	}
	to := a.successor(c, now)
	if to == "" || *moving >= limit {
		return
	}
	*moving++
	c.out = &outgoing{to: to, breaks: a.closes, deadline: now.Add(dialPatience)}
	way := proposed
	if c.out.breaks {
		way = breaking
	}
	a.work.steps = append(a.work.steps, step{conf: c.id, action: propose, to: to, phase: way})
}

// successor is whom to hand a conference to: where it is placed, or where that came to nothing before and this worker is
// leaving, the next that has it in its order.
func (a *actor) successor(c *conf, now time.Time) string {
	usable := func(name string) bool {
		until, avoided := c.avoid[name]
		if avoided && now.Before(until) {
			a.scanBy(until)
			return false
		}
		return name != "" && name != a.me && a.alive(name)
	}
	if to := a.placed[c.id]; usable(to) {
		return to
	}
	if a.drain == nil {
		return ""
	}
	it := item{conf: c.id}
	if !c.rec.stored {
		it.only = c.rec.namers
	}
	var candidates []candidate
	for name, p := range a.workers {
		if !p.info.Draining {
			candidates = append(candidates, candidate{name, p.info.Worker, p.info.Max})
		}
	}
	for _, k := range order(it, candidates) {
		if usable(k.incarnation) {
			return k.incarnation
		}
	}
	return ""
}

// askOffer lets the session stop and say how far it came.
func (a *actor) askOffer(ctx context.Context, c *conf, o *outgoing) {
	o.deadline = time.Now().Add(sessionPatience)
	a.ask(ctx, c, func(s Session, ctx context.Context) message {
		offer, err := s.Offer(ctx)
		return func(_ context.Context, a *actor, now time.Time) {
			a.changed()
			if err != nil {
				o.failed = true
				a.log.Warn("session made no offer", telemetry.Conference(c.id), zap.Error(err))
				return
			}
			o.offer, o.made, o.deadline = offer, true, now.Add(claimPatience)
			if c.hold != nil && c.out == o {
				c.hold.setOwned(false)
			}
		}
	})
}

// letGo ends a run whose conference somebody else waits for; its record goes when its link has.
func (a *actor) letGo(c *conf) {
	id := c.id
	a.stopHold(c)
	c.releaseNext = true
	a.log.Info("letting go of a conference for its successor", telemetry.Conference(id))
}

// considerIncoming decides about a conference that is being handed to this worker.
func (a *actor) considerIncoming(ctx context.Context, c *conf, now time.Time) {
	full := c.hold == nil && a.held >= a.cfg.MaxConferences
	if a.drain != nil || full || (c.hold == nil && now.Before(c.retryAt)) {
		a.stopHold(c)
		a.work.steps = append(a.work.steps, step{conf: c.id, action: decline})
		return
	}
	in := c.in
	switch {
	case c.stopping:
	case c.rec.phase == breaking:
		a.stopHold(c) // from before this worker's lease was lost
		if c.hold == nil {
			c.in = &incoming{}
			a.work.steps = append(a.work.steps, step{conf: c.id, action: accept})
		}
	case c.hold == nil && c.rec.phase == proposed:
		c.in = &incoming{}
		a.start(ctx, c, true, now)
	case c.hold == nil && in != nil:
		// A breaking one that was accepted: the owner will let go.
	case in == nil:
		// A run from before this worker's lease was lost can't be the successor's, and one that has ended neither. While it
		// stays, its link is one too many.
		a.stopHold(c)
		if c.hold == nil {
			a.work.steps = append(a.work.steps, step{conf: c.id, action: decline})
		}
	case c.rec.phase == proposed && in.live:
		a.work.steps = append(a.work.steps, step{conf: c.id, action: accept})
	case c.rec.phase == offered:
		if !in.offered {
			in.offered, in.claimAt = true, now.Add(claimAfter)
			c.hold.give(c.rec.offer)
		}
		if in.caughtUp || !now.Before(in.claimAt) {
			a.work.claims = append(a.work.claims, c.id)
		} else {
			a.scanBy(in.claimAt)
		}
	}
}

// told takes in what a session has to say.
func (a *actor) told(c *conf, h *Hold, e holdEvent) {
	if c.hold != h {
		return
	}
	a.changed()
	switch e {
	case eventLive:
		if c.in != nil {
			c.in.live = true
		}
	case eventCaughtUp:
		if c.in != nil {
			c.in.caughtUp = true
		}
	case eventClosed:
		if c.out != nil && !a.closes {
			a.closes = true
			a.tellOld++
		}
	}
}

// stepped takes in what became of a step.
func (a *actor) stepped(ctx context.Context, c *conf, st step, done bool, now time.Time) {
	o := c.out
	switch st.action {
	case propose:
		switch {
		case o == nil || o.to != st.to:
		case !done:
			c.out = nil
			c.shun(st.to, now)
		default:
			c.rec.to, c.rec.phase = st.to, st.phase
			a.prepare(ctx, c, o)
		}
	case makeOffer:
		if o != nil && done {
			o.told = true
			c.rec.phase = offered
		}
	case withdraw:
		if !done {
			return // not this worker's any more: the next look shows whose
		}
		c.rec.to, c.rec.phase = "", ""
		if o == nil {
			return
		}
		c.out = nil // and then the session is told, by the next scan
		c.shun(o.to, now)
		a.log.Warn("handover came to nothing", telemetry.Conference(c.id), zap.String("to", o.to))
	case accept:
		if done {
			c.rec.phase = ready
		}
	case decline:
		if done {
			c.rec.to, c.rec.phase = "", ""
		}
	}
}

// ask has the session do something, after what it was asked before.
func (a *actor) ask(ctx context.Context, c *conf, do func(Session, context.Context) message) {
	session, before, done := c.session, c.asking, make(chan struct{})
	c.asking = done
	a.spawn(ctx, func(ctx context.Context) message {
		defer close(done)
		if before != nil {
			<-before
		}
		ctx, cancel := context.WithTimeout(ctx, sessionPatience)
		defer cancel()
		return do(session, ctx)
	})
}

// prepare lets the session know that a successor dials. That this fails needs no answer: its dial is one too many then.
func (a *actor) prepare(ctx context.Context, c *conf, o *outgoing) {
	o.proposed, c.prepared = true, true
	a.ask(ctx, c, func(s Session, ctx context.Context) message {
		_ = s.Prepare(ctx)
		return nil
	})
	a.log.Info("handing over a conference", telemetry.Conference(c.id), zap.String("to", o.to))
}

// resume lets the session know that the handover came to nothing, again and again until it has heard: it appends nothing
// before. Until then no other handover begins.
func (a *actor) resume(ctx context.Context, c *conf) {
	if c.resuming {
		return
	}
	c.resuming = true
	h := c.hold
	a.ask(ctx, c, func(s Session, ctx context.Context) message {
		err := s.Resume(ctx)
		return func(_ context.Context, a *actor, now time.Time) {
			if c.hold != h {
				return
			}
			c.resuming, c.prepared = false, err != nil
			if err != nil { // too slow, or its run has ended, which is about to be known
				a.scanBy(now.Add(stepInterval))
				return
			}
			a.changed()
		}
	})
}

// shun leaves a successor that came to nothing alone for a while.
func (c *conf) shun(name string, now time.Time) {
	if c.avoid == nil {
		c.avoid = map[string]time.Time{}
	}
	c.avoid[name] = now.Add(avoidance)
}
