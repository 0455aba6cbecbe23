package telemetry

import (
	"maps"
	"sync/atomic"
)

// cells remembers a vector's metrics by their labels. What counts each frame finds its counter without the vector's lock, and
// without hashing and comparing labels one by one. There are as few of them as the vector has.
type cells[K comparable, T any] struct {
	make  func(K) T
	known atomic.Pointer[map[K]T]
}

// at is the metric with these labels.
func (c *cells[K, T]) at(labels K) T {
	known := c.known.Load()
	if known != nil {
		if metric, ok := (*known)[labels]; ok {
			return metric
		}
	}
	metric := c.make(labels)
	next := map[K]T{labels: metric}
	if known != nil {
		maps.Copy(next, *known)
	}
	c.known.Store(&next) // of two made at once one may be forgotten, and is found again
	return metric
}
