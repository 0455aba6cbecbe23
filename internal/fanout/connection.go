package fanout

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// connections are the hub's subscription connections, owned by its goroutine. Without a cluster there is at most one, under
// the empty shard name; on a cluster one for each master that serves a followed conference.
type connections struct {
	hub     *hub
	wg      *sync.WaitGroup
	byShard map[string]*connection
}

// connection is one subscription connection; go-redis dials it anew when it is lost, and subscribes again.
type connection struct {
	shard    string
	pubsub   *redis.PubSub
	sharded  bool
	channels map[string]*channel // subscribed to; owned by the hub's goroutine
	cancel   context.CancelFunc

	// Of the probe (probe.go): the end of its channel's name, that name, and on a cluster the channel that it lies beside,
	// which is the hub's goroutine's.
	nonce  string
	probe  atomic.Pointer[string]
	beside string
	// Unix nanoseconds: when a message came last, since when one should have come (0: none is owed), and since when the
	// probe's subscription doesn't stand (0: it does).
	heard, owed, fallen atomic.Int64
	waits               atomic.Int32 // looks since then that the server answered
}

// reconcile subscribes to what is followed, and unsubscribes from what isn't any more. With again, it also repeats what the
// server hasn't confirmed.
func (s *connections) reconcile(ctx context.Context, again bool) {
	type change struct{ add, remove []string }
	changes := make(map[*connection]*change)
	of := func(c *connection) *change {
		if changes[c] == nil {
			changes[c] = &change{}
		}
		return changes[c]
	}
	wanted := s.route(ctx)
	for _, c := range s.byShard {
		for name := range c.channels {
			if wanted[name].conn != c {
				delete(c.channels, name)
				of(c).remove = append(of(c).remove, name)
			}
		}
	}
	for name, w := range wanted {
		// A channel that was left and followed again in the meantime is another one: it waits for its own confirmation.
		if w.conn.channels[name] != w.ch || again && !w.confirmed {
			w.conn.channels[name] = w.ch
			of(w.conn).add = append(of(w.conn).add, name)
		}
	}
	for _, c := range s.byShard {
		if len(c.channels) == 0 {
			s.close(c)
			continue
		}
		ch := of(c)
		add, remove := c.tune(again)
		if remove != "" {
			ch.remove = append(ch.remove, remove)
		}
		if add != "" {
			ch.add = slices.Insert(ch.add, 0, add)
		}
		if len(ch.remove) > 0 {
			c.unsubscribe(ctx, ch.remove)
		}
		if len(ch.add) > 0 {
			c.subscribe(ctx, ch.add)
		}
	}
}

// routed is where a channel belongs.
type routed struct {
	conn      *connection
	ch        *channel
	confirmed bool
}

// route finds, or makes, the connection for every channel that is followed. Channels whose shard isn't known now are left
// out, until check tries again.
func (s *connections) route(ctx context.Context) map[string]routed {
	h := s.hub
	h.mu.Lock()
	channels := maps.Clone(h.channels)
	h.mu.Unlock()
	wanted := make(map[string]routed, len(channels))
	for name, ch := range channels {
		shard, client, err := h.shardOf(ctx, name)
		if err != nil {
			continue
		}
		c := s.byShard[shard]
		if c == nil {
			c = s.open(ctx, shard, client)
		}
		wanted[name] = routed{conn: c, ch: ch}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, ch := range channels {
		w, ok := wanted[name]
		if ch.conn != w.conn {
			ch.conn, ch.confirmed = w.conn, false
		}
		if ok {
			w.confirmed = ch.confirmed
			wanted[name] = w
		}
	}
	return wanted
}

func (s *connections) open(ctx context.Context, shard string, client redis.UniversalClient) *connection {
	ctx, cancel := context.WithCancel(ctx)
	c := &connection{
		shard: shard, pubsub: client.Subscribe(ctx), sharded: shard != "",
		channels: make(map[string]*channel), cancel: cancel, nonce: newNonce(),
	}
	s.byShard[shard] = c
	s.wg.Go(func() { s.hub.receive(ctx, c) })
	return c
}

func (s *connections) close(c *connection) {
	delete(s.byShard, c.shard)
	c.cancel()
	_ = c.pubsub.Close() // also ends its Receive
}

func (s *connections) closeAll() {
	for _, c := range s.byShard {
		s.close(c)
	}
}

// check is called once a poll: it replaces connections that are deaf, and on a cluster follows the slots.
func (s *connections) check(ctx context.Context) {
	now := time.Now()
	closed := false
	for _, c := range s.byShard {
		if c.deaf(now, s.hub.opts.PollInterval) {
			s.hub.opts.Logger.Warn("subscription delivers nothing, restarting it", zap.Int("channels", len(c.channels)))
			s.close(c)
			closed = true
		}
	}
	_, cluster := s.hub.client.(*redis.ClusterClient)
	if cluster || closed {
		s.reconcile(ctx, cluster)
	}
}

// subscribe's errors need no answer: go-redis remembers the channels and subscribes when it has a connection again. Shard
// channels go one by one: a command that names several slots is refused. go-redis itself does just that when it has dialled
// anew, so check repeats what isn't confirmed (TestClusterSubscribesOneByOne).
func (c *connection) subscribe(ctx context.Context, names []string) {
	ctx, cancel := context.WithTimeout(ctx, subscribeTimeout)
	defer cancel()
	if c.sharded {
		for _, name := range names {
			_ = c.pubsub.SSubscribe(ctx, name)
		}
		return
	}
	_ = c.pubsub.Subscribe(ctx, names...)
}

func (c *connection) unsubscribe(ctx context.Context, names []string) {
	ctx, cancel := context.WithTimeout(ctx, subscribeTimeout)
	defer cancel()
	if c.sharded {
		for _, name := range names {
			_ = c.pubsub.SUnsubscribe(ctx, name)
		}
		return
	}
	_ = c.pubsub.Unsubscribe(ctx, names...)
}

// receive is a connection's goroutine. It has no read deadline: a connection that is dead without saying so is found by
// what it owes.
func (h *hub) receive(ctx context.Context, c *connection) {
	for {
		got, err := c.pubsub.Receive(ctx)
		switch {
		case ctx.Err() != nil || errors.Is(err, redis.ErrClosed):
			return
		case isReply(err):
			// The connection is fine, a SUBSCRIBE was refused: on a cluster, for its slot has moved, or for several slots.
			h.opts.Logger.Debug("subscription refused", zap.Error(err))
			continue
		case err != nil:
			h.silent(c, "")
			if !pause(ctx, retryDelay(err)) {
				return
			}
			continue
		}
		switch m := got.(type) {
		case *redis.Message:
			c.heard.Store(time.Now().UnixNano())
			h.dispatch(m.Channel, m.Payload)
		case *redis.Subscription:
			switch m.Kind {
			case "subscribe", "ssubscribe":
				if m.Channel == c.probeName() {
					c.stands()
				}
				h.confirmed(c, m.Channel)
			case "sunsubscribe":
				h.silent(c, m.Channel) // asked for, or the slot has moved: check finds out
			}
		}
	}
}

func isReply(err error) bool {
	_, ok := errors.AsType[redis.Error](err)
	return ok
}

// retryDelay spreads the reconnections of a fleet. A connection that was merely cut is tried again at once, for go-redis has
// dialled it anew already.
func retryDelay(err error) time.Duration {
	if _, dialling := errors.AsType[*net.OpError](err); dialling {
		return 50*time.Millisecond + rand.N(200*time.Millisecond)
	}
	return rand.N(20 * time.Millisecond)
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
