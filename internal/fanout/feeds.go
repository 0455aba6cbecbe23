package fanout

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"confgate/internal/conference"
)

// Errors of Feeds.
var (
	// ErrNotFound: nobody here knows the conference.
	ErrNotFound = errors.New("fanout: conference not found")
	// ErrUnavailable: there is no state to show in time, or no room for another conference.
	ErrUnavailable = errors.New("fanout: conference not available now")
)

// Follower is what a feed needs of a Log.
type Follower interface {
	Follow(conf string, from conference.Position, kick chan<- struct{}) Tail
}

// FeedOptions are what Feeds takes. Log and Encoder have no default.
type FeedOptions struct {
	Log     Follower
	Encoder Encoder
	// Known says whether a conference may be asked for; nil knows them all. It is called by many goroutines.
	Known func(conf string) bool
	// Held says whether some worker holds a conference; nil: there is always one. It is asked several times a second.
	Held func(conf string) bool
	// Put says whether a conference is one of those that somebody put, and may delete: once it isn't, and isn't known either,
	// its readers are told that it was released. nil: nothing is put. It is asked as often as Held.
	Put func(conf string) bool
	// Generation is another number whenever an answer of Held, Put or Known may have changed: only then are they asked about
	// all conferences. nil: they are asked each time.
	Generation func() uint64
	// ResumeWindow and WindowBytes bound each feed's list, as in LogOptions.
	ResumeWindow time.Duration
	WindowBytes  int
	// WriteRate is how many frames a second a busy conference's readers are given: what comes faster is put together, for
	// 1/WriteRate seconds at the most. Zero doesn't hold anything back.
	WriteRate int
	// Linger is how long a feed goes on after its last reader: zero is DefaultLinger, negative not at all.
	Linger time.Duration
	// MaxFeeds bounds the conferences that are followed at a time: zero is DefaultMaxFeeds.
	MaxFeeds int
	Logger   *zap.Logger // nil logs nothing
}

const (
	// DefaultLinger spares the load of a conference whose only viewer reloads the page.
	DefaultLinger = time.Minute
	// DefaultMaxFeeds is what a worker holds itself by default, and as many again of others'.
	DefaultMaxFeeds = 4000
	// subscribeWait is how long a reader waits for a document, or for a position that another worker has shown it.
	subscribeWait = 2 * time.Second
)

// Feeds owns a worker's feeds: one for each conference that has readers, and for a while after. Its goroutine, Run, starts
// and stops them.
type Feeds struct {
	opts     FeedOptions
	acquires chan acquire
	releases chan *slot
	done     chan struct{} // closed when Run has ended
}

// slot is a feed in the registry; owned by Run.
type slot struct {
	feed   *Feed
	cancel context.CancelFunc
	refs   int
	held   bool      // what the feed was told
	put    bool      // when it was last looked at
	idle   time.Time // since when refs is 0
}

type acquire struct {
	conf   string
	answer chan *slot // nil: no room
}

// NewFeeds makes an empty registry.
func NewFeeds(opts FeedOptions) *Feeds {
	if opts.ResumeWindow == 0 {
		opts.ResumeWindow = DefaultResumeWindow
	}
	if opts.WindowBytes == 0 {
		opts.WindowBytes = DefaultWindowBytes
	}
	if opts.Linger == 0 {
		opts.Linger = DefaultLinger
	}
	if opts.MaxFeeds == 0 {
		opts.MaxFeeds = DefaultMaxFeeds
	}
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	return &Feeds{opts: opts, acquires: make(chan acquire), releases: make(chan *slot), done: make(chan struct{})}
}

