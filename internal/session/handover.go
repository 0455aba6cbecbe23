package session

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"go.uber.org/zap"

	"confgate/internal/confctl"
	"confgate/internal/conference"
	"confgate/internal/telemetry"
)

const (
	// namedEvents is how many of the last events an offer names: those of the few seconds in which both links are live.
	namedEvents = 512
	// aheadFrames bounds the frames that a successor keeps until the conference is its own. Beyond, it starts as if the
	// last owner had died.
	aheadFrames = 8192
)

// mark is how far a kind of frame was applied.
type mark struct {
	Time int64  `json:"time"` // the newest createTime
	Last string `json:"last"` // name of the frame that was applied last
}

// offer is how far an owner came, as its successor reads it. It holds nothing of a conference.
type offer struct {
	Kinds  map[string]mark `json:"kinds"`
	Events []string        `json:"events"` // names of the last frames of event kinds, the newest last
}

// frameName tells a frame from others on any link of its conference.
func frameName(f *confctl.Frame) string {
	if f.MsgID != "" {
		return f.MsgID
	}
	h := fnv.New64a()
	_, _ = h.Write(f.Data) // never fails
	return fmt.Sprintf("%s/%d/%d/%x", f.Action, f.CreateTime, f.Version, h.Sum64())
}

// marks are how far this owner came.
type marks struct {
	kinds  [confctl.NumKinds]mark // of documented kinds that are no events
	events []string
}

// note marks that a frame was applied. One that changed nothing is nothing to wait for: what the answer to an owner's own
// Subscribe brings never comes on its successor's link.
func (o *marks) note(f *confctl.Frame, changed bool) {
	if f.Kind.Event() || f.Kind == confctl.KindOther {
		o.events = append(o.events, frameName(f))
		if len(o.events) > 2*namedEvents {
			o.events = slices.Clone(o.events[len(o.events)-namedEvents:])
		}
		return
	}
	if changed {
		m := &o.kinds[f.Kind]
		m.Time, m.Last = max(m.Time, f.CreateTime), frameName(f)
	}
}

func (o *marks) offer() offer {
	made := offer{Kinds: map[string]mark{}, Events: o.events[max(len(o.events)-namedEvents, 0):]}
	for k, m := range o.kinds {
		if m.Last != "" {
			made.Kinds[confctl.Kind(k).String()] = m
		}
	}
	return made
}

// leaving is the old owner's side of a handover.
type leaving struct {
	prepared bool              // a successor dials: no dialling here
	asked    chan<- offerReply // of capacity 1: who waits for the offer; nil: nobody
	frozen   bool              // nothing is appended any more
	marks    marks             // what was applied so far
}

type offerReply struct {
	offer []byte
	err   error
}

// Prepare says that a successor dials now: a link that is lost from now on isn't dialled again, and clients aren't told of
// it. ErrStopped when Run has returned.
func (s *Session) Prepare(ctx context.Context) error { return s.ask(ctx, prepare{}) }

// Resume undoes Prepare and Offer: the handover came to nothing.
func (s *Session) Resume(ctx context.Context) error { return s.ask(ctx, resume{}) }

