package ownership

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"confgate/internal/telemetry"
)

// doWork tells the store the next part of what the last scan found: first what somebody waits for.
func (a *actor) doWork(ctx context.Context) {
	w := &a.work
	switch {
	case len(w.steps) > 0:
		a.doSteps(ctx, cut(&w.steps))
	case len(w.claims) > 0:
		a.doClaims(ctx, cut(&w.claims))
	case len(w.releases) > 0:
		a.doReleases(ctx, cut(&w.releases))
	case len(w.looks) > 0:
		a.doLooks(ctx, cut(&w.looks))
	default:
		a.doForgets(ctx, cut(&w.forgets))
	}
}

// cut takes the first batch off a list.
func cut[T any](list *[]T) []T {
	n := min(len(*list), claimBatch)
	batch := (*list)[:n:n]
	*list = (*list)[n:]
	return batch
}

func (a *actor) doSteps(ctx context.Context, steps []step) {
	me := a.me
	a.call(ctx, func(ctx context.Context) message {
		done, err := a.cfg.Store.advance(ctx, me, steps)
		return func(ctx context.Context, a *actor, now time.Time) {
			a.changed()
			if err != nil {
				a.away(err, now)
				return
			}
			if me != a.me {
				return
			}
			for i, st := range steps {
				if c := a.confs[st.conf]; c != nil {
					a.stepped(ctx, c, st, done[i], now)
				}
			}
			a.lookBy(now)
		}
	})
}

func (a *actor) doClaims(ctx context.Context, confs []string) {
	me, previous := a.me, a.previous
	a.call(ctx, func(ctx context.Context) message {
		answers, err := a.cfg.Store.claim(ctx, me, previous, confs)
		return func(ctx context.Context, a *actor, now time.Time) {
			a.changed()
			switch {
			case errors.Is(err, errLost):
				a.lose(now)
				return
			case err != nil:
				a.away(err, now)
				return
			case me != a.me:
				return
			}
			for i, conf := range confs {
				if c := a.confs[conf]; c != nil && answers[i].ok {
					a.won(c, answers[i], now)
				}
			}
			a.lookBy(now)
		}
	})
}

// won takes over a conference that was claimed; the next scan starts its run, where there isn't one that waits.
func (a *actor) won(c *conf, answer claimed, now time.Time) {
	c.rec.owner, c.rec.term, c.rec.to, c.rec.phase, c.rec.offer = a.me, answer.term, "", "", nil
	if answer.reason == reasonAgain {
		return
	}
	c.wonAt = now
	a.cfg.Metrics.Takeover(string(answer.reason))
	level := zap.InfoLevel
	if answer.reason == ReasonStart {
		level = zap.DebugLevel // what becomes of it is the session's to say
	}
	a.log.Log(level, "took over a conference", telemetry.Conference(c.id), telemetry.Reason(string(answer.reason)),
		zap.Uint64("term", answer.term))
	if c.hold != nil {
		c.hold.give(nil) // where no offer came, none will
	}
}

func (a *actor) doReleases(ctx context.Context, confs []string) {
	me := a.me
	a.call(ctx, func(ctx context.Context) message {
		err := a.cfg.Store.release(ctx, me, confs)
		return func(_ context.Context, a *actor, now time.Time) {
			a.changed()
			if err != nil {
				a.away(err, now)
				return
			}
			for _, conf := range confs {
				c := a.confs[conf]
				if c == nil || c.rec.owner != me {
					continue
				}
				c.rec.owner, c.rec.to, c.rec.phase, c.releaseNext = "", "", "", false
				if a.drain != nil && a.drain.over {
					a.drain.released++
				}
				a.log.Debug("released a conference", telemetry.Conference(conf))
			}
			a.lookBy(now)
		}
	})
}

func (a *actor) doLooks(ctx context.Context, confs []string) {
	me := a.me
	a.call(ctx, func(ctx context.Context) message {
		records, err := a.cfg.Store.look(ctx, me, confs)
		return func(_ context.Context, a *actor, now time.Time) {
			a.changed()
			if err != nil {
				a.away(err, now)
				return
			}
			for _, r := range records {
				a.record(r, now)
				a.confs[r.conf].asked = now
			}
		}
	})
}

func (a *actor) doForgets(ctx context.Context, confs []string) {
	confs = slices.Clone(confs)
	a.call(ctx, func(ctx context.Context) message {
		err := a.cfg.Store.forget(ctx, confs)
		return func(_ context.Context, a *actor, now time.Time) {
			if err != nil {
				a.away(err, now)
				return
			}
			a.lookBy(now)
		}
	})
}
