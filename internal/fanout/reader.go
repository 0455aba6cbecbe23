package fanout

import (
	"sync/atomic"
	"time"

	"confgate/internal/conference"
)

// Request is what a client asks of a conference.
type Request struct {
	Conference string
	Topics     conference.Topics // link is part of it always
	Profile    conference.Profile
	Resume     *conference.Position // nil: from a snapshot
	// NotBefore is how far the client has been with another view, nil: nothing is known of that. The snapshot isn't older.
	NotBefore *conference.Position
	// Wake is called, at most once for each Next that had nothing, when there is something again. It must not block.
	Wake Waker
}

// Waker is told that Next may have something. It is an alias, so that the composition root can hand it on between packages
// that don't know each other, and an interface, since that leads straight to who sleeps: a func would stand in between.
type Waker = interface{ Wake() }

// Reader is one client's place in a feed. Its methods are called by one goroutine at a time.
//
// What each delivery touches comes first and fills one cache line: in a conference that was quiet every line is a wait, for
// each of its clients.
type Reader struct {
	// shared with the feed's goroutine
	waiting *Reader     // the next on the feed's stack of waiting readers; owned by whoever took it
	queued  atomic.Bool // is on that stack
	armed   atomic.Bool // Next had nothing: Wake is owed

	// immutable
	wake    Waker
	feed    *Feed
	topics  conference.Topics
	profile conference.Profile

	// owned by the caller of Next
	asked   bool // a snapshot was asked for
	closed  bool
	current bool // was given what came after it did; so is all that follows
	at      *link
	ready   *ready // to be given before the list goes on

	// From here on nothing is touched by a delivery.

	// owned by the caller of Next
	status uint64 // serial of the last status that it was given, or needn't be
	doubt  string // why it believes that the state isn't fresh; empty when fresh
	fresh  bool   // what it believes

	// immutable
	recovered bool
	release   func()
	attached  time.Time

	// shared with the feed's goroutine
	answer atomic.Pointer[answer]
	left   atomic.Bool // closed

	// owned by the feed's goroutine
	releases int // of the feed, before this reader came

	_ [40]byte // makes whole lines of it
}

// ready is a list of frames.
type ready struct {
	frame Frame
	next  *ready
}

// answer is what lets a reader go on.
type answer struct {
	at      *link
	frame   Frame      // a snapshot, or the rest of an entry; without bytes: neither
	status  statusItem // the present one
	resumed bool

	released bool // there is nothing to go on with
}

// Recovered says whether the resume was granted: then no snapshot comes first.
func (r *Reader) Recovered() bool { return r.recovered }

// Next is the next frame, without waiting; false: nothing now, and Wake will be called. It may be called at any time.
func (r *Reader) Next() (Frame, bool) {
	if r.closed {
		return Frame{}, false
	}
	r.armed.Store(false)
	if f, ok := r.take(); ok {
		return f, true
	}
	// Now there is nothing. Say so, then look again: what came in between may have missed that somebody waits.
	r.armed.Store(true)
	if !r.queued.Load() && r.queued.CompareAndSwap(false, true) {
		r.feed.wait(r)
	}
	if f, ok := r.take(); ok {
		return r.disarm(f)
	}
	return Frame{}, false
}

// disarm gives what Next found at second sight, unless Wake is on its way already: then Next has to have had nothing, and
// the frame is the next one's.
func (r *Reader) disarm(f Frame) (Frame, bool) {
	if r.armed.CompareAndSwap(true, false) {
		return f, true
	}
	r.unread(f)
	return Frame{}, false
}

// take is Next without waiting for more.
func (r *Reader) take() (Frame, bool) {
	for {
		if first := r.ready; first != nil {
			r.ready = first.next
			return first.frame, true
		}
		if r.asked {
			a := r.answer.Swap(nil)
			if a == nil {
				return Frame{}, false
			}
			if a.released {
				return Frame{Released: true}, true
			}
			r.asked = false
			r.install(a)
			continue
		}
		it := r.at.next.Load()
		switch {
		case it == nil:
			return Frame{}, false
		case it.lost:
			r.ask(SnapshotLag)
		case it.reset != "":
			r.ask(it.reset)
		case it.released:
			return Frame{Released: true}, true
		case it.status != nil:
			r.at = it.after
			if r.believe(*it.status) {
				return it.status.frame, true
			}
		default:
			r.at = it.after
			if f, ok := it.content.frame(r.profile, r.topics); ok {
				return r.dated(f), true
			}
		}
	}
}

// dated hides when an entry came that was there before the reader: how long it lay says nothing about a delivery.
func (r *Reader) dated(f Frame) Frame {
	switch {
	case r.current:
	case f.Received.After(r.attached):
		r.current = true
	default:
		f.Received = time.Time{}
	}
	return f
}

// Renew has the reader's first snapshot made anew when Next asks for it: between Subscribe and Next, its client has got
// more from the reader that this one replaces. It is called before Next, and does nothing for a reader that resumed.
func (r *Reader) Renew() {
	if r.recovered || r.closed {
		return
	}
	again := false
	for at := &r.ready; *at != nil; {
		if (*at).frame.Snapshot == "" {
			at = &(*at).next
		} else {
			*at, again = (*at).next, true
		}
	}
	if again {
		r.ask(SnapshotSubscribe)
	}
}

func (r *Reader) unread(f Frame) { r.ready = &ready{f, r.ready} }

func (r *Reader) ask(reason string) {
	r.asked = true
	r.feed.ask(r, reason)
}

// install goes on from an answer.
func (r *Reader) install(a *answer) {
	r.at = a.at
	if r.believe(a.status) {
		r.push(a.status.frame)
	}
	if a.frame.Bytes != nil {
		r.push(a.frame)
	}
}

// believe takes a status, and says whether it is news. One that is older than what the reader knows isn't.
func (r *Reader) believe(s statusItem) bool {
	if s.serial <= r.status {
		return false
	}
	r.status = s.serial
	changed := s.fresh != r.fresh || s.reason != r.doubt
	r.fresh, r.doubt = s.fresh, s.reason
	return changed
}

func (r *Reader) push(f Frame) {
	at := &r.ready
	for *at != nil {
		at = &(*at).next
	}
	*at = &ready{frame: f}
}

// Close detaches the reader. Wake may still be on its way.
func (r *Reader) Close() {
	if r.closed {
		return
	}
	r.closed = true
	r.left.Store(true)
	r.armed.Store(false)
	r.feed.leave(r)
	r.release()
}
