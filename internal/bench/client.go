package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"sync/atomic"
	"time"

	"confgate/internal/conference"
)

const (
	firstBuffer = 4 << 10  // bytes; grows to what the largest frame needs
	keepWhole   = 64 << 10 // a longer snapshot is looked at only in front
	slowRead    = 500      // bytes that a client with a pace reads at once
	slowBuffer  = 4 << 10  // its socket's receive buffer, so that the kernel doesn't read for it
	dialWait    = 30 * time.Second
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// client is one connection of a crowd. Its goroutine owns all but the atomics.
type client struct {
	crowd *Crowd
	group *group
	nc    net.Conn
	buf   []byte
	r, w  int

	positions [conference.NumTopics]uint64
	armed     int64 // snapshots, when the sums began; the crowd's owner's
	view      string
	epoch     string
	pace      func() // once subscribed, is called after each read of at most slowRead bytes; nil: as fast as it can

	seq       atomic.Uint64 // the newest message's
	got       atomic.Int64  // deltas and events
	frames    atomic.Int64
	bytes     atomic.Int64
	sum       atomic.Uint64 // of the messages behind group.from
	lost      atomic.Int64
	snapshots atomic.Int64
	recovered atomic.Bool
	ready     atomic.Bool // subscribed, with a snapshot or resumed
}

// Errors of dial.
var (
	// errHandshake: the server doesn't speak WebSocket, or refused.
	errHandshake = errors.New("bench: handshake refused")
	// errBusy: it takes no more handshakes for the moment.
	errBusy = errors.New("bench: handshake put off")
)

// dial connects, speaks the handshake and subscribes.
func (c *client) dial(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", c.crowd.cfg.Addr)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if c.pace != nil {
		_ = nc.(*net.TCPConn).SetReadBuffer(slowBuffer)
	}
	deadline, _ := ctx.Deadline()
	_ = nc.SetDeadline(deadline)
	if c.crowd.cfg.TLS != nil {
		secure := tls.Client(nc, c.crowd.cfg.TLS)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = nc.Close()
			return tlsError(err)
		}
		nc = secure
	}
	c.nc, c.r, c.w = nc, 0, 0
	if err := c.greet(); err != nil {
		_ = nc.Close()
		return err
	}
	_ = nc.SetDeadline(time.Time{})
	return nil
}

// tlsError says what a handshake failed by, and what to do about a certificate.
func tlsError(err error) error {
	if _, bad := errors.AsType[*tls.CertificateVerificationError](err); bad {
		return fmt.Errorf("bench: the server's certificate isn't trusted (--ca-file says whom to trust): %w", err)
	}
	return fmt.Errorf("bench: TLS with the server: %w", err)
}

// greet is the handshake and the subscribe, or for a floor the number of the group.
func (c *client) greet() error {
	if c.buf == nil {
		c.buf = make([]byte, firstBuffer)
	}
	if c.crowd.cfg.Floor {
		_, err := fmt.Fprintf(c.nc, "%d\n", c.group.index)
		c.ready.Store(true)
		return err
	}
	if _, err := c.nc.Write(handshake(c.crowd.cfg)); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	head := -1
	for head < 0 {
		if c.w == len(c.buf) {
			return errHandshake
		}
		if err := c.fill(); err != nil {
			return err
		}
		head = bytes.Index(c.buf[:c.w], []byte("\r\n\r\n"))
	}
	if bytes.HasPrefix(c.buf, []byte("HTTP/1.1 429 ")) {
		return errBusy
	}
	if !bytes.HasPrefix(c.buf, []byte("HTTP/1.1 101 ")) {
		line, _, _ := bytes.Cut(c.buf[:head], []byte("\r\n"))
		return fmt.Errorf("%w: %.80q", errHandshake, line)
	}
	c.r = head + 4
	return c.subscribe()
}

// subscribe asks for the group's conference, from where the client is.
func (c *client) subscribe() error {
	resume := ""
	if c.epoch != "" {
		resume = fmt.Sprintf(`,"resume":{"epoch":%q,"view":%q,"seq":%d}`, c.epoch, c.view, c.seq.Load())
	}
	return c.send(fmt.Appendf(nil, `{"type":"subscribe","id":"1","conference":%q%s}`, c.group.conf, resume))
}

// handshake is the request that upgrades. The key is a constant: nobody here is to be kept from caches.
func handshake(cfg Config) []byte {
	protocols := "confgate.v1"
	if cfg.Token != "" {
		protocols += ", bearer." + cfg.Token
	}
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
		cfg.Path, cfg.Addr, protocols)
}

// send writes a short text frame, masked by zeros.
func (c *client) send(msg []byte) error {
	frame := []byte{0x81}
	if len(msg) < 126 {
		frame = append(frame, 0x80|byte(len(msg)))
	} else {
		frame = binary.BigEndian.AppendUint16(append(frame, 0x80|126), uint16(len(msg)))
	}
	_, err := c.nc.Write(append(append(frame, 0, 0, 0, 0), msg...))
	return err
}

