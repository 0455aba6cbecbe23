package subscribe

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"confgate/internal/confctl"
)

// The model's kinds. InterpreterGroup is subscribed to, never changes and never comes in full: a kind without a state.
var (
	modelStates     = []confctl.Kind{confctl.Participants, confctl.NetCondition, confctl.WaitingList, confctl.ConfDynamicInfo}
	modelEvents     = []string{"RealTimeSubtitleNotify", "InviteResultNotify", "FooNotify"}
	modelSubscribed = append([]confctl.Kind{
		confctl.RealTimeSubtitle, confctl.InviteResult, confctl.KindOther, confctl.InterpreterGroup,
	}, modelStates...)
)

// rows is one kind's state.
type rows map[string]int

// message is a frame with what the model's client needs of its data.
type message struct {
	frame confctl.Frame
	full  rows   // of a full frame
	key   string // of an increment: this key has this value now
	value int
	lost  bool // it never arrives
}

// world is a model of a provider, of the link to it, and of a client that does as the Tracker says.
type world struct {
	rt      *rapid.T
	classes map[string]int // what was exercised

	// The provider.
	byKind  bool
	clear   bool  // its numbers show every loss: see newWorld
	millis  int64 // its clock
	truth   map[confctl.Kind]rows
	numbers map[string]int64 // counters, by action, or of "" for the conference
	ids     int
	shift   int64 // by how much the next fail-over changes them
	deaf    bool  // it sends no full frames, and nothing on a link whose Subscribe it ignored
	partial bool  // its answer to a first Subscribe of a link has one kind only
	late    int   // how many frames overtake its full frames

	// The link, in order.
	linked  bool
	heard   bool      // its Subscribe
	held    *message  // an increment that its neighbour overtakes
	pending []message // full frames that others overtake
	overdue int       // how many frames may still overtake them

	// The client.
	tracker *Tracker
	state   map[confctl.Kind]rows
	arrived map[string]bool // events
	told    map[string]int
	asked   time.Time // when the last Subscribe went out
}

// newWorld makes a world whose numbers run by kind or by conference. Where they are clear, no loss can look like none:
// every run has a base as soon as a link is up, and no counter that began anew ever meets the number that was awaited.
func newWorld(rt *rapid.T, byKind, clear bool, cfg Config, classes map[string]int) *world {
	w := &world{
		rt: rt, classes: classes, byKind: byKind, clear: clear, millis: start.UnixMilli(),
		truth: map[confctl.Kind]rows{}, numbers: map[string]int64{}, shift: 10_000, tracker: New(cfg),
		state: map[confctl.Kind]rows{}, arrived: map[string]bool{}, told: map[string]int{},
	}
	base := int64(0)
	if clear {
		base = 1 << 60
	}
	actions := append([]string{""}, modelEvents...)
	for _, k := range modelStates {
		w.truth[k], w.state[k] = rows{}, rows{}
		actions = append(actions, k.String())
	}
	for _, action := range actions {
		w.numbers[action] = base + int64(rapid.IntRange(0, 50).Draw(rt, "counter"))
	}
	return w
}

func (w *world) now() time.Time { return time.UnixMilli(w.millis) }

// pass lets time go by, and does meanwhile what the tracker asks for, when it asks for it.
func (w *world) pass(d time.Duration) {
	end := w.now().Add(d)
	for {
		w.deliverPending() // nothing is so late that it takes a second
		wake := w.poll()
		if len(w.pending) > 0 {
			continue
		}
		if wake.IsZero() || wake.After(end) {
			break
		}
		w.millis = wake.UnixMilli()
	}
	// Full frames may have taken it beyond already: no clock goes back, or a change after them would look older than they.
	w.millis = max(w.millis, end.UnixMilli())
	w.poll()
}

