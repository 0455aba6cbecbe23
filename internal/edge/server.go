package edge

import (
	"context"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"confgate/internal/telemetry"
)

// Defaults of Config.
const (
	// DefaultMaxConnections keeps a worker's idle clients within about half a gigabyte.
	DefaultMaxConnections = 20000
	// DefaultHeartbeat is below the 30 s after which many proxies cut a silent connection.
	DefaultHeartbeat = 25 * time.Second
	// DefaultWriteStall is how long a client may take nothing at all.
	DefaultWriteStall = 30 * time.Second
	// DefaultMaxSubscriptions is a client's share of conferences.
	DefaultMaxSubscriptions = 256
	// DefaultMessageRate is a client's share of messages a second; twice that may come at once.
	DefaultMessageRate = 50
	// MaxMessage is what the protocol promises: the largest message of a client, in bytes.
	MaxMessage = 64 << 10
	// DefaultRequestRate is a token subject's share of REST requests a second; twice that may come at once.
	DefaultRequestRate = 50
	// DefaultHandshakeRate lets the 20000 clients of a worker that has gone come back within 20 s, and leaves the others most
	// of a core meanwhile; twice that may come at once.
	DefaultHandshakeRate = 1000
)

// Fixed limits.
const (
	// closeWait is how long a client may take to answer a close frame, and a stalled one to let its frame be finished.
	closeWait = 5 * time.Second
	// subscribeWait ends a subscribe that a Source, against its promise of 2 s, doesn't.
	subscribeWait = 3 * time.Second
	// maxTick is the coarsest step of the heartbeat and of the expiry of tokens.
	maxTick = time.Second
	// maxRefused is how many refused handshakes may linger in their close handshake.
	maxRefused = 1024
	// patience is how many messages beyond the rate are answered before the connection is closed; one a second is forgiven.
	patience = 100
)

// Config is what a Server needs. Of the limits, zero means the default and a negative value none.
type Config struct {
	Source  Source             // must be there
	Auth    Authenticator      // must be there
	Metrics *telemetry.Metrics // nil: none
	Log     *zap.Logger        // nil: none
	// Page answers GET and HEAD of every path outside /v1/; nil: there is no page.
	Page http.Handler
	// AllowedOrigins are the browser origins admitted besides the same host; see CheckOrigin.
	AllowedOrigins []string
	// Registry is what PUT and DELETE of a conference change; nil: they are answered with 501.
	Registry         Registry
	WorkerID         string
	MaxConnections   int           // event streams count too
	MaxPerSubject    int           // connections a token subject; zero: none, since programs may share a subject
	MaxSubscriptions int           // a client
	MessageRate      int           // messages a second a client
	MaxMessage       int           // bytes of a client's message; zero, or more than the constant: the constant
	RequestRate      int           // REST requests a second a token subject
	HandshakeRate    int           // connections a second that are begun
	Heartbeat        time.Duration // zero or less: the default
	WriteStall       time.Duration // zero or less: the default
}

// Server serves clients. Its Handler works as soon as it is made; heartbeats and expiry need Run.
type Server struct {
	cfg     Config
	origins origins
	started time.Time
	warn    *rate.Limiter // of log lines that clients can cause
	pace    pace
	gzips   sync.Pool // of *gzip.Writer
	shared  *shared
	tidier  tidier
	buffers sync.Pool // of *[]byte, for messages of clients

	mu       sync.Mutex             // a leaf; guards what follows
	conns    map[peer]time.Duration // with when tick is due, counted from when the server was made
	subjects map[string]*subject
	active   int // admitted, from before their upgrade on
	refused  int // in their close handshake
	draining bool
	cutting  bool          // connections that are only now complete are cut
	gone     chan struct{} // closed, and made anew, when a connection has gone
}

