package fanout

import (
	"context"
	"errors"
	"math/rand/v2"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"confgate/internal/conference"
)

// restInterval is how often, in PollIntervals, a conference is polled whose channel is quiet: every half minute. That its
// connection hears is known by the probe; this finds what was lost on the way to the connection.
const restInterval = 30

// markKey is a key that shows by its absence that a server was emptied though it went on running. It has a random value.
const markKey = "confgate:mark"

// shard is a server as a look found it.
type shard struct {
	client redis.UniversalClient
	probe  *probe // that goes with the look; nil: none
	marked bool   // the mark is looked at too; not on a cluster, where the key has a place on one server only
	run    string // id of this run of the server, and of what it holds
	err    error
}

var runID = regexp.MustCompile(`(?m)^run_id:(\w+)`)

// errNoRun: a server that doesn't say which run of it this is.
var errNoRun = errors.New("fanout: no run id in what the server says of itself")

// look asks the server how it is called, which shows that it answers and whether it is the one it was; and it publishes the
// probe.
func (s *shard) look(ctx context.Context) {
	pipe := s.client.Pipeline()
	info := pipe.Info(ctx, "server")
	var published *redis.IntCmd
	if s.probe != nil && s.probe.standing {
		published = s.probe.publish(ctx, pipe)
	}
	var mark *redis.StatusCmd
	own := newNonce()
	if s.marked {
		// A mark that isn't there is set; one that is answers. Its end, once a day, costs each owner a look at its log.
		mark = pipe.SetArgs(ctx, markKey, own, redis.SetArgs{Mode: "NX", Get: true, TTL: DefaultKeyTTL})
	}
	began := time.Now()
	_, _ = pipe.Exec(ctx) // each command has its own error
	text, err := info.Result()
	if err != nil {
		s.err = err
		return
	}
	m := runID.FindStringSubmatch(text)
	if m == nil {
		s.err = errNoRun
		return
	}
	s.run = m[1]
	if mark != nil {
		there, err := mark.Result()
		switch {
		case errors.Is(err, redis.Nil):
			there = own
		case err != nil: // a server that takes no writes takes no appends either
			s.err = err
			return
		}
		s.run += " " + there
	}
	switch {
	case published != nil && published.Err() == nil:
		s.probe.conn.suspect(began)
	case s.probe != nil && !s.probe.standing:
		s.probe.conn.waits.Add(1)
	}
}

// sight is what a look found.
type sight struct {
	all *shard            // the one server that there is; nil: there are several
	by  map[string]*shard // of these, that of each conference which matters here
}

// of is the server that has a conference; nil: it came after the look.
func (s sight) of(conf string) *shard {
	if s.all != nil {
		return s.all
	}
	return s.by[conf]
}

// look looks at each server that has a conference which is followed or held here.
func (h *hub) look(ctx context.Context, holds []*hold, probes map[string]*probe) (sight, bool) {
	ctx, cancel := context.WithTimeout(ctx, h.opts.PollInterval)
	defer cancel()
	if _, cluster := h.client.(*redis.ClusterClient); !cluster {
		s := &shard{client: h.client, probe: probes[""], marked: true}
		s.look(ctx)
		return sight{all: s}, s.err == nil
	}
	found, servers := sight{by: make(map[string]*shard)}, make(map[string]*shard)
	up := true
	for _, conf := range h.confs(holds) {
		if found.by[conf] != nil {
			continue
		}
		name, client, err := h.shardOf(ctx, metaKey(conf))
		if err != nil {
			found.by[conf], up = &shard{err: err}, false
			continue
		}
		s := servers[name]
		if s == nil {
			s = &shard{client: client, probe: probes[name]}
			servers[name] = s
		}
		found.by[conf] = s
	}
	if len(servers) == 0 && up {
		servers[""] = &shard{client: h.client} // any
	}
	var wg sync.WaitGroup
	for _, s := range servers {
		wg.Go(func() { s.look(ctx) })
	}
	wg.Wait()
	for _, s := range servers {
		up = up && s.err == nil
	}
	return found, up
}

// shardOf names the server that has a key, on a cluster by its address.
func (h *hub) shardOf(ctx context.Context, key string) (string, redis.UniversalClient, error) {
	cluster, ok := h.client.(*redis.ClusterClient)
	if !ok {
		return "", h.client, nil
	}
	node, err := cluster.MasterForKey(ctx, key)
	if err != nil {
		return "", nil, err
	}
	return node.Options().Addr, node, nil
}