// poll does what is due, and returns when to ask again.
func (w *world) poll() time.Time {
	for range 10 {
		action, wake := w.tracker.Next(w.now())
		for k := range w.tracker.kinds {
			if kind := confctl.Kind(k); w.tracker.doubted.has(kind) != w.tracker.kinds[k].doubt.open {
				w.rt.Fatalf("%v in doubt: %v, want %v", kind, w.tracker.doubted.has(kind), !w.tracker.doubted.has(kind))
			}
		}
		if !wake.IsZero() && !wake.After(w.now()) {
			w.rt.Fatalf("Next at %v = %v, %v, want a later time", w.now(), action, wake)
		}
		switch action {
		case None:
			return wake
		case Resync:
			if w.tracker.doubted == 0 {
				w.classes["check"]++
			} else {
				w.classes["resync"]++
			}
			if since := w.now().Sub(w.asked); since < minInterval {
				w.rt.Fatalf("a Subscribe %v after the one before, want 1s at least", since)
			}
			w.tracker.Sent(w.now())
			w.subscribe()
		case Redial:
			w.classes["redial"]++
			w.cut()
			w.dial()
		}
	}
	w.rt.Fatal("Next is never satisfied")
	return time.Time{}
}

// dial opens a link.
func (w *world) dial() {
	w.linked = true
	w.deaf = w.deaf && rapid.Bool().Draw(w.rt, "deaf still")
	w.tracker.LinkUp(w.now(), modelSubscribed)
	w.subscribe()
	if w.clear {
		w.bases()
	}
}

// bases sends an increment of each kind, so that each run has begun.
func (w *world) bases() {
	for _, k := range modelStates {
		w.send(w.change(k), "none")
	}
}

// cut loses the link and all that is on its way.
func (w *world) cut() {
	w.linked, w.heard = false, false
	w.held, w.pending = nil, nil
	w.tracker.LinkDown(w.now())
}

// subscribe makes the provider answer with full frames, in any order.
func (w *world) subscribe() {
	w.asked = w.now()
	if w.deaf {
		w.classes["unanswered"]++
		return
	}
	kinds := rapid.Permutation(modelStates).Draw(w.rt, "order")
	if !w.heard && w.partial {
		w.classes["partial"]++
		kinds = kinds[:1]
	}
	w.heard = true
	w.full(kinds)
}

// full makes the provider send full frames of these kinds.
func (w *world) full(kinds []confctl.Kind) {
	w.millis++ // a full frame's creation time is its own
	for _, k := range kinds {
		w.ids++
		w.pending = append(w.pending, message{full: maps.Clone(w.truth[k]), frame: confctl.Frame{
			Kind: k, Action: k.String(), Mode: confctl.Full, Version: w.millis, CreateTime: w.millis,
			MsgID: fmt.Sprintf("id%d", w.ids),
		}})
	}
	w.millis++
	w.overdue = w.late
	if w.overdue == 0 {
		w.deliverPending()
	}
}

// increment makes a numbered frame of an action.
func (w *world) increment(action string) message {
	counter := ""
	if w.byKind {
		counter = action
	}
	w.numbers[counter]++
	w.ids++
	return message{frame: confctl.Frame{
		Kind: confctl.ParseKind(action), Action: action, Mode: confctl.Increment,
		Version: w.numbers[counter], CreateTime: w.millis, MsgID: fmt.Sprintf("id%d", w.ids),
	}}
}

// change alters one value of a kind.
func (w *world) change(k confctl.Kind) message {
	m := w.increment(k.String())
	m.key = rapid.SampledFrom([]string{"a", "b", "c"}).Draw(w.rt, "key")
	m.value = w.ids
	w.truth[k][m.key] = m.value
	return m
}

// send puts an increment on the link.
func (w *world) send(m message, fault string) {
	if !w.linked || !w.heard {
		w.classes["unlinked"]++
		return
	}
	w.classes["fault "+fault]++
	switch {
	case fault == "swap" && w.held == nil:
		w.held = &m
		return
	case fault == "lose":
		m.lost = true
	}
	w.deliver(m)
	if fault == "repeat" {
		w.deliver(m)
	}
	w.release()
	if len(w.pending) > 0 {
		if w.overdue--; w.overdue <= 0 {
			w.deliverPending()
		}
	}
}

// release lets the increment go that was overtaken.
func (w *world) release() {
	if m := w.held; m != nil {
		w.held = nil
		w.deliver(*m)
	}
}

func (w *world) deliverPending() {
	pending := w.pending
	w.pending = nil
	for _, m := range pending {
		w.deliver(m)
	}
}

// deliver hands a message to the client.
func (w *world) deliver(m message) {
	if m.lost {
		return
	}
	event := m.frame.Kind.Event()
	if event {
		w.arrived[m.frame.MsgID] = true
	}
	v := w.tracker.Observe(&m.frame, w.now())
	w.classify(v, m.frame.Mode)
	if v.Apply {
		w.tracker.Applied(&m.frame, w.apply(m, event), w.now())
	}
	w.poll()
}

