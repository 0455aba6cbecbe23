package fanout

import "time"

// heldInterval is how often Feeds looks whether its conferences are held: that one isn't any more is known some seconds late
// anyway, that one is again should be told soon.
const heldInterval = 250 * time.Millisecond

// holding is whether some worker holds a conference, as far as is known here.
type holding struct {
	held  bool
	since time.Time // when this worker noticed
}

func (s *Feeds) known(conf string) bool { return s.opts.Known == nil || s.opts.Known(conf) }

func (s *Feeds) held(conf string) bool { return s.opts.Held == nil || s.opts.Held(conf) }

func (s *Feeds) put(conf string) bool { return s.opts.Put != nil && s.opts.Put(conf) }

// lookAtHolders tells the feeds whose conferences were let go of, or are held again, or were released: one that flags name
// comes back when a worker with those flags does, one that was put and deleted doesn't.
func (s *Feeds) lookAtHolders(slots map[string]*slot, now time.Time) {
	for conf, sl := range slots {
		if held := s.held(conf); held != sl.held {
			sl.held = held
			sl.feed.hold(holding{held, now})
		}
		was := sl.put
		if sl.put = s.put(conf); was && !sl.put && !s.known(conf) {
			sl.feed.release()
		}
	}
}

// release is called by Feeds.
func (f *Feed) release() { f.note(func() { f.letGo(time.Now()) }) }

// letGo tells every reader that there will be nothing more. Who comes later, to a conference that was put again, gets a
// snapshot, also where it resumes.
func (f *Feed) letGo(now time.Time) {
	f.releases++
	f.list.run++
	f.list.push(now, &item{released: true}, perChange)
	f.snapshots = nil
	f.wake()
}

// hold is called by Feeds.
func (f *Feed) hold(h holding) {
	f.note(func() {
		f.holding = h
		f.judge(h.since)
		f.wake()
	})
}

// judge says whether this worker vouches for the state, if that is news. That the log is away matters more than that nobody
// writes to it.
func (f *Feed) judge(now time.Time) {
	s := f.log
	if !f.holding.held && s.Fresh {
		s = Status{Reason: ReasonOwner, Since: f.holding.since.UnixMilli()}
	}
	if s.Fresh == f.status.fresh && s.Reason == f.status.reason {
		return
	}
	if s.Fresh {
		s.Since = max(s.Since, f.holding.since.UnixMilli())
	}
	f.flush()
	f.setStatus(s, now)
}
