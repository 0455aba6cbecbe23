package edge

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"confgate/internal/conference"
	"confgate/internal/telemetry"
)

// States of the writer.
const (
	writerIdle uint32 = iota
	writerRunning
	writerAgain // running, and something came since it looked
	writerDone
)

// item is something for the writer to do, in order.
type item struct {
	kind  itemKind
	typ   string // of bytes
	bytes []byte // the message to send
	conf  string
	id    string
	live  *live    // itemAttach
	ident Identity // itemRenew
}

type itemKind uint8

const (
	itemReply  itemKind = iota
	itemAttach          // a subscription begins, in place of the conference's last one
	itemDetach          // a subscription ends
	itemRenew           // the token was renewed
)

// live is a subscription that has begun, or is about to. What each delivery touches comes first.
type live struct {
	sub     Subscription // of the writer
	c       *conn
	ready   atomic.Bool // Next may have something
	profile conference.Profile
	conf    string
}

// Wake implements Waker.
func (l *live) Wake() {
	l.ready.Store(true)
	l.c.kick()
}

// newLive makes a subscription. Most connections have one, for life, which is a part of them.
func (c *conn) newLive(conf string, p conference.Profile) *live {
	c.mu.Lock()
	l := &c.home
	if c.housed {
		l = new(live)
	}
	c.housed = true
	c.mu.Unlock()
	l.c, l.conf, l.profile = c, conf, p
	return l
}

// enqueue gives the writer an item; false: the connection has ended, and nothing will come of it.
func (c *conn) enqueue(it item) bool {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return false
	}
	c.queue = append(c.queue, it)
	c.mu.Unlock()
	c.errand()
	return true
}

// errand has the writer look at queue, pong and beat.
func (c *conn) errand() {
	c.errands.Store(true)
	c.kick()
}

// kick starts the writer if it isn't running. It takes no lock and never blocks: feeds call it for each of their readers.
func (c *conn) kick() {
	for {
		switch c.state.Load() {
		case writerIdle:
			if c.state.CompareAndSwap(writerIdle, writerRunning) {
				c.begin()
				return
			}
		case writerRunning:
			if c.state.CompareAndSwap(writerRunning, writerAgain) {
				return
			}
		default:
			return
		}
	}
}

// begin has somebody write: a shared writer, which needs a socket that can be tried, else a goroutine.
func (c *conn) begin() {
	if c.writer != nil && c.s.shared.on.Load() {
		c.writer.push(c)
		return
	}
	go c.write()
}

// write is the writer that may wait: it runs until nothing is left to send.
func (c *conn) write() {
	for {
		c.state.CompareAndSwap(writerAgain, writerRunning)
		if c.pump() {
			c.state.Store(writerDone)
			close(c.cleaned)
			return
		}
		if c.state.CompareAndSwap(writerRunning, writerIdle) {
			return
		}
	}
}

// pump sends what there is: control frames, then items, then one frame of each subscription, and so on. True: the
// connection is over and everything has been let go.
func (c *conn) pump() bool {
	for {
		if c.ended.Load() {
			c.finish()
			return true
		}
		if !c.flush() || !c.round() {
			return false
		}
	}
}

// round sends once of everything; false: there was nothing.
func (c *conn) round() bool {
	worked := false
	errands := c.errands.Load() && c.errands.Swap(false)
	if errands {
		worked = c.sendPong()
		for _, it := range c.take() {
			c.do(it)
			worked = true
		}
	}
	if cause := c.closeCause(); cause != causeNone && !c.mute && c.out.by == nil {
		c.sendClose(cause)
	}
	if c.mute {
		return false
	}
	if c.sendFrames() {
		worked = true
	}
	if errands && c.beat.Swap(false) && !worked {
		c.send(typeHeartbeat, appendHeartbeat(nil, time.Now()))
		worked = true
	}
	return worked
}

// take empties the queue.
func (c *conn) take() []item {
	c.mu.Lock()
	items := c.queue
	c.queue = nil
	c.mu.Unlock()
	if len(items) > 0 {
		c.letRead()
	}
	return items
}

// letRead has a reader that waits for the writer look again.
func (c *conn) letRead() {
	select {
	case c.space <- struct{}{}:
	default: // it has been told already
	}
}

// do does one item.
func (c *conn) do(it item) {
	switch it.kind {
	case itemReply:
		c.send(it.typ, it.bytes)
	case itemAttach:
		c.attach(it)
	case itemDetach:
		i := slices.IndexFunc(c.subs, func(l *live) bool { return l.conf == it.conf })
		if i < 0 {
			c.answered(it.conf)
			c.send(typeError, appendError(nil, it.id, errNotFound, textNotSubscribed))
			return
		}
		c.detach(i)
		c.setLive(it.conf, false)
		c.answered(it.conf)
		c.send(typeUnsubscribed, appendUnsubscribed(nil, it.id, it.conf, reasonAsked))
	case itemRenew:
		if slices.ContainsFunc(c.subs, func(l *live) bool { return !it.ident.allows(l.conf, l.profile) }) {
			c.setCause(causeForbidden)
			return
		}
		c.granted = it.ident
		c.send(it.typ, it.bytes)
	}
}

// attach makes a subscription live, in place of the one that the conference had.
func (c *conn) attach(it item) {
	if c.mute || !c.granted.allows(it.conf, it.live.profile) { // the token was renewed while the subscribe waited
		it.live.sub.Close()
		c.answered(it.conf)
		c.send(typeError, appendError(nil, it.id, errForbidden, textForbidden))
		return
	}
	if i := slices.IndexFunc(c.subs, func(l *live) bool { return l.conf == it.conf }); i >= 0 {
		c.detach(i)
		it.live.sub.Renew()
	}
	c.subs = append(c.subs, it.live)
	c.s.cfg.Metrics.Subscriptions(1)
	it.live.ready.Store(true)
	c.setLive(it.conf, true)
	c.answered(it.conf)
	c.send(it.typ, it.bytes)
}

