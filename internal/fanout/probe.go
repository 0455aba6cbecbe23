package fanout

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// patience is how long a message may take from the server that published it, at least, before its connection counts as deaf.
const patience = 500 * time.Millisecond

// A subscription may live and deliver nothing. Therefore each connection has one channel more than it is for, to which the
// hub publishes while nothing else comes: a probe, which takes the way that messages take.

// probe is what a poll has to know to send one.
type probe struct {
	conn     *connection
	channel  string
	standing bool // the server has said that the subscription to it stands
}

// probes lists the connections on which nothing came since the last look.
func (s *connections) probes(now time.Time) map[string]*probe {
	probes := make(map[string]*probe)
	for name, c := range s.byShard {
		if now.UnixNano()-c.heard.Load() > int64(s.hub.opts.PollInterval)/2 {
			probes[name] = &probe{conn: c, channel: c.probeName(), standing: c.fallen.Load() == 0}
		}
	}
	return probes
}

func (p *probe) publish(ctx context.Context, pipe redis.Pipeliner) *redis.IntCmd {
	if p.conn.sharded {
		return pipe.SPublish(ctx, p.channel, "")
	}
	return pipe.Publish(ctx, p.channel, "")
}

// tune finds the probe's channel: one that the connection's server serves. It says what to subscribe to, and what not any
// more; with again, also what the server hasn't confirmed.
func (c *connection) tune(again bool) (add, remove string) {
	old := c.probeName()
	switch {
	case old == "" && !c.sharded:
		add = "confgate:probe:" + c.nonce
	case c.sharded && (old == "" || c.channels[c.beside] == nil):
		// A slot goes where it likes: the channel lies beside one of those that brought the connection about.
		for name, ch := range c.channels {
			c.beside, add = name, keyOf(ch.conf, "probe:"+c.nonce)
			break
		}
	case again && c.fallen.Load() != 0:
		return old, ""
	default:
		return "", ""
	}
	c.probe.Store(&add)
	c.fell(time.Now())
	return add, old
}

func (c *connection) probeName() string {
	if name := c.probe.Load(); name != nil {
		return *name
	}
	return ""
}

// fell notes that the subscription doesn't stand, so that nothing is owed by it.
func (c *connection) fell(now time.Time) {
	c.fallen.CompareAndSwap(0, now.UnixNano())
	c.owed.Store(0)
}

// stands notes that the server has confirmed the probe's channel, which is the first that is subscribed to.
func (c *connection) stands() {
	c.owed.Store(0)
	c.fallen.Store(0)
	c.waits.Store(0)
}

// suspect notes that the connection owes a message since then.
func (c *connection) suspect(since time.Time) { c.owed.CompareAndSwap(0, since.UnixNano()) }

// deaf says whether the connection is to be replaced: it owes a message and has brought none since, or it doesn't come to
// stand though the server answers.
func (c *connection) deaf(now time.Time, interval time.Duration) bool {
	if fallen := c.fallen.Load(); fallen != 0 {
		const some = 3
		return c.waits.Load() >= some && now.UnixNano()-fallen > int64(2*subscribeTimeout)
	}
	owed := c.owed.Load()
	if owed == 0 {
		return false
	}
	if c.heard.Load() > owed {
		c.owed.Store(0)
		return false
	}
	return now.UnixNano()-owed > int64(max(interval/2, patience))
}
