package session

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"confgate/internal/confctl"
	"confgate/internal/conference"
	"confgate/internal/heartbeat"
	"confgate/internal/subscribe"
)

// outSize is how many requests may wait for the writer: more than a healthy link ever has.
const outSize = 8

// link is one open socket and what belongs to it. Its fields are the actor's; reader and writer only use what is immutable.
type link struct {
	live     bool      // it was live
	answered bool      // a Subscribe was answered with yes
	renewed  bool      // a Subscribe was refused for its token, and none was answered with yes since
	again    bool      // subscribe as soon as the control token is renewed
	judged   verdict   // what clients were told of it last
	endAt    time.Time // when to close it, after the conference was destroyed; zero: not
	beats    heartbeat.Monitor

	// Immutable.
	wire   wire
	out    chan []byte // the actor sends, the writer receives; never closed
	cancel context.CancelFunc
	opened time.Time

	types  []string       // as last subscribed to
	token  confctl.Secret // that the last Subscribe was sent with
	liveAt time.Time      // since when
}

// verdict is whether clients can rely on a link that is live. The zero value is none.
type verdict struct {
	state  conference.LinkState
	reason conference.LinkReason
}

// endGrace is how long the provider may take to close the link of a conference that it has declared destroyed.
const endGrace = 10 * time.Second

// openLink takes a socket over: it subscribes, and starts the reader and the writer. They end with the link, not with ctx,
// since a cancelled read would cut the connection before it could say goodbye.
func (a *actor) openLink(ctx context.Context, w wire, now time.Time) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &link{
		wire: w, out: make(chan []byte, outSize), cancel: cancel, opened: now,
		types: a.cfg.Types, beats: *heartbeat.New(a.cfg.Heartbeat),
	}
	a.link, a.phase = l, linked
	a.spawn(ctx, func(ctx context.Context) message { return linkLost{l, a.read(ctx, l)} })
	a.spawn(ctx, func(ctx context.Context) message { return linkLost{l, l.write(ctx, a.cfg.Heartbeat/2)} })
	// A worker that starts opens all its links at once: their beats shall not come at once for ever after.
	l.beats.Start(now.Add(-rand.N(a.cfg.Heartbeat)))
	a.subscribe(now)
}

// closeLink says goodbye and ends reader and writer. Whatever they still send is recognised as a closed link's.
func (a *actor) closeLink() {
	if l := a.link; l != nil {
		a.link = nil
		a.children.Go(func() {
			l.wire.Close()
			l.cancel()
		})
	}
}

// cutLink drops a socket that can't be expected to answer.
func (a *actor) cutLink() {
	if l := a.link; l != nil {
		a.link = nil
		l.wire.CloseNow()
		l.cancel()
	}
}

