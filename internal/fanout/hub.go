package fanout

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"confgate/internal/conference"
)

const (
	// subscribeTimeout bounds one SUBSCRIBE, dialling included.
	subscribeTimeout = time.Second
	// queueBytes bounds the messages that wait for one follower; what is beyond is read from the stream.
	queueBytes = 4 << 20
	// queueKept is how many messages a queue keeps room for when it is empty. Most conferences never have that many at once,
	// so it isn't made in advance.
	queueKept = 64
)

// hub keeps the subscriptions of a worker: one connection (on a cluster one a shard) for all conferences that it follows.
// Which channels there should be is a map under mu, which followers change; one goroutine, run, brings the connections in
// line with it. Connections receive in a goroutine of their own, and only hand messages on.
type hub struct {
	client redis.UniversalClient
	opts   LogOptions
	keeper *keeper
	kick   chan struct{} // channels has changed

	mu       sync.Mutex
	channels map[string]*channel // by channel name
}

// channel is one conference's pub/sub channel. Guarded by the hub's mu, but for name and conf, which don't change.
type channel struct {
	name, conf string
	followers  []*follower         // replaced, never written to
	conn       *connection         // nil while not subscribed
	confirmed  bool                // the server has said that the subscription stands
	heard      time.Time           // when a message came last
	looked     time.Time           // when its server was looked at last
	run        string              // of that server
	pollAt     time.Time           // when to poll it, if nothing is heard
	wait       time.Duration       // how long that was put off
	polled     conference.Position // what the last poll said, if nothing was heard since
	good       time.Time           // when it was last known that the log answers
}

// follower is one Follow call's mailbox. Any goroutine may put something in; nothing blocks.
type follower struct {
	conf   string
	resync atomic.Bool           // something may be missing: read the log
	pulse  atomic.Pointer[pulse] // what the last poll said
	asks   atomic.Bool           // whether it wants to be polled even if messages come
	kick   chan<- struct{}       // there is something here

	mu    sync.Mutex // guards queue and bytes; a leaf
	queue []message
	bytes int
}

type message struct {
	text     string
	received time.Time
}

// pulse is a poll's answer for one conference.
type pulse struct {
	head  conference.Position
	err   error
	asked time.Time // when the poll began
	since time.Time // where err is set: since when the log hasn't answered
}

func newHub(client redis.UniversalClient, opts LogOptions) *hub {
	return &hub{
		client: client, opts: opts, keeper: newKeeper(opts.KeyTTL), kick: make(chan struct{}, 1), channels: make(map[string]*channel),
	}
}

// attach begins to collect what happens to a conference. The follower is told to read the log once the subscription
// stands, so that nothing falls between the two.
func (h *hub) attach(conf string, kick chan<- struct{}) *follower {
	f := &follower{conf: conf, kick: kick}
	h.mu.Lock()
	defer h.mu.Unlock()
	name := channelOf(conf)
	ch := h.channels[name]
	if ch == nil {
		ch = &channel{name: name, conf: conf, good: time.Now(), wait: h.opts.PollInterval}
		h.channels[name] = ch
		poke(h.kick)
	}
	ch.followers = append(slices.Clip(ch.followers), f)
	if ch.confirmed {
		f.lost()
	}
	return f
}

func (h *hub) detach(f *follower) {
	h.mu.Lock()
	defer h.mu.Unlock()
	name := channelOf(f.conf)
	ch := h.channels[name]
	ch.followers = slices.DeleteFunc(slices.Clone(ch.followers), func(o *follower) bool { return o == f })
	if len(ch.followers) == 0 {
		delete(h.channels, name)
		poke(h.kick)
	}
}

// poke leaves a note for a goroutine that looks after it has read it.
func poke(kick chan<- struct{}) {
	select {
	case kick <- struct{}{}:
	default:
	}
}

// offer queues a message; one too many is dropped, and read from the stream later.
func (f *follower) offer(m message) {
	f.mu.Lock()
	room := f.bytes+len(m.text) <= queueBytes
	if room {
		f.queue = append(f.queue, m)
		f.bytes += len(m.text)
	}
	f.mu.Unlock()
	if !room {
		f.resync.Store(true)
	}
	poke(f.kick)
}

// take empties the queue. read is what was taken before and is of no use any more.
func (f *follower) take(read []message) []message {
	clear(read)
	if cap(read) > queueKept {
		read = nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	queue := f.queue
	f.queue, f.bytes = read[:0], 0
	return queue
}

func (f *follower) lost() {
	f.resync.Store(true)
	poke(f.kick)
}

// run is the hub's goroutine.
func (h *hub) run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	conns := &connections{hub: h, wg: &wg, byShard: make(map[string]*connection)}
	defer conns.closeAll()
	wg.Go(func() { h.keeper.run(ctx) })

	ticker := time.NewTicker(h.opts.PollInterval)
	defer ticker.Stop()
	polled := make(chan struct{}, 1)
	polling, missed := false, false
	poll := func() {
		if missed = polling; missed {
			return
		}
		polling = true
		probes := conns.probes(time.Now())
		wg.Go(func() {
			h.poll(ctx, probes)
			polled <- struct{}{}
		})
	}
	poll()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.kick:
			conns.reconcile(ctx, false)
		case <-ticker.C:
			conns.check(ctx)
			poll()
		case <-polled:
			polling = false
			if missed {
				poll() // a server that doesn't answer takes as long as there is between two
			}
		}
	}
}

// confirmed is called when the server says that a subscription stands, also after a reconnection: what was published
// in between is lost.
func (h *hub) confirmed(c *connection, name string) {
	h.mu.Lock()
	ch := h.channels[name]
	if ch == nil || ch.conn != c {
		h.mu.Unlock()
		return
	}
	ch.confirmed = true
	followers := ch.followers
	h.mu.Unlock()
	for _, f := range followers {
		f.lost()
	}
}

// silent is called when a connection is lost, or doesn't serve a channel any more (an empty name means all of them).
func (h *hub) silent(c *connection, name string) {
	if name == "" || name == c.probeName() {
		c.fell(time.Now())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ch := range h.channels {
		if ch.conn == c && (name == "" || name == ch.name) {
			ch.confirmed = false
		}
	}
}

// dispatch hands a message to the followers of its channel.
func (h *hub) dispatch(name, text string) {
	h.mu.Lock()
	ch := h.channels[name]
	if ch == nil {
		h.mu.Unlock()
		return
	}
	m := message{text, time.Now()}
	ch.heard = m.received
	followers := ch.followers
	h.mu.Unlock()
	for _, f := range followers {
		f.offer(m)
	}
}