// fill reads once, behind what is there.
func (c *client) fill() error {
	space := c.buf[c.w:]
	slow := c.pace != nil && c.ready.Load()
	if slow {
		space = space[:min(len(space), slowRead)]
	}
	n, err := c.nc.Read(space)
	c.w += n
	if err == nil && slow {
		c.pace()
	}
	return err
}

// run reads frames until the connection ends.
func (c *client) run() error {
	var ch change
	var now time.Time
	each := func(ch *change) { c.take(ch, now) }
	for {
		for {
			n, head, ok := frameLen(c.buf[c.r:c.w])
			if !ok {
				break
			}
			whole := head + n
			if whole > c.w-c.r && (n <= keepWhole || c.w-c.r <= head || c.buf[c.r+head] == '[') {
				c.room(whole)
				break
			}
			op, front := c.buf[c.r]&0xF, c.buf[c.r+head:min(c.r+whole, c.w)]
			if op == 8 {
				if len(front) >= 2 {
					c.crowd.code.Store(int64(binary.BigEndian.Uint16(front)))
				}
				return io.EOF
			}
			if op == 1 {
				c.frames.Add(1)
				c.bytes.Add(int64(n))
				if scan(front, &ch, each) {
					c.other(front)
				}
			}
			if err := c.skip(whole); err != nil {
				return err
			}
		}
		if c.r == c.w {
			c.r, c.w = 0, 0
		}
		if c.w == len(c.buf) {
			c.room(2 * (c.w - c.r))
		}
		if err := c.fill(); err != nil {
			return err
		}
		now = time.Now()
	}
}

// frameLen reads a frame's header: how long the payload and the header are; false: there isn't enough of it.
func frameLen(b []byte) (n, head int, ok bool) {
	if len(b) < 2 {
		return 0, 0, false
	}
	switch n = int(b[1] & 0x7F); n {
	case 126:
		if len(b) < 4 {
			return 0, 0, false
		}
		return int(binary.BigEndian.Uint16(b[2:])), 4, true
	case 127:
		if len(b) < 10 {
			return 0, 0, false
		}
		return int(binary.BigEndian.Uint64(b[2:])), 10, true
	default:
		return n, 2, true
	}
}

// room makes the buffer begin with what is unread, and large enough for n bytes.
func (c *client) room(n int) {
	if n > len(c.buf) {
		grown := make([]byte, n)
		c.w = copy(grown, c.buf[c.r:c.w])
		c.buf, c.r = grown, 0
		return
	}
	c.w = copy(c.buf, c.buf[c.r:c.w])
	c.r = 0
}

// skip leaves a frame behind, the rest of a long one unread.
func (c *client) skip(whole int) error {
	for whole > c.w-c.r {
		whole -= c.w - c.r
		c.r, c.w = 0, 0
		if err := c.fill(); err != nil {
			return err
		}
	}
	c.r += whole
	return nil
}

// take counts a change, by the rule of the protocol: at or below the position it is old, and what says that something came
// before it that isn't here tells a loss.
func (c *client) take(ch *change, now time.Time) {
	if !ch.known {
		return
	}
	position := c.positions[ch.topic]
	if ch.seq <= position {
		return
	}
	if ch.prev > position {
		c.lost.Add(1)
	}
	c.positions[ch.topic] = ch.seq
	c.seq.Store(max(c.seq.Load(), ch.seq))
	c.got.Add(1)
	if ch.seq > c.group.from.Load() {
		c.sum.Add(uint64(crc32.Checksum(ch.raw, castagnoli)))
	}
	if c.crowd.timing.Load() {
		c.crowd.latency.add(now.Sub(time.UnixMilli(ch.time)), 1)
	}
}

// other takes a message that is no change, from as much of it as there is.
func (c *client) other(msg []byte) {
	switch typ := member(msg, messageStart); typ {
	case "subscribed":
		c.view = member(msg, []byte(`"view":"`))
		c.recovered.Store(bytes.Contains(msg, []byte(`"recovered":true`)))
		if c.recovered.Load() {
			c.ready.Store(true)
		}
	case "snapshot":
		c.epoch = member(msg, epochKey)
		if i := bytes.Index(msg, seqKey); i >= 0 {
			seq, _, _ := number(msg[i:], `"seq":`)
			c.seq.Store(seq)
			for t := range c.positions {
				c.positions[t] = seq
			}
		}
		c.snapshots.Add(1)
		c.ready.Store(true)
	case "error":
		// The conference isn't there yet, or a worker is behind: the answer to both is to ask again.
		c.crowd.refused.Add(1)
		time.AfterFunc(time.Second, func() { _ = c.subscribe() })
	}
}
