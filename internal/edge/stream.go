package edge

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"confgate/internal/conference"
	"confgate/internal/telemetry"
)

// chunk is how much of an event is written under one deadline, in bytes, so that a client that reads slowly but steadily
// isn't cut off.
const chunk = 4 << 10

// stream is one client's event stream (server-sent events). The goroutine of its request writes it and owns what no other
// word is said about.
type stream struct {
	// immutable
	s       *Server
	session string // names the stream to its client and in logs
	rc      *http.ResponseController
	w       http.ResponseWriter
	conf    string
	view    string
	expires time.Time     // the zero time: never
	wake    chan struct{} // there is something to do

	epoch string // of the positions of what is sent
	buf   []byte

	// for anybody
	cause atomic.Uint32 // closeCause
	beat  atomic.Bool   // a comment is due
	last  atomic.Int64  // nanoseconds from when the server was made to the last beat, by the monotonic clock

	mu   sync.Mutex // a leaf; guards what follows
	cut  bool       // nothing more is written
	over bool       // the request has ended: its socket may be another's
}

func (st *stream) closeCause() closeCause { return closeCause(st.cause.Load()) }

// shut ends the stream after the event that is being written.
func (st *stream) shut(cause closeCause) {
	st.cause.CompareAndSwap(uint32(causeNone), uint32(cause))
	st.Wake()
}

// Wake implements Waker.
func (st *stream) Wake() {
	select {
	case st.wake <- struct{}{}:
	default: // it has been told already
	}
}

// abort cuts the stream, also where a write waits for its client.
func (st *stream) abort() {
	st.shut(causeLost)
	st.mu.Lock()
	defer st.mu.Unlock()
	st.cut = true
	if !st.over {
		_ = st.rc.SetWriteDeadline(time.Unix(1, 0)) // fails for a broken socket only
	}
}

// tick ends a stream whose token has expired, and lets it beat.
func (st *stream) tick(now time.Time, quiet time.Duration) (wait time.Duration) {
	wait = quiet
	if !st.expires.IsZero() {
		left := st.expires.Sub(now)
		if left <= 0 {
			st.shut(causeExpired)
			if left <= -closeWait { // its client may take the rest of an event as slowly as it likes
				st.abort()
			}
			return 0
		}
		wait = min(wait, left)
	}
	since := now.Sub(st.s.started)
	silence := since - time.Duration(st.last.Load())
	if silence >= quiet {
		silence = 0
		st.last.Store(int64(since))
		st.beat.Store(true)
		st.Wake()
	}
	return min(wait, quiet-silence)
}

// events answers with a conference's stream of messages as server-sent events.
func (c *call) events() {
	s, query := c.s, c.r.URL.Query()
	p := c.ident.Scopes.Profile()
	if !c.permitted(c.ident.allows(c.conf, p)) {
		return
	}
	topics, ok := c.topics(query)
	if !ok {
		return
	}
	if !s.pace.allow(true) {
		s.flooded(c.w)
		return
	}
	if cause := s.place(c.ident.Subject); cause != causeNone {
		s.closed(cause)
		tryAgain(c.w.Header())
		status := http.StatusServiceUnavailable
		if cause == causeSubject {
			status = http.StatusTooManyRequests
		}
		problem(c.w, status, closeCauses[cause].reason)
		return
	}
	now := time.Now()
	st := &stream{
		s: s, session: rand.Text(), rc: http.NewResponseController(c.w), w: c.w, conf: c.conf,
		view: conference.View(topics, p), expires: c.ident.deadline(now), wake: make(chan struct{}, 1),
	}
	st.last.Store(int64(now.Sub(s.started)))
	defer s.release(st, c.ident.Subject, true)
	defer st.end()
	sub, err := c.attach(st, topics, p)
	if err != nil {
		c.failed("events failed", err)
		return
	}
	defer sub.Close()
	s.register(st)
	s.cfg.Metrics.Connections(1)
	defer s.cfg.Metrics.Connections(-1)
	s.cfg.Metrics.Subscriptions(1)
	defer s.cfg.Metrics.Subscriptions(-1)
	st.run(c.r.Context(), c.ident, topics, sub)
	s.closed(st.closeCause())
}

// place finds a place for a stream; one that is refused needs none.
func (s *Server) place(subject string) closeCause {
	cause, status := s.admit(causeNone, subject)
	switch {
	case cause == causeNone && status != 0:
		return causeLeaving
	case cause != causeNone && status == 0:
		s.release(nil, subject, false)
	}
	return cause
}

// attach subscribes where the client left off, if that can be.
func (c *call) attach(st *stream, topics conference.Topics, p conference.Profile) (Subscription, error) {
	req := Request{Conference: c.conf, Topics: topics, Profile: p, Wake: st}
	if pos, view, ok := splitPosition(c.r.Header.Get("Last-Event-ID")); ok {
		if view == st.view {
			req.Resume, st.epoch = &pos, pos.Epoch
		} else {
			req.NotBefore = &pos
		}
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), subscribeWait)
	defer cancel()
	sub, err := c.s.cfg.Source.Subscribe(ctx, req)
	if err != nil && ctx.Err() != nil && c.r.Context().Err() == nil {
		return nil, ErrUnavailable
	}
	return sub, err
}