// Offer appends what there is, stores a checkpoint, and says how far that is; after it nothing is appended any more. The
// answer is for the session that takes the conference over.
func (s *Session) Offer(ctx context.Context) ([]byte, error) {
	reply := make(chan offerReply, 1)
	if err := s.ask(ctx, offerAsked{reply}); err != nil {
		return nil, err
	}
	select {
	case r := <-reply:
		return r.offer, r.err
	case <-s.stopped:
		return nil, ErrStopped
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

type prepare struct{}

func (prepare) handle(_ context.Context, a *actor, _ time.Time) { a.leaving.prepared = true }

type resume struct{}

func (resume) handle(_ context.Context, a *actor, now time.Time) {
	a.leaving.prepared, a.leaving.frozen, a.leaving.asked = false, false, nil
	if h := a.hushed; h != nil {
		a.hushed = nil
		a.moveLink(h.state, h.reason, now)
	}
}

type offerAsked struct{ reply chan<- offerReply }

func (m offerAsked) handle(_ context.Context, a *actor, _ time.Time) {
	a.leaving.prepared, a.leaving.asked = true, m.reply
}

// offerDue takes the next step towards an offer: once everything is appended it stops, and stores a checkpoint, whose memory
// keeps the successor from reporting and naming again what this owner did.
func (a *actor) offerDue(ctx context.Context) {
	p := &a.pub
	if a.leaving.asked == nil || p.busy || p.checkpointing || !p.open || !p.queue.empty() {
		return
	}
	a.leaving.frozen = true
	if p.dirty > 0 || !p.checkpointAt.IsZero() {
		a.checkpoint(ctx, a.snapshot())
		if p.checkpointing {
			return // checkpointed comes back here
		}
	}
	a.answerOffer()
}

func (a *actor) answerOffer() {
	data, err := json.Marshal(a.leaving.marks.offer())
	if err != nil {
		err = fmt.Errorf("session: conference %s: offer: %w", a.cfg.Conference, err)
	}
	a.leaving.asked <- offerReply{data, err}
	a.leaving.asked = nil
}

// hushed is what clients would have been told of the link, but for a handover.
type hushed verdict

// quietly says whether changes of the link are nobody's business now: another owner's link serves the clients, or will.
func (a *actor) quietly() bool { return a.ahead != nil || a.leaving.prepared }

// ahead is a successor's side of a handover: it has a link, and the conference is still another's.
type ahead struct {
	frames   []*received // that the tracker let pass, in order
	overflow bool        // there were too many
	live     bool        // the owner was told that it may make its offer
	offered  bool        // the offer has come, or never will
	offer    offer
	caughtUp bool

	// Of the present link.
	base int64           // createTime of its oldest full frame; 0: none came
	seen map[string]mark // newest createTimes by action
	last map[string]bool // names of the frames seen
}

// preload reads what the last owner knew, without claiming anything: a password that was refused isn't tried, and a
// conference that isn't on isn't dialled.
func (a *actor) preload(ctx context.Context) {
	a.pub.busy = true
	a.spawn(ctx, func(ctx context.Context) message {
		cp, err := untilAnswered(ctx, a, "load", false, func(ctx context.Context) (conference.Checkpoint, error) {
			return a.cfg.Log.Load(ctx, a.cfg.Conference)
		})
		return preloaded{cp, err}
	})
	offers := a.cfg.Tenure.Offered()
	a.spawn(ctx, func(ctx context.Context) message {
		select {
		case data := <-offers:
			return offerCame{data}
		case <-ctx.Done():
			return offerCame{}
		}
	})
}

type preloaded struct {
	cp  conference.Checkpoint
	err error
}

func (m preloaded) handle(ctx context.Context, a *actor, now time.Time) {
	a.pub.busy = false
	if a.ahead == nil {
		return
	}
	if m.err == nil {
		if m.cp.Doc == nil {
			m.cp.Doc = conference.NewDoc()
		}
		a.restore(m.cp)
	} else {
		a.state = conference.New(a.cfg.Conference)
	}
	state, _ := a.state.Link()
	if state == conference.LinkWaiting || state == conference.LinkEnded || state == conference.LinkUnavailable ||
		a.password.Empty() || !a.refusedAt.IsZero() {
		a.tellLive()
		return
	}
	a.connect(ctx)
}

// tellLive lets the owner make its offer.
func (a *actor) tellLive() {
	if !a.ahead.live {
		a.ahead.live = true
		a.cfg.Tenure.Live()
	}
	a.catchUp()
}

type offerCame struct{ data []byte }

func (m offerCame) handle(_ context.Context, a *actor, now time.Time) {
	h := a.ahead
	if h == nil || h.offered {
		return
	}
	h.offered = true
	if len(m.data) > 0 {
		if err := json.Unmarshal(m.data, &h.offer); err != nil {
			a.log.Warn("offer of the last owner is unreadable", zap.Error(err))
			h.offer = offer{}
		}
	}
	a.pub.openAt = now // Gate holds the claim back until the conference is this worker's
	a.catchUp()
}

// collect keeps a frame until the conference is this session's; false where it doesn't.
func (a *actor) collect(m *received) (kept bool) {
	h, f := a.ahead, &m.frame
	if v := a.tracker.Observe(f, m.at); !v.Apply {
		return false
	}
	a.tracker.Applied(f, true, m.at)
	if f.Mode == confctl.Full && !f.Kind.Event() && f.CreateTime > 0 && (h.base == 0 || f.CreateTime < h.base) {
		h.base = f.CreateTime
	}
	seen := h.seen[f.Action]
	h.seen[f.Action] = mark{Time: max(seen.Time, f.CreateTime)}
	h.last[frameName(f)] = true
	if len(h.frames) >= aheadFrames {
		h.frames, h.overflow = nil, true
	}
	if !h.overflow {
		h.frames = append(h.frames, m)
	}
	a.catchUp()
	return !h.overflow
}

// catchUp says so when this session is as far as the offer.
func (a *actor) catchUp() {
	h := a.ahead
	if !h.offered || h.caughtUp {
		return
	}
	if a.link != nil {
		for action, m := range h.offer.Kinds {
			// What was created before the oldest full frame of this link is in the full frames.
			if m.Time > h.base && m.Time >= h.seen[action].Time && !h.last[m.Last] {
				return
			}
		}
	}
	h.caughtUp = true
	a.cfg.Tenure.CaughtUp()
}

// succeed makes the conference this session's: the log's state, then what came on the link meanwhile. What the last owner
// has reported isn't reported again; of everything else only the difference is appended.
func (a *actor) succeed(ctx context.Context, m opened, now time.Time) {
	p, h := &a.pub, a.ahead
	a.ahead = nil
	a.restore(m.cp)
	reported := make(map[string]bool, len(h.offer.Events))
	for _, name := range h.offer.Events {
		reported[name] = true
	}
	var events []conference.Change
	for _, r := range h.frames {
		changes, err := a.state.Apply(&r.frame)
		if err != nil {
			a.m.Unknown("frame")
			a.complain(now, err)
			if r.frame.Mode == confctl.Increment {
				a.tracker.Failed(&r.frame, now)
			}
		}
		a.leaving.marks.note(&r.frame, len(changes) > 0)
		if reported[frameName(&r.frame)] {
			continue
		}
		for _, c := range changes {
			if c.Topic.Event() {
				events = append(events, c)
			}
		}
	}
	was := a.hushed
	a.hushed = nil
	switch {
	case h.overflow && a.link != nil:
		a.log.Warn("more frames came than a handover can keep, asking for full ones")
		a.closeLink()
		a.tracker.LinkDown(now)
		a.start(ctx, now)
	case a.phase == opening:
		a.start(ctx, now)
	case a.link != nil:
		if a.state.Ended() && a.link.endAt.IsZero() {
			a.link.endAt = now.Add(endGrace)
			a.ended(now)
		}
		a.judge(now)
	case was != nil:
		a.moveLink(was.state, was.reason, now)
	}
	a.log.Info("took a conference over from its last owner", zap.Int("frames", len(h.frames)),
		telemetry.Seq(m.cp.Seq), zap.Int("events", len(events)))
	if m.pos.Epoch == "" {
		a.begin(ctx)
	} else {
		p.open = true
		p.queue.restart(a.difference(m.cp, now))
	}
	a.publish(events, time.Time{})
}
