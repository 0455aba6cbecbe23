package subscribe

import (
	"encoding/json"
	"strings"
	"time"

	"confgate/internal/confctl"
)

// DefaultRefresh is how often a busy conference is checked against fresh full frames where the configuration doesn't say:
// often enough that a loss which no number shows is short-lived, seldom enough to be nothing beside the increments.
const DefaultRefresh = 5 * time.Minute

const (
	// maxOthers bounds the undocumented actions that have a run of their own: a provider can't make the map grow.
	maxOthers = 64
	// restartLag is how much newer than the newest frame of a conference's run, by createTime, a lower number of another
	// kind may be and still count as late; more, and the counter began anew. Late frames are created before the one that
	// overtook them; the rest is for clocks of several machines.
	restartLag = time.Second
)

// Config is what an operator can set.
type Config struct {
	Numbering Numbering     // empty: Auto
	Refresh   time.Duration // 0: DefaultRefresh, negative: off
}

// Verdict says what to do with a frame, and why. At most one of the reasons is set, but for Old beside Gap and Restarted.
type Verdict struct {
	Apply     bool // hand the frame to the reducer, then call Applied
	Gap       bool // the numbers show that increments before this one are missing
	Repeat    bool // dropped: seen already, or overtaken by a later one of its kind
	Late      bool // overtaken, but applying it is right
	Restarted bool // the counter began anew
	// Old: not applied, since a full frame that was taken has it already, or, itself full, it is older than what was applied.
	Old bool
}

// Tracker follows the continuity of one conference's subscription, over all its links. The zero value is of no use; New
// makes one. It isn't safe for concurrent use.
//
// What each frame touches of one comes first: where a thousand conferences take turns, none of it is in the processor's
// cache.
type Tracker struct {
	numbering Numbering
	refresh   time.Duration
	known     kindSet // state kinds that ever sent a full frame, on whatever link

	// Of the present link, all cleared by LinkUp, but for dry.
	up         bool
	live       bool
	redial     bool
	dry        bool                        // a Subscribe has had no full frame, and none came since
	subscribed kindSet                     // state kinds asked for
	senders    kindSet                     // state kinds that have sent a full frame
	mute       kindSet                     // state kinds that were in doubt, asked for, and sent none
	pushers    kindSet                     // state kinds that send full frames unasked
	doubted    kindSet                     // state kinds in doubt
	asked      asked                       // see resync.go, as for checked
	newest     int64                       // the newest createTime of any frame
	increment  time.Time                   // when the last increment came
	checked    time.Time                   // when the last Subscribe was sent whose full frames all were taken
	evidence   evidence                    // of all links
	conference run                         // all kinds together
	skipped    skipped                     // by these runs
	runs       [confctl.NumKinds]run       // documented kinds
	others     map[string]*run             // other kinds, by action
	kinds      [confctl.NumKinds]kindState // state kinds only

	// Resyncs, see resync.go.
	lastHeal  time.Time     // when the last Subscribe was sent because of a doubt
	interval  time.Duration // between Subscribes that heal
	fruitless int           // of these in a row, how many changed nothing

	window window // of all links
}

// New makes a tracker that knows nothing yet. An unknown Numbering counts as Auto; ParseNumbering checks one.
func New(cfg Config) *Tracker {
	t := &Tracker{numbering: cfg.Numbering, refresh: cfg.Refresh, window: newWindow(), others: make(map[string]*run)}
	if t.refresh == 0 {
		t.refresh = DefaultRefresh
	}
	t.calm()
	return t
}

// Restore takes back what Memory gave: what was found out about the numbering. Empty memory is none. An error leaves the
// tracker as it was.
func (t *Tracker) Restore(memory []byte) error {
	if len(memory) == 0 {
		return nil
	}
	return t.evidence.parse(memory)
}

// Memory is what was found out about the numbering, as a small JSON object that holds nothing of the conference.
func (t *Tracker) Memory() []byte {
	b, err := json.Marshal(t.evidence)
	if err != nil {
		panic("subscribe: " + err.Error()) // two numbers and a word: can't happen
	}
	return b
}

// LinkUp begins a new link: it is open, and its Subscribe for these kinds was just sent. It is also called where a link's
// Subscribe was refused and another list was sent.
func (t *Tracker) LinkUp(now time.Time, kinds []confctl.Kind) {
	t.up, t.live, t.redial = true, false, false
	t.subscribed, t.senders, t.mute, t.pushers = 0, 0, 0, 0
	for _, k := range kinds {
		t.subscribed |= setOf(k) & stateKinds
	}
	t.kinds, t.doubted = [confctl.NumKinds]kindState{}, 0
	t.forgetRuns()
	t.newest, t.increment, t.checked = 0, time.Time{}, time.Time{}
	t.calm()
	t.asked = asked{open: true, at: now, awaited: t.subscribed, relevant: t.subscribed}
}

