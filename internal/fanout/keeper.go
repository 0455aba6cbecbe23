package fanout

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// renewals is how often in a KeyTTL the keys of a held conference are renewed: often enough that several may fail, and
	// seldom enough to cost next to nothing.
	renewals = 8
	// renewBatch bounds the conferences that are renewed with one poll, where many are due since Redis was away.
	renewBatch = 128
	// doubtBatch owners are told at a time that their log may have lost something, and the next after doubtPause: after a
	// fail-over each of them may have a whole document to write.
	doubtBatch = 10
	doubtPause = 20 * time.Millisecond
)

// keeper looks after the conferences that this worker's sessions hold, so that an idle one need not. It renews their keys,
// and tells their owners when the server that has them isn't the one it was. Sessions and the hub's poll change it under mu;
// its goroutine, run, tells the owners.
type keeper struct {
	ttl      time.Duration // of keys
	interval time.Duration // between two renewals of a conference
	kick     chan struct{} // somebody is to be told

	mu     sync.Mutex
	holds  map[*hold]bool
	doubts []*hold // whose owners are to be told
}

// hold is one session's Hold. Guarded by the keeper's mu, but for conf and doubt, which don't change.
type hold struct {
	conf  string
	doubt func()

	run     string // of the server that had the conference when it was looked at last; empty: it wasn't yet
	renewAt time.Time
	doubted bool // it is among the doubts
}

func newKeeper(ttl time.Duration) *keeper {
	ttl = max(ttl, time.Second)
	return &keeper{ttl: ttl, interval: ttl / renewals, kick: make(chan struct{}, 1), holds: make(map[*hold]bool)}
}

// Hold implements Log.
func (l *RedisLog) Hold(conf string, doubt func()) (letGo func()) {
	return l.hub.keeper.add(conf, doubt)
}

func (k *keeper) add(conf string, doubt func()) (letGo func()) {
	// Spread over the whole interval, since a worker claims many conferences at once.
	ho := &hold{conf: conf, doubt: doubt, renewAt: time.Now().Add(rand.N(k.interval))}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.holds[ho] = true
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.holds, ho)
	}
}

// held lists what is held.
func (k *keeper) held() []*hold {
	k.mu.Lock()
	defer k.mu.Unlock()
	holds := make([]*hold, 0, len(k.holds))
	for ho := range k.holds {
		holds = append(holds, ho)
	}
	return holds
}

// saw takes in which server has a conference now. The first look counts as a change: the server may have changed between
// the claim and it.
func (k *keeper) saw(ho *hold, run string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ho.run != run {
		ho.run = run
		k.raise(ho)
	}
}

// raise puts an owner among those to be told. The caller holds mu.
func (k *keeper) raise(ho *hold) {
	if k.holds[ho] && !ho.doubted {
		ho.doubted = true
		k.doubts = append(k.doubts, ho)
		poke(k.kick)
	}
}

// run tells owners, until ctx is done.
func (k *keeper) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.kick:
		}
		for k.tell() {
			if !pause(ctx, doubtPause) {
				return
			}
		}
	}
}

// tell tells some owners, and says whether there are more.
func (k *keeper) tell() bool {
	k.mu.Lock()
	n := min(len(k.doubts), doubtBatch)
	told := make([]*hold, 0, n)
	for _, ho := range k.doubts[:n] {
		ho.doubted = false
		if k.holds[ho] {
			told = append(told, ho)
		}
	}
	k.doubts = k.doubts[n:]
	more := len(k.doubts) > 0
	k.mu.Unlock()
	for _, ho := range told {
		ho.doubt()
	}
	return more
}

// renewal is the renewing of one conference's keys with a poll.
type renewal struct {
	hold *hold
	keys []*redis.BoolCmd // meta first
}

// renew adds the renewals that are due to a poll.
func (k *keeper) renew(ctx context.Context, pipe redis.Pipeliner, holds []*hold, now time.Time) []renewal {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []renewal
	for _, ho := range holds {
		if len(list) == renewBatch {
			break
		}
		if !k.holds[ho] || now.Before(ho.renewAt) {
			continue
		}
		r := renewal{hold: ho}
		for _, key := range keysOf(ho.conf) {
			r.keys = append(r.keys, pipe.Expire(ctx, key, k.ttl))
		}
		list = append(list, r)
	}
	return list
}

// renewed takes in what became of renewals. One that failed is due again with the next poll; where there is no claim to
// renew, its owner is told.
func (k *keeper) renewed(list []renewal, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range list {
		there, err := r.keys[0].Result()
		if err != nil {
			continue
		}
		r.hold.renewAt = now.Add(k.interval*3/4 + rand.N(k.interval/4))
		if !there {
			k.raise(r.hold)
		}
	}
}
