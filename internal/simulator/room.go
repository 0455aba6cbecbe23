package simulator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"confgate/internal/confctl"

	"github.com/coder/websocket"
)

// room is one conference: its world, and the links that watch it.
type room struct {
	// immutable
	id    string
	index int
	cfg   *Config
	fired *tally
	boot  int64 // Unix milliseconds at which the provider began: part of every msgID

	// guarded by mu, which is a leaf: nothing else is locked while it is held, and nothing is written to a socket
	mu       sync.Mutex
	password confctl.Secret
	phase    Phase
	runs     uint64 // how often the conference started
	world    *world // nil until the first start
	last     int64  // createTime of the newest frame
	made     uint64 // frames made, for msgID
	numbers  [confctl.NumKinds]int64
	links    []*link // in the order of their dialling
	plan     FaultPlan
	dice     *rand.Rand // of faults and of the order of full frames
	credit   float64    // frames due but not yet made
	shut     bool       // no link is let in any more
}

func newRoom(id string, index int, cfg *Config, fired *tally, boot int64) *room {
	return &room{
		id: id, index: index, cfg: cfg, fired: fired, boot: boot, plan: cfg.Faults,
		dice: rand.New(rand.NewPCG(cfg.Faults.Seed^cfg.Seed, uint64(index)+1)),
	}
}

// start begins a new run of the conference; false where it is running.
func (r *room) start() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase == Running {
		return false
	}
	r.runs++
	r.phase = Running
	canary := Canary{}
	if r.index == 0 {
		canary = r.cfg.Canary
	}
	r.last = max(r.last, time.Now().UnixMilli())
	r.world = newWorld(worldSpec{
		id: r.id, title: title(r.index, r.cfg.Lively), password: r.password, canary: canary, index: r.index,
		target: max(r.cfg.Participants, 0), lively: r.cfg.Lively, now: r.last,
		rng: rand.New(rand.NewPCG(r.cfg.Seed, uint64(r.index)<<32|r.runs)),
	})
	r.numbers = [confctl.NumKinds]int64{}
	return true
}

// end closes the conference: links get a last dynamic frame, and are closed.
func (r *room) end() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase != Running {
		return false
	}
	r.phase = Ended
	r.world.dynamic.set(dState, "Destroyed")
	r.publish(draft{
		kind: confctl.ConfDynamicInfo, mode: confctl.Full, body: r.world.dynamic.appendMembers(nil, allKeys),
	})
	for _, l := range r.links {
		l.closing(ending{code: websocket.StatusNormalClosure, reason: "conference ended"})
	}
	return true
}

// step makes n changes; it reports how many frames that made.
func (r *room) step(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stepLocked(n)
}

func (r *room) stepLocked(n int) int {
	frames := 0
	for range n {
		if r.phase != Running {
			break
		}
		for _, d := range r.world.step(time.Now().UnixMilli()) {
			r.publish(d)
			frames++
		}
	}
	return frames
}

// evolve makes as many changes as the rate asks for after elapsed more time.
func (r *room) evolve(elapsed time.Duration, paused *atomic.Bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase != Running || paused.Load() {
		return
	}
	// A worker that was starved of its processor doesn't make up for more than a second.
	r.credit = min(r.credit+elapsed.Seconds()*r.cfg.Rate, max(r.cfg.Rate, 1))
	for r.credit >= 1 {
		r.credit -= float64(max(1, r.stepLocked(1)))
	}
}

// seal makes the envelope of the next frame. Full frames get a createTime newer than anything before; increments share one
// with what came before them in the same millisecond.
func (r *room) seal(kind confctl.Kind, action string, mode confctl.Mode, body []byte) []byte {
	now := time.Now().UnixMilli()
	if mode == confctl.Full {
		r.last = max(now, r.last+1)
	} else {
		r.last = max(now, r.last)
	}
	r.made++
	e := envelope{
		action: action, mode: mode, confID: r.id, version: r.last, createTime: r.last,
		msgID:  fmt.Sprintf("%08x%012x%012x", uint32(r.index), r.boot, r.made),
		quoted: kind == confctl.RealTimeSubtitle,
	}
	if mode == confctl.Increment {
		run := kind
		if r.cfg.Numbering == NumberPerConference {
			run = confctl.KindOther // an unused slot: one count for all
		}
		r.numbers[run]++
		e.version = r.numbers[run]
	}
	return appendNotify(make([]byte, 0, len(body)+256), body, e)
}

// publish seals a frame and hands it to every link that subscribed to its kind, spoilt by the faults where it may be.
func (r *room) publish(d draft) {
	if d.mode == confctl.Increment && r.hit(r.plan.Restart) {
		r.fired.add(faultRestart)
		r.numbers = [confctl.NumKinds]int64{}
		r.last++
	}
	frame := r.seal(d.kind, d.kind.String(), d.mode, d.body)
	now := time.Now()
	for _, l := range slices.Clone(r.links) {
		if !l.subscribed(d.kind) || l.mute(now) {
			continue
		}
		if d.mode == confctl.Increment {
			r.spoil(l, frame)
		} else {
			l.pass(frame)
		}
	}
}

func (r *room) hit(p float64) bool { return p > 0 && r.dice.Float64() < p }

