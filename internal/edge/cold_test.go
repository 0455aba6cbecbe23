package edge

import (
	"math/rand/v2"
	"net"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"confgate/internal/conference"
)

// What a delivery touches of a connection comes first, in three cache lines: nothing grows in between by accident.
func TestConnIsThreeLines(t *testing.T) {
	t.Parallel()
	const line, header = 64, 8 // the allocator's own word in front of what is larger than 512 bytes
	if woken := header + unsafe.Offsetof(conn{}.home) + unsafe.Offsetof(live{}.conf); woken > 2*line {
		t.Errorf("who wakes the writer touches %d bytes, want %d", woken, 2*line)
	}
	if hot := header + unsafe.Offsetof(conn{}.out) + unsafe.Offsetof(frameWriter{}.nc); hot > 3*line {
		t.Errorf("a delivery touches %d bytes, want %d", hot, 3*line)
	}
}

// What a delivery costs where the conference was quiet for so long that no cache holds anything of its clients: each line of
// memory that it touches is a wait.
func BenchmarkColdDelivery(b *testing.B) {
	const clients, room = 2000, 5 // rooms of five, one after the other
	src := newRoundSource(300)
	src.subs = make(chan *roundSub, clients)
	s := New(Config{Source: src, Auth: Anyone{}})
	ran := make(chan error, 1)
	go func() { ran <- s.Run(b.Context()) }()
	b.Cleanup(func() {
		if err := <-ran; err != nil {
			b.Error(err)
		}
	})
	for !s.shared.on.Load() {
		runtime.Gosched()
	}
	sink, err := net.ListenPacket("udp", "127.0.0.1:0") //nolint:noctx // at once; what it is sent is dropped soon
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = sink.Close() }()
	subs := make([]*roundSub, clients)
	for i := range subs {
		nc, err := net.Dial("udp", sink.LocalAddr().String()) //nolint:noctx // at once
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = nc.Close() })
		c := newConn(s, Identity{Scopes: ScopeRead, Conferences: []string{"*"}})
		c.out.open(nc, time.Minute, time.Minute)
		if c.out.raw, err = nc.(*net.UDPConn).SyscallConn(); err != nil {
			b.Fatal(err)
		}
		c.nc, c.writer = nc, s.shared.pick()
		c.enter("900", op{topics: conference.AllTopics})
		subs[i] = <-src.subs
	}
	rand.Shuffle(clients, func(i, j int) { subs[i], subs[j] = subs[j], subs[i] })
	caches := make([]byte, 128<<20)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for b.Loop() {
		b.StopTimer()
		for i := 0; i < len(caches); i += 64 {
			caches[i]++
		}
		src.round.Add(1)
		b.StartTimer()
		for i := 0; i < clients; i += room {
			for _, sub := range subs[i : i+room] {
				sub.wake.Wake()
			}
			for sub := subs[i+room-1]; sub.seen != src.round.Load(); {
				runtime.Gosched()
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*clients), "ns/delivery")
}
