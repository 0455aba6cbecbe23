package rawsock_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"confgate/internal/rawsock"
)

// pair is a wrapped connection and its peer, over TCP or a Unix socket.
func pair(t *testing.T, network string) (wrapped, peer net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "socket")
	}
	ln, err := new(net.ListenConfig).Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	nc, err := new(net.Dialer).DialContext(t.Context(), network, ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if peer, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	wrapped = rawsock.Wrap(nc)
	if wrapped == nc {
		t.Fatalf("Wrap leaves a %T as it is", nc)
	}
	t.Cleanup(func() { _ = wrapped.Close(); _ = peer.Close() })
	return wrapped, peer
}

var networks = []string{"tcp", "unix"}

// More than sockets hold goes both ways at once, whole, and the end of the peer's is an EOF.
func TestConn(t *testing.T) {
	t.Parallel()
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			wrapped, peer := pair(t, network)
			data := make([]byte, 8<<20)
			_, _ = rand.Read(data) // never fails
			var echo sync.WaitGroup
			echo.Go(func() {
				if _, err := io.CopyN(peer, peer, int64(len(data))); err != nil {
					t.Errorf("peer: %v", err)
				}
				_ = peer.Close()
			})
			echo.Go(func() {
				if n, err := wrapped.Write(data); n != len(data) || err != nil {
					t.Errorf("Write = %d, %v, want %d", n, err, len(data))
				}
			})
			got, err := io.ReadAll(wrapped)
			echo.Wait()
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("read %d bytes, %v, want what was written", len(got), err)
			}
			if n, err := wrapped.Read(nil); n != 0 || err != nil {
				t.Errorf("Read into nothing at the end = %d, %v, want 0", n, err)
			}
			if n, err := wrapped.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("Read at the end = %d, %v, want EOF", n, err)
			}
		})
	}
}

// A deadline ends a call, a Write with the number of bytes that went out, and a later one makes the connection good again.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			wrapped, peer := pair(t, network)
			if err := wrapped.SetDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if n, err := wrapped.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read of nothing = %d, %v, want the deadline", n, err)
			}
			if err := wrapped.SetDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			data := make([]byte, 32<<20)
			n, err := wrapped.Write(data)
			if n <= 0 || n >= len(data) || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("Write to who doesn't read = %d, %v, want a part and the deadline", n, err)
			}
			if err := wrapped.SetDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = wrapped.Write([]byte("end")) }()
			got, err := io.ReadAll(io.LimitReader(peer, int64(n)+3))
			if err != nil || len(got) != n+3 || string(got[n:]) != "end" {
				t.Errorf("peer read %d bytes, %v, want the %d that Write counted, and the next", len(got), err, n)
			}
		})
	}
}

// Close ends the calls under way, as with any net.Conn.
func TestCloseEndsCalls(t *testing.T) {
	t.Parallel()
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			wrapped, _ := pair(t, network)
			errs := make(chan error, 2)
			go func() {
				_, err := wrapped.Read(make([]byte, 1))
				errs <- err
			}()
			go func() {
				_, err := wrapped.Write(make([]byte, 32<<20))
				errs <- err
			}()
			if err := wrapped.Close(); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := <-errs; !errors.Is(err, net.ErrClosed) {
					t.Errorf("call ended with %v, want net.ErrClosed", err)
				}
			}
		})
	}
}

// What a system call refuses looks as the net package makes it look.
func TestErrors(t *testing.T) {
	t.Parallel()
	wrapped, peer := pair(t, "tcp")
	if err := peer.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = peer.Close() // by a reset
	var op *net.OpError
	_, err := wrapped.Read(make([]byte, 1))
	if !errors.As(err, &op) || op.Op != "read" || op.Addr.String() != wrapped.RemoteAddr().String() || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Read after a reset = %v, want an OpError of a reset", err)
	}
	_, err = wrapped.Write([]byte("x"))
	if !errors.As(err, &op) || op.Op != "write" || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Write after a reset = %v, want an OpError of a broken pipe", err)
	}
}

// A connection without a descriptor stays what it is.
func TestWrapLeavesOthers(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	defer func() { _ = a.Close(); _ = b.Close() }()
	if rawsock.Wrap(a) != a {
		t.Error("Wrap changed a connection that has no descriptor")
	}
}

// A look at the connection's health sees what there is: the peer's end, data that nobody asked for, a closed connection. It
// isn't bothered with a good connection.
func TestHealth(t *testing.T) {
	t.Parallel()
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			wrapped, peer := pair(t, network)
			looks := 0
			look := func() (n int, err error) {
				sc, ok := wrapped.(syscall.Conn)
				if !ok {
					t.Fatalf("a %T has no descriptor", wrapped)
				}
				raw, err := sc.SyscallConn()
				if err != nil {
					t.Fatal(err)
				}
				n = -1
				outer := raw.Read(func(fd uintptr) bool {
					looks++
					n, _, err = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
					return true
				})
				return n, errors.Join(outer, err)
			}
			if n, err := look(); n != -1 || err != nil || looks != 0 {
				t.Errorf("a good connection was looked at %d times, with %d, %v", looks, n, err)
			}
			if _, err := peer.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 1)
			if n, err := look(); looks == 0 || n != 1 || err != nil { // over loopback it has come
				t.Errorf("a look at data gave %d, %v, want a byte", n, err)
			}
			if n, err := wrapped.Read(buf); n != 1 || err != nil || buf[0] != 'x' {
				t.Errorf("Read after the look = %d, %v, want what was seen", n, err)
			}
			_ = peer.Close()
			if n, err := look(); n != 0 || err != nil {
				t.Errorf("a look after the peer's end gave %d, %v, want 0", n, err)
			}
			_ = wrapped.Close()
			if _, err := look(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("a look at a closed connection gave %v, want net.ErrClosed", err)
			}
		})
	}
}
