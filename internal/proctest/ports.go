package proctest

import (
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
)

// Ports come from below those that the system gives to connections and to who listens on port 0, so that nobody is given one
// between the look and its use. Test processes that run at once take blocks of their own.
const (
	firstPort = 10_000
	blocks    = 44
	blockSize = 500
)

// block is a run of ports.
type block struct {
	claim net.Listener // on the first port, for as long as the process lives: the block is taken
	first int
	given int // which was given last
}

// own is this process's block.
var own struct {
	sync.Mutex
	*block
}

// Ports are n ports of 127.0.0.1 on which nobody listens, for programs that can't choose one by themselves. None comes twice
// before all of the process's ports have come.
func Ports(tb testing.TB, n int) []int {
	tb.Helper()
	own.Lock()
	defer own.Unlock()
	if own.block == nil {
		own.block = take(tb, os.Getpid())
	}
	return own.ports(tb, n)
}

// Addrs are n addresses of loopback on which nobody listens: see Ports.
func Addrs(tb testing.TB, n int) []string {
	tb.Helper()
	addrs := make([]string, n)
	for i, port := range Ports(tb, n) {
		addrs[i] = addr(port)
	}
	return addrs
}

// take takes a block that no process has; where the search begins is by the number.
func take(tb testing.TB, number int) *block {
	tb.Helper()
	for i := range blocks {
		first := firstPort + (number+i)%blocks*blockSize
		if l, err := listen(tb, first); err == nil {
			return &block{claim: l, first: first}
		}
	}
	tb.Fatalf("proctest: all %d blocks of ports are taken", blocks)
	return nil
}

func (b *block) ports(tb testing.TB, n int) []int {
	tb.Helper()
	var ports []int
	for range blockSize {
		if len(ports) == n {
			return ports
		}
		b.given = b.given%(blockSize-1) + 1
		if l, err := listen(tb, b.first+b.given); err == nil {
			_ = l.Close()
			ports = append(ports, b.first+b.given)
		}
	}
	tb.Fatalf("proctest: there aren't %d free ports from %d on", n, b.first)
	return nil
}

func addr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func listen(tb testing.TB, port int) (net.Listener, error) {
	tb.Helper()
	return new(net.ListenConfig).Listen(tb.Context(), "tcp", addr(port))
}
