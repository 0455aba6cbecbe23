package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"confgate/internal/conference"
	"confgate/internal/telemetry"
)

// newBackoff is exponential with full jitter: the first delay is up to 200 ms, the longest up to 30 s. The library draws from
// twice the interval it holds.
func newBackoff() *backoff.ExponentialBackOff {
	b := &backoff.ExponentialBackOff{
		InitialInterval:     100 * time.Millisecond,
		RandomizationFactor: 1,
		Multiplier:          2,
		MaxInterval:         15 * time.Second,
	}
	b.Reset()
	return b
}

// logRetryMax is the longest delay between tries of a log call: the log is the fleet's own, and must be found back soon.
const logRetryMax = 2 * time.Second

// publisher is the actor's side of the log: one call that moves the log is under way at a time. Its fields belong to the
// actor.
type publisher struct {
	open          bool // claimed and at a known position
	busy          bool // a claim, a begin or an append is under way
	doubtful      bool // the log may have lost something, and wasn't asked since
	retried       bool // again was used since the last success
	checkpointing bool
	dirty         int       // changes since the last checkpoint
	checkpointAt  time.Time // when one is due; zero: nothing to store
	appending
	queue queue
	head  head

	letGo  func()    // ends the log's Hold; nil: nothing was claimed yet
	openAt time.Time // when to claim again at the earliest
	again  *backoff.ExponentialBackOff
}

// publish queues changes; flush sends them on.
func (a *actor) publish(changes []conference.Change, read time.Time) {
	for _, c := range changes {
		a.pub.queue.push(c, read)
	}
}

// flush gives the log what waits for it, unless it is still at something.
func (a *actor) flush(ctx context.Context, now time.Time) {
	p := &a.pub
	if p.busy || a.leaving.frozen || (a.ahead != nil && !a.ahead.offered) {
		return
	}
	if p.open && p.queue.empty() && !p.queue.lossy && a.leaving.asked != nil {
		a.offerDue(ctx)
		return
	}
	if !p.open || p.queue.lossy {
		if !now.Before(p.openAt) {
			a.openLog(ctx)
		}
		return
	}
	if p.queue.empty() {
		if a.checkpointDue(now) {
			a.checkpoint(ctx, a.snapshot())
		}
		if !p.doubtful {
			return
		}
		// An append of nothing. Without it, an idle owner wouldn't learn that a fail-over lost what clients have seen.
	}
	a.append(ctx, now)
}

// logRefused takes in an answer that no retry changes: a fence ends the session, anything else makes it claim anew.
func (a *actor) logRefused(err error, now time.Time) {
	if errors.Is(err, conference.ErrFenced) {
		a.stop(fmt.Errorf("session: conference %s: %w", a.cfg.Conference, err))
		return
	}
	a.log.Warn("log lost its place, claiming it again", telemetry.Epoch(a.pub.head.pos.Epoch),
		telemetry.Seq(a.pub.head.pos.Seq), zap.Error(err))
	a.pub.open, a.pub.retried, a.pub.openAt = false, true, now.Add(a.pub.again.NextBackOff())
}

// release ends what the log keeps for this session.
func (p *publisher) release() {
	if p.letGo != nil {
		p.letGo()
	}
}

// openLog claims the log and loads its state.
func (a *actor) openLog(ctx context.Context) {
	a.pub.busy, a.pub.doubtful = true, false
	a.spawn(ctx, func(ctx context.Context) message {
		m, err := untilAnswered(ctx, a, "open", true, func(ctx context.Context) (opened, error) {
			claim, pos, err := a.cfg.Log.Claim(ctx, a.cfg.Conference)
			if err != nil {
				return opened{}, err
			}
			cp, err := a.cfg.Log.Load(ctx, a.cfg.Conference)
			return opened{claim: claim, pos: pos, cp: cp}, err
		})
		m.err = err
		return m
	})
}

// opened is a log claimed and loaded.
type opened struct {
	claim conference.Claim
	pos   conference.Position // of the claim: without an epoch the log must begin anew
	cp    conference.Checkpoint
	err   error
}

func (m opened) handle(ctx context.Context, a *actor, now time.Time) {
	p := &a.pub
	p.busy = false
	if m.err != nil {
		a.logRefused(m.err, now)
		return
	}
	if m.cp.Doc == nil {
		m.cp.Doc = conference.NewDoc()
	}
	p.head = head{claim: m.claim, pos: m.cp.Position, prev: m.cp.Prev}
	if p.letGo == nil {
		p.letGo = a.cfg.Log.Hold(a.cfg.Conference, a.doubtLog)
	}
	if p.queue.lost > 0 {
		a.log.Warn("events were lost while the log was away", zap.Int("events", p.queue.lost))
		p.queue.lost = 0
	}
	if a.ahead != nil {
		a.succeed(ctx, m, now)
		return
	}
	first := a.phase == opening
	if first {
		a.restore(m.cp)
	}
	switch {
	case m.pos.Epoch == "":
		a.begin(ctx)
	case !first:
		p.open = true
		p.queue.restart(a.difference(m.cp, now))
	default:
		p.open = true
	}
	if first {
		a.start(ctx, now)
	}
}

// difference is what leads from the log's state to the actor's. Where the log has no secrets, theirs aren't compared: they
// would come out as new each time.
func (a *actor) difference(cp conference.Checkpoint, now time.Time) []conference.Change {
	to := a.state.Doc()
	if cp.Secretless {
		open, err := conference.ParseDoc(to.AppendJSON(nil, conference.StateTopics, conference.PII))
		if err != nil {
			a.stop(fmt.Errorf("session: conference %s: own document: %w", a.cfg.Conference, err))
			return nil
		}
		to = open
	}
	return conference.Diff(cp.Doc, to, now.UnixMilli())
}

