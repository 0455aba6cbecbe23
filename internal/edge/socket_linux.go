package edge

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Bounds of what a socket hides from the slow reader's policy.
const (
	// maxUnsent is how many bytes the kernel takes beyond what it has sent: a client that stalls shows at once, and a fast
	// one never waits for more, since this is written anew each time it falls by half.
	maxUnsent = 16 << 10
	// sendBuffer bounds what was sent and not yet acknowledged, in bytes; the kernel counts its own overhead too and doubles
	// the number. It allows 2 MB/s at a round trip of 100 ms.
	sendBuffer = 192 << 10
)

// boundSocket bounds the bytes that wait in the kernel. Where that isn't possible the policy only sees a slow reader later.
func boundSocket(nc net.Conn) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent)
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
	})
}

// rawSocket is the socket's descriptor for writes that don't wait; nil: it has none, like a TLS connection.
func rawSocket(nc net.Conn) syscall.RawConn {
	if tcp, ok := nc.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}

// readable says whether reading would give something, if only an error.
func readable(fd uintptr) bool {
	var b [1]byte
	_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return err != syscall.EAGAIN && err != syscall.EINTR
}
