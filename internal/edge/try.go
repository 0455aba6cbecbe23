package edge

import (
	"errors"
	"syscall"

	"confgate/internal/rawsock"
)

// This is frameWriter as a shared writer uses it: frames are held until there are no more or there are many, then written
// with one call that doesn't wait.

// share has what follows written by w, until unshare.
func (w *frameWriter) share(by *sharedWriter) {
	w.by = by
	by.gather = by.gather[:0]
}

func (w *frameWriter) unshare() { w.by.held, w.by = nil, nil }

// blocked says whether the socket didn't take everything: more must wait until the rest was written.
func (w *frameWriter) blocked() bool { return w.rest != nil }

// hold adds a frame in two parts, which are copied.
func (w *frameWriter) hold(head, payload []byte) error {
	if w.blocked() { // only the answers of a round that has begun come here
		w.rest = append(append(append(make([]byte, 0, len(w.rest)+len(head)+len(payload)), w.rest...), head...), payload...)
		return nil
	}
	if err := w.make(len(head) + len(payload)); err != nil {
		return err
	}
	if w.blocked() {
		return w.hold(head, payload)
	}
	w.by.gather = append(append(w.by.gather, head...), payload...)
	return nil
}

// holdWire adds a frame. A single one is written from where it is.
func (w *frameWriter) holdWire(wire []byte) error {
	if w.by.held == nil && len(w.by.gather) == 0 && !w.blocked() {
		w.by.held = wire
		return nil
	}
	return w.hold(nil, wire)
}

// make makes room for n bytes in the shared writer's buffer, behind what is held already.
func (w *frameWriter) make(n int) error {
	if w.by.held != nil && len(w.by.held)+n <= gatherLimit {
		w.by.gather = append(w.by.gather, w.by.held...)
		w.by.held = nil
	}
	if w.by.held != nil || len(w.by.gather) > 0 && len(w.by.gather)+n > gatherLimit {
		return w.send()
	}
	return nil
}

// send writes what is held. What the socket doesn't take is kept in rest.
func (w *frameWriter) send() error {
	by := w.by
	shared := by.held != nil
	bytes := by.held
	if !shared {
		bytes = by.gather
	}
	if len(bytes) == 0 || w.blocked() {
		return nil
	}
	by.try.bytes, by.try.wrote, by.try.err = bytes, 0, nil
	// Write would do as well, but asks the poller first, whose memory nothing else here needs. What Control gives is enough:
	// the socket isn't closed meanwhile, and nobody else writes.
	err := w.raw.Control(by.try.once)
	left, werr := bytes[by.try.wrote:], by.try.err
	by.held, by.try.bytes = nil, nil
	by.gather = by.gather[:0]
	switch {
	case err == nil && werr == nil && len(left) == 0:
		return nil
	case err != nil:
		return err
	case werr != nil && !errors.Is(werr, syscall.EAGAIN):
		return werr
	}
	if !shared {
		left = append([]byte(nil), left...)
	}
	w.rest = left
	return nil
}

// try is one write that doesn't wait. A shared writer has one, which is in the cache when a connection is not.
type try struct {
	bytes []byte
	wrote int
	err   error
	once  func(fd uintptr) // write, made once
}

func (t *try) write(fd uintptr) { t.wrote, t.err = rawsock.Write(fd, t.bytes) }
