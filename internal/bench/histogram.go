package bench

import (
	"sync/atomic"
	"time"
)

// The histogram has steps of 100 µs up to 2 s; what took longer counts as the longest.
const (
	step  = 100 * time.Microsecond
	steps = 20_000
)

// histogram counts latencies. Its methods may be called by many goroutines.
type histogram struct {
	counts [steps + 1]atomic.Int64
	max    atomic.Int64 // nanoseconds
}

func (h *histogram) add(d time.Duration, n int64) {
	d = max(d, 0)
	h.counts[min(int(d/step), steps)].Add(n)
	for {
		old := h.max.Load()
		if int64(d) <= old || h.max.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

// Latency is how long deliveries took.
type Latency struct {
	P50 time.Duration `json:"p50"`
	P99 time.Duration `json:"p99"`
	Max time.Duration `json:"max"`
}

// take reads the latencies counted since the last time.
func (h *histogram) take() Latency {
	var counts [steps + 1]int64
	total := int64(0)
	for i := range h.counts {
		counts[i] = h.counts[i].Swap(0)
		total += counts[i]
	}
	l := Latency{Max: time.Duration(h.max.Swap(0))}
	seen := int64(0)
	for i, n := range counts {
		if n == 0 {
			continue
		}
		seen += n
		upper := min(time.Duration(i+1)*step, l.Max)
		if l.P50 == 0 && 2*seen >= total {
			l.P50 = upper
		}
		if l.P99 == 0 && 100*seen >= 99*total {
			l.P99 = upper
		}
	}
	return l
}