// New makes a Server and starts nothing.
func New(cfg Config) *Server {
	limit := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	limit(&cfg.MaxConnections, DefaultMaxConnections)
	limit(&cfg.MaxSubscriptions, DefaultMaxSubscriptions)
	limit(&cfg.MessageRate, DefaultMessageRate)
	limit(&cfg.RequestRate, DefaultRequestRate)
	limit(&cfg.HandshakeRate, DefaultHandshakeRate)
	if cfg.MaxMessage <= 0 || cfg.MaxMessage > MaxMessage {
		cfg.MaxMessage = MaxMessage
	}
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = DefaultHeartbeat
	}
	if cfg.WriteStall <= 0 {
		cfg.WriteStall = DefaultWriteStall
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	return &Server{
		cfg:     cfg,
		origins: newOrigins(cfg.AllowedOrigins),
		started: time.Now(),
		warn:    rate.NewLimiter(rate.Every(10*time.Second), 3),
		pace:    newPace(cfg.HandshakeRate),
		shared:  newShared(cfg.Metrics),

		conns:    make(map[peer]time.Duration),
		subjects: make(map[string]*subject),
		gone:     make(chan struct{}),
	}
}

// peer is a connection or an event stream, as the server's ticker and its end see it. Any goroutine may call its methods.
type peer interface {
	// tick is called by the server's ticker. quiet is after how long without a heartbeat one is due. wait is for how long
	// there is nothing to do, unless Server.look is called.
	tick(now time.Time, quiet time.Duration) (wait time.Duration)
	shut(cause closeCause) // ends it in order
	abort()                // cuts it
}

// Handler is what clients reach.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		harden(w.Header())
		switch {
		case r.URL.Path == "/v1/ws":
			if r.Method != http.MethodGet {
				w.Header().Set("Allow", "GET")
				problem(w, http.StatusMethodNotAllowed, "a WebSocket begins with GET")
				return
			}
			s.serveWS(w, r)
		case r.URL.Path == listPath || strings.HasPrefix(r.URL.Path, listPath+"/"):
			s.serveREST(w, r)
		case s.cfg.Page == nil || r.URL.Path == "/v1" || strings.HasPrefix(r.URL.Path, "/v1/"):
			problem(w, http.StatusNotFound, "there is nothing at this path")
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			problem(w, http.StatusMethodNotAllowed, "pages are only read")
		default:
			s.cfg.Page.ServeHTTP(w, r)
		}
	})
}

// serveWS serves one connection to its end. What a page couldn't see as an HTTP status is told by a close code.
func (s *Server) serveWS(w http.ResponseWriter, r *http.Request) {
	if status, detail := checkUpgrade(r); status != 0 {
		if status == http.StatusUpgradeRequired {
			w.Header().Set("Upgrade", "websocket")
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Sec-WebSocket-Version", "13")
		}
		problem(w, status, detail)
		return
	}
	if !s.origins.allow(r) {
		s.warnSparsely("client refused", telemetry.Reason("origin"))
		problem(w, http.StatusForbidden, "pages of this origin are not admitted")
		return
	}
	ident, cause := s.screen(r)
	if !s.pace.allow(cause == causeNone) {
		s.flooded(w)
		return
	}
	cause, status := s.admit(cause, ident.Subject)
	if status != 0 {
		w.Header().Set("Retry-After", "5")
		problem(w, status, "no connection can be taken now, not even to say why")
		return
	}
	c := newConn(s, ident)
	admitted := cause == causeNone
	c.setCause(cause)
	ws, err := c.accept(w, r)
	if err != nil { // answered by the library, or the client has gone
		s.release(c, ident.Subject, admitted)
		return
	}
	s.register(c)
	s.tidier.made.Add(1)
	if admitted {
		s.cfg.Metrics.Connections(1)
	}
	c.greet()
	// A goroutine of its own, so that the request, its buffers and the stack of its handler are let go.
	go s.run(c, ws, ident.Subject, admitted)
}

// run serves a connection that was upgraded.
func (s *Server) run(c *conn, ws *websocket.Conn, subject string, admitted bool) {
	c.serve(ws)
	if admitted {
		s.cfg.Metrics.Connections(-1)
	}
	s.closed(c.closeCause())
	s.release(c, subject, admitted)
}

// screen looks at what the client brings.
func (s *Server) screen(r *http.Request) (Identity, closeCause) {
	ours, token := offer(r.Header)
	if !ours {
		return Identity{}, causeSubprotocol
	}
	ident, err := s.cfg.Auth.Authenticate(r.Context(), token)
	if err != nil {
		return Identity{}, causeToken
	}
	return ident, causeNone
}

