package session

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"confgate/internal/conference"
	"confgate/internal/telemetry"
)

// soonLog is a Log that sometimes appends without a goroutine that waits.
type soonLog interface {
	// AppendSoon is Append, but that answer is called with what came of it, within some seconds, by a goroutine that it must
	// not hold up. False: nothing was done, and Append is to be called.
	AppendSoon(
		conf string, claim conference.Claim, after conference.Position, changes []conference.Change,
		answer func(conference.Position, error),
	) bool
}

// ackWait is how long an append's answer may lie there where nothing waits for it but the time of the next checkpoint, a
// minute after it.
const ackWait = 5 * time.Second

// appending is the append under way. Its fields are the actor's.
type appending struct {
	call appendCall
	// batch is what it holds; atEnd is the state that it leads to, where a checkpoint is due.
	batch []entry
	atEnd *conference.Stored
	// calls has an append for the appender.
	calls chan func(context.Context) message

	// A soonLog calls answer, which leaves the answer here. The actor is woken where the append has failed or something
	// waits for it. Else it is taken in with what wakes the actor next, or at lookAt.
	soon     soonLog // nil: the log is none
	answer   func(conference.Position, error)
	answered appended    // whoever answers writes it before came, and the actor reads it after
	came     atomic.Bool // it is there
	wanted   atomic.Bool // something waits for it
	lookAt   time.Time   // zero: the answer comes by mail
}

// appendCall is what the log is given. What is retried is the same call with the same slice: only so can the log tell that it
// was done before.
type appendCall struct {
	claim   conference.Claim
	after   conference.Position
	changes []conference.Change
}

func (p *appending) init(log Log, nudge func()) {
	p.calls = make(chan func(context.Context) message, 1)
	p.soon, _ = log.(soonLog)
	p.answer = func(pos conference.Position, err error) {
		p.answered = appended{pos, err, time.Now()}
		p.came.Store(true)
		if err != nil || p.wanted.Load() {
			nudge()
		}
	}
}

// append gives the log the next batch of what waits for it, or asks it whether it is there.
func (a *actor) append(ctx context.Context, now time.Time) {
	p := &a.pub
	p.batch, p.busy, p.doubtful = p.queue.take(), true, false
	if len(p.batch) > 0 && p.queue.empty() && a.checkpointDue(now) {
		cp := a.snapshot()
		p.atEnd = &cp
	}
	changes := make([]conference.Change, len(p.batch))
	for i, e := range p.batch {
		changes[i] = e.change
	}
	p.call = appendCall{p.head.claim, p.head.pos, changes}
	if a.appendSoon() {
		if p.lookAt = p.checkpointAt; !p.lookAt.After(now) {
			p.lookAt = now.Add(ackWait)
		}
		return
	}
	a.appendAndWait(ctx)
}

// appendSoon appends without the appender, where that is possible.
func (a *actor) appendSoon() bool {
	p := &a.pub
	if p.soon == nil || len(p.call.changes) == 0 || a.cfg.Tenure != nil && !a.cfg.Tenure.Open() {
		return false
	}
	return p.soon.AppendSoon(a.cfg.Conference, p.call.claim, p.call.after, p.call.changes, p.answer)
}

// appendAndWait has the appender append.
func (a *actor) appendAndWait(ctx context.Context) {
	p := &a.pub
	p.lookAt = time.Time{}
	call := p.call
	p.calls <- func(ctx context.Context) message {
		pos, err := untilAnswered(ctx, a, "append", true, func(ctx context.Context) (conference.Position, error) {
			return a.cfg.Log.Append(ctx, a.cfg.Conference, call.claim, call.after, call.changes)
		})
		if err != nil && !final(err) && len(call.changes) > 0 {
			a.askLate(ctx, call)
		}
		return appended{pos, err, time.Now()}
	}
}