// target is a channel as a poll found it.
type target struct {
	ch        *channel
	followers []*follower
	good      time.Time
	answer    *redis.SliceCmd
	err       error
}

// poll looks at the servers, and then asks, all in one pipeline, where the logs are that were quiet for long enough, and
// renews the keys of what is held.
func (h *hub) poll(ctx context.Context, probes map[string]*probe) {
	started := time.Now()
	holds := h.keeper.held()
	found, up := h.look(ctx, holds, probes)
	if ctx.Err() != nil {
		return // shutting down says nothing about Redis
	}
	h.opts.Metrics.FanoutUp(up)
	holds = slices.DeleteFunc(holds, func(ho *hold) bool { return found.of(ho.conf).err != nil })
	for _, ho := range holds {
		h.keeper.saw(ho, found.of(ho.conf).run)
	}
	asked, cut := h.quiet(found, started)
	for _, t := range cut {
		t.tell(&pulse{err: t.err, asked: started, since: t.good})
	}
	limited, cancel := context.WithTimeout(ctx, h.opts.PollInterval)
	defer cancel()
	pipe := h.client.Pipeline()
	for i := range asked {
		asked[i].answer = pipe.HMGet(limited, metaKey(asked[i].ch.conf), "epoch", "seq")
	}
	renewals := h.keeper.renew(limited, pipe, holds, started)
	if pipe.Len() == 0 {
		return
	}
	_, _ = pipe.Exec(limited) // each command has its own error
	if ctx.Err() != nil {
		return
	}
	h.keeper.renewed(renewals, started)
	for _, t := range asked {
		p := &pulse{asked: started}
		if p.head, p.err = parseHead(t.answer); p.err != nil {
			p.since = t.good
		}
		h.note(t.ch, p, started)
		t.tell(p)
	}
}

func (t target) tell(p *pulse) {
	for _, f := range t.followers {
		f.pulse.Store(p)
		poke(f.kick)
	}
}

// confs lists the conferences that are followed or held here.
func (h *hub) confs(holds []*hold) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	confs := make([]string, 0, len(holds)+len(h.channels))
	for _, ho := range holds {
		confs = append(confs, ho.conf)
	}
	for _, ch := range h.channels {
		confs = append(confs, ch.conf)
	}
	return confs
}

// quiet lists the channels to poll, and those that are cut off from their server. A channel is polled soon after its last
// message, since that may not have been the last, and then ever more seldom; at once where its server isn't the one it was;
// each time while its subscription doesn't stand, or a follower has something to wait for.
func (h *hub) quiet(found sight, started time.Time) (asked, cut []target) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ch := range h.channels {
		s := found.of(ch.conf)
		if s == nil {
			continue // it came after the look
		}
		heard := ch.heard.After(ch.looked)
		ch.looked = started
		if heard {
			ch.good, ch.polled = ch.heard, conference.Position{}
			ch.rest(started, h.opts.PollInterval, h.opts.PollInterval)
		}
		t := target{ch: ch, followers: ch.followers, good: ch.good, err: s.err}
		if s.err != nil {
			if ch.heard.Before(started) {
				cut = append(cut, t)
			}
			continue
		}
		moved := ch.run != s.run
		ch.run, ch.good = s.run, started
		asks := slices.ContainsFunc(ch.followers, func(f *follower) bool { return f.asks.Load() })
		if asks || moved || !ch.confirmed || !started.Before(ch.pollAt) {
			asked = append(asked, t)
		}
	}
	return asked, cut
}

// rest puts the next poll of a channel off. Polls come with looks, so it is due half a look earlier.
func (ch *channel) rest(now time.Time, d, look time.Duration) {
	ch.wait = d
	ch.pollAt = now.Add(d - look/2)
}

// note keeps a poll's answer. A log that moved from one poll to the next while its channel brought nothing puts its
// connection under suspicion: a subscription may live and be deaf.
func (h *hub) note(ch *channel, p *pulse, started time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	look := h.opts.PollInterval
	if p.err != nil {
		ch.rest(started, look, look)
		return
	}
	moved := ch.polled.Epoch != "" && p.head != ch.polled
	ch.polled = p.head
	if moved && ch.heard.Before(started) && ch.confirmed && ch.conn != nil {
		ch.conn.suspect(started)
	}
	longest := restInterval * look
	ch.rest(started, min(2*ch.wait, longest), look)
	ch.pollAt = ch.pollAt.Add(-rand.N(ch.wait/4 + 1)) // conferences that were quiet together are polled apart
}
