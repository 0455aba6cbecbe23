package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// attackers is how many connections the flood has open at a time.
const attackers = 32

// RunFlood makes handshakes without a token with a server on this machine, as fast as it can, until ctx is done. It prints a line
// when it begins, and at the end how many were made, and how many of them were upgraded.
func RunFlood(ctx context.Context, addr string, out io.Writer) error {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if !at.Addr().IsLoopback() {
		return fmt.Errorf("bench: %s isn't this machine's own: floods go nowhere else", addr)
	}
	if _, err := fmt.Fprintln(out, "flooding", addr); err != nil {
		return err
	}
	var wg sync.WaitGroup
	var made, answered atomic.Int64
	request := handshake(Config{Addr: addr, Path: "/v1/ws"})
	for range attackers {
		wg.Go(func() {
			buf := make([]byte, 4096)
			for ctx.Err() == nil {
				if n := knock(ctx, addr, request, buf); n > 0 {
					made.Add(1)
					if bytes.HasPrefix(buf[:n], []byte("HTTP/1.1 101 ")) {
						answered.Add(1)
					}
				}
			}
		})
	}
	wg.Wait()
	_, err = fmt.Fprintln(out, made.Load(), answered.Load())
	return err
}

// knock makes one handshake and reads the first of the answer.
func knock(ctx context.Context, addr string, request, buf []byte) int {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return 0
	}
	defer nc.Close()
	_ = nc.(*net.TCPConn).SetLinger(0) // thousands of ports would wait otherwise
	_ = nc.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := nc.Write(request); err != nil {
		return 0
	}
	n, err := io.ReadAtLeast(nc, buf, 12)
	if err != nil {
		return 0
	}
	return n
}
