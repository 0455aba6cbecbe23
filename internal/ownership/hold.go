package ownership

import (
	"context"
	"sync"
	"time"
)

// Hold is one run of holding one conference, as its Session sees it: what it may do, and how it tells how far it is. All
// methods may be called from any goroutine, and none but Gate blocks.
type Hold struct {
	// Conference is the id that it is held under.
	Conference string
	// Password is the stored chair password; nil where this worker's flags have it.
	Password []byte
	// Successor says that another worker still holds the conference and hands it over: the link comes first, then Live,
	// then the last owner's offer, then CaughtUp; Gate lets the session append once the conference is this worker's.
	Successor bool

	lease *lease
	offer chan []byte // of capacity 1, sent once
	note  func(holdEvent)

	mu    sync.Mutex // held over field accesses only
	owned bool
	moved chan struct{} // closed when owned changes
}

// holdEvent is what a session has to say.
type holdEvent uint8

const (
	eventLive holdEvent = iota
	eventCaughtUp
	eventClosed
)

func newHold(conf string, password []byte, l *lease, note func(holdEvent)) *Hold {
	return &Hold{
		Conference: conf, Password: password, lease: l, note: note,
		offer: make(chan []byte, 1), moved: make(chan struct{}),
	}
}

// Gate waits until this worker may append to the conference's log: it has claimed it, and its lease lasts for a while yet.
func (h *Hold) Gate(ctx context.Context) error {
	for {
		open, moved, renewed := h.gate()
		if open {
			return nil
		}
		select {
		case <-moved:
		case <-renewed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Open says whether Gate lets pass now.
func (h *Hold) Open() bool {
	open, _, _ := h.gate()
	return open
}

// gate says whether the gate is open, and what is closed when that may have changed.
func (h *Hold) gate() (open bool, moved, renewed <-chan struct{}) {
	h.mu.Lock()
	owned, moved := h.owned, h.moved
	h.mu.Unlock()
	valid, renewed := h.lease.state()
	return owned && valid, moved, renewed
}

// Live says that a successor's link is live, and that the old owner may make its offer.
func (h *Hold) Live() { h.note(eventLive) }

// Offered gives a successor the last owner's offer, once; nil where the owner died before it made one.
func (h *Hold) Offered() <-chan []byte { return h.offer }

// CaughtUp says that a successor is as far as the offer. Without it the conference is claimed a while after the offer.
func (h *Hold) CaughtUp() { h.note(eventCaughtUp) }

// LinkClosed says that the provider closed the link of an old owner after Prepare, though the conference goes on.
func (h *Hold) LinkClosed() { h.note(eventClosed) }

// setOwned opens or closes the gate, as far as it goes by this conference.
func (h *Hold) setOwned(owned bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.owned != owned {
		h.owned = owned
		close(h.moved)
		h.moved = make(chan struct{})
	}
}

// give hands the offer over, the first time.
func (h *Hold) give(offer []byte) {
	select {
	case h.offer <- offer:
	default:
	}
}

// lease is until when this worker may act on what it holds, by its own monotonic clock.
type lease struct {
	mu      sync.Mutex // held over field accesses only
	until   time.Time
	renewed chan struct{} // closed when a lease that had lapsed is good again
}

func newLease() *lease { return &lease{renewed: make(chan struct{})} }

// state says whether the lease is good, and what to wait for if not.
func (l *lease) state() (bool, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.until), l.renewed
}

// extend makes the lease good until then.
func (l *lease) extend(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lapsed := !time.Now().Before(l.until)
	l.until = until
	if lapsed {
		close(l.renewed)
		l.renewed = make(chan struct{})
	}
}

// end makes the lease over now.
func (l *lease) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = time.Time{}
}

// deadline is when the lease lapses; zero: it has been ended.
func (l *lease) deadline() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until
}
