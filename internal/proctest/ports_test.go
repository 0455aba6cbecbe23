package proctest

import (
	"net"
	"testing"
)

// TestPorts takes ports until all have come: each comes once, but for one that is in use.
func TestPorts(t *testing.T) {
	t.Parallel()
	b := take(t, 7)
	defer func() { _ = b.claim.Close() }()
	const used = 5
	l, err := listen(t, b.first+used)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	seen := map[int]bool{b.first: true, b.first + used: true}
	for range blockSize - len(seen) {
		port := b.ports(t, 1)[0]
		if seen[port] || port < b.first || port >= b.first+blockSize {
			t.Fatalf("port %d came twice, is in use or isn't of the block from %d on", port, b.first)
		}
		seen[port] = true
	}
	if port := b.ports(t, 1)[0]; port != b.first+1 {
		t.Errorf("when all have come, %d comes, want the first again, %d", port, b.first+1)
	}
}

// TestPortsApart takes two blocks from the same number on, as two processes may: they aren't the same.
func TestPortsApart(t *testing.T) {
	t.Parallel()
	a, b := take(t, 21), take(t, 21)
	defer func() { _, _ = a.claim.Close(), b.claim.Close() }()
	if a.first == b.first {
		t.Errorf("both blocks begin at %d", a.first)
	}
}

// TestAddrs listens where it is told that nobody does.
func TestAddrs(t *testing.T) {
	t.Parallel()
	for _, addr := range Addrs(t, 3) {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
	}
}
