package gateway

import (
	"context"
	"net"
	"net/http"
	"sync"

	"confgate/internal/edge"
	"confgate/internal/telemetry"
)

// sockets watches clients' sockets until their first request has come: whoever opens many and sends nothing, or sends
// slowly, must not take all that there are.
type sockets struct {
	most    int // negative: no limit
	metrics *telemetry.Metrics

	mu      sync.Mutex        // a leaf
	pending map[net.Conn]bool // true: a request was begun
}

func newSockets(most int, metrics *telemetry.Metrics) *sockets {
	return &sockets{most: most, metrics: metrics, pending: make(map[net.Conn]bool)}
}

type socketKey struct{}

// guard makes a server tell of its sockets.
func (s *sockets) guard(srv *http.Server) *http.Server {
	h := srv.Handler
	srv.ConnState = s.moved
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(edge.ConnContext(ctx, c), socketKey{}, c)
	}
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(socketKey{}).(net.Conn); ok {
			s.mu.Lock()
			delete(s.pending, c)
			s.mu.Unlock()
		}
		h.ServeHTTP(w, r)
	})
	return srv
}

// moved is called by the server for every socket that changes its state.
func (s *sockets) moved(c net.Conn, state http.ConnState) {
	limit := ""
	s.mu.Lock()
	begun, pending := s.pending[c]
	switch state {
	case http.StateNew:
		if s.most >= 0 && len(s.pending) >= s.most {
			limit = telemetry.LimitPending
		} else {
			s.pending[c] = false
		}
	case http.StateActive: // comes for a whole header and for a part of one
		if pending {
			s.pending[c] = true
		}
	case http.StateClosed, http.StateHijacked:
		if begun { // and yet no handler saw it: it was too long, too slow or broken
			limit = telemetry.LimitHeader
		}
		delete(s.pending, c)
	case http.StateIdle: // between two requests
	}
	s.mu.Unlock()
	if limit != "" {
		s.metrics.Refused(limit)
	}
	if limit == telemetry.LimitPending {
		_ = c.Close()
	}
}
