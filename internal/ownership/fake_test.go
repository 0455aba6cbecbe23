package ownership

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"confgate/internal/conference"
)

// fakeHolder opens sessions of one worker.
type fakeHolder struct {
	r      *rig
	worker string
}

func (f fakeHolder) Open(h *Hold) (Session, error) {
	s := &fakeSession{r: f.r, worker: f.worker, hold: h, fence: make(chan struct{})}
	f.r.change(func() { f.r.opened++ })
	return s, nil
}

// fakeSession is a session without a link: it notes that it would have one.
type fakeSession struct {
	r      *rig
	worker string
	hold   *Hold
	fence  chan struct{}

	// Guarded by the rig's lock.
	linked, prepared, frozen bool
	offered                  bool // it was told how far the last owner came, or that nobody will say
	offer                    string
	passwords                []string
}

func (s *fakeSession) Run(ctx context.Context) error {
	s.r.change(func() { s.r.sessions = append(s.r.sessions, s) })
	defer s.r.change(func() {
		s.linked = false
		s.r.sessions = slices.DeleteFunc(s.r.sessions, func(o *fakeSession) bool { return o == s })
	})
	defer func() { // a link takes its time to close
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = s.dawdle(ctx)
	}()
	if s.hold.Successor {
		if s.dawdle(ctx) != nil {
			return nil
		}
		s.link()
		if s.dawdle(ctx) != nil {
			return nil
		}
		if s.r.breaks != nil && s.r.breaks() {
			return errBroken
		}
		s.r.mu.Lock()
		deaf := s.r.deaf[s.worker]
		s.r.mu.Unlock()
		if deaf {
			<-ctx.Done()
			return nil
		}
		s.hold.Live()
		select {
		case offer := <-s.hold.Offered():
			s.r.change(func() { s.offer, s.offered = string(offer), true })
		case <-ctx.Done():
			return nil
		}
		s.hold.CaughtUp()
	}
	if s.hold.Gate(ctx) != nil {
		return nil
	}
	if !s.hold.Successor {
		s.link()
	}
	select {
	case <-ctx.Done():
		return nil
	case <-s.fence:
		return conference.ErrFenced
	}
}

// link notes a link, and how many of the conference there are with it.
func (s *fakeSession) link() {
	s.r.change(func() {
		s.linked = true
		n := 0
		for _, o := range s.r.sessions {
			if o.linked && o.hold.Conference == s.hold.Conference {
				n++
			}
		}
		s.r.most[s.hold.Conference] = max(s.r.most[s.hold.Conference], n)
	})
}

// errBroken is what a session ends with that ends by itself.
var errBroken = errors.New("broken")

// dawdle takes the time that a session takes.
func (s *fakeSession) dawdle(ctx context.Context) error {
	s.r.mu.Lock()
	lag := s.r.lag
	s.r.mu.Unlock()
	if lag == nil {
		return nil
	}
	select {
	case <-time.After(lag()):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *fakeSession) Prepare(ctx context.Context) error {
	if err := s.dawdle(ctx); err != nil {
		return err
	}
	s.r.change(func() { s.prepared = true })
	return nil
}

func (s *fakeSession) Offer(ctx context.Context) ([]byte, error) {
	if err := s.dawdle(ctx); err != nil {
		return nil, err
	}
	s.r.change(func() {
		if s.frozen {
			s.r.wrong = fmt.Errorf("%s was asked twice for its offer of %s", s.worker, s.hold.Conference)
		}
		s.frozen = true
	})
	return []byte("offer of " + s.worker), nil
}

func (s *fakeSession) Resume(ctx context.Context) error {
	if err := s.dawdle(ctx); err != nil {
		return err
	}
	s.r.change(func() {
		s.frozen, s.prepared = false, false
		s.r.resumed++
	})
	return nil
}

func (s *fakeSession) SetPassword(_ context.Context, password []byte) error {
	s.r.change(func() { s.passwords = append(s.passwords, string(password)) })
	return nil
}
