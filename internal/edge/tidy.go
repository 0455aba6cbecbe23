package edge

import (
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"
)

const (
	// storm is how many handshakes leave enough garbage to look after: about 20 KiB each, in requests, their buffers and
	// stacks that have grown.
	storm = 1000
	// calm is how many handshakes a second are no storm.
	calm = 100
	// tidyEvery bounds what tidying costs, which is some 100 ms of a core with 10 000 clients.
	tidyEvery = time.Minute
)

// tidier knows when memory is to be given back after a storm of handshakes. By itself the runtime collects again only when
// the heap has doubled, or after two minutes, and an idle worker would keep the garbage of the storm until then.
type tidier struct {
	made atomic.Int64 // handshakes

	// owned by Server.Run
	tidied   int64 // made, when it was tidied last
	seen     int64 // made, at the last tick
	seenAt   time.Time
	tidiedAt time.Time
}

// due is called by the server's ticker.
func (t *tidier) due(now time.Time) bool {
	if now.Sub(t.seenAt) < time.Second {
		return false
	}
	made := t.made.Load()
	fresh := made - t.seen
	t.seen, t.seenAt = made, now
	if fresh >= calm || made-t.tidied < storm || now.Sub(t.tidiedAt) < tidyEvery {
		return false
	}
	t.tidied, t.tidiedAt = made, now
	return true
}

// tidy collects what a storm has left. A collection halves the stacks that are too large, so it takes some.
func tidy() {
	runtime.GC()
	runtime.GC()
	debug.FreeOSMemory()
}
