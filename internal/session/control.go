package session

import (
	"context"
	"errors"
	"time"

	"confgate/internal/confctl"
	"confgate/internal/conference"
	"confgate/internal/telemetry"
)

// control is a control token and when it came.
type control struct {
	confctl.Token
	received time.Time
	by       []byte // HMAC of the password that it was granted for
	kept     bool   // it came from the TokenStore
}

// usable says whether the token may still be good.
func (c control) usable(now time.Time) bool {
	return !c.Token.Token.Empty() && now.Before(c.received.Add(c.Life))
}

// refreshAt is two thirds into the token's life.
func (c control) refreshAt() time.Time { return c.received.Add(c.Life * 2 / 3) }

// running is the conference to dial: in a virtual meeting room it isn't the one that the room is held under.
func (c control) running(conf string) string {
	if c.CurrentConfID != "" {
		return c.CurrentConfID
	}
	return conf
}

// access is what a child goroutine may use to get at the provider.
type access struct {
	conf     string
	token    control
	password confctl.Secret
	given    time.Time // when somebody named the password; zero: it was there from the start
	// gate is why the password must not be sent now; nil where it may be.
	gate *confctl.Error
	look bool // the TokenStore may have a token
	cfg  *Config
}

// byPassword fetches a control token by the password.
func (a access) byPassword(ctx context.Context, p provider) (control, error) {
	if a.gate != nil {
		return control{}, a.gate
	}
	if err := a.withheld(ctx); err != nil {
		return control{}, err
	}
	t, err := p.token(ctx, a.conf, a.password)
	if err != nil {
		if classOf(err) == confctl.ClassCredentials {
			a.refuse(ctx)
		}
		return control{}, err
	}
	return control{Token: t, received: time.Now(), by: a.fingerprint()}, nil
}

// connect gets a socket open: with the token at hand while that is good, or one that the last owner left, else with one
// fetched by password. A token that is refused on the way is replaced by password, once. The control that it returns is the
// newest, also beside an error.
func (a access) connect(ctx context.Context, p provider) (wire, control, error) {
	ctl, fresh := a.token, false
	if a.look && !ctl.usable(time.Now()) {
		ctl = a.load(ctx)
	}
	left := ctl.kept
	if !ctl.usable(time.Now()) {
		var err error
		if ctl, err = a.byPassword(ctx, p); err != nil {
			return nil, control{}, err
		}
		fresh = true
	}
	for {
		w, err := a.open(ctx, p, ctl)
		if err == nil {
			return w, ctl, nil
		}
		// A token that was left may be of an earlier time that the conference was on, so that it doesn't say what is now.
		class := classOf(err)
		stale := left && (class == confctl.ClassEnd || class == confctl.ClassWait)
		if class != confctl.ClassToken && !stale {
			return nil, ctl, err
		}
		if fresh {
			return nil, control{}, err
		}
		if left {
			left = false
			a.forget(ctx)
		}
		if ctl, err = a.byPassword(ctx, p); err != nil {
			return nil, control{}, err
		}
		fresh = true
	}
}

func (a access) open(ctx context.Context, p provider, ctl control) (wire, error) {
	conf := ctl.running(a.conf)
	ws, err := p.wsToken(ctx, conf, ctl.Token.Token)
	if err != nil {
		return nil, err
	}
	return p.dial(ctx, ctl.WSURL, conf, ws)
}

// renew prolongs the token; where the provider refuses that, it fetches one by password, once. refused says that it did so.
func (a access) renew(ctx context.Context, p provider) (ctl control, refused bool, err error) {
	t, err := p.refresh(ctx, a.conf, a.token.Token.Token)
	if err == nil {
		if t.WSURL == "" {
			t.WSURL = a.token.WSURL
		}
		return control{Token: t, received: time.Now(), by: a.token.by}, false, nil
	}
	if classOf(err) != confctl.ClassToken {
		return control{}, false, err
	}
	ctl, err = a.byPassword(ctx, p)
	return ctl, true, err
}

// classOf is the class of an error; what isn't the provider's word is to be retried.
func classOf(err error) confctl.ErrorClass {
	if e, ok := errors.AsType[*confctl.Error](err); ok {
		return e.Class
	}
	return confctl.ClassRetry
}