// detach ends the i-th subscription.
func (c *conn) detach(i int) {
	l := c.subs[i]
	l.sub.Close()
	l.sub = nil // l may be a part of the connection, which goes on: the feed shall not
	c.subs = slices.Delete(c.subs, i, i+1)
	c.s.cfg.Metrics.Subscriptions(-1)
}

// sendFrames sends a frame of each subscription that has one; false: none had.
func (c *conn) sendFrames() bool {
	worked := false
	for range len(c.subs) {
		if c.mute || c.out.blocked() {
			break
		}
		if c.turn++; int(c.turn) >= len(c.subs) {
			c.turn = 0
		}
		l := c.subs[c.turn]
		// Lowered before Next looks: a Wake that comes between raises it again.
		if !l.ready.Swap(false) {
			continue
		}
		f, ok := l.sub.Next()
		if !ok {
			continue
		}
		worked = true
		if f.Released {
			c.detach(int(c.turn))
			c.setLive(l.conf, false)
			c.send(typeUnsubscribed, appendUnsubscribed(nil, "", l.conf, reasonReleased))
			break // the list has changed; the others get their turn in the next round
		}
		l.ready.Store(true)
		c.sendFrame(&f)
	}
	return worked
}

// sendFrame sends what a feed encoded.
func (c *conn) sendFrame(f *Frame) {
	if !c.putFrame(f) {
		return
	}
	if c.out.by != nil {
		c.out.by.tally.add(f, c.out.by.now)
		return
	}
	m := c.s.cfg.Metrics
	if !f.Received.IsZero() {
		m.Latency("deliver", time.Since(f.Received))
	}
	bytes := len(f.Bytes)
	for _, mc := range f.Messages {
		m.Sent(mc.Type, mc.N, bytes)
		bytes = 0 // counted once a frame
	}
	if f.Snapshot != "" {
		m.Snapshot(f.Snapshot)
	}
}

// send sends one message of the connection's own.
func (c *conn) send(typ string, msg []byte) {
	if c.put(opText, msg) {
		c.s.cfg.Metrics.Sent(typ, 1, len(msg))
	}
}

// sendPong answers the newest ping.
func (c *conn) sendPong() bool {
	c.mu.Lock()
	payload := c.pong
	c.pong = nil
	c.mu.Unlock()
	return payload != nil && c.put(opPong, payload)
}

// sendClose says why the connection ends; then the reader waits a while for the client's answer.
func (c *conn) sendClose(cause closeCause) {
	payload := cause.payload()
	if payload == nil {
		return
	}
	c.out.hurry(closeWait)
	if !c.put(opClose, payload) {
		return
	}
	c.hush()
	_ = c.nc.SetReadDeadline(time.Now().Add(closeWait))
}

// put writes a frame. False: nothing can be written any more.
func (c *conn) put(op byte, payload []byte) bool {
	if c.mute {
		return false
	}
	now := c.clock()
	return c.written(c.out.write(op, payload, now), op, now)
}

// putFrame is put for what a feed encoded.
func (c *conn) putFrame(f *Frame) bool {
	if f.Wire == nil {
		return c.put(opText, f.Bytes)
	}
	if c.mute {
		return false
	}
	now := c.clock()
	return c.written(c.out.writeWire(f.Wire, now), opText, now)
}

// flush writes what is held, or left.
func (c *conn) flush() bool {
	if c.mute {
		return true
	}
	now := c.clock()
	if c.out.by != nil {
		// What was held counts as sent since then. A wake for nothing sends nothing: it must not put off a heartbeat.
		err := c.out.send()
		return err == nil || c.written(err, opText, now)
	}
	return !c.out.blocked() || c.written(c.out.writeRest(now), opText, now)
}

// clock is the time, which a shared writer reads once for many connections.
func (c *conn) clock() time.Time {
	if c.out.by != nil {
		return c.out.by.now
	}
	return time.Now()
}

// written goes on from a write.
func (c *conn) written(err error, op byte, now time.Time) bool {
	if err != nil {
		if errors.Is(err, errStalled) {
			c.setCause(causeSlow)
		} else {
			c.setCause(causeLost)
		}
		c.hush()
		c.abort()
		return false
	}
	c.sentAt(now)
	if c.out.by == nil && c.out.slow && op != opClose { // it took the rest of the frame at last, and shall hear why this is the end
		c.setCause(causeSlow)
		c.sendClose(c.closeCause())
	}
	return true
}

// hush lets go of everything that is only there to be sent. The cause is known: a reader that waits for room need not, and
// nobody may take the queue any more.
func (c *conn) hush() {
	c.mute = true
	c.letRead()
	for len(c.subs) > 0 {
		c.detach(len(c.subs) - 1)
	}
}

// finish ends the writer after the reader's end: the last word, then no more items.
func (c *conn) finish() {
	c.mu.Lock()
	items := c.queue
	c.queue, c.closed = nil, true
	last := c.echo
	c.mu.Unlock()
	if own := c.closeCause().payload(); own != nil {
		last = own
	}
	if last != nil {
		c.put(opClose, last)
	}
	c.hush()
	for _, it := range items {
		if it.live != nil {
			it.live.sub.Close()
		}
	}
	if cause := c.closeCause(); cause == causeSlow {
		c.s.warnSparsely("client closed", telemetry.Client(c.session), telemetry.Reason(cause.metric()))
	}
}