// register makes a connection known to Run and Drain.
func (s *Server) register(p peer) {
	s.mu.Lock()
	s.conns[p] = 0
	draining, cutting := s.draining, s.cutting
	s.mu.Unlock()
	if draining { // began since admit
		p.shut(causeLeaving)
	}
	if cutting {
		p.abort()
	}
}

// connections lists those that are open.
func (s *Server) connections() []peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.conns))
}

// tick gives those a tick that are due, which are few: to look at a quiet connection is to wait for its memory. buf is what
// it works in.
func (s *Server) tick(now time.Time, quiet time.Duration, buf []peer) []peer {
	since := now.Sub(s.started)
	buf = buf[:0]
	s.mu.Lock()
	for p, due := range s.conns {
		if due <= since {
			s.conns[p] = math.MaxInt64 // less: look was called meanwhile
			buf = append(buf, p)
		}
	}
	s.mu.Unlock()
	for i, p := range buf {
		s.dueAt(p, since+p.tick(now, quiet))
		buf[i] = nil // what has gone shall not be kept
	}
	return buf
}

// look has a peer's next tick be one at which it is looked at, since there may be something to do earlier than it said.
func (s *Server) look(p peer) { s.dueAt(p, 0) }

// dueAt brings a peer's time forward, unless it has gone.
func (s *Server) dueAt(p peer, at time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if due, ok := s.conns[p]; ok {
		s.conns[p] = min(due, at)
	}
}

// wait returns when what left counts, under the lock, has gone; with ctx's cause if that is done before.
func (s *Server) wait(ctx context.Context, left func() int) error {
	for {
		s.mu.Lock()
		n, gone := left(), s.gone
		s.mu.Unlock()
		if n == 0 {
			return nil
		}
		select {
		case <-gone:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Run sends heartbeats and ends connections whose token has expired, until ctx is done. Then it cuts what connections are
// left, without a close frame, admits no more, and returns nil when their goroutines have ended.
func (s *Server) Run(ctx context.Context) error {
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx))
	var writers sync.WaitGroup
	writers.Go(func() { s.shared.run(writing) })
	defer writers.Wait()
	defer stopWriting()
	tick := min(maxTick, s.cfg.Heartbeat/5)
	t := time.NewTicker(tick)
	defer t.Stop()
	var buf []peer
	swept := s.started
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case now := <-t.C:
			buf = s.tick(now, s.cfg.Heartbeat-tick*3/2, buf) // so that the next tick is in time for sure
			if s.tidier.due(now, liveHeap) {
				writers.Go(tidy)
			}
			if now.Sub(swept) >= sweepEvery {
				swept = now
				s.sweep(now)
			}
		}
	}
	s.cut()
	return nil
}

// cut breaks all connections, those being upgraded too, and waits for their end.
func (s *Server) cut() {
	s.mu.Lock()
	s.draining, s.cutting = true, true
	s.mu.Unlock()
	for _, c := range s.connections() {
		c.abort()
	}
	_ = s.wait(context.Background(), func() int { return s.active + s.refused })
}

// Drain refuses new clients and closes those that are there with 1001, evenly over spread, so that they don't all come to
// another worker at once. It returns when all have gone; those still there when ctx is done are cut, and its cause is the
// error. Run must go on meanwhile.
func (s *Server) Drain(ctx context.Context, spread time.Duration) error {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	conns := s.connections()
	start := time.Now()
	s.cfg.Log.Info("moving clients away", zap.Int("clients", len(conns)), telemetry.Delay(spread))
	for i, c := range conns {
		due := time.Until(start.Add(spread * time.Duration(i) / time.Duration(len(conns))))
		if due > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(due):
			}
		}
		c.shut(causeLeaving)
	}
	// Who is refused meanwhile isn't waited for: there may be always somebody.
	if err := s.wait(ctx, func() int { return s.active }); err != nil {
		s.cfg.Log.Warn("clients cut, they were not gone in time", zap.Int("clients", len(s.connections())))
		s.cut()
		return err
	}
	return nil
}

// warnSparsely logs what clients can cause, a few lines at the most.
func (s *Server) warnSparsely(msg string, fields ...zap.Field) {
	if s.warn.Allow() {
		s.cfg.Log.Warn(msg, fields...)
	}
}