func (a *actor) setControl(ctl control) {
	if a.cfg.Tokens != nil && !ctl.received.Equal(a.ctl.received) {
		a.unkept = !ctl.kept
	}
	a.ctl, a.refreshAt = ctl, time.Time{}
	if !ctl.Token.Token.Empty() {
		a.refreshAt = ctl.refreshAt()
	}
}

// access is what a child may use now. The gate keeps the password from being sent again while the provider would count it.
func (a *actor) access(now time.Time) access {
	acc := access{conf: a.cfg.Conference, token: a.ctl, password: a.password, given: a.given, cfg: &a.cfg}
	switch {
	case !a.refusedAt.IsZero() || a.password.Empty():
		acc.gate = &confctl.Error{API: "token", Code: "withheld", Class: confctl.ClassCredentials}
	case now.Before(a.lockedUntil):
		acc.gate = &confctl.Error{API: "token", Code: "withheld", Class: confctl.ClassLocked, RetryAfter: a.lockedUntil.Sub(now)}
	}
	return acc
}

// credentialsRefused remembers that the password must not be sent again, in the log too.
func (a *actor) credentialsRefused(err error, now time.Time) {
	if a.refusedAt.IsZero() {
		a.refusedAt = now
		if e, ok := errors.AsType[*withheldError](err); ok {
			a.refusedAt = e.at
		}
		a.pub.checkpointAt = now
	}
}

// locked remembers until when the password must not be sent.
func (a *actor) locked(err error, now time.Time) {
	if now.Before(a.lockedUntil) {
		return
	}
	wait := a.cfg.Locked
	if e, ok := errors.AsType[*confctl.Error](err); ok {
		wait = max(wait, e.RetryAfter)
	}
	a.lockedUntil = now.Add(wait)
}

// refresh lets a child prolong the control token.
func (a *actor) refresh(ctx context.Context) {
	a.refreshing = true
	acc := a.access(time.Now())
	a.spawn(ctx, func(ctx context.Context) message {
		ctl, refused, err := acc.renew(ctx, a.provider)
		return renewed{acc.password, acc.token, ctl, refused, err}
	})
}

// renewed is what a refresh came to.
type renewed struct {
	password confctl.Secret // that it had
	was      control
	ctl      control
	refused  bool // the refresh was; ctl or err is what the password came to
	err      error
}

func (m renewed) handle(_ context.Context, a *actor, now time.Time) {
	a.refreshing = false
	switch {
	case m.refused:
		a.m.TokenRefresh("refused")
	case m.err != nil:
		a.m.TokenRefresh("error")
	default:
		a.m.TokenRefresh("ok")
	}
	if !a.ctl.received.Equal(m.was.received) {
		return // a connect has fetched another meanwhile
	}
	if m.err == nil {
		a.setControl(m.ctl)
		if l := a.link; l != nil && l.again {
			l.again = false
			a.resubscribe(now)
		}
		return
	}
	// The link stays as it is, whatever this was. What the password came to matters when the next link is due.
	switch classOf(m.err) {
	case confctl.ClassCredentials:
		if !m.password.Equal(a.password) {
			a.refreshAt = now // another password came meanwhile, of which that says nothing
			return
		}
		if a.refusedAt.IsZero() {
			a.log.Error("credentials refused, the link stays until it is lost", telemetry.Code(label(m.err)))
		}
		a.credentialsRefused(m.err, now)
		a.refreshAt = time.Time{}
	case confctl.ClassLocked:
		a.locked(m.err, now)
		a.refreshAt = a.lockedUntil
	default:
		a.refreshAt = now.Add(max(a.ctl.Life/30, minRefreshRetry))
	}
}

// minRefreshRetry is between tries to renew a control token at least; a thirtieth of its life is the rule, so that about ten
// fit into the third of it that is left.
const minRefreshRetry = 200 * time.Millisecond

// named is a password that somebody named.
type named struct{ password confctl.Secret }

func (m named) handle(ctx context.Context, a *actor, now time.Time) {
	password := m.password
	if password.Empty() {
		return
	}
	if password.Equal(a.password) && (a.refusedAt.IsZero() || now.Sub(a.refusedAt) < a.cfg.SamePassword) {
		return
	}
	a.password, a.given, a.refusedAt = password, now, time.Time{}
	switch {
	case a.phase == blocked:
		a.moveLink(conference.LinkConnecting, conference.ReasonNone, now)
		a.connect(ctx)
	case a.link != nil && a.refreshAt.IsZero():
		a.refreshAt = now
	}
}
