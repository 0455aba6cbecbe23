package simulator

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"confgate/internal/confctl"
)

// session is one control session: it lives as long as its token is kept alive. Links end with the session they came from.
type session struct {
	conf     string
	token    string       // guarded by tokens.mu
	promised atomic.Int64 // Unix nanoseconds until which its token is said to be good
	expires  atomic.Int64 // … until which it is
}

func (s *session) expiry() time.Time { return time.Unix(0, s.expires.Load()) }

// early says whether the session ends before what was promised: then a fault has ended it.
func (s *session) early() bool { return s.expires.Load() < s.promised.Load() }

// grant is a connection token: for one dial, of one conference.
type grant struct {
	session *session
	expires time.Time
}

// login is what a conference's wrong passwords have led to.
type login struct {
	wrong int
	until time.Time // locked until then
}

// tokens knows every token that was given out. Its mutex is a leaf.
type tokens struct {
	cfg   *Config
	fired *tally

	mu       sync.Mutex
	sessions map[string]*session // by token
	grants   map[string]grant
	logins   map[string]login
	expire   time.Duration // FaultPlan.Expire
	refuse   int           // what is left of FaultPlan.Refuse
	swept    time.Time
}

func newTokens(cfg *Config, fired *tally) *tokens {
	return &tokens{
		cfg: cfg, fired: fired, sessions: make(map[string]*session), grants: make(map[string]grant),
		logins: make(map[string]login), expire: cfg.Faults.Expire, refuse: cfg.Faults.Refuse, swept: time.Now(),
	}
}

// bareToken is a token as it was given out, from either way of sending it: raw, or "Basic " and base64.
func bareToken(sent string) string {
	encoded, basic := strings.CutPrefix(sent, "Basic ")
	if !basic {
		return sent
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return ""
	}
	return string(raw)
}

// mint makes an unguessable token with the prefix that the provider's have.
func (t *tokens) mint(prefix string) string {
	if !t.cfg.Canary.Token.Empty() {
		prefix = t.cfg.Canary.Token.Reveal() + prefix
	}
	b := make([]byte, 24)
	_, _ = rand.Read(b) // never fails
	return prefix + hex.EncodeToString(b)
}

// verdict of a password.
type verdict int

const (
	passwordRight verdict = iota
	passwordWrong
	passwordLocked
)

// check counts wrong passwords, and locks a conference's control after too many.
func (t *tokens) check(conf string, given, right confctl.Secret) verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	l := t.logins[conf]
	switch {
	case now.Before(l.until):
		return passwordLocked
	case given.Equal(right) && !right.Empty():
		delete(t.logins, conf)
		return passwordRight
	}
	l.wrong++
	if l.wrong >= t.cfg.LockAfter {
		l = login{until: now.Add(t.cfg.LockFor)}
	}
	t.logins[conf] = l
	return passwordWrong
}

// open begins a control session and gives its token.
func (t *tokens) open(conf string) (*session, string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep()
	s := &session{conf: conf}
	t.extend(s)
	s.token = t.mint("stb")
	t.sessions[s.token] = s
	return s, s.token
}

func (t *tokens) extend(s *session) {
	now := time.Now()
	s.promised.Store(now.Add(t.cfg.TokenLife).UnixNano())
	if t.expire > 0 && t.expire < t.cfg.TokenLife {
		s.expires.Store(now.Add(t.expire).UnixNano())
	} else {
		s.expires.Store(s.promised.Load())
	}
}

// session finds the living session of a token.
func (t *tokens) session(token string) (*session, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.find(token)
}

func (t *tokens) find(token string) (*session, bool) {
	s, ok := t.sessions[token]
	if !ok {
		return nil, false
	}
	if now := time.Now().UnixNano(); now >= s.expires.Load() {
		if now < s.promised.Load() {
			t.fired.add(faultExpire)
		}
		delete(t.sessions, token)
		return nil, false
	}
	return s, true
}

// refresh keeps a session alive, and gives the token that it has from now on.
func (t *tokens) refresh(token string) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.find(token)
	if !ok {
		return "", false
	}
	t.extend(s)
	if t.cfg.RotateTokens {
		delete(t.sessions, s.token)
		s.token = t.mint("stb")
		t.sessions[s.token] = s
	}
	return s.token, true
}

// grant gives a connection token in a session.
func (t *tokens) grant(s *session) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep()
	token := t.mint("cnr")
	t.grants[token] = grant{session: s, expires: time.Now().Add(t.cfg.WSTokenLife)}
	return token
}

// redeem spends a connection token: good once, in time, for its own conference.
func (t *tokens) redeem(token, conf string) (*session, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g, ok := t.grants[token]
	delete(t.grants, token)
	if !ok || g.session.conf != conf || !time.Now().Before(g.expires) {
		return nil, false
	}
	return g.session, true
}

// drop forgets every session of a conference that has ended.
func (t *tokens) drop(conf string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for token, s := range t.sessions {
		if s.conf == conf {
			delete(t.sessions, token)
		}
	}
	for token, g := range t.grants {
		if g.session.conf == conf {
			delete(t.grants, token)
		}
	}
}

// setPlan changes the faults; without Expire sessions last as long as they promise again.
func (t *tokens) setPlan(p FaultPlan) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire, t.refuse = p.Expire, p.Refuse
	for _, s := range t.sessions {
		until := s.promised.Load()
		if p.Expire > 0 {
			until = min(until, until-int64(t.cfg.TokenLife)+int64(p.Expire))
		}
		s.expires.Store(until)
	}
}

// refused says whether the fault plan refuses this call for a token.
func (t *tokens) refused() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refuse == 0 {
		return false
	}
	t.refuse--
	t.fired.add(faultRefuse)
	return true
}

// sweep forgets what has expired, once a minute, so that nothing grows for ever.
func (t *tokens) sweep() {
	now := time.Now()
	if now.Sub(t.swept) < time.Minute {
		return
	}
	t.swept = now
	for token, s := range t.sessions {
		if now.UnixNano() >= s.expires.Load() {
			delete(t.sessions, token)
		}
	}
	for token, g := range t.grants {
		if !now.Before(g.expires) {
			delete(t.grants, token)
		}
	}
}
