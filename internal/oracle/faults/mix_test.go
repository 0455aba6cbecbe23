package faults

import (
	"context"
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
			c := connect(t, f.addrs[0])
			ctx, cancel := context.WithTimeout(t.Context(), *leaseOf*3/2)
			defer cancel()
			if err := c.Ping(ctx).Err(); err == nil {
				t.Error("a stalled Redis answered")
			}
			<-ctx.Done()
			f.server.Resume(t)
		}},
		{"redis lost", func(t *testing.T, f *fleet, _ *worker) {
			t.Helper()
			c := connect(t, f.addrs[0])
			before := c.DBSize(t.Context()).Val()
			f.server.Restart(t)
			if after := c.DBSize(t.Context()).Val(); after >= before && before > 0 {
				t.Errorf("Redis had %d keys, and %d when it came back", before, after)
			}
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
		{"links cut", func(t *testing.T, f *fleet, _ *worker) {
			t.Helper()
			dials := f.provider.Requests()["dial"]
			for _, c := range f.confs {
				f.provider.CutLinks(c)
			}
			proctest.Until(t, "links are made anew", func() error { return differ("more dials", f.provider.Requests()["dial"] > dials, true) })
		}},
		{"readers cut", func(t *testing.T, f *fleet, _ *worker) {
			t.Helper()
			before := f.connects()
			for _, r := range f.readers {
				r.Disconnect()
			}
			proctest.Until(t, "readers come back", func() error { return differ("more connections", f.connects() > before, true) })
		}},
	}
}

// connects is how often readers have connected.
func (f *fleet) connects() int {
	n := 0
	for _, r := range f.readers {
		n += r.Report().Connects
	}
	return n
}

// moves is how often conferences have moved, or were to: each may have had two links meanwhile.
func (f *fleet) moves() int {
	n := 0
	for _, w := range f.workers {
		for line := range lines(w.log()) {
			switch line.Msg {
			case "handing over a conference", "took over a conference":
				n++
			}
		}
	}
	return n
}

// Faults in random order, one after the other, some of them before the last one has healed. The clock of one worker is a minute ahead
// throughout.
func TestMix(t *testing.T) {
	t.Parallel()
	f := startFleet(t, plan{binary: fastBinary(t), redisCable: true, providerCable: true, conferences: 4, seed: *mixSeed})
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
	// Now and then the worker has no link to be cut, but not each time.
	if done["cut from provider"] > 1 && f.upstream.held.Load() == 0 {
		t.Error("the cable to the provider held nothing back")
	}
	f.silences(t, f.workers...)
	f.finish(t, outcome{resets: done["redis lost"], overlaps: f.moves()})
}
