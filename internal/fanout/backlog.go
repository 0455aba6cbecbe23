package fanout

import "time"

// backlog keeps the newest values, bounded by their age and by their size in bytes. It isn't safe for concurrent use.
type backlog[T any] struct {
	age   time.Duration // values older than this go
	limit int           // and the oldest, while the sum of sizes is above this
	bytes int
	kept  []kept[T] // oldest first
}

type kept[T any] struct {
	value T
	at    time.Time
	size  int
}

func (b *backlog[T]) push(now time.Time, value T, size int) {
	b.kept = append(b.kept, kept[T]{value, now, size})
	b.bytes += size
}

// trim drops what is too old or too much, and calls dropped, if not nil, for each value, oldest first.
func (b *backlog[T]) trim(now time.Time, dropped func(T)) {
	n := 0
	for n < len(b.kept) && (b.bytes > b.limit || now.Sub(b.kept[n].at) > b.age) {
		b.bytes -= b.kept[n].size
		if dropped != nil {
			dropped(b.kept[n].value)
		}
		b.kept[n] = kept[T]{} // the array behind the slice lives on for a while
		n++
	}
	b.kept = b.kept[n:]
}

func (b *backlog[T]) clear() {
	b.kept, b.bytes = nil, 0
}
