package gateway

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"

	"confgate/internal/edge"
	"confgate/internal/telemetry"
)

// sockets bounds clients' sockets that have no request under way: whoever opens many and sends nothing, or slowly, or keeps
// them after an answer, must not take all that there are. Those between two requests give way to others; their clients
// just open another. WebSockets aren't kept here.
type sockets struct {
	most    int // negative: no limit
	metrics *telemetry.Metrics

	mu      sync.Mutex // a leaf; guards what follows
	open    map[net.Conn]*socket
	waiting int       // those of open that aren't served
	idle    list.List // of net.Conn; the one that is idle for longest comes first
}

// socket is one that is open and no WebSocket.
type socket struct {
	stage stage
	idle  *list.Element // in stageIdle
}

type stage int

const (
	stageSilent   stage = iota
	stageBegun          // something of a request has come
	stageServed         // the handler has the request
	stageAnswered       // the handler is done; what is left of the body is awaited, and the answer is sent
	stageIdle           // between two requests
)

func newSockets(most int, metrics *telemetry.Metrics) *sockets {
	return &sockets{most: most, metrics: metrics, open: make(map[net.Conn]*socket)}
}

type socketKey struct{}

// guard makes a server tell of its sockets. It is for HTTP/1, where a socket has one request at a time.
func (s *sockets) guard(srv *http.Server) *http.Server {
	h := srv.Handler
	srv.ConnState = s.moved
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(edge.ConnContext(ctx, c), socketKey{}, c)
	}
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := r.Context().Value(socketKey{}).(net.Conn)
		s.enter(c, stageServed)
		h.ServeHTTP(w, r)
		s.enter(c, stageAnswered)
	})
	return srv
}

// moved is called by the server for every socket that changes its state.
func (s *sockets) moved(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.add(c)
	case http.StateActive: // comes for a whole header and for a part of one
		s.enter(c, stageBegun)
	case http.StateIdle:
		s.enter(c, stageIdle)
	case http.StateClosed, http.StateHijacked:
		s.mu.Lock()
		k := s.open[c]
		s.forget(c)
		s.mu.Unlock()
		if k != nil && k.stage == stageBegun { // and yet no handler saw it: it was too long, too slow or broken
			s.metrics.Refused(telemetry.LimitHeader)
		}
	}
}

// add takes a new socket, in place of an idle one if there must be, or closes it.
func (s *sockets) add(c net.Conn) {
	s.mu.Lock()
	var gone net.Conn
	limit := telemetry.LimitIdle
	if s.most >= 0 && s.waiting >= s.most {
		gone = s.oldestIdle()
	}
	if s.most < 0 || s.waiting < s.most {
		s.open[c] = &socket{}
		s.waiting++
	} else {
		gone, limit = c, telemetry.LimitPending
	}
	s.mu.Unlock()
	s.refuse(gone, limit)
}

// enter brings a socket to a stage, unless it was let go of. Beyond the bound it takes the place of an idle one; it may be
// that itself.
func (s *sockets) enter(c net.Conn, to stage) {
	s.mu.Lock()
	k := s.open[c]
	if k == nil {
		s.mu.Unlock()
		return
	}
	s.leave(k)
	k.stage = to
	if to != stageServed {
		s.waiting++
	}
	if to == stageIdle {
		k.idle = s.idle.PushBack(c)
	}
	var gone net.Conn
	if s.most >= 0 && s.waiting > s.most {
		gone = s.oldestIdle()
	}
	s.mu.Unlock()
	s.refuse(gone, telemetry.LimitIdle)
}

// leave ends a socket's stage. The lock is held.
func (s *sockets) leave(k *socket) {
	if k.stage != stageServed {
		s.waiting--
	}
	if k.idle != nil {
		s.idle.Remove(k.idle)
		k.idle = nil
	}
}

// forget lets go of a socket. The lock is held.
func (s *sockets) forget(c net.Conn) {
	if k := s.open[c]; k != nil {
		s.leave(k)
		delete(s.open, c)
	}
}

// oldestIdle lets go of the socket that is idle for longest, and gives it to be closed; nil if none is. The lock is held.
func (s *sockets) oldestIdle() net.Conn {
	e := s.idle.Front()
	if e == nil {
		return nil
	}
	c, _ := e.Value.(net.Conn)
	s.forget(c)
	return c
}

// refuse closes a socket, if it isn't nil, for a limit.
func (s *sockets) refuse(c net.Conn, limit string) {
	if c != nil {
		s.metrics.Refused(limit)
		_ = c.Close()
	}
}
