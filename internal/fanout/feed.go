package fanout

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"confgate/internal/conference"
	"confgate/internal/telemetry"
)

// refollowDelay is how long a feed waits before it loads anew after a change that didn't fit its document.
const refollowDelay = time.Second

// Feed is one conference's replica on this worker. One goroutine, run, owns the document and the list; readers walk the
// list by themselves, and leave notes for it.
type Feed struct {
	// What each change touches comes first, and together: where a thousand conferences take turns, none of it is in the
	// processor's cache.
	kick    chan struct{}          // there is something to do: notes, a step of the log, or what was held
	mu      sync.Mutex             // guards notes; a leaf
	notes   []func()               // for run to call, in their order
	waiting atomic.Pointer[Reader] // a stack: readers push, run takes all

	// owned by run, but for conf and opts, which don't change
	whole     bool // state is what it should be; else it waits for a snapshot
	readers   int
	conf      string
	opts      *FeedOptions
	state     replica
	pos       conference.Position
	snapshots map[snapshotKey]*snapshot
	profiles  [conference.NumProfiles]int // readers by profile
	list      list
	pending   []*attachment // waiting for the document, or for a position
	pacing    pacing

	// owned by run
	log       Status // what the log says of itself
	holding   holding
	releases  int // how often the conference was released
	status    statusItem
	documents documents
	asks      []ask // waiting for the document
	parted    int   // readers that left since the stack of waiting ones was cleaned

	done chan struct{} // closed when run has ended
}

// ask is a reader that needs a snapshot, and why.
type ask struct {
	reader *Reader
	reason string
}

// snapshotKey is what a snapshot's bytes depend on, beside the position.
type snapshotKey struct {
	topics  conference.Topics
	profile conference.Profile
	events  bool // whether it carries the events that a lagging reader has missed
}

// snapshot is an encoded state. A storm of joiners shares it until the next change.
type snapshot struct {
	frame Frame
	at    *link
}

// attachment is a Subscribe call in flight, or a look at the replica. Whoever moves state first decides: run answers, or
// the caller gives up.
type attachment struct {
	req    Request
	reader *Reader
	look   func(*Feed)  // instead of reader: called by run
	state  atomic.Int32 // attaching, then attached or abandoned
	done   chan struct{}
}

const (
	attaching int32 = iota
	attached
	abandoned
)

func newFeed(conf string, opts *FeedOptions, held bool) *Feed {
	f := &Feed{
		conf: conf, opts: opts, status: statusItem{fresh: true}, log: Status{Fresh: true},
		done: make(chan struct{}), kick: make(chan struct{}, 1),
	}
	f.pacing = newPacing(opts.WriteRate, f.nudge)
	f.list.init(opts.ResumeWindow, opts.WindowBytes)
	now := time.Now()
	f.holding = holding{held, now}
	f.judge(now)
	return f
}

// run follows the log until ctx is done.
func (f *Feed) run(ctx context.Context) {
	defer close(f.done)
	for ctx.Err() == nil {
		err := f.follow(ctx)
		f.whole = false
		if ctx.Err() == nil {
			f.opts.Logger.Error("replica is loaded anew", telemetry.Conference(f.conf),
				telemetry.Epoch(f.pos.Epoch), telemetry.Seq(f.pos.Seq), zap.Error(err))
			pause(ctx, refollowDelay)
		}
	}
}

// follow serves until ctx is done, or the replica can't go on. All that wakes it comes by kick: a select among many
// channels costs more than what it is woken for.
func (f *Feed) follow(ctx context.Context) error {
	tail := f.opts.Log.Follow(f.conf, conference.Position{}, f.kick)
	defer tail.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, f.nudge)()
	var broken error
	deliver := func(d Delivery) {
		if broken == nil {
			broken = f.apply(d)
		}
	}
	for broken == nil {
		<-f.kick
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.serve()
		tail.Step(ctx, deliver)
		f.due()
	}
	return broken
}

// nudge has run look after everything. Any goroutine may call it; it never blocks.
func (f *Feed) nudge() { poke(f.kick) }

// note leaves something for run to do. Any goroutine may call it; it never blocks.
func (f *Feed) note(do func()) {
	f.mu.Lock()
	f.notes = append(f.notes, do)
	f.mu.Unlock()
	f.nudge()
}

