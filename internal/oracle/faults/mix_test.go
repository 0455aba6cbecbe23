package faults

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"confgate/internal/proctest"
)

// harm is a fault that TestMix does; it returns when the fault is over and has fired.
type harm struct {
	name string
	do   func(t *testing.T, f *fleet, w *worker)
}

func harms() []harm {
	return []harm{
		{"kill", func(t *testing.T, f *fleet, w *worker) {
			t.Helper()
			w.kill(t)
			f.settle(t)
			w.start(t)
		}},
		{"term", func(t *testing.T, _ *fleet, w *worker) {
			t.Helper()
			if status := w.term(t).Exit(t); status != 0 {
				t.Errorf("%s: exit status %d after SIGTERM, want 0", w.name, status)
			}
			w.start(t)
		}},
		{"kill at once", func(t *testing.T, _ *fleet, w *worker) { // and back before anyone takes over
			t.Helper()
			w.kill(t)
			w.start(t)
		}},
		{"stop", func(t *testing.T, _ *fleet, w *worker) {
			t.Helper()
			resume := w.stop(t)
			pass(*leaseOf * 3 / 2)
			resume()
		}},
		{"redis stalled", func(t *testing.T, f *fleet, _ *worker) {
			t.Helper()
			f.server.Stall(t)
			pass(*leaseOf * 3 / 2)
			f.server.Resume(t)
		}},
		{"redis lost", func(t *testing.T, f *fleet, _ *worker) {
			t.Helper()
			f.server.Restart(t)
		}},
		{"cut from redis", func(t *testing.T, f *fleet, _ *worker) {
			t.Helper()
			held := f.redis.held.Load()
			f.redis.unplug()
			pass(*leaseOf * 3 / 2)
			proctest.Until(t, "the cable holds something back", func() error { return differ("more held", f.redis.held.Load() > held, true) })
			f.redis.plug()
		}},
		{"cut from provider", func(t *testing.T, f *fleet, _ *worker) {
			t.Helper()
			f.upstream.unplug()
			pass(3 * time.Second)
			f.upstream.plug()
		}},
		{"links cut", func(_ *testing.T, f *fleet, _ *worker) {
			for _, c := range f.confs {
				f.provider.CutLinks(c)
			}
		}},
		{"readers cut", func(_ *testing.T, f *fleet, _ *worker) {
			for _, r := range f.readers {
				r.Disconnect()
			}
		}},
	}
}

// Faults in random order, one after the other, some of them before the last one has healed.
func TestMix(t *testing.T) {
	t.Parallel()
	f := startFleet(t, plan{redisCable: true, providerCable: true, conferences: 4, seed: *mixSeed})
	dice := rand.New(rand.NewPCG(*mixSeed, 0))
	done := make(map[string]int)
	var order string
	all := harms()
	f.measure()
	for end := time.Now().Add(*mixTime); time.Now().Before(end); {
		dice.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, h := range all {
			if !time.Now().Before(end) {
				break
			}
			w := f.workers[dice.IntN(len(f.workers))]
			order += fmt.Sprintf(" %s(%s)", h.name, w.name)
			h.do(t, f, w)
			done[h.name]++
			if dice.IntN(3) > 0 {
				f.settle(t)
			}
			if t.Failed() {
				t.Fatalf("seed %d, after%s", *mixSeed, order)
			}
		}
	}
	t.Logf("seed %d:%s", *mixSeed, order)
	if len(done) < 2 {
		t.Errorf("did %v, want more", done)
	}
	if *mixTime >= time.Minute && len(done) < len(all) {
		t.Errorf("did %v, want each of %d faults in a minute", done, len(all))
	}
	there, _ := f.silences(f.workers...)
	t.Logf("longest silence %v", there.Round(time.Millisecond))
	f.finish(t, outcome{resets: done["redis lost"], overlaps: 1 << 20})
}
