package edge

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// Opcodes of WebSocket frames (RFC 6455, section 5.2).
const (
	opText  = 0x1
	opClose = 0x8
	opPong  = 0xA
)

// tlsChunk is how much is written at once where a write can't be resumed after its deadline, as over TLS: 16 KiB, a record.
const tlsChunk = 16 << 10

// errStalled: the client took nothing, not even in the time of grace.
var errStalled = errors.New("edge: client takes nothing")

// frameWriter writes whole, unmasked, unfragmented frames to a socket and watches that the client takes them. One
// goroutine at a time uses it.
//
// A deadline over a whole frame would cut off a client that reads slowly but steadily, so deadlines are short and merely
// tell when to look for progress. A client that took nothing for stall is told apart by slow; it then has grace to let the
// frame be finished, since only between frames can it be sent a close frame that says why.
type frameWriter struct {
	// For writes by a shared writer, see try.go; first, since each delivery touches them.
	raw  syscall.RawConn // nil: the socket can't be written to without waiting
	by   *sharedWriter   // who writes; nil: a goroutine of the connection's own, which may wait
	rest []byte          // what the socket didn't take

	nc           net.Conn
	stall, grace time.Duration
	poll         time.Duration // between two looks
	chunk        int           // bytes a write, 0: all
	slow         bool

	deadline time.Time // as set on nc
	head     [maxFrameHeader]byte
	vec      [2][]byte
	bufs     net.Buffers
}

// maxFrameHeader is the longest header of a server's frame, in bytes.
const maxFrameHeader = 10

// open has w write to nc.
func (w *frameWriter) open(nc net.Conn, stall, grace time.Duration) {
	w.nc, w.raw = nc, rawSocket(nc)
	w.stall, w.grace, w.poll = stall, grace, stall/8
	if _, ok := nc.(*tls.Conn); ok {
		w.poll, w.chunk = stall, tlsChunk
	}
}

// hurry gives what is still to be written little time: nothing but a close frame comes.
func (w *frameWriter) hurry(wait time.Duration) {
	w.stall, w.grace, w.poll = wait, 0, wait/4
}

// write writes a frame, or has it held for a shared writer; now is the time.
func (w *frameWriter) write(op byte, payload []byte, now time.Time) error {
	if w.by != nil {
		return w.hold(appendFrameHeader(w.head[:0], op, len(payload)), payload)
	}
	if err := w.writeRest(now); err != nil {
		return err
	}
	head := appendFrameHeader(w.head[:0], op, len(payload))
	n := len(payload)
	if w.chunk > 0 {
		n = min(n, w.chunk)
	}
	w.vec = [2][]byte{head, payload[:n]}
	vec := w.vec[:]
	if n == 0 {
		vec = vec[:1]
	}
	if err := w.flush(vec, now); err != nil {
		return err
	}
	for payload = payload[n:]; len(payload) > 0; payload = payload[n:] {
		n = min(len(payload), w.chunk)
		w.vec[0] = payload[:n]
		if err := w.flush(w.vec[:1], time.Now()); err != nil {
			return err
		}
	}
	w.vec = [2][]byte{} // the payload is the feed's
	return nil
}

// writeWire writes a frame that has its header already.
func (w *frameWriter) writeWire(wire []byte, now time.Time) error {
	if w.by != nil {
		return w.holdWire(wire)
	}
	if err := w.writeRest(now); err != nil {
		return err
	}
	if w.chunk > 0 {
		for len(wire) > w.chunk {
			w.vec[0] = wire[:w.chunk]
			if err := w.flush(w.vec[:1], now); err != nil {
				return err
			}
			wire, now = wire[w.chunk:], time.Now()
		}
	}
	w.vec[0] = wire
	err := w.flush(w.vec[:1], now)
	w.vec[0] = nil // it is the feed's
	return err
}

// writeRest writes what a shared writer has left.
func (w *frameWriter) writeRest(now time.Time) error {
	if len(w.rest) == 0 {
		return nil
	}
	w.vec[0], w.rest = w.rest, nil
	err := w.flush(w.vec[:1], now)
	w.vec[0] = nil
	return err
}

// flush writes vec out, however many deadlines pass meanwhile, as long as the client takes something.
func (w *frameWriter) flush(vec [][]byte, now time.Time) error {
	w.bufs = vec
	for quietSince := now; len(w.bufs) > 0; {
		// A deadline that has half its time left will do: setting one costs more than a small write.
		if w.deadline.Sub(now) < w.poll/2 {
			w.deadline = now.Add(w.poll)
			if err := w.nc.SetWriteDeadline(w.deadline); err != nil {
				return err
			}
		}
		n, err := w.bufs.WriteTo(w.nc)
		if err == nil {
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		now = time.Now()
		switch quiet := now.Sub(quietSince); {
		case n > 0:
			quietSince = now
		case !w.slow && quiet >= w.stall:
			w.slow, quietSince = true, now
		case w.slow && quiet >= w.grace:
			return errStalled
		}
		if w.chunk > 0 { // a TLS connection is of no use after a write's deadline
			w.slow = true
			return errStalled
		}
	}
	return nil
}

// appendFrameHeader appends the header of a frame that is whole and, as a server's must be, unmasked.
func appendFrameHeader(dst []byte, op byte, n int) []byte {
	dst = append(dst, 0x80|op)
	switch {
	case n < 126:
		return append(dst, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
	}
}