func (w *world) apply(m message, event bool) bool {
	k := m.frame.Kind
	switch {
	case event:
		w.told[m.frame.MsgID]++
		return false
	case m.frame.Mode == confctl.Full:
		changed := !maps.Equal(w.state[k], m.full)
		w.state[k] = maps.Clone(m.full)
		return changed
	default:
		changed := w.state[k][m.key] != m.value
		w.state[k][m.key] = m.value
		return changed
	}
}

func (w *world) classify(v Verdict, mode confctl.Mode) {
	for class, is := range map[string]bool{
		"gap": v.Gap, "repeat": v.Repeat, "late": v.Late, "restarted": v.Restarted,
		"old full": v.Old && mode == confctl.Full, "old increment": v.Old && mode == confctl.Increment,
	} {
		if is {
			w.classes[class]++
		}
	}
}

// steps are what may happen to a world, the likelier the oftener they stand here.
var steps = slices.Concat(
	slices.Repeat([]string{"change"}, 60), slices.Repeat([]string{"event"}, 12), slices.Repeat([]string{"wait"}, 6),
	slices.Repeat([]string{"cut", "late"}, 3), slices.Repeat([]string{"push"}, 8), slices.Repeat([]string{"counters"}, 2),
	[]string{"deaf", "partial", "spell"},
)

// trouble runs the world through one step in which things may go wrong.
func (w *world) trouble() {
	rt := w.rt
	w.millis += int64(rapid.SampledFrom([]int{0, 0, 1, 5, 20, 300}).Draw(rt, "ms"))
	w.poll()
	switch rapid.SampledFrom(steps).Draw(rt, "step") {
	case "change":
		w.send(w.change(rapid.SampledFrom(modelStates).Draw(rt, "kind")), w.fault())
	case "event":
		action := rapid.SampledFrom(modelEvents).Draw(rt, "event")
		for range rapid.SampledFrom([]int{1, 2, 4}).Draw(rt, "events") {
			w.send(w.increment(action), w.fault())
		}
	case "push":
		if w.heard && !w.deaf {
			w.full([]confctl.Kind{rapid.SampledFrom(modelStates).Draw(rt, "kind")})
		}
	case "wait":
		w.pass(rapid.SampledFrom([]time.Duration{time.Second, 2 * time.Second, 5 * time.Second}).Draw(rt, "wait"))
		if !w.linked {
			w.dial()
		}
	case "spell":
		w.pass(rapid.SampledFrom([]time.Duration{12 * time.Second, 2 * time.Minute, 400 * time.Second}).Draw(rt, "wait"))
	case "cut":
		if w.linked {
			w.classes["cut"]++
			w.cut()
		}
	case "late":
		w.late = rapid.SampledFrom([]int{0, 1, 2, 5}).Draw(rt, "late")
	case "deaf":
		w.deaf = true
	case "partial":
		w.partial = !w.partial
	case "counters":
		w.failOver()
	}
}

// failOver makes the counters begin anew, or come from a machine that was ahead.
func (w *world) failOver() {
	w.classes["counters"]++
	if w.clear {
		// No sum of such shifts is near another one.
		by := w.shift * rapid.SampledFrom([]int64{-1, 1}).Draw(w.rt, "shift")
		w.shift *= 3
		for action := range w.numbers {
			w.numbers[action] += by
		}
		return
	}
	base := rapid.SampledFrom([]int64{0, 3, 100, 1000}).Draw(w.rt, "base")
	for action := range w.numbers {
		w.numbers[action] = base
	}
}

func (w *world) fault() string {
	return rapid.SampledFrom([]string{
		"none", "none", "none", "none", "none", "none", "lose", "lose", "repeat", "swap",
	}).Draw(w.rt, "fault")
}

// peace ends all faults, and lets a few more changes come through.
func (w *world) peace(changes int) {
	w.deaf, w.partial, w.late = false, false, 0
	if !w.linked {
		w.dial()
	}
	w.pass(patience) // what was not heard is sent again
	w.release()
	w.deliverPending()
	first := rapid.IntRange(0, len(modelStates)-1).Draw(w.rt, "first")
	for i := range changes {
		w.millis += 5
		w.send(w.change(modelStates[(first+i)%len(modelStates)]), "none")
	}
}
