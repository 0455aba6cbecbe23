package faults

import (
	"fmt"
	"testing"
	"time"

	"confgate/internal/oracle/oracletest"
	"confgate/internal/proctest"
)

// stale is an error until every reader was told that its worker can't vouch for the state.
func (f *fleet) stale(readers []*reader) error {
	for _, r := range readers {
		if p := r.Report(); p.Fresh {
			return fmt.Errorf("%s takes its state for fresh", r.Name)
		}
	}
	return nil
}

// of are the readers at home at a worker.
func (f *fleet) of(home int) []*reader {
	var some []*reader
	for _, r := range f.readers {
		if r.home == home {
			some = append(some, r)
		}
	}
	return some
}

// untouched checks that no link was made anew, or lost, since so many dials.
func (f *fleet) untouched(t *testing.T, dials int) {
	t.Helper()
	if n := f.provider.Requests()["dial"] - dials; n != 0 {
		t.Errorf("%d links were made meanwhile, want none", n)
	}
	if seen := f.links.figures(); seen.most != 1 || seen.unheld > 0 {
		t.Errorf("up to %d links, %v without one; want the links untouched", seen.most, seen.unheld)
	}
}

// Redis dies, and comes back with nothing: links stay, clients are told, and get one new snapshot.
func TestRedisLost(t *testing.T) {
	t.Parallel()
	f := startFleet(t, plan{})
	dials := f.provider.Requests()["dial"]
	f.measure()
	died := time.Now()
	f.server.Stop()
	proctest.Until(t, "clients are told", func() error { return f.stale(f.readers) })
	pass(spell(10*time.Second) - time.Since(died))
	for _, w := range f.workers {
		if w.process().Ended() {
			t.Errorf("%s ended since Redis is away", w.name)
		}
		if n := w.metric(t, "confgate_fanout_up"); n != 0 {
			t.Errorf("%s: fanout_up is %d while Redis is away, want 0", w.name, n)
		}
	}
	f.provider.Pause()
	back := time.Now()
	f.server.Restart(t)
	t.Logf("Redis was dead for %v", time.Since(died).Round(time.Millisecond))
	f.await(t)
	within(t, "documents right after the return of Redis", time.Since(back), 3*time.Second)
	f.untouched(t, dials)
	f.provider.Resume()
	pass(500 * time.Millisecond)
	f.finish(t, outcome{resets: 1})
}

// await waits for the truth at all readers.
func (f *fleet) await(t *testing.T) {
	t.Helper()
	readers := make([]*oracletest.Reader, len(f.readers))
	for i, r := range f.readers {
		readers[i] = r.Reader
	}
	oracletest.AwaitTruth(t, f.provider, readers, f.nudge)
}

// Redis hangs for longer than leases last: the owners stay who they are, and nobody gets anything but the difference.
func TestRedisStalled(t *testing.T) {
	t.Parallel()
	f := startFleet(t, plan{})
	dials := f.provider.Requests()["dial"]
	f.measure()
	f.server.Stall(t)
	stalled := time.Now()
	proctest.Until(t, "clients are told", func() error { return f.stale(f.readers) })
	pass(spell(5*time.Second) - time.Since(stalled))
	f.server.Resume(t)
	f.settle(t)
	f.untouched(t, dials)
	there := f.silences(t, f.workers...).there
	if there < *leaseOf {
		t.Errorf("the longest silence is %v: Redis wasn't missed", there)
	}
	f.finish(t, outcome{})
}

// One worker is cut off from Redis: others hold its conferences meanwhile, and its clients are told.
func TestWorkerCutOffFromRedis(t *testing.T) {
	t.Parallel()
	f := startFleet(t, plan{redisCable: true})
	w := f.workers[0]
	owned := f.owned(t, w)
	if len(owned) == 0 {
		t.Fatal("the worker to cut off holds nothing")
	}
	f.measure()
	f.redis.unplug()
	proctest.Until(t, "its clients are told", func() error { return f.stale(f.of(0)) })
	proctest.Until(t, "others take over", func() error {
		return differ("conferences of others", len(f.owned(t, f.workers[1]))+len(f.owned(t, f.workers[2])), len(f.confs))
	})
	pass(time.Second)
	elsewhere := f.silences(t, w).elsewhere
	f.redis.plug()
	f.settle(t)
	within(t, "longest silence at clients of others", elsewhere, *leaseOf+2*time.Second)
	f.takeovers(t, "death", len(owned))
	if f.redis.held.Load() == 0 {
		t.Error("the cable held nothing back: it wasn't cut")
	}
	f.finish(t, outcome{overlaps: len(owned) + len(f.confs)})
}

// One worker is cut off from the provider: its links are dead within two and a half heartbeats, and come back.
func TestWorkerCutOffFromProvider(t *testing.T) {
	t.Parallel()
	f := startFleet(t, plan{providerCable: true})
	w := f.workers[0]
	owned := f.owned(t, w)
	if len(owned) == 0 {
		t.Fatal("the worker to cut off holds nothing")
	}
	f.measure()
	f.upstream.unplug()
	proctest.Until(t, "its links are dead", func() error {
		return differ("links lost", w.metric(t, "confgate_upstream_reconnects_total"), len(owned))
	})
	f.upstream.plug()
	f.settle(t)
	f.silences(t, f.workers...)
	f.finish(t, outcome{overlaps: len(f.confs)})
}

// The master behind Sentinels is lost. What it had not given to its replica yet is answered by a new epoch, at the
// worst; where that was the fleet's word on who holds what, conferences move.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	var s *sentinels
	f := startFleet(t, plan{store: func(t *testing.T) *store {
		t.Helper()
		s = startSentinels(t)
		return s.store
	}})
	f.measure()
	s.master.Kill()
	proctest.Until(t, "the replica becomes the master", func() error { return contains(t.Context(), s.replica, "replication", "role:master") })
	f.settle(t)
	pass(time.Second)
	f.silences(t, f.workers...)
	f.finish(t, outcome{resets: 1, overlaps: len(f.confs)})
}
