package faults

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// cable stands between a worker and a server. Unplugged, it carries nothing: connections stay open and silent, as those
// that lead through a dead switch, and new ones are accepted by nobody who would answer.
type cable struct {
	network, server string
	listener        net.Listener
	wg              sync.WaitGroup

	mu      sync.Mutex
	plugged chan struct{} // closed while the cable carries
	conns   map[net.Conn]bool
	closed  bool

	held    atomic.Int64 // bytes and connections that came while it was unplugged
	appends atomic.Int64 // pieces of those that have a log's key in them
}

// startCable lays a cable to a server: HOST:PORT, or the path of a socket.
func startCable(t *testing.T, server string) *cable {
	t.Helper()
	c := &cable{network: "tcp", server: server, plugged: make(chan struct{}), conns: make(map[net.Conn]bool)}
	if strings.HasPrefix(server, "/") {
		c.network = "unix"
	}
	close(c.plugged)
	var lc net.ListenConfig
	var err error
	if c.listener, err = lc.Listen(t.Context(), "tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.wg.Go(func() { c.accept(ctx) })
	t.Cleanup(func() {
		cancel()
		_ = c.listener.Close()
		c.mu.Lock()
		c.closed = true
		for conn := range c.conns {
			_ = conn.Close()
		}
		c.mu.Unlock()
		c.wg.Wait()
	})
	return c
}

// addr is this end of the cable.
func (c *cable) addr() string { return c.listener.Addr().String() }

// unplug carries nothing from now on.
func (c *cable) unplug() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plugged = make(chan struct{})
}

// plug carries on, with what was sent meanwhile first: TCP repeats it, also where the sender has given up since.
func (c *cable) plug() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.plugged)
}

func (c *cable) state() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.plugged
}

// keep notes a connection; it reports whether there is still somebody to keep it.
func (c *cable) keep(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns[conn] = true
	return !c.closed
}

func (c *cable) forget(conn net.Conn) {
	_ = conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, conn)
}

func (c *cable) accept(ctx context.Context) {
	for {
		near, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.wg.Go(func() { c.serve(ctx, near) })
	}
}

func (c *cable) serve(ctx context.Context, near net.Conn) {
	defer c.forget(near)
	if !c.keep(near) {
		return
	}
	state := c.state()
	select {
	case <-state:
	default:
		c.held.Add(1)
	}
	select {
	case <-state:
	case <-ctx.Done():
		return
	}
	var d net.Dialer
	far, err := d.DialContext(ctx, c.network, c.server)
	if err != nil {
		return
	}
	defer c.forget(far)
	if !c.keep(far) {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		c.carry(ctx, far, near)
		_ = far.Close()
	})
	c.carry(ctx, near, far)
	_ = near.Close()
	wg.Wait()
}

// carry copies until either end closes. It holds back what comes while the cable is unplugged.
func (c *cable) carry(ctx context.Context, to io.Writer, from io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			state := c.state()
			select {
			case <-state:
			default:
				c.held.Add(int64(n))
				if bytes.Contains(buf[:n], []byte("}:log")) {
					c.appends.Add(1)
				}
			}
			select {
			case <-state:
			case <-ctx.Done():
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