// spoil passes an increment to one link as the fault plan will have it.
func (r *room) spoil(l *link, frame []byte) {
	if r.hit(r.plan.Garbage) {
		r.fired.add(faultGarbage)
		l.push(garbage(r.dice.IntN(1<<20), frame))
	}
	if r.hit(r.plan.Unknown) {
		r.fired.add(faultUnknown)
		action, body := unknownNotify(r.dice.IntN(1 << 20))
		l.push(r.seal(confctl.KindOther, action, confctl.Full, body))
	}
	switch {
	case r.hit(r.plan.Drop):
		r.fired.add(faultDrop)
	case r.hit(r.plan.Repeat):
		r.fired.add(faultRepeat)
		l.pass(frame)
		l.push(frame)
	case l.held == nil && r.hit(r.plan.Swap):
		l.held = frame
	default:
		l.pass(frame)
	}
}

// flush lets go of the increments that wait for a frame to change places with.
func (r *room) flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.links {
		l.release()
	}
}

// setPlan changes the faults, for links that exist too.
func (r *room) setPlan(p FaultPlan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.plan = p
	for _, l := range r.links {
		l.release()
		close(l.healed)
		l.healed = make(chan struct{})
		l.signal()
	}
}

// subscribe makes l get the named kinds from now on, and their full frames soon, in any order. A second call replaces the
// first.
func (r *room) subscribe(l *link, kinds []confctl.Kind, answer []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l.kinds = 0
	l.due = slices.DeleteFunc(l.due, func(d due) bool { return d.answer == nil })
	var fulls []confctl.Kind
	for _, k := range kinds {
		if l.kinds&(1<<k) == 0 && k != confctl.RealTimeSubtitle && k != confctl.KindOther {
			fulls = append(fulls, k)
		}
		l.kinds |= 1 << k
	}
	at := r.answerTime()
	l.later(due{at: at, answer: answer})
	r.dice.Shuffle(len(fulls), func(i, j int) { fulls[i], fulls[j] = fulls[j], fulls[i] })
	for _, k := range fulls {
		at = at.Add(time.Duration(r.dice.IntN(5000)) * time.Microsecond)
		l.later(due{at: at, kind: k})
	}
	l.signal()
}

// heard notes a heartbeat of l and answers it.
func (r *room) heard(l *link, answer []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l.beat = time.Now()
	r.answerLocked(l, answer)
}

// answer makes l send an answer, at once or slowly.
func (r *room) answer(l *link, frame []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answerLocked(l, frame)
}

func (r *room) answerLocked(l *link, frame []byte) {
	if !l.deaf(time.Now()) {
		l.later(due{at: r.answerTime(), answer: frame})
		l.signal()
	}
}

func (r *room) answerTime() time.Time {
	now := time.Now()
	if r.plan.Slow > 0 {
		r.fired.add(faultSlow)
		now = now.Add(time.Duration(r.dice.Int64N(int64(r.plan.Slow) + 1)))
	}
	return now
}

// attach admits a link; false where the conference isn't running.
func (r *room) attach(l *link) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase != Running || r.shut {
		return false
	}
	if r.cfg.ClosesOlderLink {
		for _, old := range r.links {
			old.closing(ending{code: websocket.StatusPolicyViolation, reason: "replaced by a newer connection"})
		}
	}
	l.cutAt = 0.75 + r.dice.Float64()/2
	l.abrupt = r.dice.IntN(2) == 0
	r.links = append(r.links, l)
	return true
}

func (r *room) detach(l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.links = slices.DeleteFunc(r.links, func(o *link) bool { return o == l })
}

// shutDown ends every link and lets no more in.
func (r *room) shutDown() {
	r.mu.Lock()
	r.shut = true
	r.mu.Unlock()
	r.closeLinks(ending{code: websocket.StatusGoingAway, reason: "provider is shutting down"})
}

// closeLinks ends every link after what is queued for it.
func (r *room) closeLinks(e ending) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.links {
		l.closing(e)
	}
}

// cancelLinks ends every link at once.
func (r *room) cancelLinks() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.links {
		l.cancel()
	}
}

func (r *room) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.links)
}

// inject pushes raw bytes to every link that has subscribed to anything.
func (r *room) inject(frame []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.links {
		if l.kinds != 0 && !l.mute(time.Now()) {
			l.push(slices.Clone(frame))
		}
	}
}

// setPassword changes the chair password, and the frames that carry it.
func (r *room) setPassword(s confctl.Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.password = s
	if r.phase != Running {
		return
	}
	r.world.password = s
	r.world.basic.set(bPwds, passwords(s, r.world.digits(6)))
	r.publish(draft{kind: confctl.ConfBasicInfo, mode: confctl.Full, body: r.world.basic.appendMembers(nil, allKeys)})
}

func (r *room) truth() Truth {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.world == nil {
		return Truth{ID: r.id, Phase: NotStarted}
	}
	t := r.world.truth()
	t.Phase = r.phase
	t.CreateTime = r.last
	return t
}

func (r *room) status() (Phase, confctl.Secret) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.phase, r.password
}

// setSubtitles switches subtitles on or off, as a request over the socket asks.
func (r *room) setSubtitles(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase != Running || r.world.dynamic.flag(dSubtitle) == on {
		return
	}
	r.world.out = nil
	r.world.flipDynamic(dSubtitle)
	for _, d := range r.world.out {
		r.publish(d)
	}
}
