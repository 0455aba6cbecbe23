package edge

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/time/rate"

	"confgate/internal/telemetry"
)

// sweepEvery is how often subjects of whom nothing is left to remember are forgotten.
const sweepEvery = 10 * time.Second

// pace limits how many connections are begun a second. Those without a good token have a share of their own, so that a
// flood of them keeps nobody else out.
type pace struct{ good, bad *rate.Limiter }

func newPace(perSecond int) pace {
	if perSecond < 0 {
		return pace{rate.NewLimiter(rate.Inf, 0), rate.NewLimiter(rate.Inf, 0)}
	}
	// A refused one costs about as much as one that is let in: it passes through a close handshake.
	refused := max(1, perSecond/4)
	return pace{
		rate.NewLimiter(rate.Limit(perSecond), 2*perSecond),
		rate.NewLimiter(rate.Limit(refused), 2*refused),
	}
}

func (p pace) allow(good bool) bool {
	if good {
		return p.good.Allow()
	}
	return p.bad.Allow()
}

// subject is what is remembered of a token's subject; guarded by Server.mu.
type subject struct {
	connections int
	requests    *rate.Limiter
}

// subject finds or makes the record of a subject; the caller holds mu.
func (s *Server) subject(name string) *subject {
	sub := s.subjects[name]
	if sub == nil {
		sub = &subject{requests: rate.NewLimiter(rate.Inf, 0)}
		if n := s.cfg.RequestRate; n > 0 {
			sub.requests = rate.NewLimiter(rate.Limit(n), 2*n)
		}
		s.subjects[name] = sub
	}
	return sub
}

// mayRequest counts a REST request of a subject against its rate.
func (s *Server) mayRequest(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.subject(name).requests.Allow()
}

// sweep forgets the subjects that are as good as new, which bounds how many there are.
func (s *Server) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, sub := range s.subjects {
		if sub.connections == 0 && sub.requests.TokensAt(now) >= float64(sub.requests.Burst()) {
			delete(s.subjects, name)
		}
	}
}

// admit finds a place for a connection: as a client, or, with the cause it returns, for its close handshake only. Where
// there is none either, the HTTP status says so; else it is 0, and the place has to be released.
func (s *Server) admit(cause closeCause, name string) (_ closeCause, status int) {
	s.mu.Lock()
	switch {
	case s.draining:
		cause = causeLeaving
	case cause == causeNone && s.cfg.MaxConnections >= 0 && s.active >= s.cfg.MaxConnections:
		cause = causeFull
	case cause == causeNone && s.cfg.MaxPerSubject > 0 && s.subject(name).connections >= s.cfg.MaxPerSubject:
		cause = causeSubject
	}
	switch {
	case s.cutting:
		status = http.StatusServiceUnavailable
	case cause == causeNone:
		s.active++
		s.subject(name).connections++
	case s.refused >= maxRefused:
		status = http.StatusTooManyRequests
	default:
		s.refused++
	}
	s.mu.Unlock()
	if cause == causeFull {
		s.warnSparsely("client refused", telemetry.Reason(cause.metric()))
	}
	return cause, status
}

// release gives back the place that admit found.
func (s *Server) release(p peer, name string, admitted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, p)
	if admitted {
		s.active--
		s.subject(name).connections--
	} else {
		s.refused--
	}
	close(s.gone)
	s.gone = make(chan struct{})
}

// closed counts why a connection ended, and the limit that it met if it met one.
func (s *Server) closed(cause closeCause) {
	s.cfg.Metrics.Closed(cause.metric())
	if limit := cause.limit(); limit != "" {
		s.cfg.Metrics.Refused(limit)
	}
}

// limit is the limit behind a cause; empty where there is none.
func (c closeCause) limit() string {
	switch c {
	case causeFull:
		return telemetry.LimitConnections
	case causeSubject:
		return telemetry.LimitSubjectConnections
	case causeTooLarge:
		return telemetry.LimitMessageSize
	case causeFlood:
		return telemetry.LimitMessages
	default:
		return ""
	}
}

// flooded refuses to begin a connection.
func (s *Server) flooded(w http.ResponseWriter) {
	s.cfg.Metrics.Refused(telemetry.LimitHandshakes)
	s.warnSparsely("handshakes refused", telemetry.Reason(telemetry.LimitHandshakes))
	tryAgain(w.Header())
	problem(w, http.StatusTooManyRequests, "too many connections are being opened here, try again later")
}

// tryAgain asks a client to come back in 1 to 5 s, and not all of them at once.
func tryAgain(h http.Header) { h.Set("Retry-After", strconv.Itoa(1+rand.IntN(5))) }
