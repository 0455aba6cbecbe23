package fanout

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"

	"confgate/internal/conference"
)

const (
	// appendRate is how many round trips a second a worker makes for appends before it puts those of several conferences
	// into one: a round trip costs about the same whether it carries one append or ten.
	appendRate = 112
	// appendWait is how long an append waits for others at the most. Batches that were too large to wait are paid for by waiting later, but no longer than this at a time.
	appendWait = time.Second / appendRate
	// appendSlack is how much earlier a batch goes if an append comes just then: the process is awake already, and need not be
	// woken by the timer.
	appendSlack = time.Millisecond
	// appendBurst is how many round trips may be made at once before anything waits.
	appendBurst = 20
	// batchBytes is how much may wait; beyond, it goes at once.
	batchBytes = 1 << 20
	// batchTimeout bounds the round trip of a batch. Whoever has given up by then isn't waited for.
	batchTimeout = 3 * time.Second
)

// batcher makes the appends of many conferences: alone while there are few, else in one pipeline with those that come in
// the same few milliseconds. Nothing else ties them together: each has its own answer, and what the connection of a batch
// suffers each is told, as if it had been alone.
type batcher struct {
	client redis.UniversalClient
	script *redis.Script
	sha    any           // of the script
	pace   *rate.Limiter // nil: nothing is put together

	// work has a batch for whoever runs sends. Without it, or while it is at one, a batch has a goroutine of its own.
	work chan []*appendCall

	mu      sync.Mutex    // a leaf
	waiting []*appendCall // for the timer that was set with the first
	bytes   int
	timer   *time.Timer
	at      time.Time // when it is due
}

func newBatcher(client redis.UniversalClient, script *redis.Script) *batcher {
	b := &batcher{client: client, script: script, sha: script.Hash(), work: make(chan []*appendCall)}
	// A cluster's pipeline is answered when its slowest shard has, and a shard that is down must not hold up the others.
	if _, cluster := client.(*redis.ClusterClient); !cluster {
		b.pace = rate.NewLimiter(appendRate, appendBurst)
	}
	return b
}

// run makes an append and waits for its answer, or until ctx is done.
func (b *batcher) run(ctx context.Context, call *appendCall) (conference.Position, error) {
	var cmd *redis.Cmd
	if !b.join(call) {
		cmd = b.alone(ctx, call)
	} else {
		select {
		case <-call.done:
			cmd = call.cmd
		case <-ctx.Done(): // the batch still has the call
			cmd = redis.NewCmd(ctx)
			cmd.SetErr(ctx.Err())
			return call.outcome(cmd)
		}
		if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
			cmd = b.alone(ctx, call)
		}
	}
	defer call.free()
	return call.outcome(cmd)
}

// alone makes an append by itself, and brings the script along where the server hasn't got it.
func (b *batcher) alone(ctx context.Context, call *appendCall) *redis.Cmd {
	return b.script.Run(ctx, b.client, call.names[:appendArgs-appendKeys], call.args[appendArgs:]...)
}

// waits says whether an append has to wait for others now.
func (b *batcher) waits() bool {
	if b.pace == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting) > 0 || b.pace.TokensAt(time.Now()) < 1
}

// add lets an append wait for others.
func (b *batcher) add(call *appendCall) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wait(time.Now(), call)
}

// join lets an append wait for others; false where it needn't.
func (b *batcher) join(call *appendCall) bool {
	if b.pace == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if len(b.waiting) == 0 && b.pace.AllowN(now, 1) {
		return false
	}
	call.done = make(chan struct{})
	b.wait(now, call)
	return true
}

// wait adds a call to the batch, and begins one with it where there is none. The caller holds mu.
func (b *batcher) wait(now time.Time, call *appendCall) {
	if len(b.waiting) == 0 {
		wait := min(b.pace.ReserveN(now, 1).DelayFrom(now), appendWait)
		b.at, b.timer = now.Add(wait), time.AfterFunc(wait, b.due)
	}
	b.waiting = append(b.waiting, call)
	b.bytes += len(call.body)
	if (b.bytes > batchBytes || b.at.Sub(now) < appendSlack) && b.timer.Stop() {
		b.hand()
	}
}

// due is called by the timer.
func (b *batcher) due() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hand()
}

// hand has what waits sent, by somebody else. The caller holds mu.
func (b *batcher) hand() {
	calls := b.waiting
	b.waiting, b.bytes = nil, 0
	select {
	case b.work <- calls:
	default:
		go b.send(calls)
	}
}

// sends sends batches until ctx is done. A timer's goroutine is a new one each time, and its stack has to grow first.
func (b *batcher) sends(ctx context.Context) {
	for {
		select {
		case calls := <-b.work:
			b.send(calls)
		case <-ctx.Done():
			return
		}
	}
}

// send makes the round trip of a batch.
func (b *batcher) send(calls []*appendCall) {
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	pipe := b.client.Pipeline()
	for _, c := range calls {
		c.cmd = redis.NewCmd(ctx, c.args...)
		_ = pipe.Process(ctx, c.cmd) // only queues it
	}
	_, _ = pipe.Exec(ctx) // each call has its own error
	for _, c := range calls {
		if c.answer != nil {
			c.answer(c.outcome(c.cmd))
			c.free()
		} else {
			close(c.done)
		}
	}
}
