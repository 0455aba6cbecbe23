package session

import (
	"testing"
	"time"
)

// A frame that doesn't leave shows a dead peer: nothing is as full as its socket but a peer that takes nothing.
func TestFrameThatDoesNotLeave(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.fulls = full()
	run(t, newFakeLog(), p, func(*rig) {
		for beats := p.beats.Load(); p.beats.Load() == beats; {
			pass(time.Millisecond)
		}
		w := p.wire()
		p.stuck.Store(true)
		pass(DefaultHeartbeat + DefaultHeartbeat/2 - 10*time.Millisecond)
		if w.closed() {
			t.Error("the link is cut before the frame had half an interval to leave")
		}
		pass(20 * time.Millisecond)
		if !w.closed() {
			t.Error("the link is open though a frame doesn't leave")
		}
		p.stuck.Store(false)
	})
}
