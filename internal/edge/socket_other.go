//go:build !linux

package edge

import (
	"net"
	"syscall"
)

// boundSocket does nothing: elsewhere the policy only sees a slow reader later.
func boundSocket(net.Conn) {}

// rawSocket has none to give, so that each connection's writer is a goroutine of its own.
func rawSocket(net.Conn) syscall.RawConn { return nil }

// readable is never called.
func readable(uintptr) bool { return true }