// LinkDown ends the present link.
func (t *Tracker) LinkDown(now time.Time) {
	t.dry = t.Filling(now)
	t.up, t.live, t.redial = false, false, false
	t.asked = asked{}
}

func (t *Tracker) forgetRuns() {
	t.runs = [confctl.NumKinds]run{}
	clear(t.others)
	t.conference, t.skipped = run{}, skipped{}
}

// Observe takes a notify frame of the present link into account and says what to do with it. It is called for each, in
// the order of their arrival, before any is applied.
func (t *Tracker) Observe(f *confctl.Frame, now time.Time) Verdict {
	t.settle(now)
	if !t.up || f.Class != confctl.Notify {
		return Verdict{}
	}
	if f.Mode == confctl.Increment {
		return t.observeIncrement(f, now)
	}
	if f.Kind.Event() {
		// Not a state but things that happened, each only once: their order doesn't matter.
		seen := t.window.seen(f.MsgID)
		return Verdict{Apply: !seen, Repeat: seen}
	}
	return t.observeFull(f, now)
}

// Applied reports that a frame which Observe let pass was applied, and whether that changed the document.
func (t *Tracker) Applied(f *confctl.Frame, changed bool, now time.Time) {
	if f.Class == confctl.Notify && f.Mode == confctl.Full && !f.Kind.Event() && changed {
		t.asked.change(f.Kind, t.pushers)
	}
	t.settle(now)
}

// Failed reports that a frame which Observe let pass couldn't be applied, so that what it said is lost.
func (t *Tracker) Failed(f *confctl.Frame, now time.Time) {
	if t.up && f.Class == confctl.Notify {
		// As if a frame created later had shown the loss: the frame itself must not heal it.
		t.raise(f.Kind, max(t.newest, t.kinds[f.Kind].full)+1, now)
	}
}

// created is a frame's time of creation; where it doesn't say, that of the newest frame before it.
func (t *Tracker) created(f *confctl.Frame) int64 {
	created := f.CreateTime
	if created <= 0 && f.Mode == confctl.Full {
		created = f.Version // the same, by the reference
	}
	if created <= 0 {
		return max(t.newest, 1)
	}
	t.newest = max(t.newest, created)
	return created
}

func (t *Tracker) observeFull(f *confctl.Frame, now time.Time) Verdict {
	k, ks := f.Kind, &t.kinds[f.Kind]
	stated := f.CreateTime > 0 || f.Version > 0
	created := t.created(f)
	first := !t.senders.has(k)
	answer := t.asked.answer(k, now)
	if !t.asked.open {
		t.pushers |= setOf(k)
	}
	t.senders |= setOf(k)
	t.known |= setOf(k)
	t.mute &^= setOf(k)

	switch {
	case first:
	case stated && created <= ks.full:
		if created < ks.full || ks.doubt.open {
			t.tooOld(ks, answer)
		}
		return Verdict{Old: true}
	case created < ks.applied && !ks.doubt.open:
		// It would take back increments that are in the document, and nothing says that any is missing.
		return Verdict{Old: true}
	}
	ks.full, t.dry = created, false
	t.asked.take(k)
	if ks.doubt.settle(created) {
		if ks.tooOld = 0; !ks.doubt.open {
			t.doubted &^= setOf(k)
		}
	} else {
		t.tooOld(ks, answer && t.asked.doubted.has(k))
	}
	if created < ks.applied {
		t.raise(k, ks.applied, now) // it takes them back
	}
	return Verdict{Apply: true}
}

// tooOld counts an answer to a Subscribe that is older than what it should be newer than, and gives the link up when that
// is the rule.
func (t *Tracker) tooOld(ks *kindState, answer bool) {
	if !answer {
		return
	}
	ks.tooOld++
	t.redial = t.redial || ks.tooOld >= maxTooOld
}

func (t *Tracker) observeIncrement(f *confctl.Frame, now time.Time) Verdict {
	t.increment = now
	if t.window.seen(f.MsgID) {
		return Verdict{Repeat: true}
	}
	created := t.created(f)
	v := t.place(f, created, now)
	if v.Repeat || f.Kind.Event() {
		v.Apply = !v.Repeat
		return v
	}
	ks := &t.kinds[f.Kind]
	if created < ks.full {
		v.Late, v.Old = false, true
		return v
	}
	v.Apply = true
	ks.applied = max(ks.applied, created)
	return v
}

