package edge

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"confgate/internal/telemetry"
)

const (
	// maxQueue is how many items may wait for the writer before the reader waits too. What subscribes in flight add is
	// bounded by maxPending.
	maxQueue = 256
	// maxPending is how many subscribes and unsubscribes of a connection may be waiting for the Source.
	maxPending = 256
	// keepBuffer is the largest buffer of a message that is kept for the next one, in bytes.
	keepBuffer = 4 << 10
)

// conn is one client's connection.
//
// What each delivery touches comes first and fills three cache lines: in a conference that was quiet every line is a wait,
// for each of its clients. Who wakes the writer needs the first two of them.
type conn struct {
	next     *conn         // on the stack of the shared writer; of whoever pushes or takes it
	writer   *sharedWriter // set by accept, then immutable; nil: the socket can't be tried
	s        *Server       // immutable
	lastSent atomic.Int64  // nanoseconds since the server was made, by the monotonic clock
	state    atomic.Uint32 // of the writer
	cause    atomic.Uint32 // closeCause
	ended    atomic.Bool   // the reader has ended
	errands  atomic.Bool   // there may be something in queue, pong or beat; raised after them
	turn     int32         // whose turn it is in subs; of the writer
	mute     bool          // a close frame was sent or the socket is broken: nothing more is written; of the writer

	subs []*live     // of the writer
	one  [1]*live    // what subs is of most connections
	home live        // of the first subscription
	out  frameWriter // set by accept, of the writer

	// From here on nothing is touched by a delivery.

	// immutable
	session string        // names the connection to its client and in logs
	nc      net.Conn      // the socket, set by accept
	half    *readHalf     // what the library reads, set by accept
	space   chan struct{} // told when the writer has taken the queue
	cleaned chan struct{} // closed when the writer has ended for good

	// owned by the reader
	ident     Identity
	rate      *rate.Limiter
	tolerated *rate.Limiter  // messages beyond the rate
	buf       *[]byte        // while a message is handled
	asks      sync.WaitGroup // goroutines in which subscribes wait

	// owned by the writer
	granted Identity // ident as of the last item done

	// for anybody
	beat    atomic.Bool  // a heartbeat is due
	expires atomic.Int64 // Unix nanoseconds at which the token ends the connection; 0: never

	mu      sync.Mutex // a leaf, held for a few instructions; guards what follows
	queue   []item
	slots   map[string]*slot // by conference
	pending int              // operations in all slots
	pong    []byte           // a control frame's payload; the newest is enough (RFC 6455, section 5.5.3)
	echo    []byte           // the close frame's payload that the client sent
	closed  bool             // the writer takes no more items
	leaving bool             // no subscribe waits any more
	housed  bool             // home is taken
}

func newConn(s *Server, ident Identity) *conn {
	now := time.Now()
	c := &conn{
		s:         s,
		session:   rand.Text(),
		space:     make(chan struct{}, 1),
		cleaned:   make(chan struct{}),
		ident:     ident,
		granted:   ident,
		rate:      rate.NewLimiter(rate.Inf, 0),
		tolerated: rate.NewLimiter(1, patience),
		slots:     make(map[string]*slot),
	}
	if n := s.cfg.MessageRate; n > 0 {
		c.rate = rate.NewLimiter(rate.Limit(n), 2*n)
	}
	c.subs = c.one[:0]
	c.sentAt(now)
	c.expireAt(ident.deadline(now))
	return c
}

// sentAt notes when something was sent last.
func (c *conn) sentAt(t time.Time) { c.lastSent.Store(int64(t.Sub(c.s.started))) }

func (c *conn) expireAt(t time.Time) {
	if t.IsZero() {
		c.expires.Store(0)
		return
	}
	c.expires.Store(t.UnixNano())
}

// greet says welcome, or has the writer say why not.
func (c *conn) greet() {
	if c.closeCause() == causeNone {
		c.reply(typeWelcome, c.appendWelcome(nil, "", c.ident))
	} else {
		c.kick()
	}
}