// answerWaits says whether an answer of a soonLog is there that something waits for. Where it isn't there yet, whoever
// brings it wakes the actor.
func (a *actor) answerWaits(now time.Time) bool {
	p := &a.pub
	wanted := !p.queue.empty() || p.queue.lossy || p.doubtful || p.atEnd != nil || a.leaving.asked != nil || a.checkpointDue(now)
	if wanted != p.wanted.Load() {
		p.wanted.Store(wanted)
	}
	return wanted && p.came.Load() // after wanted was set: who answers looks at wanted after it has set came
}

// takeAnswers takes in what has come beside the mail: the answer of a soonLog, and that the log may have lost something.
func (a *actor) takeAnswers(ctx context.Context, now time.Time) {
	if p := &a.pub; p.came.Load() {
		m := p.answered
		p.came.Store(false)
		if m.err == nil {
			m.handle(ctx, a, now)
		} else {
			a.appendFailed(ctx, m)
		}
	}
	if a.doubt.Load() {
		a.doubt.Store(false)
		a.pub.doubtful = true
	}
}

// appendFailed takes in that a soonLog couldn't append, or wouldn't.
func (a *actor) appendFailed(ctx context.Context, m appended) {
	if final(m.err) {
		m.handle(ctx, a, m.at)
		return
	}
	a.appendAndWait(ctx)
}

// appender runs what moves the log, one call after the other, as long as the session. The stack of a goroutine that is begun
// for each call would have to grow each time.
func (a *actor) appender(ctx context.Context) {
	for {
		select {
		case call := <-a.pub.calls:
			m := call(ctx)
			select {
			case a.mail <- m:
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// appended is the answer to an append.
type appended struct {
	pos conference.Position
	err error
	at  time.Time // when it came
}

func (m appended) handle(ctx context.Context, a *actor, now time.Time) {
	p := &a.pub
	batch, atEnd := p.batch, p.atEnd
	p.busy, p.batch, p.atEnd, p.call, p.lookAt = false, nil, nil, appendCall{}, time.Time{}
	if m.err == nil && !p.head.follows(m.pos, len(batch)) {
		m.err = fmt.Errorf("%w: answered with a place that isn't behind the changes", conference.ErrPosition)
	}
	if m.err != nil {
		a.logRefused(m.err, now)
		p.queue.giveBack(batch)
		if atEnd != nil {
			atEnd.Image.Free()
		}
		return
	}
	if p.retried {
		p.retried = false
		p.again.Reset()
	}
	if len(batch) == 0 {
		return
	}
	p.head.advance(batch)
	p.dirty += len(batch)
	if p.checkpointAt.IsZero() {
		p.checkpointAt = m.at.Add(a.cfg.Checkpoint - rand.N(a.cfg.Checkpoint/10+1)) // spread, like beats
	}
	for _, e := range batch {
		if !e.read.IsZero() {
			a.m.Latency("append", m.at.Sub(e.read))
		}
	}
	if atEnd != nil {
		atEnd.Position, atEnd.Prev = p.head.pos, p.head.prev
		a.checkpoint(ctx, *atEnd)
	}
}

// lateTimeout bounds the question after an append that got no answer: a session that is let go of waits so long at the most.
const lateTimeout = time.Second

// askLate asks the log what became of an append whose answer was never heard, or which had to wait, when the session ends.
// It is an append of nothing, so that it changes nothing, and needs no tenure. Without it nobody would learn that a worker
// that stood still had changes for a conference that is another's now: the log counts what it refuses.
func (a *actor) askLate(ctx context.Context, call appendCall) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lateTimeout)
	defer cancel()
	if _, err := a.cfg.Log.Append(ctx, a.cfg.Conference, call.claim, call.after, nil); errors.Is(err, conference.ErrFenced) {
		a.log.Warn("changes came too late: another worker has the conference", zap.Int("changes", len(call.changes)),
			telemetry.Epoch(call.after.Epoch), telemetry.Seq(call.after.Seq))
	}
}
