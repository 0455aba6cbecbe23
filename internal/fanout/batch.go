package fanout

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"
)

const (
	// appendRate is how many round trips a second a worker makes for appends before it puts those of several conferences
	// into one: a round trip costs about the same whether it carries one append or ten.
	appendRate = 125
	// appendWait is how long an append waits for others at the most. Batches that were too large to wait are paid for by waiting later, but no longer than this at a time.
	appendWait = time.Second / appendRate
	// appendBurst is how many round trips may be made at once before anything waits.
	appendBurst = 20
	// batchBytes is how much may wait; beyond, it goes at once.
	batchBytes = 1 << 20
	// batchTimeout bounds the round trip of a batch. Whoever has given up by then isn't waited for.
	batchTimeout = 3 * time.Second
)

// batcher runs one script for many conferences: alone while that is seldom asked for, else in one pipeline with what others
// ask for in the same few milliseconds. Nothing else ties them together: each has its own answer, and what the connection
// of a batch suffers each is told, as if it had been alone.
type batcher struct {
	client redis.UniversalClient
	script *redis.Script
	pace   *rate.Limiter // nil: nothing is put together

	// work has a batch for whoever runs sends. Without it, or while it is at one, a batch goes from where it is.
	work chan []*batched

	mu      sync.Mutex // a leaf
	waiting []*batched // for the timer that was set with the first
	bytes   int
	timer   *time.Timer
}

// batched is one script call that waits.
type batched struct {
	keys []string
	args []any
	cmd  *redis.Cmd    // readable once done is closed
	done chan struct{} // closed when the batch was answered, or has failed

	answer func(*redis.Cmd) // instead of done: called by who sends the batch; it must not wait
}

func newBatcher(client redis.UniversalClient, script *redis.Script) *batcher {
	b := &batcher{client: client, script: script, work: make(chan []*batched)}
	// A cluster's pipeline is answered when its slowest shard has, and a shard that is down must not hold up the others.
	if _, cluster := client.(*redis.ClusterClient); !cluster {
		b.pace = rate.NewLimiter(appendRate, appendBurst)
	}
	return b
}

// run calls the script and waits for its answer, or until ctx is done. size is about how many bytes its arguments have.
func (b *batcher) run(ctx context.Context, size int, keys []string, args []any) *redis.Cmd {
	call := b.join(size, keys, args)
	if call == nil {
		return b.script.Run(ctx, b.client, keys, args...)
	}
	select {
	case <-call.done:
	case <-ctx.Done():
		cmd := redis.NewCmd(ctx)
		cmd.SetErr(ctx.Err())
		return cmd
	}
	if redis.HasErrorPrefix(call.cmd.Err(), "NOSCRIPT") {
		return b.script.Run(ctx, b.client, keys, args...) // which brings the script along
	}
	return call.cmd
}

// soon has the script called, and answer with what came of it, where calls wait for each other; false: nothing is done.
func (b *batcher) soon(size int, keys []string, args []any, answer func(*redis.Cmd)) bool {
	if b.pace == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if len(b.waiting) == 0 && b.pace.TokensAt(now) >= 1 {
		return false
	}
	b.wait(now, size, &batched{keys: keys, args: args, answer: answer})
	return true
}

// join lets a call wait for others; nil where it needn't.
func (b *batcher) join(size int, keys []string, args []any) *batched {
	if b.pace == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if len(b.waiting) == 0 && b.pace.AllowN(now, 1) {
		return nil
	}
	call := &batched{keys: keys, args: args, done: make(chan struct{})}
	b.wait(now, size, call)
	return call
}

// wait adds a call to the batch, and begins one with it where there is none. The caller holds mu.
func (b *batcher) wait(now time.Time, size int, call *batched) {
	if len(b.waiting) == 0 {
		b.timer = time.AfterFunc(min(b.pace.ReserveN(now, 1).DelayFrom(now), appendWait), b.due)
	}
	b.waiting = append(b.waiting, call)
	if b.bytes += size; b.bytes > batchBytes {
		b.timer.Reset(0)
	}
}

// due takes what waits to be sent.
func (b *batcher) due() {
	b.mu.Lock()
	calls := b.waiting
	b.waiting, b.bytes = nil, 0
	b.mu.Unlock()
	select {
	case b.work <- calls:
	default:
		b.send(calls)
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
func (b *batcher) send(calls []*batched) {
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	pipe := b.client.Pipeline()
	for _, c := range calls {
		c.cmd = pipe.EvalSha(ctx, b.script.Hash(), c.keys, c.args...)
	}
	_, _ = pipe.Exec(ctx) // each call has its own error
	for _, c := range calls {
		if c.answer != nil {
			c.answer(c.cmd)
		} else {
			close(c.done)
		}
	}
}
