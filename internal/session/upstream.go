package session

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"

	"confgate/internal/confctl"
	"confgate/internal/conference"
	"confgate/internal/heartbeat"
	"confgate/internal/subscribe"
	"confgate/internal/telemetry"
)

// maxEarly is how many links in a row the provider may close before it answers the Subscribe until the control token is
// taken to be the cause: the reference says that it closes where authentication fails, and not how.
const maxEarly = 2

// fillInterval is between two realTimeInfo calls while no full frames come.
const fillInterval = 10 * time.Second

// start begins with the link, once the state is there.
func (a *actor) start(ctx context.Context, now time.Time) {
	state, reason := a.state.Link()
	switch state {
	case conference.LinkWaiting, conference.LinkEnded, conference.LinkUnavailable:
		// What the last owner found out stands until the provider says something else.
		a.moveLink(state, reason, now)
		a.cleared = state == conference.LinkWaiting
		// A token from before is of a conference that is over.
		a.looked = a.looked || state != conference.LinkUnavailable
	default:
		a.moveLink(conference.LinkConnecting, conference.ReasonNone, now)
	}
	if a.password.Empty() || !a.refusedAt.IsZero() {
		a.block(now, "")
		return
	}
	a.connect(ctx)
}

// connect lets a child get a socket open.
func (a *actor) connect(ctx context.Context) {
	a.phase = connecting
	acc := a.access(time.Now())
	// Later, this session knows better than what it once stored.
	acc.look, a.looked = a.cfg.Tokens != nil && !a.looked, true
	a.spawn(ctx, func(ctx context.Context) message {
		w, ctl, err := acc.connect(ctx, a.provider)
		return connected{acc.password, w, ctl, err}
	})
}

// connected is what a connect came to.
type connected struct {
	password confctl.Secret // that it had
	wire     wire
	ctl      control // the newest control token; empty where it must not be used again
	err      error
}

func (m connected) handle(ctx context.Context, a *actor, now time.Time) {
	a.setControl(m.ctl)
	if m.err != nil && classOf(m.err) == confctl.ClassCredentials && !m.password.Equal(a.password) {
		a.connect(ctx) // another password came meanwhile, of which that says nothing
		return
	}
	if m.err != nil {
		a.refused(m.err, now)
		if class := classOf(m.err); a.ahead != nil && (class == confctl.ClassWait || class == confctl.ClassEnd) {
			a.tellLive() // there is no link to wait for
		}
		return
	}
	a.cleared = false
	a.moveLink(conference.LinkConnecting, conference.ReasonNone, now)
	a.openLink(ctx, m.wire, now)
}

// refused decides what an error on the way to a link means.
func (a *actor) refused(err error, now time.Time) {
	switch classOf(err) {
	case confctl.ClassEnd:
		if a.cleared {
			// It was said before, and a conference of this id may come again.
			a.poll(now)
			return
		}
		a.end(now)
	case confctl.ClassWait:
		if a.began() {
			a.end(now) // that which is to come is another than that which was seen
			return
		}
		a.poll(now)
	case confctl.ClassCredentials:
		a.credentialsRefused(err, now)
		a.block(now, label(err))
	case confctl.ClassLocked:
		a.locked(err, now)
		a.moveLink(conference.LinkUnavailable, conference.ReasonLocked, now, telemetry.Code(label(err)),
			telemetry.Delay(a.lockedUntil.Sub(now)))
		a.rest(a.lockedUntil)
	default:
		delay := a.backoff.NextBackOff()
		if e, ok := errors.AsType[*confctl.Error](err); ok {
			delay = max(delay, e.RetryAfter)
		}
		a.moveLink(conference.LinkConnecting, reasonOf(err), now, telemetry.Delay(delay), zap.Error(err))
		a.rest(now.Add(delay))
	}
}

// reasonOf is what clients are told about an error that is retried.
func reasonOf(err error) conference.LinkReason {
	e, ok := errors.AsType[*confctl.Error](err)
	switch {
	case ok && e.Class == confctl.ClassLimit:
		return conference.ReasonLimit
	case ok, errors.Is(err, ErrEndpoint):
		return conference.ReasonProvider
	default:
		return conference.ReasonNetwork
	}
}

// label is the provider's code for logs; empty where the error isn't the provider's.
func label(err error) string {
	if e, ok := errors.AsType[*confctl.Error](err); ok {
		return e.Label()
	}
	return ""
}

// block waits for another password.
func (a *actor) block(now time.Time, code string) {
	a.phase = blocked
	a.moveLink(conference.LinkUnavailable, conference.ReasonCredentials, now, telemetry.Code(code))
}

// poll waits for the conference to start.
func (a *actor) poll(now time.Time) {
	a.backoff.Reset()
	a.moveLink(conference.LinkWaiting, conference.ReasonNotStarted, now)
	// The jitter keeps conferences that were named together from asking together.
	a.rest(now.Add(a.cfg.Poll + rand.N(a.cfg.Poll/5+1)))
}