// apply takes one step of the log.
func (f *Feed) apply(d Delivery) error {
	switch {
	case d.Snapshot != nil:
		f.flush()
		f.load(d.Snapshot)
	case d.Status != nil:
		f.log = *d.Status
		f.judge(d.Received)
	case len(d.Entry) > 0:
		if err := f.extend(d.Entry, d.Received); err != nil {
			return err
		}
	}
	f.admit()
	f.wake()
	return nil
}

// load replaces the replica. Readers that were there need a snapshot to go on.
func (f *Feed) load(s *Snapshot) {
	now := time.Now()
	if f.state.known() {
		reason := SnapshotLag
		if s.Epoch != f.pos.Epoch {
			reason = SnapshotEpoch
		}
		f.list.run++
		f.list.push(now, &item{reset: reason}, perChange)
	}
	f.snapshots = nil
	f.documents = documents{}
	f.state, f.pos, f.whole = replica{doc: s.Doc}, s.Position, true
	for _, entry := range s.History {
		f.push(now, newContent(f.conf, f.opts.Encoder, entry, time.Time{}))
	}
	f.reply()
}

var errJump = errors.New("fanout: log delivered a jump")

// extend applies an entry to the replica and appends it to the list.
func (f *Feed) extend(entry []conference.Stamped, received time.Time) error {
	if !f.whole || entry[0].Seq != f.pos.Seq+1 {
		return errJump
	}
	if err := f.state.extend(entry); err != nil {
		return err
	}
	f.pos.Seq = last(entry)
	if f.readers > 0 && f.pacing.hold(entry, received, time.Now()) {
		if len(f.pacing.held) >= maxHeld {
			f.flush()
		}
		return nil
	}
	f.flush()
	f.push(received, newContent(f.conf, f.opts.Encoder, entry, received))
	return nil
}

func (f *Feed) push(now time.Time, c *content) {
	size := weigh(c.changes)
	for p, n := range f.profiles {
		if n > 0 {
			size += c.view(conference.Profile(p)).encoded()
		}
	}
	f.list.push(now, &c.item, size)
	// An older state of the epoch could set back a client that has been here before.
	f.snapshots = nil
}

func (f *Feed) setStatus(s Status, now time.Time) {
	bytes := f.opts.Encoder.Status(make([]byte, headerRoom), f.conf, s.Fresh, s.Reason, s.Since)
	f.status = statusItem{
		serial: f.status.serial + 1, fresh: s.Fresh, reason: s.Reason,
		frame: Frame{Bytes: bytes[headerRoom:], Wire: wire(f.opts.Encoder, bytes), Messages: []MessageCount{{typeStatus, 1}}},
	}
	status := f.status
	f.list.push(now, &item{status: &status, last: f.pos.Seq}, len(bytes)+perChange)
	f.snapshots = nil
}

// admit answers the attachments that waited for what has come now.
func (f *Feed) admit() {
	if len(f.pending) == 0 {
		return
	}
	waiting := f.pending
	f.pending = nil
	for _, a := range waiting {
		f.receive(a)
	}
}

// receive answers an attachment, now or later.
func (f *Feed) receive(a *attachment) {
	if !f.attach(a) {
		f.pending = append(f.pending, a)
	}
}

// attach answers an attachment; false if it has to wait. One that was given up needs no answer.
func (f *Feed) attach(a *attachment) bool {
	if a.state.Load() == abandoned {
		return true
	}
	f.flush()
	resume := a.req.Resume
	if !f.whole || f.behind(resume) || f.behind(a.req.NotBefore) {
		f.forget()
		return false
	}
	if a.look != nil {
		a.look(f)
		if a.state.CompareAndSwap(attaching, attached) {
			close(a.done)
		}
		return true
	}
	r := a.reader
	ans := f.position(r, resume)
	if !a.state.CompareAndSwap(attaching, attached) {
		return true
	}
	r.recovered, r.releases = ans.resumed, f.releases
	r.install(ans)
	f.readers++
	f.profiles[r.profile]++
	close(a.done)
	return true
}

// behind says whether a client has been further in this epoch than the feed is.
func (f *Feed) behind(pos *conference.Position) bool {
	return pos != nil && pos.Epoch == f.pos.Epoch && pos.Seq > f.pos.Seq
}

// forget drops the attachments that were given up while they waited.
func (f *Feed) forget() {
	kept := f.pending[:0]
	for _, a := range f.pending {
		if a.state.Load() != abandoned {
			kept = append(kept, a)
		}
	}
	clear(f.pending[len(kept):])
	f.pending = kept
}

