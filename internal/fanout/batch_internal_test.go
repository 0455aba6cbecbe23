package fanout

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
)

// unsent is a server that answers at once, and isn't there: a bubble has no sockets.
type unsent struct{}

func (unsent) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (unsent) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (unsent) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error { return nil }
}

// Both waits together are what a change may be held.
func TestWaitsMakeTenMilliseconds(t *testing.T) {
	t.Parallel()
	if sum := appendWait + newPacing(DefaultWriteRate, func() {}).step; sum > 10*time.Millisecond {
		t.Errorf("an append waits %v and a feed's step is %v, want 10 ms at most together", appendWait, sum-appendWait)
	}
}

// Symptom: after many owners had appended whole documents at once, whose batches were too large to wait, a small append
// waited for as long as all of those batches together should have taken: seconds.
func TestAppendWaitIsBounded(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{})
	t.Cleanup(func() { _ = client.Close() })
	client.AddHook(unsent{})
	synctest.Test(t, func(t *testing.T) {
		b := newBatcher(client, redis.NewScript("return 1"))
		const large = 500
		for range large {
			if call := (&appendCall{body: make([]byte, batchBytes+1)}); b.join(call) {
				<-call.done
			}
		}
		began := time.Now()
		call := &appendCall{body: []byte{1}}
		if !b.join(call) {
			t.Fatal("the small append went alone, after as many as make it wait")
		}
		<-call.done
		if waited := time.Since(began); waited > appendWait {
			t.Errorf("an append waited %v for others, want %v at most", waited, appendWait)
		}
	})
}
