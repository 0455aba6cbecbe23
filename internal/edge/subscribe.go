package edge

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"confgate/internal/conference"
	"confgate/internal/telemetry"
)

// Texts of error messages. They say nothing that the client may not know: a forbidden conference may exist or not.
const (
	textForbidden     = "the token does not allow this"
	textNotFound      = "no such conference here"
	textNotSubscribed = "there is no subscription to this conference"
	textUnavailable   = "the conference is not available now, try again"
	textInternal      = "something went wrong here"
	textPending       = "too many requests are waiting"
)

// slot keeps a conference's requests in order. It exists while a subscription is live or a request is under way, so the
// number of slots is what the limit of subscriptions counts.
type slot struct {
	live bool
	busy bool // a goroutine works through ops
	refs int  // requests that have had no answer yet, whether in ops, at the Source or with the writer
	ops  []op

	cancel context.CancelFunc // ends the wait of the subscribe that is at the Source; nil: none is
}

// op is a request about a conference.
type op struct {
	id          string
	unsubscribe bool
	topics      conference.Topics // as granted
	profile     conference.Profile
	resume      *conference.Position
	notBefore   *conference.Position
}

// subscribe checks a request, in the reader, and has it wait its turn.
func (c *conn) subscribe(m message) {
	p := c.ident.Scopes.Profile()
	visible := p.VisibleTopics()
	asked := m.topics
	if m.allTopics {
		asked = visible
	}
	if !c.ident.allows(m.conference, p) || asked&^visible != 0 {
		c.refuse(refusal{m.id, errForbidden, textForbidden})
		return
	}
	o := op{id: m.id, topics: asked | conference.TopicSet(conference.Link), profile: p}
	// Another view, like an epoch that can't be one, means a snapshot.
	if r := m.resume; r != nil && r.epoch != "" {
		pos := &conference.Position{Epoch: r.epoch, Seq: r.seq}
		if r.view == conference.View(o.topics, p) {
			o.resume = pos
		} else {
			o.notBefore = pos
		}
	}
	c.enter(m.conference, o)
}

// unsubscribe ends a subscription after what was asked about the conference before.
func (c *conn) unsubscribe(m message) {
	c.enter(m.conference, op{id: m.id, unsubscribe: true})
}

// enter puts a request behind the others about its conference.
func (c *conn) enter(conf string, o op) {
	limit := c.s.cfg.MaxSubscriptions
	c.mu.Lock()
	sl := c.slots[conf]
	var bad *refusal
	switch {
	case sl == nil && o.unsubscribe:
		bad = &refusal{o.id, errNotFound, textNotSubscribed}
	case sl == nil && limit >= 0 && len(c.slots) >= limit:
		bad = &refusal{o.id, errTooMany, "no more subscriptions on this connection"}
	case c.pending >= maxPending:
		bad = &refusal{o.id, errRateLimited, textPending}
	case sl == nil:
		sl = &slot{}
		c.slots[conf] = sl
	}
	if bad != nil {
		c.mu.Unlock()
		if bad.code == errTooMany {
			c.s.cfg.Metrics.Refused(telemetry.LimitSubscriptions)
		}
		c.refuse(*bad)
		return
	}
	c.pending++
	sl.refs++
	sl.ops = append(sl.ops, o)
	start := !sl.busy
	sl.busy = true
	c.mu.Unlock()
	if start {
		c.asks.Go(func() { c.answer(conf, sl) })
	}
}

// answer brings a conference's requests before the Source and the writer, one after the other.
func (c *conn) answer(conf string, sl *slot) {
	for {
		c.mu.Lock()
		if len(sl.ops) == 0 {
			sl.busy = false
			c.mu.Unlock()
			return
		}
		o := sl.ops[0]
		sl.ops = sl.ops[1:]
		c.mu.Unlock()
		if o.unsubscribe {
			c.enqueue(item{kind: itemDetach, conf: conf, id: o.id})
		} else {
			c.ask(conf, sl, o)
		}
	}
}

// ask subscribes at the Source and hands the outcome to the writer.
func (c *conn) ask(conf string, sl *slot, o op) {
	ctx, cancel := context.WithTimeout(context.Background(), subscribeWait)
	defer cancel()
	c.waiting(sl, cancel)
	defer c.waiting(sl, nil)
	l := c.newLive(conf, o.profile)
	sub, err := c.s.cfg.Source.Subscribe(ctx, Request{
		Conference: conf, Topics: o.topics, Profile: o.profile, Resume: o.resume, NotBefore: o.notBefore,
		Wake: l,
	})
	if err != nil {
		bad := refusal{o.id, errInternal, textInternal}
		switch {
		case errors.Is(err, ErrNotFound):
			bad.code, bad.text = errNotFound, textNotFound
		case errors.Is(err, ErrUnavailable) || ctx.Err() != nil:
			bad.code, bad.text = errUnavailable, textUnavailable
		default:
			c.s.warnSparsely("subscribe failed", telemetry.Conference(conf), zap.Error(err))
		}
		c.answered(conf)
		c.refuse(bad)
		return
	}
	l.sub = sub
	msg := appendSubscribed(nil, o.id, conf, o.topics, conference.View(o.topics, o.profile), sub.Recovered())
	if !c.enqueue(item{kind: itemAttach, typ: typeSubscribed, bytes: msg, conf: conf, id: o.id, live: l}) {
		sub.Close()
	}
}

// waiting keeps what ends a subscribe's wait. A context for the whole connection would cost more than all else about a
// subscription.
func (c *conn) waiting(sl *slot, cancel context.CancelFunc) {
	c.mu.Lock()
	sl.cancel = cancel
	leaving := c.leaving
	c.mu.Unlock()
	if leaving && cancel != nil {
		cancel()
	}
}

// asksOver ends all waiting: nobody is left to hear the answers.
func (c *conn) asksOver() {
	c.mu.Lock()
	c.leaving = true
	var cancels []context.CancelFunc
	for _, sl := range c.slots {
		if sl.cancel != nil {
			cancels = append(cancels, sl.cancel)
		}
	}
	c.mu.Unlock()
	for _, cancel := range cancels {
		cancel()
	}
}

// answered counts a request as done: its answer is on its way, or nobody is left to hear it.
func (c *conn) answered(conf string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending--
	sl := c.slots[conf]
	sl.refs--
	c.drop(conf, sl)
}

// setLive says whether the conference has a live subscription.
func (c *conn) setLive(conf string, yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sl := c.slots[conf]
	sl.live = yes
	c.drop(conf, sl)
}

// drop frees a slot that nothing needs any more; the caller holds mu.
func (c *conn) drop(conf string, sl *slot) {
	if !sl.live && sl.refs == 0 {
		delete(c.slots, conf)
	}
}
