//go:build !linux

package rawsock

import (
	"net"
	"syscall"
)

// Wrap changes nothing.
func Wrap(nc net.Conn) net.Conn { return nc }

// Write isn't to be had.
func Write(uintptr, []byte) (int, error) { return 0, syscall.ENOTSUP }
