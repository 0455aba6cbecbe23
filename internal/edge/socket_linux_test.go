package edge

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"confgate/internal/rawsock"
)

// siocOutqNSD asks how many bytes of a socket's queue were never sent (linux/sockios.h).
const siocOutqNSD = 0x894B

// hidden is how many bytes a socket takes from a server when its client, who has read fast so far, stalls: all that is
// queued in the server's kernel, and the part that was never sent.
func hidden(t *testing.T, bound bool) (queued, unsent int) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if bound {
		boundSocket(server)
	}
	const warm = 64 << 20 // lets the kernel widen what it may
	read := make(chan error, 1)
	go func() {
		_, err := io.CopyN(io.Discard, client, warm)
		read <- err
	}()
	chunk := make([]byte, 64<<10)
	for range warm / len(chunk) {
		if _, err := server.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	raw := rawSocket(server)
	for full := false; !full; {
		if err := raw.Write(func(fd uintptr) bool {
			_, err := rawsock.Write(fd, chunk[:1<<10])
			full = errors.Is(err, syscall.EAGAIN)
			return true
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := raw.Control(func(fd uintptr) {
		queued, _ = unix.IoctlGetInt(int(fd), unix.TIOCOUTQ)
		unsent, _ = unix.IoctlGetInt(int(fd), siocOutqNSD)
	}); err != nil {
		t.Fatal(err)
	}
	return queued, unsent
}

// The kernel keeps little of what a stalled client hasn't taken, so that the slow reader's policy sees it.
func TestStalledSocketHidesLittle(t *testing.T) {
	t.Parallel()
	freeQueued, freeUnsent := hidden(t, false)
	queued, unsent := hidden(t, true)
	t.Logf("a stalled client's bytes in the kernel: %d queued, %d of them unsent; without bounds %d and %d", queued, unsent,
		freeQueued, freeUnsent)
	const packet = 64 << 10 // what the kernel fills before it looks at the limit again
	if unsent > maxUnsent+packet {
		t.Errorf("%d bytes unsent, want %d and a packet at the most", unsent, maxUnsent)
	}
	if queued > 2*sendBuffer {
		t.Errorf("%d bytes queued, want no more than the send buffer", queued)
	}
	if freeUnsent < 4*unsent {
		t.Errorf("without bounds %d bytes are unsent, with them %d: they make no difference", freeUnsent, unsent)
	}
}
