package session

import (
	"context"
	"errors"
	"time"

	"confgate/internal/confctl"
	"confgate/internal/telemetry"
)

// provider is all that a session asks of the provider. Its real form is remote; tests of timing stand in for it.
type provider interface {
	token(ctx context.Context, conf string, password confctl.Secret) (confctl.Token, error)
	refresh(ctx context.Context, conf string, token confctl.Secret) (confctl.Token, error)
	wsToken(ctx context.Context, conf string, token confctl.Secret) (confctl.Secret, error)
	realTimeInfo(ctx context.Context, conf string, token confctl.Secret) (*confctl.RealTimeInfo, error)
	dial(ctx context.Context, wsURL, confID string, token confctl.Secret) (wire, error)
}

// remote is the provider over the network. Every call waits for the limiter first, and is bounded in time after that.
type remote struct {
	api     *confctl.API
	dialer  dialer
	limiter Limiter
	timeout time.Duration
	metrics *telemetry.Metrics
}

func newRemote(c Config) *remote {
	api := *c.API
	r := &remote{
		api: &api, limiter: c.Limiter, timeout: c.CallTimeout, metrics: c.Metrics,
		dialer: dialer{base: c.API.Base, override: c.WSURL, tls: c.TLS},
	}
	observe := c.API.Observe
	api.Observe = func(call confctl.Call) {
		if observe != nil {
			observe(call)
		}
		r.metrics.ProviderCall(call.API, call.Code)
		if call.Rate.Limit > 0 {
			r.limiter.Learn(limitedAs(call.API), call.Rate.Limit, call.Rate.Per)
		}
	}
	return r
}

// limitedAs is the API that a call counts against: a refresh is the token call.
func limitedAs(api string) string {
	if api == "refresh" {
		return "token"
	}
	return api
}

// call waits for the limiter, then does fn in bounded time.
func call[T any](ctx context.Context, r *remote, api string, fn func(context.Context) (T, error)) (T, error) {
	if err := r.limiter.Wait(ctx, limitedAs(api)); err != nil {
		var zero T
		return zero, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	return fn(ctx)
}

func (r *remote) token(ctx context.Context, conf string, password confctl.Secret) (confctl.Token, error) {
	return call(ctx, r, "token", func(ctx context.Context) (confctl.Token, error) { return r.api.Token(ctx, conf, password) })
}

func (r *remote) refresh(ctx context.Context, conf string, token confctl.Secret) (confctl.Token, error) {
	return call(ctx, r, "refresh", func(ctx context.Context) (confctl.Token, error) { return r.api.Refresh(ctx, conf, token) })
}

func (r *remote) wsToken(ctx context.Context, conf string, token confctl.Secret) (confctl.Secret, error) {
	return call(ctx, r, "wsToken", func(ctx context.Context) (confctl.Secret, error) { return r.api.WSToken(ctx, conf, token) })
}

func (r *remote) realTimeInfo(ctx context.Context, conf string, token confctl.Secret) (*confctl.RealTimeInfo, error) {
	return call(ctx, r, "realTimeInfo", func(ctx context.Context) (*confctl.RealTimeInfo, error) {
		return r.api.RealTimeInfo(ctx, conf, token)
	})
}

func (r *remote) dial(ctx context.Context, wsURL, confID string, token confctl.Secret) (wire, error) {
	return call(ctx, r, "dial", func(ctx context.Context) (wire, error) {
		w, err := r.dialer.dial(ctx, wsURL, confID, token)
		code := confctl.CallLabel(ctx, err)
		switch {
		case err == nil:
			code = "101"
		case errors.Is(err, ErrEndpoint):
			code = "refused"
		}
		r.metrics.ProviderCall("dial", code)
		return w, err
	})
}

// control is a control token and when it came.
type control struct {
	confctl.Token
	received time.Time
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
	// gate is why the password must not be sent now; nil where it may be.
	gate *confctl.Error
}

// byPassword fetches a control token by the password.
func (a access) byPassword(ctx context.Context, p provider) (control, error) {
	if a.gate != nil {
		return control{}, a.gate
	}
	t, err := p.token(ctx, a.conf, a.password)
	if err != nil {
		return control{}, err
	}
	return control{Token: t, received: time.Now()}, nil
}

// connect gets a socket open: with the token at hand while that is good, else with one fetched by password. A token that is
// refused on the way is replaced by password, once. The control that it returns is the newest, also beside an error.
func (a access) connect(ctx context.Context, p provider) (wire, control, error) {
	ctl, fresh := a.token, false
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
		if classOf(err) != confctl.ClassToken {
			return nil, ctl, err
		}
		if fresh {
			return nil, control{}, err
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
		return control{Token: t, received: time.Now()}, false, nil
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
