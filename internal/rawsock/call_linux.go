//go:build linux && !race

package rawsock

import (
	"syscall"
	"unsafe"
)

// Write writes what the socket fd takes at once, and says how much that was; syscall.EAGAIN: nothing. It never blocks where
// the socket doesn't.
func Write(fd uintptr, b []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
			syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// read reads what the socket fd has; syscall.EAGAIN: nothing now; 0 without an error: nothing any more.
func read(fd uintptr, b []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
			syscall.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// quiet says that the socket fd is open, and has nothing to read now.
func quiet(fd uintptr) bool {
	var b [1]byte
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b)), 1,
		syscall.MSG_DONTWAIT|syscall.MSG_PEEK, 0, 0)
	return errno == syscall.EAGAIN
}
