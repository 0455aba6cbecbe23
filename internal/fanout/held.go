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

// lookAtHolders tells the feeds whose conferences were let go of, or are held again.
func (s *Feeds) lookAtHolders(slots map[string]*slot, now time.Time) {
	for conf, sl := range slots {
		if held := s.opts.Held(conf); held != sl.held {
			sl.held = held
			sl.feed.hold(holding{held, now})
		}
	}
}

// hold is called by Feeds.
func (f *Feed) hold(h holding) {
	f.mu.Lock()
	f.mail.held = &h
	f.mu.Unlock()
	poke(f.kick)
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
