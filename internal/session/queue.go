package session

import (
	"time"

	"confgate/internal/conference"
)

// Limits of one append: what the log's script can take without holding up its server.
const (
	batchChanges = 512
	batchBytes   = 1 << 20
)

// entry is one change on its way to the log.
type entry struct {
	change conference.Change
	read   time.Time // when the frame behind it was read; zero where no frame is
}

// queue holds what waits for the log, in order. Past its bounds it lets go of all changes of state at once, since the
// difference between the log's state and the actor's makes up for them, and of the oldest events, which nothing makes up for.
type queue struct {
	maxBytes, maxChanges int

	entries []entry
	bytes   int
	// lossy says that changes of state were let go of: nothing may be appended before the difference.
	lossy bool
	// lost counts the events let go of since it was last read.
	lost int
}

func (q *queue) empty() bool { return len(q.entries) == 0 }

func (q *queue) push(change conference.Change, read time.Time) {
	if q.lossy && !change.Topic.Event() {
		return
	}
	q.entries = append(q.entries, entry{change, read})
	q.bytes += len(change.Body)
	if q.over(1) {
		q.lossy = true
		q.dropState()
		q.trim()
	}
}

// over says whether the queue is beyond one nth of its bounds.
func (q *queue) over(n int) bool { return q.bytes > q.maxBytes/n || len(q.entries) > q.maxChanges/n }

// trim lets go of the oldest events beyond a quarter of the bounds.
func (q *queue) trim() {
	first := 0
	for ; first < len(q.entries) && (q.bytes > q.maxBytes/4 || len(q.entries)-first > q.maxChanges/4); first++ {
		q.bytes -= len(q.entries[first].change.Body)
		q.lost++
	}
	q.entries = append([]entry(nil), q.entries[first:]...)
}

// dropState leaves the events alone.
func (q *queue) dropState() {
	var kept []entry
	q.bytes = 0
	for _, e := range q.entries {
		if e.change.Topic.Event() {
			kept = append(kept, e)
			q.bytes += len(e.change.Body)
		}
	}
	q.entries = kept
}

// restart puts the difference to the log's state in place of all changes of state. The bounds don't apply to it: it is no
// larger than the state.
func (q *queue) restart(diff []conference.Change) {
	q.dropState()
	q.lossy = false
	entries := make([]entry, 0, len(diff)+len(q.entries))
	for _, c := range diff {
		entries = append(entries, entry{change: c})
		q.bytes += len(c.Body)
	}
	q.entries = append(entries, q.entries...)
}

// giveBack returns the events of a batch that the log refused to the front.
func (q *queue) giveBack(batch []entry) {
	rest := q.entries
	q.entries = nil
	for _, e := range batch {
		if e.change.Topic.Event() {
			q.entries = append(q.entries, e)
			q.bytes += len(e.change.Body)
		}
	}
	q.entries = append(q.entries, rest...)
}

// take removes the next batch; it is the caller's.
func (q *queue) take() []entry {
	n, size := 0, 0
	for n < len(q.entries) && n < batchChanges && (n == 0 || size+len(q.entries[n].change.Body) <= batchBytes) {
		size += len(q.entries[n].change.Body)
		n++
	}
	batch := q.entries[:n:n]
	q.bytes -= size
	if n == len(q.entries) {
		q.entries = nil
	} else {
		q.entries = q.entries[n:]
	}
	return batch
}

// head is where the log stands, as its owner knows it.
type head struct {
	claim conference.Claim
	pos   conference.Position
	prev  [conference.NumTopics]uint64
}

// follows says whether reached is where the log must be after n more changes.
func (h *head) follows(reached conference.Position, n int) bool {
	return reached.Epoch == h.pos.Epoch && reached.Seq == h.pos.Seq+uint64(n)
}

// advance moves the head over a batch.
func (h *head) advance(batch []entry) {
	for _, e := range batch {
		h.pos.Seq++
		h.prev[e.change.Topic] = h.pos.Seq
	}
}