// serve runs the connection until it has ended and none of its goroutines is left. Its own goroutine does no more than wait
// for something to read, so that it never needs more than the smallest stack there is, 2 KiB: one that has grown to 4 is
// never made smaller again. What is read is worked off by a goroutine that goes when there is no more.
func (c *conn) serve(ws *websocket.Conn) {
	over := make(chan bool, 1)
	for {
		c.await()
		go func() { over <- c.work(ws) }()
		if <-over {
			return
		}
	}
}

// work takes the messages that are there. True: that was the connection's end.
func (c *conn) work(ws *websocket.Conn) (over bool) {
	for {
		if err := c.read(ws); err != nil {
			c.asksOver()
			c.end(ws, err)
			c.asks.Wait()
			return true
		}
		if c.mustWait() {
			return false
		}
	}
}

// end has the writer say the last word, if there is one and the client still listens, and closes the socket.
func (c *conn) end(ws *websocket.Conn, err error) {
	broken := false
	switch {
	case websocket.CloseStatus(err) != -1:
		c.setCause(causeClient)
	case gone(err):
		c.setCause(causeLost)
		c.abort()
	default:
		broken = true
		c.setCause(causeFraming)
	}
	c.ended.Store(true)
	c.kick()
	late := time.AfterFunc(closeWait, c.abort)
	<-c.cleaned
	late.Stop()
	if broken {
		c.linger()
	}
	c.abort()
	_ = ws.CloseNow() // frees what the library holds; the socket is closed
}

// gone says whether reading ended since the socket did, not by what was read.
func gone(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, net.ErrClosed)
}

// linger lets a close frame reach a client of whom not everything was read: closing at once would reset the connection
// and might take the frame with it.
func (c *conn) linger() {
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = c.nc.SetReadDeadline(time.Now().Add(closeWait))
		_, _ = io.Copy(io.Discard, c.nc)
	}
}

// abort cuts the connection without a word. Any goroutine may call it.
func (c *conn) abort() { _ = c.nc.Close() }

// setCause says why the connection ends, unless that was said before.
func (c *conn) setCause(cause closeCause) { c.cause.CompareAndSwap(uint32(causeNone), uint32(cause)) }

func (c *conn) closeCause() closeCause { return closeCause(c.cause.Load()) }

// shut ends the connection with a close frame. Any goroutine may call it.
func (c *conn) shut(cause closeCause) {
	c.setCause(cause)
	c.kick()
}

// tick implements peer. quiet is after how long without a message a heartbeat is due.
func (c *conn) tick(now time.Time, quiet time.Duration) (wait time.Duration) {
	if c.closeCause() != causeNone {
		return quiet
	}
	wait = quiet
	if at := c.expires.Load(); at != 0 {
		if wait = min(wait, time.Duration(at-now.UnixNano())); wait <= 0 {
			c.shut(causeExpired)
			return quiet
		}
	}
	silence := now.Sub(c.s.started) - time.Duration(c.lastSent.Load())
	if silence >= quiet {
		c.beat.Store(true)
		c.errand()
	}
	return min(wait, quiet-silence)
}

// control takes a control frame that the library wants to send, in the reader's goroutine: an answer to a ping or to a
// close frame, or a close frame over broken framing.
func (c *conn) control(frame []byte) {
	payload := append([]byte{}, frame[2:]...) // a control frame's header is two bytes
	op := frame[0] & 0xF
	if op == opPong && !c.rate.Allow() && !c.tolerated.Allow() { // pings count as messages
		c.setCause(causeFlood)
	}
	c.mu.Lock()
	switch op {
	case opPong:
		c.pong = payload
	case opClose:
		c.echo = payload
	}
	c.mu.Unlock()
	c.errand()
}