func (a *actor) rest(until time.Time) { a.phase, a.wakeAt = resting, until }

// cause is why a link was lost: the metric's label, and what clients are told.
type cause struct {
	label  string
	reason conference.LinkReason
}

var (
	causeNetwork   = cause{"network", conference.ReasonNetwork}
	causeProvider  = cause{"provider", conference.ReasonProvider}
	causeHeartbeat = cause{"heartbeat", conference.ReasonHeartbeat}
	causeGap       = cause{"gap", conference.ReasonGap}
)

// causeOf tells a link that the provider closed from one that broke.
func causeOf(err error) cause {
	if errors.Is(err, errClosedByPeer) {
		return causeProvider
	}
	return causeNetwork
}

// linkLost is what the reader or the writer of a link ended with.
type linkLost struct {
	link *link
	err  error
}

func (m linkLost) handle(_ context.Context, a *actor, now time.Time) {
	l := a.link
	if m.link != l {
		return
	}
	if !l.endAt.IsZero() {
		a.end(now)
		return
	}
	if l.answered {
		a.early = 0
	} else if a.early++; a.early >= maxEarly {
		a.early = 0
		a.setControl(control{})
	}
	if a.leaving.prepared && a.cfg.Tenure != nil && errors.Is(m.err, errClosedByPeer) {
		a.cfg.Tenure.LinkClosed()
	}
	a.lose(now, causeOf(m.err), m.err)
}

// lose gives the link up and tries again after a while, a short one where the link was good.
func (a *actor) lose(now time.Time, c cause, err error) {
	l := a.link
	if c == causeGap {
		a.closeLink()
	} else {
		a.cutLink()
	}
	a.tracker.LinkDown(now)
	a.m.Reconnect(c.label)
	if l.live && now.Sub(l.liveAt) >= a.cfg.Settled {
		a.backoff.Reset()
	}
	delay := a.backoff.NextBackOff()
	a.moveLink(conference.LinkConnecting, c.reason, now, telemetry.Delay(delay), zap.Error(err))
	a.rest(now.Add(delay))
}

// ended says so at once, while the link may bring some more.
func (a *actor) ended(now time.Time) {
	a.moveLink(conference.LinkEnded, conference.ReasonNone, now)
}

// end leaves the last state readable for a while.
func (a *actor) end(now time.Time) {
	if a.link != nil {
		a.closeLink()
		a.tracker.LinkDown(now)
	}
	a.setControl(control{})
	a.backoff.Reset()
	a.ended(now)
	since := now
	// Who ended it may have been another owner, and that one's clock ahead.
	if state, _ := a.state.Link(); state == conference.LinkEnded {
		since = earlier(now, time.UnixMilli(a.state.Doc().Summary().LinkSince))
	}
	a.phase, a.wakeAt = over, since.Add(a.cfg.Retain)
}

// began says whether there is a state of a conference that has started, which only its end may remove.
func (a *actor) began() bool {
	if a.quietly() || a.cleared {
		return false
	}
	for t := range conference.Topic(conference.NumTopics) {
		if t != conference.Link && a.state.Doc().Has(t) {
			return true
		}
	}
	return false
}

// clear removes what an ended conference left, and waits for it to come again.
func (a *actor) clear(now time.Time) {
	a.cleared = true
	a.poll(now)
	a.publish(a.state.Clear(now.UnixMilli()), time.Time{})
	a.pub.checkpointAt = now // the changes don't say what else was forgotten
}

// count moves the session from one place of the gauges to another; the empty state is none.
func (a *actor) count(state conference.LinkState, reason conference.LinkReason) {
	barred := ""
	if state == conference.LinkUnavailable {
		barred = string(reason)
	}
	a.m.LinkMoved(string(a.moved), string(state))
	a.m.LinkUnavailable(a.barred, barred)
	a.moved, a.barred = state, barred
}

// moveLink changes the topic "link", with a line for operators where there is something to know.
func (a *actor) moveLink(state conference.LinkState, reason conference.LinkReason, now time.Time, fields ...zap.Field) {
	if a.quietly() && (a.ahead != nil || state != conference.LinkEnded) {
		a.hushed = &hushed{state, reason}
		return
	}
	was, _ := a.state.Link()
	first := a.moved == ""
	a.count(state, reason)
	changes := a.state.SetLink(state, reason, now.UnixMilli())
	a.publish(changes, time.Time{})
	if len(changes) == 0 && !first {
		return
	}
	fields = append(fields, telemetry.State(string(state)), telemetry.Reason(string(reason)))
	switch state {
	case conference.LinkLive:
		a.log.Info("link is live", fields...)
	case conference.LinkStale:
		a.log.Warn("link is stale", fields...)
	case conference.LinkWaiting:
		a.log.Info("conference hasn't started", fields...)
	case conference.LinkEnded:
		a.log.Info("conference has ended", fields...)
	case conference.LinkUnavailable:
		a.log.Error("conference is unavailable", fields...)
	case conference.LinkConnecting:
		switch {
		case reason == conference.ReasonNone:
		case was == conference.LinkLive || was == conference.LinkStale:
			a.log.Warn("link was lost", fields...)
		default:
			a.log.Warn("link can't be opened", fields...)
		}
	}
}

