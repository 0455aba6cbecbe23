package fanout

import (
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"confgate/internal/conference"
)

type wakeFunc func()

func (f wakeFunc) Wake() { f() }

// A frame that comes between Next's two looks is given at once, or announced by Wake, and never both.
func TestNextAgainstWake(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		ready int // frames that were there before
		woken bool
	}{
		{"before Wake", 0, false},
		{"after Wake", 0, true},
		{"after Wake, with another behind it", 1, true},
	} {
		wakes := 0
		r := &Reader{feed: &Feed{}, at: &link{}, wake: wakeFunc(func() { wakes++ })}
		for range tt.ready {
			r.push(Frame{Bytes: []byte("second")})
		}
		r.armed.Store(true)
		if tt.woken {
			r.ring()
		}
		f, ok := r.disarm(Frame{Bytes: []byte("first")})
		if ok == tt.woken {
			t.Errorf("%s: frame given: %v, want %v", tt.name, ok, !tt.woken)
		}
		if tt.woken {
			f, ok = r.Next()
		}
		if string(f.Bytes) != "first" || !ok {
			t.Errorf("%s: Next = %s, %v, want the frame", tt.name, f.Bytes, ok)
		}
		for range tt.ready {
			if f, ok = r.Next(); string(f.Bytes) != "second" || !ok {
				t.Errorf("%s: the frame behind it = %s, %v", tt.name, f.Bytes, ok)
			}
		}
		r.ring()
		if want := map[bool]int{true: 1}[tt.woken]; wakes != want {
			t.Errorf("%s: woken %d times, want %d", tt.name, wakes, want)
		}
	}
}

// What a delivery touches of a reader is one cache line: it comes first, and readers begin where lines do.
func TestReaderIsOneLine(t *testing.T) {
	t.Parallel()
	const line = 64
	if hot, all := unsafe.Offsetof(Reader{}.status), unsafe.Sizeof(Reader{}); hot > line || all%line != 0 {
		t.Errorf("a delivery touches %d bytes of %d, want %d of whole lines", hot, all, line)
	}
}

// What a change costs where the conference was quiet for so long that no cache holds anything of its readers: each line of
// memory that is touched for one is a wait.
func BenchmarkColdReaders(b *testing.B) {
	const feeds, room = 4000, 5
	var woken []*Reader
	all := make([]*Feed, feeds)
	for i := range all {
		all[i] = newFeed("900", &NewFeeds(FeedOptions{Encoder: quietEncoder{}}).opts, true)
	}
	for _, i := range rand.Perm(feeds * room) { // no two of a feed stand together
		f := all[i%feeds]
		r := &Reader{feed: f, topics: conference.AllTopics, at: f.list.tail, attached: time.Now()}
		r.wake = wakeFunc(func() { woken = append(woken, r) })
		r.Next()
	}
	caches := make([]byte, 128<<20)
	for b.Loop() {
		b.StopTimer()
		now := time.Now()
		for _, f := range all {
			change := conference.Stamped{Change: conference.Change{Topic: conference.Link, Body: []byte("{}")}}
			c := newContent("900", f.opts.Encoder, []conference.Stamped{change}, now)
			c.view(0)
			f.list.push(now, &c.item, 1)
		}
		for i := 0; i < len(caches); i += 64 {
			caches[i]++
		}
		b.StartTimer()
		for _, f := range all {
			woken = woken[:0]
			f.wake()
			for _, r := range woken {
				if _, ok := r.Next(); !ok {
					b.Fatal("no frame")
				}
				r.Next()
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*feeds*room), "ns/delivery")
}