// read takes a message; an error is why the connection is over.
func (c *conn) read(ws *websocket.Conn) error {
	typ, r, err := ws.Reader(context.Background()) // ended by the socket: the library would close it without a word
	if err != nil {
		return err
	}
	if c.closeCause() == causeNone && typ == websocket.MessageBinary {
		c.shut(causeBinary)
	}
	data, err := c.readMessage(r)
	if err != nil {
		return err
	}
	defer c.letGo()
	if len(data) > c.s.cfg.MaxMessage {
		c.shut(causeTooLarge)
	}
	c.waitForWriter()
	if c.closeCause() != causeNone { // only the client's close frame is waited for
		_, err := io.Copy(io.Discard, r)
		return err
	}
	c.handle(data)
	return nil
}

// readMessage reads a message into a buffer that is the connection's until letGo, and no more than a byte beyond the limit.
func (c *conn) readMessage(r io.Reader) ([]byte, error) {
	if c.buf == nil {
		c.buf, _ = c.s.buffers.Get().(*[]byte)
	}
	if c.buf == nil {
		fresh := make([]byte, 0, 512)
		c.buf = &fresh
	}
	buf := (*c.buf)[:0]
	most := c.s.cfg.MaxMessage
	for len(buf) <= most {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):min(cap(buf), most+1)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	*c.buf = buf
	return buf, nil
}

// letGo gives the buffer of a message back, so that an idle connection has none.
func (c *conn) letGo() {
	if c.buf != nil && cap(*c.buf) <= keepBuffer {
		c.s.buffers.Put(c.buf)
	}
	c.buf = nil
}

// waitForWriter holds the reader up while the client doesn't take the answers that it has asked for.
func (c *conn) waitForWriter() {
	for {
		c.mu.Lock()
		n := len(c.queue)
		c.mu.Unlock()
		if n < maxQueue || c.closeCause() != causeNone {
			return
		}
		<-c.space
	}
}

// handle does what a message asks.
func (c *conn) handle(data []byte) {
	within := c.rate.Allow()
	if !within && !c.tolerated.Allow() {
		c.shut(causeFlood)
		return
	}
	m, bad := decodeMessage(data)
	if !within {
		if bad == nil {
			bad = &refusal{id: m.id}
		}
		bad.code, bad.text = errRateLimited, "too many messages"
		c.s.cfg.Metrics.Refused(telemetry.LimitMessages)
	}
	switch {
	case bad != nil:
		c.refuse(*bad)
	case m.typ == "ping":
		c.reply(typePong, appendPong(nil, m.id))
	case m.typ == "auth":
		c.renew(m)
	case m.typ == "subscribe":
		c.subscribe(m)
	case m.typ == "unsubscribe":
		c.unsubscribe(m)
	}
}

// renew replaces the connection's token. The writer, which knows what is live, has the last word.
func (c *conn) renew(m message) {
	ctx, cancel := context.WithTimeout(context.Background(), subscribeWait) // an unknown key may have to be fetched
	defer cancel()
	ident, err := c.s.cfg.Auth.Authenticate(ctx, m.token)
	switch {
	case errors.Is(err, ErrTokenExpired):
		c.refuse(refusal{m.id, errUnauthorized, "token has expired"})
	case err != nil:
		c.refuse(refusal{m.id, errUnauthorized, "token is not accepted"})
	case ident.Subject != c.ident.Subject:
		c.refuse(refusal{m.id, errForbidden, "token is of another subject"})
	default:
		c.ident = ident
		c.expireAt(ident.deadline(time.Now()))
		c.s.look(c)
		c.enqueue(item{kind: itemRenew, typ: typeWelcome, bytes: c.appendWelcome(nil, m.id, ident), ident: ident})
	}
}

func (c *conn) appendWelcome(dst []byte, id string, ident Identity) []byte {
	return appendWelcome(dst, welcome{
		id: id, worker: c.s.cfg.WorkerID, session: c.session, now: time.Now(), heartbeat: c.s.cfg.Heartbeat,
		scopes: ident.Scopes, expires: ident.Expires,
	})
}

// reply queues a message that concerns no conference's order.
func (c *conn) reply(typ string, msg []byte) { c.enqueue(item{kind: itemReply, typ: typ, bytes: msg}) }

func (c *conn) refuse(r refusal) { c.reply(typeError, appendError(nil, r.id, r.code, r.text)) }