// Run keeps the feeds until ctx is done, whose error it returns. It is called once.
func (s *Feeds) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(s.done)
	slots := make(map[string]*slot)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var look <-chan time.Time
	var seen uint64 // Generation at the last look
	if s.opts.Held != nil || s.opts.Put != nil {
		ticker := time.NewTicker(heldInterval)
		defer ticker.Stop()
		look = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case a := <-s.acquires:
			sl := slots[a.conf]
			if sl == nil && s.room(slots) {
				following, cancel := context.WithCancel(ctx)
				held := s.held(a.conf)
				sl = &slot{feed: newFeed(a.conf, &s.opts, held), cancel: cancel, held: held, put: s.put(a.conf)}
				slots[a.conf] = sl
				wg.Go(func() { sl.feed.run(following) })
			}
			if sl != nil {
				sl.refs++
			}
			a.answer <- sl
		case sl := <-s.releases:
			if sl.refs--; sl.refs == 0 {
				sl.idle = time.Now()
			}
		case now := <-look:
			if s.opts.Generation != nil {
				generation := s.opts.Generation()
				if generation == seen { // a slot's own first answer is of no older one
					continue
				}
				seen = generation
			}
			s.lookAtHolders(slots, now)
		case <-timer.C:
		}
		timer.Reset(s.expire(slots, time.Now()))
	}
}

// expire stops the feeds that were idle for long enough, and says when the next one will have been.
func (s *Feeds) expire(slots map[string]*slot, now time.Time) time.Duration {
	next := time.Hour
	for conf, sl := range slots {
		if sl.refs > 0 {
			continue
		}
		if left := s.opts.Linger - now.Sub(sl.idle); left > 0 {
			next = min(next, left)
			continue
		}
		sl.cancel()
		delete(slots, conf)
	}
	return next
}

// room says whether there is room for one more feed; the one that was idle for longest makes it.
func (s *Feeds) room(slots map[string]*slot) bool {
	if len(slots) < s.opts.MaxFeeds {
		return true
	}
	oldest := ""
	for conf, sl := range slots {
		if sl.refs == 0 && (oldest == "" || sl.idle.Before(slots[oldest].idle)) {
			oldest = conf
		}
	}
	if oldest == "" {
		return false
	}
	slots[oldest].cancel()
	delete(slots, oldest)
	return true
}

// Subscribe attaches a reader to a conference's feed. It waits until the feed has a document, and where req.Resume is ahead
// of it until it has caught up; after 2 s it gives up with ErrUnavailable. ErrNotFound: nobody here knows the conference.
func (s *Feeds) Subscribe(ctx context.Context, req Request) (*Reader, error) {
	if !s.known(req.Conference) {
		return nil, ErrNotFound
	}
	ctx, cancel := context.WithTimeoutCause(ctx, subscribeWait, ErrUnavailable)
	defer cancel()
	sl, err := s.acquire(ctx, req.Conference)
	if err != nil {
		return nil, err
	}
	r := &Reader{
		feed:    sl.feed,
		profile: req.Profile,
		topics:  (req.Topics | conference.TopicSet(conference.Link)) & req.Profile.VisibleTopics(),
		wake:    req.Wake,
		release: func() { s.release(sl) },
		fresh:   true,

		attached: time.Now(),
	}
	if err := attachTo(ctx, sl.feed, &attachment{req: req, reader: r, done: make(chan struct{})}); err != nil {
		s.release(sl)
		return nil, err
	}
	return r, nil
}

func (s *Feeds) acquire(ctx context.Context, conf string) (*slot, error) {
	a := acquire{conf: conf, answer: make(chan *slot, 1)}
	select {
	case s.acquires <- a:
	case <-s.done:
		return nil, ErrUnavailable
	case <-ctx.Done():
		return nil, gaveUp(ctx)
	}
	if sl := <-a.answer; sl != nil {
		return sl, nil
	}
	return nil, ErrUnavailable
}

func (s *Feeds) release(sl *slot) {
	select {
	case s.releases <- sl:
	case <-s.done:
	}
}

// attachTo waits for the feed's answer.
func attachTo(ctx context.Context, f *Feed, a *attachment) error {
	f.note(func() { f.receive(a) })
	select {
	case <-a.done:
		return nil
	case <-f.done:
	case <-ctx.Done():
	}
	if a.state.CompareAndSwap(attaching, abandoned) {
		if ctx.Err() == nil {
			return ErrUnavailable
		}
		return gaveUp(ctx)
	}
	<-a.done // the answer was just coming
	return nil
}

// gaveUp tells the time limit of Subscribe from the caller's own end.
func gaveUp(ctx context.Context) error {
	if err := context.Cause(ctx); !errors.Is(err, ErrUnavailable) {
		return fmt.Errorf("fanout: subscribe: %w", err)
	}
	return ErrUnavailable
}
