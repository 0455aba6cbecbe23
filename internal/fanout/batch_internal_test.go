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

// Symptom: after many owners had appended whole documents at once, whose batches were too large to wait, a small append
// waited for as long as all of those batches together should have taken: seconds.
func TestAppendWaitsFourMillisecondsAtMost(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{})
	t.Cleanup(func() { _ = client.Close() })
	client.AddHook(unsent{})
	synctest.Test(t, func(t *testing.T) {
		b := newBatcher(client, redis.NewScript("return 1"))
		const large = 500
		for range large {
			if call := b.join(batchBytes+1, []string{"large"}, nil); call != nil {
				<-call.done
			}
		}
		began := time.Now()
		call := b.join(1, []string{"small"}, nil)
		if call == nil {
			t.Fatal("the small append went alone, after as many as make it wait")
		}
		<-call.done
		if waited := time.Since(began); waited > 4*time.Millisecond {
			t.Errorf("an append waited %v for others, want 4 ms at most", waited)
		}
	})
}
