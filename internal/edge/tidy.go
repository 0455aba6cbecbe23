package edge

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"
)

const (
	// storm is how many handshakes leave enough garbage to look after.
	storm = 1000
	// leavings is about what one leaves, in bytes: the request, its buffers, and stacks that have grown.
	leavings = 20 << 10
	// calm is how many handshakes a second are no storm.
	calm = 100
	// tidyEvery bounds what tidying costs, which is some 100 ms of a core with 10 000 clients and one conference.
	tidyEvery = time.Minute
)

// tidier knows when memory is to be given back after a storm of handshakes. By itself the runtime collects again only when
// the heap has doubled, or after two minutes, and an idle worker would keep the garbage of the storm until then. A worker
// whose heap is larger than that, for it holds many conferences, would take back in a minute what it gives, and a collection
// of its heap costs more.
type tidier struct {
	made atomic.Int64 // handshakes

	// owned by Server.Run
	tidied   int64 // made, when it was tidied last
	seen     int64 // made, at the last tick
	seenAt   time.Time
	tidiedAt time.Time
}

// due is called by the server's ticker. live is how large the heap was after its last collection, in bytes.
func (t *tidier) due(now time.Time, live func() uint64) bool {
	if now.Sub(t.seenAt) < time.Second {
		return false
	}
	made := t.made.Load()
	fresh := made - t.seen
	t.seen, t.seenAt = made, now
	left := made - t.tidied
	if fresh >= calm || left < storm || now.Sub(t.tidiedAt) < tidyEvery || uint64(left)*leavings < live() {
		return false
	}
	t.tidied, t.tidiedAt = made, now
	return true
}

// liveHeap is how large the heap was after its last collection, in bytes.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// tidy collects what a storm has left. A collection halves the stacks that are too large, so it takes some.
func tidy() {
	runtime.GC()
	runtime.GC()
	debug.FreeOSMemory()
}
