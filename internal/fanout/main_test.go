package fanout_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"confgate/internal/fanout"
	"confgate/internal/fanout/fanouttest"
	"confgate/internal/session"
)

// What owners ask for is declared by them.
var _ session.Log = fanout.Log(nil)

// shared is the server of all tests that don't harm it.
var shared *fanouttest.Redis

func TestMain(m *testing.M) {
	logging.Disable() // go-redis reports every failed dial, and tests make many
	var err error
	if shared, err = fanouttest.RunRedis(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m,
		goleak.IgnoreCurrent(), // those of the server, which outlives the check
		goleak.Cleanup(func(code int) {
			shared.Remove()
			os.Exit(code)
		}))
}

// connect makes a client as the gateway does.
func connect(tb testing.TB, url string) redis.UniversalClient {
	tb.Helper()
	opts, err := redis.ParseURL(url)
	if err != nil {
		tb.Fatal(err)
	}
	opts.ContextTimeoutEnabled = true
	opts.MaxRetries = -1
	c := redis.NewClient(opts)
	tb.Cleanup(func() { _ = c.Close() })
	return c
}
