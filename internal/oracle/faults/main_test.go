package faults

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"confgate/internal/oracle/oracletest"
)

var (
	full    = flag.Bool("faults.full", false, "faults last as long as the contract says, one test at a time, and figures are bounds without allowance")
	mixTime = flag.Duration("faults.time", time.Minute, "how long TestMix does harm")
	mixSeed = flag.Uint64("faults.seed", 1, "which faults TestMix picks")
	manyOf  = flag.Int("faults.conferences", 6, "conferences of TestRollingRestart, each with twelve readers")
	leaseOf = flag.Duration("faults.lease", 2*time.Second, "--lease-ttl of the workers")
)

// binary is the gateway, built for this run.
var binary string

func TestMain(m *testing.M) {
	logging.Disable() // go-redis reports every failed dial, and tests make many
	// These tests wait more than they work. What is on the command line comes later, and wins.
	atOnce := "4"
	if raceEnabled { // which makes the readers' work ten times as much
		atOnce = "2"
		*mixTime = 10 * time.Second
	}
	check := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	check(flag.Set("test.parallel", atOnce))
	flag.Parse()
	if *full { // tests that run beside each other would be part of each other's figures
		check(flag.Set("test.parallel", "1"))
	}
	dir, err := os.MkdirTemp("", "confgate-")
	if err == nil {
		binary = filepath.Join(dir, "gateway")
		// Without the race detector: beside leases and heartbeats of a second or two it is too slow. The other tests of the
		// oracle run workers under it.
		err = oracletest.BuildGateway(binary)
	}
	if err == nil {
		_, err = fastBuild() // now, since a compiler beside them spoils what tests measure
	}
	check(err)
	goleak.VerifyTestMain(m,
		goleak.Cleanup(func(code int) {
			_ = os.RemoveAll(dir)
			os.Exit(code)
		}))
}

// spell is how long a fault lasts whose duration the contract names: that long in the full form, else as little as shows it.
func spell(contract time.Duration) time.Duration {
	if *full {
		return contract
	}
	return min(contract, *leaseOf+time.Second)
}

// connect makes a client of a Redis at HOST:PORT, or at the path of a socket.
func connect(tb testing.TB, addr string) *redis.Client {
	tb.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// pass lets time go by, in which the world moves.
func pass(d time.Duration) { <-time.After(d) }

// differ is an error unless got is want.
func differ[T comparable](what string, got, want T) error {
	if got == want {
		return nil
	}
	return fmt.Errorf("%s is %v, want %v", what, got, want)
}