// run writes the stream until it is over.
func (st *stream) run(ctx context.Context, ident Identity, topics conference.Topics, sub Subscription) {
	h := st.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "private, no-cache")
	h.Set("Connection", "close")     // its deadlines would stay with the socket
	h.Set("X-Accel-Buffering", "no") // some proxies hold answers back
	if nc, ok := ctx.Value(socketKey{}).(net.Conn); ok {
		boundSocket(nc)
	}
	st.w.WriteHeader(http.StatusOK)
	// Clients that lost their worker come back spread over two seconds.
	st.buf = append(strconv.AppendInt([]byte("retry: "), 1000+mrand.Int64N(2000), 10), "\n\n"...)
	st.message(typeWelcome, "", appendWelcome(nil, welcome{
		worker: st.s.cfg.WorkerID, session: st.session, now: time.Now(), heartbeat: st.s.cfg.Heartbeat,
		scopes: ident.Scopes, expires: ident.Expires,
	}))
	st.message(typeSubscribed, "", appendSubscribed(nil, "", st.conf, topics, st.view, sub.Recovered()))
	for st.flush() && st.pump(sub) {
		select {
		case <-st.wake:
		case <-ctx.Done():
			st.shut(causeClient)
		}
	}
}

// pump writes what there is; false: the stream is over.
func (st *stream) pump(sub Subscription) bool {
	for st.closeCause() == causeNone {
		if st.beat.Swap(false) {
			st.buf = append(st.buf, ":\n\n"...)
		}
		f, ok := sub.Next()
		switch {
		case !ok:
			return st.flush()
		case f.Released:
			st.message(typeUnsubscribed, "", appendUnsubscribed(nil, "", st.conf, reasonReleased))
			st.shut(causeReleased)
			return st.flush()
		}
		if !st.frame(f) {
			return false
		}
	}
	return false
}

// frame writes what a feed encoded; false: the client takes nothing any more.
func (st *stream) frame(f Frame) bool {
	batch := []json.RawMessage{f.Bytes}
	if f.Bytes[0] == '[' {
		batch = nil
		if err := json.Unmarshal(f.Bytes, &batch); err != nil { // the feed's own bytes
			st.s.cfg.Log.Error("frame is broken", telemetry.Conference(st.conf), zap.Error(err))
			return false
		}
	}
	for _, msg := range batch {
		typ, epoch, seq, placed := head(msg)
		if epoch != "" {
			st.epoch = epoch
		}
		id := ""
		if placed {
			id = position(conference.Position{Epoch: st.epoch, Seq: seq}, st.view)
		}
		st.event(typ, id, msg)
	}
	size := len(st.buf)
	if !st.flush() {
		return false
	}
	m := st.s.cfg.Metrics
	if !f.Received.IsZero() {
		m.Latency("deliver", time.Since(f.Received))
	}
	for _, mc := range f.Messages {
		m.Sent(mc.Type, mc.N, size)
		size = 0 // counted once a frame
	}
	if f.Snapshot != "" {
		m.Snapshot(f.Snapshot)
	}
	return true
}

// message adds one message of the stream's own.
func (st *stream) message(typ, id string, msg []byte) {
	st.event(typ, id, msg)
	st.s.cfg.Metrics.Sent(typ, 1, len(msg))
}

// event adds an event to what flush writes.
func (st *stream) event(typ, id string, data []byte) {
	b := append(append(st.buf, "event: "...), typ...)
	if id != "" {
		b = append(append(b, "\nid: "...), id...)
	}
	b = append(b, "\ndata: "...)
	start := len(b)
	b = append(b, data...)
	if bytes.ContainsAny(data, "\r\n") { // between members, where any white space will do: strings have escapes
		for i, ch := range b[start:] {
			if ch == '\r' || ch == '\n' {
				b[start+i] = ' '
			}
		}
	}
	st.buf = append(b, "\n\n"...)
}

// flush writes what was added; false: the client takes nothing any more, or has gone.
func (st *stream) flush() bool {
	b := st.buf
	defer func() {
		if st.buf = st.buf[:0]; cap(st.buf) > keepBuffer {
			st.buf = nil
		}
	}()
	for len(b) > 0 {
		n := min(len(b), chunk)
		if !st.arm() {
			return false
		}
		if _, err := st.w.Write(b[:n]); err != nil {
			return st.lost(err)
		}
		b = b[n:]
		if err := st.rc.Flush(); err != nil {
			return st.lost(err)
		}
	}
	return true
}

// arm gives the next write its time; false: there is to be none.
func (st *stream) arm() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return !st.cut && st.rc.SetWriteDeadline(time.Now().Add(st.s.cfg.WriteStall)) == nil
}

// lost notes why a write failed.
func (st *stream) lost(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) && st.closeCause() == causeNone {
		st.shut(causeSlow)
		st.s.warnSparsely("client closed", telemetry.Client(st.session), telemetry.Reason(causeSlow.metric()))
	}
	st.shut(causeLost)
	return false
}

// end gives the socket back, with some time for what ends the answer.
func (st *stream) end() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.over = true
	if !st.cut && st.closeCause() != causeSlow {
		_ = st.rc.SetWriteDeadline(time.Now().Add(closeWait))
	}
}

// head reads what an event's name and id are made of from the beginning of a message, which may be large: a message of the
// Encoder has its body last.
func head(msg []byte) (typ, epoch string, seq uint64, placed bool) {
	dec := json.NewDecoder(bytes.NewReader(msg))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return "", "", 0, false
	}
	for !placed {
		key, err := dec.Token()
		if err != nil || key == json.Delim('}') {
			break
		}
		switch key {
		case "type":
			err = dec.Decode(&typ)
		case "epoch":
			err = dec.Decode(&epoch)
		case "seq":
			err = dec.Decode(&seq)
			placed = err == nil
		default:
			var skipped json.RawMessage
			err = dec.Decode(&skipped)
		}
		if err != nil {
			break
		}
	}
	return typ, epoch, seq, placed
}

type socketKey struct{}

// ConnContext is for http.Server.ConnContext: it lets event streams bound what waits for them in the kernel.
func ConnContext(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, socketKey{}, nc)
}
