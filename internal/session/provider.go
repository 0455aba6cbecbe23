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
	began := time.Now()
	if err := r.limiter.Wait(ctx, limitedAs(api)); err != nil {
		var zero T
		return zero, err
	}
	r.metrics.ProviderWait(limitedAs(api), time.Since(began))
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
