package fanout

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"confgate/internal/conference"
	"confgate/internal/telemetry"
)

// errBehind: the log has less than it had once. It isn't to be trusted until its owner begins a new epoch.
var errBehind = errors.New("log is behind what it acknowledged")

// Follow implements Log.
func (l *RedisLog) Follow(
	ctx context.Context, conf string, from conference.Position, deliver func(Delivery),
) error {
	f := l.hub.attach(conf)
	defer l.hub.detach(f)
	t := &tail{log: l, conf: conf, mail: f, pos: from, deliver: deliver, fresh: true}
	var messages []message
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.kick:
		}
		messages = f.take(messages)
		for _, m := range messages {
			t.message(ctx, m)
		}
		t.news(ctx)
	}
}

// tail is a Follow call: owned by its goroutine.
type tail struct {
	log     *RedisLog
	conf    string
	mail    *follower
	deliver func(Delivery)

	pos   conference.Position
	fresh bool      // what the receiver was told last
	read  time.Time // when the log was asked last that has answered
	owing bool      // something is missing that couldn't be read
	muted bool      // a failure to open seals was logged
}

// message takes what pub/sub brought: it moves the follower on by itself where it continues, and is a hint otherwise.
func (t *tail) message(ctx context.Context, m message) {
	h, body, err := splitMessage(m.text)
	if err != nil {
		t.sync(ctx) // the stream has the same bytes; it is for sync to say what is wrong with them
		return
	}
	if h.epoch != t.pos.Epoch || t.owing {
		t.sync(ctx)
		return
	}
	upto := h.first + uint64(h.count) - 1
	switch {
	case h.count == 0 || upto <= t.pos.Seq:
		return
	case h.first > t.pos.Seq+1:
		t.sync(ctx)
		return
	}
	e, err := decodeBody(t.log.keys, t.conf, h, body)
	if err != nil {
		t.sync(ctx)
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

// news looks at what the hub has left.
func (t *tail) news(ctx context.Context) {
	t.owing = t.mail.resync.Swap(false) || t.owing
	p := t.mail.pulse.Swap(nil)
	if p != nil && p.err != nil && p.asked.Before(t.read) {
		p = nil // the log has come back since
	}
	switch {
	case p != nil && p.err != nil:
		t.stale(p.since)
	case t.owing, p != nil && p.head != t.pos:
		t.sync(ctx)
	case p != nil:
		t.vouch()
	}
}

// sync brings the follower to the log's head, by the stream where that has what is missing, else by a snapshot.
func (t *tail) sync(ctx context.Context) {
	const tries = 3
	began := time.Now()
	err := t.catchUp(ctx)
	for i := 1; i < tries && errors.Is(err, errMoved); i++ {
		err = t.catchUp(ctx)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		t.log.opts.Logger.Debug("follower can't catch up", telemetry.Conference(t.conf), zap.Error(err))
		t.owing = true
		t.stale(time.Now())
	default:
		t.owing, t.read = false, began
		t.vouch()
	}
}

func (t *tail) catchUp(ctx context.Context) error {
	// Only the first question is short: once Redis answers, reading a long stream may take what it takes.
	asking, cancel := context.WithTimeout(ctx, t.log.opts.PollInterval)
	head, err := t.log.head(asking, t.conf)
	cancel()
	switch {
	case err != nil:
		return err
	case head == t.pos:
		return nil
	case head.Epoch == "" && t.pos.Epoch != "":
		return errBehind
	case head.Epoch == "":
		return nil
	case head.Epoch != t.pos.Epoch:
		return t.snapshot(ctx, head)
	case head.Seq < t.pos.Seq:
		return errBehind
	}
	return t.refill(ctx, head)
}

// refill reads what is missing from the stream.
func (t *tail) refill(ctx context.Context, head conference.Position) error {
	entries, err := t.log.readStream(ctx, t.conf, t.pos.Epoch, t.pos.Seq+1)
	if errors.Is(err, errMoved) || err == nil && (len(entries) == 0 || entries[0].changes[0].Seq > t.pos.Seq+1) {
		return t.snapshot(ctx, head)
	}
	if err != nil {
		return err
	}
	t.log.opts.Metrics.Refill()
	now := time.Now()
	for _, e := range entries {
		if e.changes[0].Seq > t.pos.Seq+1 {
			return errMoved
		}
		t.take(e, now)
	}
	if t.pos.Seq < head.Seq {
		return errMoved
	}
	return nil
}

// snapshot loads everything.
func (t *tail) snapshot(ctx context.Context, head conference.Position) error {
	s, err := t.log.load(ctx, t.conf, true)
	switch {
	case err != nil:
		return err
	case !s.whole || s.Epoch != head.Epoch || s.Seq < head.Seq:
		// A part of the log is gone, or it began anew just now. The owner's next checkpoint, or the next try, mends it.
		return errMoved
	}
	t.complain(s.opening)
	t.pos = s.Position
	t.deliver(Delivery{Snapshot: &s.Snapshot, Received: time.Now()})
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
