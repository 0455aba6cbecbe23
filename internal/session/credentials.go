package session

import (
	"context"
	"encoding/json"
	"time"

	"go.uber.org/zap"

	"confgate/internal/confctl"
)

const (
	// storeTimeout bounds a call of the TokenStore or the RefusalStore. Both only spare calls of the provider, so a session
	// doesn't wait for them as it does for the log.
	storeTimeout = 2 * time.Second
	// refusalSpan is how long a refused password is remembered: as long as the fleet remembers passwords.
	refusalSpan = 30 * 24 * time.Hour
)

// keptToken is a control token as a TokenStore has it.
type keptToken struct {
	Token   string `json:"token"`
	WSURL   string `json:"wsURL"`
	Current string `json:"current,omitempty"`
	// By is the HMAC of the password that the token was granted for: a token is no way around another, wrong password.
	By []byte `json:"by"`
}

// withheldError is a password that isn't sent, since the fleet knows that it was refused.
type withheldError struct {
	error
	at time.Time // when it was refused
}

func (e *withheldError) Unwrap() error { return e.error }

func (a access) fingerprint() []byte { return a.password.Fingerprint(a.cfg.RefusalKey) }

// brief is a context for one call of a store.
func brief(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, storeTimeout)
}

// withheld is why the fleet doesn't want the password sent; nil: it may be. Where the store is away, it may: what this
// session or the log knows of refusals has stopped it before.
func (a access) withheld(ctx context.Context) error {
	if a.cfg.Refusals == nil {
		return nil
	}
	ctx, cancel := brief(ctx)
	defer cancel()
	mac := a.fingerprint()
	left, err := a.cfg.Refusals.Refused(ctx, a.conf, mac)
	if err != nil {
		a.cfg.Logger.Debug("refusals can't be looked up", zap.Error(err))
		return nil
	}
	if left <= 0 {
		return nil
	}
	at := time.Now().Add(left - refusalSpan)
	if !a.given.IsZero() && a.given.Sub(at) >= a.cfg.SamePassword {
		// Somebody named it again, long after.
		if err := a.cfg.Refusals.Allow(ctx, a.conf, mac); err != nil {
			a.cfg.Logger.Debug("refusal can't be forgotten", zap.Error(err))
		}
		return nil
	}
	return &withheldError{&confctl.Error{API: "token", Code: "withheld", Class: confctl.ClassCredentials}, at}
}

// refuse tells the fleet that the provider refused the password, also where this session is being stopped just now.
func (a access) refuse(ctx context.Context) {
	if a.cfg.Refusals == nil {
		return
	}
	ctx, cancel := brief(context.WithoutCancel(ctx))
	defer cancel()
	if err := a.cfg.Refusals.Refuse(ctx, a.conf, a.fingerprint(), refusalSpan); err != nil {
		a.cfg.Logger.Warn("refusal of the password can't be shared", zap.Error(err))
	}
}

// load is the token that the last owner left, if it was granted for this password; empty: there is none.
func (a access) load(ctx context.Context) control {
	ctx, cancel := brief(ctx)
	defer cancel()
	data, left, err := a.cfg.Tokens.Load(ctx, a.conf)
	if err != nil {
		a.cfg.Logger.Debug("control token can't be loaded", zap.Error(err))
		return control{}
	}
	var k keptToken
	if len(data) == 0 || json.Unmarshal(data, &k) != nil || k.Token == "" ||
		!confctl.NewSecret(string(k.By)).Equal(confctl.NewSecret(string(a.fingerprint()))) {
		return control{}
	}
	return control{
		Token: confctl.Token{
			Token: confctl.NewSecret(k.Token), WSURL: k.WSURL, Life: left, CurrentConfID: k.Current,
		},
		received: time.Now(), by: k.By, kept: true,
	}
}

// forget removes a token that the provider refused from the store.
func (a access) forget(ctx context.Context) {
	ctx, cancel := brief(ctx)
	defer cancel()
	if err := a.cfg.Tokens.Forget(ctx, a.conf); err != nil {
		a.cfg.Logger.Debug("control token can't be forgotten", zap.Error(err))
	}
}

// keepToken brings the TokenStore up to the newest control token, one call at a time.
func (a *actor) keepToken(ctx context.Context) {
	if !a.unkept || a.keeping {
		return
	}
	a.unkept, a.keeping = false, true
	ctl := a.ctl
	a.spawn(ctx, func(ctx context.Context) message {
		ctx, cancel := brief(ctx)
		defer cancel()
		if ctl.Token.Token.Empty() {
			return tokenKept{a.cfg.Tokens.Forget(ctx, a.cfg.Conference)}
		}
		data, err := json.Marshal(keptToken{
			Token: ctl.Token.Token.Reveal(), WSURL: ctl.WSURL, Current: ctl.CurrentConfID, By: ctl.by,
		})
		if err == nil {
			err = a.cfg.Tokens.Store(ctx, a.cfg.Conference, data, time.Until(ctl.received.Add(ctl.Life)))
		}
		return tokenKept{err}
	})
}

// tokenKept is the answer of the TokenStore.
type tokenKept struct{ err error }

func (m tokenKept) handle(_ context.Context, a *actor, _ time.Time) {
	a.keeping = false
	if m.err != nil { // a takeover costs a call with the password then
		a.log.Debug("control token isn't kept for a successor", zap.Error(m.err))
	}
}