// begin starts a new epoch of the log with the state as it is. Changes of state that wait are part of it.
func (a *actor) begin(ctx context.Context) {
	p := &a.pub
	p.busy = true
	p.queue.restart(nil)
	p.dirty, p.checkpointAt = 0, time.Time{}
	cp := a.snapshot()
	cp.Position, cp.Prev = conference.Position{}, [conference.NumTopics]uint64{}
	claim := p.head.claim
	a.spawn(ctx, func(ctx context.Context) message {
		defer cp.Image.Free()
		pos, err := untilAnswered(ctx, a, "begin", true, func(ctx context.Context) (conference.Position, error) {
			return a.cfg.Log.Begin(ctx, a.cfg.Conference, claim, cp)
		})
		return begun{pos, err}
	})
}

// begun is the first position of a new epoch.
type begun struct {
	pos conference.Position
	err error
}

func (m begun) handle(_ context.Context, a *actor, now time.Time) {
	p := &a.pub
	p.busy = false
	if m.err != nil {
		a.logRefused(m.err, now)
		return
	}
	p.head.pos, p.head.prev = m.pos, [conference.NumTopics]uint64{}
	p.open = true
	a.log.Info("log began a new epoch", telemetry.Epoch(m.pos.Epoch), telemetry.Seq(m.pos.Seq))
}

// checkpointDue says whether the state is to be stored at the next chance.
func (a *actor) checkpointDue(now time.Time) bool {
	p := &a.pub
	if p.checkpointing || p.checkpointAt.IsZero() {
		return false
	}
	return p.dirty >= a.cfg.CheckpointChanges || !now.Before(p.checkpointAt)
}

// snapshot is the state as it is, at the log's head.
func (a *actor) snapshot() conference.Stored {
	return conference.Stored{
		Position: a.pub.head.pos, Prev: a.pub.head.prev, Image: a.state.Doc().Image(), Memory: a.memory(),
	}
}

// checkpoint stores a snapshot, and frees its image.
func (a *actor) checkpoint(ctx context.Context, cp conference.Stored) {
	p := &a.pub
	p.checkpointing, p.dirty, p.checkpointAt = true, 0, time.Time{}
	claim := p.head.claim
	a.spawn(ctx, func(ctx context.Context) message {
		defer cp.Image.Free()
		ctx, cancel := context.WithTimeout(ctx, a.cfg.CallTimeout)
		defer cancel()
		if a.cfg.Tenure != nil {
			if err := a.cfg.Tenure.Gate(ctx); err != nil {
				return checkpointed{err}
			}
		}
		return checkpointed{a.cfg.Log.Checkpoint(ctx, a.cfg.Conference, claim, cp)}
	})
}

// checkpointed is the answer to a checkpoint.
type checkpointed struct{ err error }

func (m checkpointed) handle(_ context.Context, a *actor, now time.Time) {
	p := &a.pub
	p.checkpointing = false
	if a.leaving.frozen && a.leaving.asked != nil {
		a.answerOffer() // a checkpoint that failed costs a repeated event at the worst
	}
	switch {
	case m.err == nil:
	case errors.Is(m.err, conference.ErrFenced):
		a.logRefused(m.err, now)
	default:
		// Nothing is lost by it but the trimming: the log still has the changes. The next interval tries again.
		a.log.Debug("checkpoint not stored", zap.Error(m.err))
		if p.checkpointAt.IsZero() {
			p.checkpointAt = now.Add(a.cfg.Checkpoint)
		}
	}
}

// untilAnswered repeats a call of the log until it is answered, by success or by an error that no retry changes, or ctx is
// done. A gated one waits for the tenure first, each time. Each try is bounded in time. It says once that the log is away, and once that it is back.
func untilAnswered[T any](ctx context.Context, a *actor, what string, gated bool, fn func(context.Context) (T, error)) (T, error) {
	b := newBackoff()
	b.MaxInterval = logRetryMax / 2
	var away time.Time
	for {
		if gated && a.cfg.Tenure != nil {
			if err := a.cfg.Tenure.Gate(ctx); err != nil {
				var none T
				return none, err
			}
		}
		try, cancel := context.WithTimeout(ctx, a.cfg.CallTimeout)
		v, err := fn(try)
		cancel()
		if err == nil || final(err) {
			if !away.IsZero() {
				a.log.Info("log is back", zap.String("call", what), zap.Duration("away", time.Since(away)))
			}
			return v, err
		}
		if away.IsZero() && ctx.Err() == nil {
			away = time.Now()
			a.log.Warn("log is away", zap.String("call", what), zap.Error(err))
		}
		wait := time.NewTimer(b.NextBackOff())
		select {
		case <-ctx.Done():
			wait.Stop()
			return v, err
		case <-wait.C:
		}
	}
}

// final says whether an error is the log's answer, which no retry changes.
func final(err error) bool {
	return errors.Is(err, conference.ErrFenced) || errors.Is(err, conference.ErrPosition) || errors.Is(err, conference.ErrEpoch)
}

// due is when the log is next to be told something, or an answer of its to be taken in, that no message brings about; zero:
// nothing.
func (p *publisher) due(now time.Time) time.Time {
	switch {
	case p.busy:
		if !p.lookAt.IsZero() && !p.lookAt.After(now) { // the log takes longer than that
			p.lookAt = now.Add(ackWait)
		}
		return p.lookAt
	case !p.open:
		return p.openAt
	case p.checkpointing:
		return time.Time{}
	default:
		return p.checkpointAt
	}
}
