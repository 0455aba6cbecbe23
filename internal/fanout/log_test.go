package fanout_test

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"

	"confgate/internal/conference"
	"confgate/internal/fanout"
	"confgate/internal/fanout/fanouttest"
)

const keyFile = `
# the present one
000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
`

func keyring(tb testing.TB, file string) *fanout.Keyring {
	tb.Helper()
	k, err := fanout.ParseKeyFile([]byte(file))
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// runLog runs a Redis log until the test ends.
func runLog(tb testing.TB, url string, keys *fanout.Keyring, opts fanout.LogOptions) *fanout.RedisLog {
	tb.Helper()
	return runOver(tb, connect(tb, url), keys, opts)
}

func runOver(
	tb testing.TB, client redis.UniversalClient, keys *fanout.Keyring, opts fanout.LogOptions,
) *fanout.RedisLog {
	tb.Helper()
	log := fanout.NewRedisLog(client, keys, opts)
	runHub(tb, log)
	return log
}

func runHub(tb testing.TB, log *fanout.RedisLog) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = log.Run(ctx)
	}()
	tb.Cleanup(func() {
		cancel()
		<-done
	})
}

func TestMemoryLog(t *testing.T) {
	t.Parallel()
	fanouttest.TestLog(t, func(_ *testing.T, opts fanout.LogOptions) fanout.Log { return fanout.NewMemoryLog(opts) })
}

func TestRedisLog(t *testing.T) {
	t.Parallel()
	fanouttest.TestLog(t, func(t *testing.T, opts fanout.LogOptions) fanout.Log {
		t.Helper()
		return runLog(t, shared.URL(), keyring(t, keyFile), opts)
	})
}

// slowLog's followers take no step before its gate is open.
type slowLog struct {
	log  fanout.Follower
	gate chan struct{}
}

func (s *slowLog) Follow(conf string, from conference.Position, kick chan<- struct{}) fanout.Tail {
	return &slowTail{s.log.Follow(conf, from, kick), s.gate}
}

type slowTail struct {
	fanout.Tail
	gate chan struct{}
}

func (s *slowTail) Step(ctx context.Context, deliver func(fanout.Delivery)) {
	select {
	case <-s.gate:
	case <-ctx.Done():
	}
	s.Tail.Step(ctx, deliver)
}