// place puts an increment where its number belongs, in the run of its kind and in that of the conference.
func (t *Tracker) place(f *confctl.Frame, created int64, now time.Time) Verdict {
	own := t.runOf(f)
	if t.numbering == Off || f.Version <= 0 || own == nil {
		return Verdict{}
	}
	inKind, inConference := own.judge(f.Version, f.CreateTime), t.conference.judge(f.Version, f.CreateTime)
	numbering := t.numbering
	if numbering != ByKind && numbering != ByConference {
		t.skipped.note(inKind, inConference)
		if t.evidence.count(inKind == continues, inConference == continues) && t.skipped.by(t.evidence.Verdict) {
			// A loss has looked like the next number of the other run.
			t.calm()
			t.raiseAll(t.newest, now)
		}
		numbering = t.evidence.Verdict
	}
	if inKind == behind {
		return t.overtaken(f, own, created, now)
	}
	var v Verdict
	switch numbering {
	case ByKind:
		v = t.placeByKind(f.Kind, inKind, created, now)
	case ByConference:
		if inConference == restarts && inKind != restarts && f.CreateTime <= t.conference.newest+restartLag.Milliseconds() {
			inConference = behind
		}
		v = t.placeByConference(inKind, inConference, created, now)
	default:
		v = t.placeByEither(inKind, inConference, created, now)
	}
	if v.Restarted && numbering != ByKind {
		t.forgetRuns()
		if own = t.runOf(f); own == nil {
			return v
		}
		inKind, inConference = opens, opens
	}
	own.move(inKind, f.Version, f.CreateTime)
	t.conference.move(inConference, f.Version, f.CreateTime)
	return v
}

func (t *Tracker) placeByKind(k confctl.Kind, inKind step, created int64, now time.Time) Verdict {
	switch inKind {
	case jumps:
		t.raise(k, created, now)
		return Verdict{Gap: true}
	case restarts:
		if !k.Event() {
			t.raiseAll(created, now) // a fail-over doesn't happen to one kind alone
		}
		return Verdict{Restarted: true}
	default:
		return Verdict{}
	}
}

func (t *Tracker) placeByConference(inKind, inConference step, created int64, now time.Time) Verdict {
	switch {
	case inKind == restarts || inConference == restarts:
		t.raiseAll(created, now)
		return Verdict{Restarted: true}
	case inConference == jumps:
		t.raiseAll(created, now)
		return Verdict{Gap: true}
	case inConference == behind:
		return Verdict{Late: true} // when it was overtaken, that showed as a gap
	default:
		return Verdict{}
	}
}

// placeByEither is for as long as there is no verdict: whatever one of the two numberings explains is fine.
func (t *Tracker) placeByEither(inKind, inConference step, created int64, now time.Time) Verdict {
	switch {
	case inKind == restarts:
		t.raiseAll(created, now)
		return Verdict{Restarted: true}
	case inKind == opens || inKind == continues || inConference == continues:
		return Verdict{}
	case inConference == behind:
		return Verdict{Late: true}
	default:
		t.raiseAll(created, now)
		return Verdict{Gap: true}
	}
}

// overtaken judges an increment whose number isn't above the last of its kind, nor is it newer, though it isn't known to
// be a repeat. An event can still be told. A change can't be applied after later ones; that is no loss where a full frame
// has it, or where it is the last one again; otherwise the kind is in doubt, and mostly was from when it was overtaken.
func (t *Tracker) overtaken(f *confctl.Frame, own *run, created int64, now time.Time) Verdict {
	if f.Kind.Event() && f.MsgID != "" {
		return Verdict{Late: true}
	}
	same := f.MsgID == "" && f.Version == own.last && f.CreateTime == own.newest
	if !same && created >= t.kinds[f.Kind].full {
		t.raise(f.Kind, max(created, own.newest), now)
	}
	return Verdict{Repeat: true}
}

// runOf is the run of the frame's own kind; nil for one undocumented action too many.
func (t *Tracker) runOf(f *confctl.Frame) *run {
	if f.Kind != confctl.KindOther {
		return &t.runs[f.Kind]
	}
	r, ok := t.others[f.Action]
	if !ok && len(t.others) < maxOthers {
		r = new(run)
		t.others[strings.Clone(f.Action)] = r
	}
	return r
}