// position finds a new reader's place.
func (f *Feed) position(r *Reader, resume *conference.Position) *answer {
	if resume == nil {
		return f.answer(r, SnapshotSubscribe)
	}
	if resume.Epoch != f.pos.Epoch {
		return f.answer(r, SnapshotResume)
	}
	at, partial, ok := f.list.after(resume.Seq, f.pos.Seq)
	if !ok {
		return f.answer(r, SnapshotResume)
	}
	ans := &answer{at: at, status: f.status, resumed: true}
	if partial != nil {
		ans.frame = r.dated(partial.pick(partial.view(r.profile), r.topics, resume.Seq))
	}
	return ans
}

// answer is a snapshot for a reader, and its place.
func (f *Feed) answer(r *Reader, reason string) *answer {
	s := f.snapshot(snapshotKey{r.topics, r.profile, reason == SnapshotLag || reason == SnapshotEpoch})
	ans := &answer{at: s.at, status: f.status, frame: s.frame}
	ans.frame.Snapshot = reason
	return ans
}

// maxSnapshots bounds the encoded states that are kept, in views.
const maxSnapshots = 64

// snapshot encodes the state, unless that was done at the same place.
func (f *Feed) snapshot(key snapshotKey) *snapshot {
	if s := f.snapshots[key]; s != nil {
		return s
	}
	var events [][]byte
	if key.events {
		events = f.list.events(key.topics, key.profile, f.pos.Seq)
	}
	state := f.state.document().AppendJSON(nil, key.topics, key.profile)
	bytes := f.opts.Encoder.Snapshot(make([]byte, headerRoom, len(state)+256), f.conf, f.pos, state, events)
	s := &snapshot{
		frame: Frame{
			Bytes: bytes[headerRoom:], Wire: wire(f.opts.Encoder, bytes), Messages: []MessageCount{{typeSnapshot, 1}},
		},
		at: f.list.tail,
	}
	if f.snapshots == nil || len(f.snapshots) >= maxSnapshots {
		f.snapshots = make(map[snapshotKey]*snapshot)
	}
	f.snapshots[key] = s
	return s
}

// ask and leave are called by readers.
func (f *Feed) ask(r *Reader, reason string) {
	f.note(func() { f.asks = append(f.asks, ask{r, reason}) })
}

func (f *Feed) leave(r *Reader) {
	f.note(func() {
		f.readers--
		f.profiles[r.profile]--
		f.parted++
	})
}

// serve does what the notes say.
func (f *Feed) serve() {
	f.mu.Lock()
	notes := f.notes
	f.notes = nil
	f.mu.Unlock()
	if len(notes) == 0 {
		return
	}
	f.flush()
	for _, do := range notes {
		do()
	}
	f.reply()
	if f.parted > max(64, f.readers) {
		f.parted = 0
		f.sweep()
	}
}

// reply gives the readers that asked their snapshots, if there is a document.
func (f *Feed) reply() {
	if !f.whole {
		return
	}
	for _, a := range f.asks {
		r := a.reader
		if r.left.Load() {
			continue
		}
		if r.releases == f.releases {
			r.answer.Store(f.answer(r, a.reason))
		} else {
			r.answer.Store(&answer{released: true}) // it fell off the list before it read so
		}
		r.ring()
	}
	f.asks = nil
}

// wait puts a reader on the stack of those that had nothing.
func (f *Feed) wait(r *Reader) {
	for {
		top := f.waiting.Load()
		r.waiting = top
		if f.waiting.CompareAndSwap(top, r) {
			return
		}
	}
}

// wake calls the readers on the stack, after something was appended.
func (f *Feed) wake() {
	r := f.waiting.Swap(nil)
	for r != nil {
		next := r.waiting
		r.waiting = nil
		r.queued.Store(false) // from here on it may put itself there again
		r.ring()
		r = next
	}
}

// ring calls Wake, if it is owed.
func (r *Reader) ring() {
	if r.armed.CompareAndSwap(true, false) {
		r.wake.Wake()
	}
}

// sweep takes readers that have left off the stack: in a quiet conference nothing else does.
func (f *Feed) sweep() {
	r := f.waiting.Swap(nil)
	for r != nil {
		next := r.waiting
		r.waiting = nil
		if !r.left.Load() {
			f.wait(r)
		}
		r = next
	}
}
