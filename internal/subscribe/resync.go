package subscribe

import (
	"time"

	"confgate/internal/confctl"
)

const (
	// minInterval is between two Subscribes at least, however many losses there are.
	minInterval = time.Second
	// maxInterval is the most that fruitless Subscribes put between them. Without any for as long, the interval is minimal
	// again.
	maxInterval = 10 * time.Minute
	// maxFruitless Subscribes in a row that change nothing double the interval: numbers that jump without a loss, as where
	// the provider counts what isn't subscribed to, must not cost it a roster a second.
	maxFruitless = 3
	// quiet after a full frame of yet another kind means that the provider has sent all it will. They come within tens of
	// milliseconds, but nothing marks the last.
	quiet = 2 * time.Second
	// patience is how long a Subscribe may be without any full frame.
	patience = 10 * time.Second
	// maxTooOld Subscribes in a row may bring a kind's full frame older than what was seen before they were sent. Then
	// the provider's clock isn't what it was, and only a new link, which takes each kind's first, can heal.
	maxTooOld = 3
	// staleAfter is how long a gap may be unhealed before the state doesn't pass for complete any more.
	staleAfter = time.Second
)

// Action is what is due.
type Action uint8

// The actions.
const (
	None   Action = iota
	Resync        // send a Subscribe on the present link, and call Sent
	Redial        // close the link and dial anew
)

// String is the action's name.
func (a Action) String() string {
	switch a {
	case Resync:
		return "resync"
	case Redial:
		return "redial"
	default:
		return "none"
	}
}

// asked is the Subscribe sent last, and what came since. It is open (in flight) until the full frames that it brings have
// come, as far as can be told.
type asked struct {
	open     bool
	at       time.Time
	doubted  kindSet // in doubt when it was sent; empty for a link's first and for a periodic check
	awaited  kindSet // can be expected to send
	relevant kindSet // without any of these it is unanswered, whatever the provider sends unasked
	got      kindSet // have sent
	took     kindSet // have sent what was taken
	lastGot  time.Time
	changed  bool // the document, in a kind that was in doubt
}

// answer notes a full frame; false where it isn't its kind's first since the Subscribe.
func (a *asked) answer(k confctl.Kind, now time.Time) bool {
	if !a.open || a.got.has(k) {
		return false
	}
	a.got |= setOf(k)
	a.lastGot = now
	return true
}

func (a *asked) take(k confctl.Kind) {
	if a.open {
		a.took |= setOf(k)
	}
}

// change notes that a full frame changed the document. One that its kind sends unasked anyway says nothing about whether
// asking was worth it.
func (a *asked) change(k confctl.Kind, pushers kindSet) {
	if a.open && a.doubted.has(k) && !pushers.has(k) {
		a.changed = true
	}
}

// answered says whether any full frame came that can have been asked for.
func (a *asked) answered() bool { return a.got&a.relevant != 0 }

// over says whether everything that can be expected has come.
func (a *asked) over(now time.Time) bool {
	if a.awaited&^a.got == 0 {
		return true
	}
	return a.answered() && (now.Sub(a.lastGot) >= quiet || now.Sub(a.at) >= patience)
}

// settle closes the Subscribe in flight when it is over, and gives the link up when it remains without any full frame.
func (t *Tracker) settle(now time.Time) {
	a := &t.asked
	if !a.open {
		return
	}
	if !a.over(now) {
		if !a.answered() && now.Sub(a.at) >= patience {
			t.redial, t.dry = true, true
		}
		return
	}
	a.open = false
	if !t.live {
		t.live = true
		for k := range confctl.Kind(confctl.NumKinds) {
			if (t.subscribed & t.known &^ t.senders).has(k) {
				t.raise(k, t.newest, now) // what is known of it is from a link before
			}
		}
	}
	if t.senders&^a.took == 0 {
		t.checked = a.at
	}
	if a.doubted == 0 {
		return
	}
	for k := range confctl.Kind(confctl.NumKinds) {
		if a.doubted.has(k) && !t.senders.has(k) {
			t.mute |= setOf(k)
			t.kinds[k].doubt = doubt{}
			t.doubted &^= setOf(k)
		}
	}
	if a.changed {
		t.calm()
		return
	}
	if t.fruitless++; t.fruitless == maxFruitless {
		t.fruitless = 0
		t.interval = min(2*t.interval, maxInterval)
	}
}

// calm puts the limit on resyncs back to where it begins.
func (t *Tracker) calm() { t.interval, t.fruitless = minInterval, 0 }

// Next is what is due now, and when to ask again: then, or after the next frame. Asking is free; an action stays due until
// Sent or LinkDown. A zero time means that nothing is scheduled.
func (t *Tracker) Next(now time.Time) (Action, time.Time) {
	t.settle(now)
	if !t.up {
		return None, time.Time{}
	}
	if t.redial {
		return Redial, time.Time{}
	}
	var wake time.Time
	if since := t.doubtSince(); !since.IsZero() {
		wake = after(now, wake, since.Add(staleAfter))
	}
	if a := &t.asked; a.open {
		if a.answered() {
			wake = after(now, wake, a.lastGot.Add(quiet))
		} else {
			wake = after(now, wake, a.at.Add(quiet)) // Filling
		}
		return None, after(now, wake, a.at.Add(patience))
	}
	due := t.due()
	if !due.IsZero() && !due.After(now) {
		return Resync, now.Add(minInterval)
	}
	return None, after(now, wake, due)
}

// due is when the next Subscribe should be sent; zero where there is no reason for one.
func (t *Tracker) due() time.Time {
	var due time.Time
	if t.doubted != 0 {
		due = t.asked.at.Add(t.interval)
	}
	if t.refresh > 0 && !t.increment.IsZero() && !t.increment.Before(t.checked) {
		if check := t.asked.at.Add(max(t.refresh, minInterval)); due.IsZero() || check.Before(due) {
			due = check
		}
	}
	return due
}

// after is the earlier of wake and at, of those that are after now.
func after(now, wake, at time.Time) time.Time {
	if at.IsZero() || !at.After(now) || (!wake.IsZero() && wake.Before(at)) {
		return wake
	}
	return at
}

// Sent reports that a Subscribe was sent on the present link, as Next asked for it.
func (t *Tracker) Sent(now time.Time) {
	if !t.up {
		return
	}
	doubted := t.doubted
	a := asked{open: true, at: now, doubted: doubted, awaited: doubted | t.senders, relevant: doubted & t.senders}
	if a.relevant == 0 {
		a.relevant = stateKinds
	}
	if doubted != 0 {
		t.lastHeal = now
	}
	t.asked = a
}

// Live says whether the link has brought the whole state: every kind subscribed to has sent a full frame, or those that
// did have been quiet for 2 s. A link that was live stays so until LinkDown, whatever Stale says.
func (t *Tracker) Live(now time.Time) bool {
	t.settle(now)
	return t.live
}

// Stale says whether a gap has been unhealed for 1 s, so that the state isn't sure to be complete.
func (t *Tracker) Stale(now time.Time) bool {
	t.settle(now)
	since := t.doubtSince()
	return t.up && !since.IsZero() && now.Sub(since) >= staleAfter
}

// Filling says whether a Subscribe has been without any full frame for longer than it ever takes, so that the roster
// should come by REST. It stays so over a redial, until a full frame comes.
func (t *Tracker) Filling(now time.Time) bool {
	t.settle(now)
	return t.dry || t.asked.open && !t.asked.answered() && now.Sub(t.asked.at) >= quiet
}
