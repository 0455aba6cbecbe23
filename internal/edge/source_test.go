package edge

import (
	"context"
	"sync"
	"sync/atomic"
)

// fakeSource is a Source whose conferences the test scripts.
type fakeSource struct {
	requests chan Request  // as they come
	subs     chan *fakeSub // as they are made

	document func(context.Context, DocumentRequest) (Document, error)
	list     []Summary
	listErr  error

	mu      sync.Mutex
	answers map[string]func(context.Context, Request) (*fakeSub, error) // by conference
}

func newFakeSource() *fakeSource {
	return &fakeSource{
		requests: make(chan Request, 10000), subs: make(chan *fakeSub, 10000),
		answers: make(map[string]func(context.Context, Request) (*fakeSub, error)),
	}
}

// answer scripts a conference; those that aren't scripted have an empty feed.
func (s *fakeSource) answer(conf string, f func(context.Context, Request) (*fakeSub, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[conf] = f
}

// Document and List answer as the test has set.
func (s *fakeSource) Document(ctx context.Context, req DocumentRequest) (Document, error) {
	return s.document(ctx, req)
}

func (s *fakeSource) List(_ context.Context, may func(string) bool) ([]Summary, error) {
	var list []Summary
	for _, sum := range s.list {
		if may(sum.Conference) {
			list = append(list, sum)
		}
	}
	return list, s.listErr
}

func (s *fakeSource) Subscribe(ctx context.Context, req Request) (Subscription, error) {
	s.requests <- req
	s.mu.Lock()
	f := s.answers[req.Conference]
	s.mu.Unlock()
	sub := &fakeSub{}
	if f != nil {
		var err error
		if sub, err = f(ctx, req); err != nil {
			return nil, err
		}
	}
	sub.wake, sub.done = req.Wake, make(chan struct{})
	s.subs <- sub
	return sub, nil
}

// fakeSub is a Subscription into which the test puts frames.
type fakeSub struct {
	recovered bool
	late      *Frame // comes when Next has found nothing and not yet said so
	endless   *Frame // what Next gives, again and again
	conf      string // for the test's own use, as n and seq
	n, seq    int
	renewed   atomic.Int32 // calls of Renew
	wake      Waker
	done      chan struct{} // closed by Close

	mu     sync.Mutex
	frames []Frame
	armed  bool
}

func (s *fakeSub) Recovered() bool { return s.recovered }

func (s *fakeSub) Renew() { s.renewed.Add(1) }

func (s *fakeSub) Next() (Frame, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
		panic("Next after Close")
	default:
	}
	if s.endless != nil {
		return *s.endless, true
	}
	if len(s.frames) == 0 {
		s.armed = true
		if late := s.late; late != nil {
			s.late = nil
			s.frames, s.armed = append(s.frames, *late), false
			s.wake.Wake()
		}
		return Frame{}, false
	}
	f := s.frames[0]
	s.frames = s.frames[1:]
	return f, true
}

func (s *fakeSub) Close() { close(s.done) } // panics on a second call

// put adds frames and wakes the reader as a feed does.
func (s *fakeSub) put(frames ...Frame) {
	s.mu.Lock()
	s.frames = append(s.frames, frames...)
	armed := s.armed
	s.armed = false
	s.mu.Unlock()
	if armed {
		s.wake.Wake()
	}
}

// text makes a frame of one message.
func text(typ, msg string) Frame {
	return Frame{Bytes: []byte(msg), Messages: []MessageCount{{Type: typ, N: 1}}}
}

// wakeAnyway wakes the reader as one that is still on its way may, after Close too.
func (s *fakeSub) wakeAnyway() { s.wake.Wake() }
