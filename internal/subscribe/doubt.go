package subscribe

import (
	"math/bits"
	"time"

	"confgate/internal/confctl"
)

// kindSet is a set of state kinds.
type kindSet uint16

const _ = kindSet(1) << (confctl.NumKinds - 1) // doesn't compile where the kinds outgrow the set

// stateKinds are the kinds of which there is a state to be wrong about.
var stateKinds = func() (s kindSet) {
	for k := range confctl.Kind(confctl.NumKinds) {
		if !k.Event() {
			s |= setOf(k)
		}
	}
	return s
}()

func setOf(k confctl.Kind) kindSet { return 1 << k }

func (s kindSet) has(k confctl.Kind) bool { return s&setOf(k) != 0 }

// instance is a frame that showed a loss: when it was created by the provider's clock (ms), and seen by ours.
type instance struct {
	created int64
	seen    time.Time
}

// doubt is what may be wrong with one kind's state. Only its first and its latest cause are kept: a full frame between
// the two settles the first, and then the latest is all that is left.
type doubt struct {
	open          bool
	first, latest instance
}

func (d *doubt) raise(created int64, now time.Time) {
	in := instance{created, now}
	switch {
	case !d.open:
		*d = doubt{open: true, first: in, latest: in}
	case created > d.latest.created:
		d.latest = in
	}
}

// settle takes a full frame into account. It is false where that leaves all of the doubt.
func (d *doubt) settle(created int64) bool {
	switch {
	case created >= d.latest.created: // also where there is none
		*d = doubt{}
	case created >= d.first.created:
		d.first = d.latest
	default:
		return false
	}
	return true
}

// kindState is what one state kind's frames have shown on the present link.
type kindState struct {
	full    int64 // createTime of the last full frame taken
	applied int64 // the newest createTime among increments applied
	doubt   doubt
	// tooOld counts Subscribes in a row whose full frame was too old to be taken, or to settle the doubt that asked for it.
	tooOld int
}

// raise puts a kind in doubt, unless that is beside the point: an event leaves no state to be wrong about, a full frame
// created later has what was lost, and what never comes in full can't be healed.
func (t *Tracker) raise(k confctl.Kind, created int64, now time.Time) {
	ks := &t.kinds[k]
	if k.Event() || ks.full > created || t.mute.has(k) {
		return
	}
	if t.doubted == 0 && now.Sub(t.lastHeal) >= maxInterval {
		t.calm()
	}
	ks.doubt.raise(created, now)
	t.doubted |= setOf(k)
}

// raiseAll puts every kind in doubt: what was lost may have been of any.
func (t *Tracker) raiseAll(created int64, now time.Time) {
	for k := range confctl.Kind(confctl.NumKinds) {
		if (t.subscribed | t.senders).has(k) {
			t.raise(k, created, now)
		}
	}
}

// doubtSince is when the oldest unhealed gap was seen; zero where there is none.
func (t *Tracker) doubtSince() time.Time {
	var since time.Time
	for rest := t.doubted; rest != 0; rest &= rest - 1 {
		if d := &t.kinds[bits.TrailingZeros16(uint16(rest))].doubt; since.IsZero() || d.first.seen.Before(since) {
			since = d.first.seen
		}
	}
	return since
}
