package rawsock

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// maxWrite bounds one system call, in bytes: copying them takes some microseconds.
const maxWrite = 64 << 10

// conn is a wrapped connection. Read and Write are its own, the rest is net.Conn's.
type conn struct {
	net.Conn
	raw syscall.RawConn
	in  transfer
	out transfer
}

// transfer is one direction of a connection, one call at a time.
type transfer struct {
	try func(fd uintptr) bool // read or write, made once; true: don't wait

	mu   sync.Mutex // held for a whole call, guards the rest
	rest []byte     // what is still to be filled or written
	n    int        // bytes done
	err  error
}

// Wrap makes nc's Read and Write go without the scheduler. nc is the result's, and returned as it is where it has no
// descriptor.
func Wrap(nc net.Conn) net.Conn {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nc
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nc
	}
	c := &conn{Conn: nc, raw: raw}
	c.in.try, c.out.try = c.in.read, c.out.write
	return c
}

// SyscallConn is for who looks after the connection's health.
func (c *conn) SyscallConn() (syscall.RawConn, error) { return health{c.raw}, nil }

// health is a connection whose Read asks first whether there is anything to see. go-redis looks before each command, by a
// call that the scheduler is told of.
type health struct{ syscall.RawConn }

// Read is RawConn's, but that look isn't called while the connection is open and has nothing to read.
func (h health) Read(look func(fd uintptr) bool) error {
	fine := false
	if err := h.RawConn.Read(func(fd uintptr) bool { fine = quiet(fd); return true }); err != nil || fine {
		return err
	}
	return h.RawConn.Read(look)
}

func (c *conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, sys, err := c.in.run(b, c.raw.Read)
	switch {
	case err != nil:
		return 0, err
	case sys != nil:
		return 0, c.failed("read", sys)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (c *conn) Write(b []byte) (int, error) {
	n, sys, err := c.out.run(b, c.raw.Write)
	if sys != nil {
		err = c.failed("write", sys)
	}
	return n, err
}

// failed makes a system call's error what the net package makes of it.
func (c *conn) failed(op string, err error) error {
	return &net.OpError{
		Op: op, Net: c.LocalAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, err),
	}
}

// run does a call: wait calls try, now and whenever the socket is ready, until it is done. sys is the system call's error,
// err the connection's.
func (t *transfer) run(b []byte, wait func(func(fd uintptr) bool) error) (n int, sys, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rest, t.n, t.err = b, 0, nil
	err = wait(t.try)
	t.rest = nil // it is the caller's
	return t.n, t.err, err
}

func (t *transfer) read(fd uintptr) bool {
	t.n, t.err = read(fd, t.rest)
	if errors.Is(t.err, syscall.EAGAIN) {
		t.err = nil
		return false
	}
	return true
}

func (t *transfer) write(fd uintptr) bool {
	for len(t.rest) > 0 {
		n, err := Write(fd, t.rest[:min(len(t.rest), maxWrite)])
		t.n, t.rest = t.n+n, t.rest[n:]
		switch {
		case errors.Is(err, syscall.EAGAIN):
			return false
		case err != nil:
			t.err = err
			return true
		}
	}
	return true
}
