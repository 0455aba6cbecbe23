package fanout

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"confgate/internal/conference"
	"confgate/internal/telemetry"
)

// errBehind: the log has less than it had once. It isn't to be trusted until its owner begins a new epoch.
var errBehind = errors.New("log is behind what it acknowledged")

// tail is a Tail of a RedisLog. What needs an answer of Redis is done by a goroutine of its own; meanwhile messages wait
// in the mailbox.
type tail struct {
	log      *RedisLog
	conf     string
	mail     *follower
	deliver  func(Delivery) // of the Step under way
	messages []message      // of the last Step, for their room

	pos   conference.Position
	fresh bool      // what the receiver was told last
	read  time.Time // when the log was asked last that has answered
	owing bool      // something is missing that couldn't be read
	muted bool      // a failure to open seals was logged

	catching bool // the log is being read
	caught   chan catchUp
	reading  sync.WaitGroup
}

// Follow implements Log.
func (l *RedisLog) Follow(conf string, from conference.Position, kick chan<- struct{}) Tail {
	return &tail{log: l, conf: conf, mail: l.hub.attach(conf, kick), pos: from, fresh: true, caught: make(chan catchUp, 1)}
}

// Close implements Tail.
func (t *tail) Close() {
	t.reading.Wait()
	t.log.hub.detach(t.mail)
}

// Step implements Tail.
func (t *tail) Step(ctx context.Context, deliver func(Delivery)) {
	t.deliver = deliver
	if t.catching {
		select {
		case c := <-t.caught:
			t.catching = false
			t.caughtUp(c)
		default:
			return
		}
	}
	t.messages = t.mail.take(t.messages)
	for _, m := range t.messages {
		if t.catching {
			return // what is left was published before the log is read
		}
		t.message(ctx, m)
	}
	if !t.catching {
		t.news(ctx)
	}
}

// message takes what pub/sub brought: it moves the follower on by itself where it continues, and is a hint otherwise.
func (t *tail) message(ctx context.Context, m message) {
	h, body, err := splitMessage(m.text)
	if err != nil {
		t.catchUp(ctx) // the stream has the same bytes; it is for reading it to say what is wrong with them
		return
	}
	if h.epoch != t.pos.Epoch || t.owing {
		t.catchUp(ctx)
		return
	}
	upto := h.first + uint64(h.count) - 1
	switch {
	case h.count == 0 || upto <= t.pos.Seq:
		return
	case h.first > t.pos.Seq+1:
		t.catchUp(ctx)
		return
	}
	e, err := decodeBody(t.log.keys, t.conf, h, body)
	if err != nil {
		t.catchUp(ctx)
		return
	}
	t.take(e, m.received)
}

// take delivers the part of an entry that is new.
func (t *tail) take(e entry, received time.Time) {
	t.complain(e.opening)
	changes := since(e.changes, t.pos.Seq)
	if len(changes) == 0 {
		return
	}
	t.pos.Seq = last(changes)
	t.deliver(Delivery{Entry: changes, Received: received})
}

func (t *tail) complain(err error) {
	if err != nil && !t.muted {
		t.muted = true
		t.log.opts.Logger.Error("secrets in the log can't be opened: every worker needs the same seal keys",
			telemetry.Conference(t.conf), zap.Error(err))
	}
}

// news looks at what the hub has left. What is owed is asked for when there is a reason to: a reading that has failed is none.
func (t *tail) news(ctx context.Context) {
	// Seldom is there anything, and to look costs less than to take.
	resync := t.mail.resync.Load() && t.mail.resync.Swap(false)
	t.owing = resync || t.owing
	p := t.mail.pulse.Load()
	if p != nil {
		p = t.mail.pulse.Swap(nil)
	}
	if p != nil && p.err != nil && p.asked.Before(t.read) {
		p = nil // the log has come back since
	}
	switch {
	case p != nil && p.err != nil:
		t.stale(p.since)
	case resync, p != nil && (t.owing || p.head != t.pos):
		t.catchUp(ctx)
	case p != nil:
		t.vouch()
	}
}

// catchUp is the way to the log's head: by the stream where that has what is missing, else by a snapshot.
type catchUp struct {
	log    *RedisLog
	conf   string
	pos    conference.Position
	steps  []Delivery
	sealed error // why secrets are missing

	began time.Time
	err   error
}