// judge tells clients whether the state can be relied on.
func (a *actor) judge(now time.Time) {
	l := a.link
	if !l.endAt.IsZero() || !a.tracker.Live(now) {
		return
	}
	if !l.live {
		l.live, l.liveAt = true, now
	}
	if a.ahead != nil {
		a.tellLive()
		return
	}
	v := verdict{conference.LinkLive, conference.ReasonNone}
	switch {
	case l.beats.Stale():
		v = verdict{conference.LinkStale, conference.ReasonHeartbeat}
	case a.tracker.Stale(now):
		v = verdict{conference.LinkStale, conference.ReasonGap}
	}
	if l.judged != v {
		l.judged = v
		a.moveLink(v.state, v.reason, now)
	}
}

// beat does what the heartbeat asks for, and says when to ask again.
func (a *actor) beat(now time.Time) time.Time {
	l := a.link
	action, next := l.beats.Next(now)
	switch action {
	case heartbeat.Dead:
		a.lose(now, causeHeartbeat, nil)
	case heartbeat.Beat:
		seq := l.beats.Sequence(now)
		if !l.send(confctl.AppendHeartBeat(nil, seq)) {
			a.lose(now, causeHeartbeat, nil)
			break
		}
		l.beats.Sent(seq, now)
		_, next = l.beats.Next(now)
	case heartbeat.None:
	}
	return next
}

// follow does what continuity asks for, and says when to ask again.
func (a *actor) follow(now time.Time) time.Time {
	action, next := a.tracker.Next(now)
	switch action {
	case subscribe.Redial:
		a.lose(now, causeGap, nil)
	case subscribe.Resync:
		// Of a conference that is being handed over, the successor's full frames check the whole.
		if !a.leaving.prepared && a.sendSubscribe(now) {
			a.tracker.Sent(now)
			a.m.Resync()
			_, next = a.tracker.Next(now)
		}
	case subscribe.None:
	}
	return next
}

// subscribed takes in the answer to a Subscribe. A list of the operator's own that is refused gives way to the documented
// types, once a link. A token that is refused is renewed without touching the link, once in a row.
func (a *actor) subscribed(ctx context.Context, f *confctl.Frame, now time.Time) {
	l := a.link
	err := confctl.SubscribeError(f)
	if err == nil {
		l.answered, l.renewed = true, false
		return
	}
	if err.Class == confctl.ClassToken && !l.renewed {
		l.renewed = true
		if !l.token.Equal(a.ctl.Token.Token) {
			// It was renewed while the Subscribe was on its way.
			a.resubscribe(now)
			return
		}
		l.again = true
		if !a.refreshing {
			a.refresh(ctx)
		}
		return
	}
	own := slices.Clone(l.types)
	slices.Sort(own)
	all := subscribe.Documented()
	slices.Sort(all)
	if err.Class == confctl.ClassRetry && !slices.Equal(own, all) {
		a.log.Warn("provider refused the list of notify types, asking for the documented ones", telemetry.Code(err.Label()))
		l.types = subscribe.Documented()
		a.subscribe(now)
		return
	}
	a.closeLink()
	a.tracker.LinkDown(now)
	a.m.Reconnect(causeProvider.label)
	if err.Class == confctl.ClassToken {
		a.setControl(control{})
	}
	a.refused(err, now)
}

// fill asks for the roster by REST while the link brings no full frames, and says when to ask again.
func (a *actor) fill(ctx context.Context, now time.Time) time.Time {
	if a.filling || !a.tracker.Filling(now) || !a.ctl.usable(now) {
		return time.Time{}
	}
	if now.Before(a.fillAt) {
		return a.fillAt
	}
	a.filling, a.fillAt = true, now.Add(fillInterval)
	conf, token := a.ctl.running(a.cfg.Conference), a.ctl.Token.Token
	a.spawn(ctx, func(ctx context.Context) message {
		info, err := a.provider.realTimeInfo(ctx, conf, token)
		return filled{info, err}
	})
	return time.Time{}
}

// filled is the roster by REST.
type filled struct {
	info *confctl.RealTimeInfo
	err  error
}

func (m filled) handle(_ context.Context, a *actor, now time.Time) {
	a.filling = false
	// A full frame that came meanwhile is newer and says more.
	if m.err == nil && a.tracker.Filling(now) && a.phase != over {
		a.publish(a.state.Fill(m.info, now.UnixMilli()), time.Time{})
	}
}