// read hands every frame to the actor, decoded, until the socket fails.
func (a *actor) read(ctx context.Context, l *link) error {
	for {
		m := frames.Get().(*received) //nolint:forcetypeassert // the pool holds nothing else
		var err error
		if m.data, err = l.wire.Read(m.data[:0]); err != nil {
			return err
		}
		m.link, m.at = l, time.Now()
		m.err = m.frame.Decode(m.data)
		select {
		case a.mail <- m:
			continue
		default: // it is full, which a select of two would find out at twice the price
		}
		select {
		case a.mail <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// write sends what the actor queues until the socket fails. A frame that doesn't leave within patience shows a dead peer.
func (l *link) write(ctx context.Context, patience time.Duration) error {
	late := time.AfterFunc(patience, l.wire.CloseNow)
	late.Stop()
	for {
		select {
		case frame := <-l.out:
			late.Reset(patience)
			err := l.wire.Write(frame)
			late.Stop()
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// send queues a request; false where the writer is so far behind that the link is dead.
func (l *link) send(frame []byte) bool {
	select {
	case l.out <- frame:
		return true
	default:
		return false
	}
}

// subscribe sends a Subscribe and tells the tracker that a link begins with it.
func (a *actor) subscribe(now time.Time) {
	if a.sendSubscribe(now) {
		a.tracker.LinkUp(now, subscribe.Kinds(a.link.types))
	}
}

// resubscribe sends again a Subscribe that was refused for its token.
func (a *actor) resubscribe(now time.Time) {
	switch {
	case !a.link.answered:
		a.subscribe(now)
	case a.sendSubscribe(now):
		a.tracker.Sent(now)
	}
}

func (a *actor) sendSubscribe(now time.Time) bool {
	frame := confctl.AppendSubscribe(nil, a.link.beats.Sequence(now), a.link.types, a.ctl.Token.Token)
	a.link.token = a.ctl.Token.Token
	if !a.link.send(frame) {
		a.lose(now, causeHeartbeat, nil)
		return false
	}
	return true
}

// tend does what an open link needs now, and says when it needs something again.
func (a *actor) tend(now, next time.Time) time.Time {
	l := a.link
	if !l.endAt.IsZero() {
		if !now.Before(l.endAt) {
			a.end(now)
			return a.wakeAt
		}
		next = earlier(next, l.endAt)
	}
	next = earlier(next, a.beat(now))
	if a.link == nil {
		return a.wakeAt
	}
	next = earlier(next, a.follow(now))
	if a.link == nil {
		return a.wakeAt
	}
	a.judge(now)
	return next
}

func earlier(a, b time.Time) time.Time {
	if b.IsZero() || a.Before(b) {
		return a
	}
	return b
}

// received is a frame, or why it can't be used. The actor gives it back when it is done with it.
type received struct {
	link  *link
	frame confctl.Frame
	err   error
	at    time.Time

	data []byte // of which the frame is a part
}

// frames are those that nobody has. The next frame of any link finds one in the processor's cache.
var frames = sync.Pool{New: func() any { return new(received) }}

// keptFrame bounds the buffers that are used again, in bytes. Full frames are larger, and seldom.
const keptFrame = 16 << 10

// free gives the frame back: nothing may refer to it any more.
func (m *received) free() {
	if cap(m.data) > keptFrame {
		m.data = nil
	}
	*m = received{data: m.data}
	frames.Put(m)
}

func (m *received) handle(ctx context.Context, a *actor, now time.Time) {
	kept := false
	l := a.link
	switch f := &m.frame; {
	case m.link != l:
	case m.err != nil:
		a.m.Unknown("frame")
		a.complain(now, m.err)
	case f.Class == confctl.Notify:
		a.m.Frame(f.Kind.String(), f.Mode.String())
		if a.ahead != nil {
			kept = a.collect(m)
		} else {
			a.reduce(f, m.at)
		}
	case f.Class == confctl.HeartBeatAnswer:
		if rtt, ok := l.beats.Answered(f.Sequence, m.at); ok {
			a.m.HeartbeatRTT(rtt)
		}
	case f.Class == confctl.SubscribeAnswer:
		a.subscribed(ctx, f, now)
	case f.Class == confctl.ControlAnswer:
		// This gateway sends no ConfControl, so nothing waits for the answer.
		a.m.Unknown("answer")
	}
	if !kept {
		m.free()
	}
}

// complain writes about a frame that can't be used, seldom.
func (a *actor) complain(now time.Time, err error) {
	if suppressed, ok := a.garbage.ready(now); ok {
		a.log.Warn("frame from the provider can't be used", zap.Error(err), zap.Int("suppressed", suppressed))
	}
}

// reduce takes a notify frame into the state and queues what it changes.
func (a *actor) reduce(f *confctl.Frame, read time.Time) {
	if f.Kind == confctl.KindOther {
		a.m.Unknown("action")
	}
	v := a.tracker.Observe(f, read)
	if v.Gap {
		a.m.Gap()
	}
	if !v.Apply {
		return
	}
	changes, err := a.state.Apply(f)
	a.leaving.marks.note(f, len(changes) > 0)
	a.tracker.Applied(f, len(changes) > 0, read)
	if err != nil {
		a.m.Unknown("frame")
		a.complain(read, err)
		// What an increment said and couldn't be used, a full frame may say usably. What a full frame said so, the next
		// would only repeat.
		if f.Mode == confctl.Increment {
			a.tracker.Failed(f, read)
		}
	}
	a.publish(changes, read)
	// An older link's word about an end is in the state too; only what this link said counts.
	if f.Kind == confctl.ConfDynamicInfo && a.state.Ended() && a.link.endAt.IsZero() {
		a.link.endAt = read.Add(endGrace)
		a.ended(read)
	}
}