// catchUp begins to bring the follower to the log's head. A Step takes what comes of it.
func (t *tail) catchUp(ctx context.Context) {
	t.catching = true
	c := catchUp{log: t.log, conf: t.conf, pos: t.pos, began: time.Now()}
	t.reading.Go(func() {
		const tries = 3
		c.err = c.read(ctx)
		for i := 1; i < tries && errors.Is(c.err, errMoved); i++ {
			c.err = c.read(ctx)
		}
		t.caught <- c
		poke(t.mail.kick)
	})
}

// caughtUp takes in what was read.
func (t *tail) caughtUp(c catchUp) {
	t.complain(c.sealed)
	t.pos = c.pos
	for _, d := range c.steps {
		t.deliver(d)
	}
	switch {
	case errors.Is(c.err, context.Canceled): // nobody follows any more
	case c.err != nil:
		t.log.opts.Logger.Debug("follower can't catch up", telemetry.Conference(t.conf), zap.Error(c.err))
		t.owing = true
		t.stale(time.Now())
	default:
		t.owing, t.read = false, c.began
		t.vouch()
	}
}

func (c *catchUp) read(ctx context.Context) error {
	// Only the first question is short: once Redis answers, reading a long stream may take what it takes.
	asking, cancel := context.WithTimeout(ctx, c.log.opts.PollInterval)
	head, err := c.log.head(asking, c.conf)
	cancel()
	switch {
	case err != nil:
		return err
	case head == c.pos:
		return nil
	case head.Epoch == "" && c.pos.Epoch != "":
		return errBehind
	case head.Epoch == "":
		return nil
	case head.Epoch != c.pos.Epoch:
		return c.snapshot(ctx, head)
	case head.Seq < c.pos.Seq:
		return errBehind
	}
	return c.refill(ctx, head)
}

// refill reads what is missing from the stream.
func (c *catchUp) refill(ctx context.Context, head conference.Position) error {
	entries, err := c.log.readStream(ctx, c.conf, c.pos.Epoch, c.pos.Seq+1)
	if errors.Is(err, errMoved) || err == nil && (len(entries) == 0 || entries[0].changes[0].Seq > c.pos.Seq+1) {
		return c.snapshot(ctx, head)
	}
	if err != nil {
		return err
	}
	c.log.opts.Metrics.Refill()
	now := time.Now()
	for _, e := range entries {
		if e.changes[0].Seq > c.pos.Seq+1 {
			return errMoved
		}
		c.sealed = cmp.Or(c.sealed, e.opening)
		if changes := since(e.changes, c.pos.Seq); len(changes) > 0 {
			c.pos.Seq = last(changes)
			c.steps = append(c.steps, Delivery{Entry: changes, Received: now})
		}
	}
	if c.pos.Seq < head.Seq {
		return errMoved
	}
	return nil
}

// snapshot loads everything.
func (c *catchUp) snapshot(ctx context.Context, head conference.Position) error {
	s, err := c.log.load(ctx, c.conf, true)
	switch {
	case err != nil:
		return err
	case !s.whole || s.Epoch != head.Epoch || s.Seq < head.Seq:
		// A part of the log is gone, or it began anew just now. The owner's next checkpoint, or the next try, mends it.
		return errMoved
	}
	c.sealed = cmp.Or(c.sealed, s.opening)
	c.pos = s.Position
	c.steps = append(c.steps, Delivery{Snapshot: &s.Snapshot, Received: time.Now()})
	return nil
}

// stale and vouch tell the receiver when what it has been told no longer holds. While something is missing the hub is asked
// to poll, since there may be no message to try again at.
func (t *tail) stale(at time.Time) {
	t.mail.asks.Store(true)
	if t.fresh {
		t.fresh = false
		t.deliver(Delivery{
			Status: &Status{Reason: ReasonLog, Since: at.UnixMilli()}, Received: time.Now(),
		})
	}
}

func (t *tail) vouch() {
	t.mail.asks.Store(false)
	if !t.fresh {
		t.fresh = true
		now := time.Now()
		t.deliver(Delivery{Status: &Status{Fresh: true, Since: now.UnixMilli()}, Received: now})
	}
}
