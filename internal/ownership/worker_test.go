package ownership

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

func TestEachConferenceIsHeldOnce(t *testing.T) {
	t.Parallel()
	everywhere(t, func(r *rig) {
		t := r.t
		confs := conferences(300)
		for _, name := range []string{"a", "b", "c"} {
			r.worker(name, naming(confs...))
		}
		r.heldBy(confs, "a", "b", "c")
		r.await("a spread within 20 %", func() bool { return spread(r.loads(), 100, 3) && quiet(r) })
		var before map[string]string
		r.change(func() { before = r.holders() })

		r.worker("d", naming(confs...))
		var g gap
		r.await("a spread within 20 % over four", func() bool {
			g.look(len(r.holders()), len(confs))
			return spread(r.loads(), 75, 4) && quiet(r)
		})
		if g.longest > r.noGap() {
			t.Errorf("conferences were unheld for %v while a fourth worker joined, want %v at most", g.longest, r.noGap())
		}
		r.change(func() {
			moved := 0
			for conf, w := range r.holders() {
				if before[conf] != w {
					moved++
				}
			}
			if moved < 60 || moved > 110 {
				t.Errorf("conferences moved for a fourth worker = %d of 300, want about a quarter", moved)
			}
			for conf, n := range r.most {
				if n > 2 {
					t.Errorf("links of %s at once = %d, want 2 at most", conf, n)
				}
			}
		})
	})
}

// spread says whether n workers have at most a fifth more or less than mean each.
func spread(loads map[string]int, mean, n int) bool {
	for _, load := range loads {
		if load*10 < mean*8 || load*10 > mean*12 {
			return false
		}
	}
	return len(loads) == n
}

// quiet says that no handover is under way. Called with the lock.
func quiet(r *rig) bool {
	return !slices.ContainsFunc(r.sessions, func(s *fakeSession) bool { return !open(s.hold) || s.prepared })
}

func TestRebalancingIsGradual(t *testing.T) {
	t.Parallel()
	inMemory(t, func(r *rig) {
		t := r.t
		confs := conferences(100)
		r.worker("a", naming(confs...))
		r.heldBy(confs, "a")
		r.worker("b", naming(confs...))
		most := 0
		r.await("half of them at the other", func() bool {
			n := 0
			for _, s := range r.sessions {
				if s.worker == "a" && s.prepared {
					n++
				}
			}
			most = max(most, n)
			return r.loads()["b"] >= 45 && quiet(r)
		})
		if most == 0 || most > 10 {
			t.Errorf("conferences on the move at once = %d of 100, want 1 to 10", most)
		}
	})
}

func TestDeath(t *testing.T) {
	t.Parallel()
	everywhere(t, func(r *rig) {
		t := r.t
		confs := conferences(30)
		r.worker("a", naming(confs...))
		b := r.worker("b", naming(confs...))
		r.await("both have some", func() bool { return len(r.holders()) == 30 && len(r.loads()) == 2 && quiet(r) })
		died := time.Now()
		b.kill()
		r.heldBy(confs, "a")
		if took, want := time.Since(died), r.ttl+time.Second+r.slack; took > want {
			t.Errorf("conferences of a dead worker were held again after %v, want %v at most", took, want)
		}
	})
}

// A worker that can't reach the store stops appending before anybody takes its conferences over, and when it is back it
// lets go of what others hold now.
func TestCutOffWorkerStopsAndReturns(t *testing.T) {
	t.Parallel()
	everywhere(t, func(r *rig) {
		t := r.t
		confs := conferences(20)
		r.worker("a", naming(confs...))
		b := r.worker("b", naming(confs...))
		r.await("both have some", func() bool { return len(r.holders()) == 20 && len(r.loads()) == 2 && quiet(r) })
		b.store.cut.Store(true)
		r.heldBy(confs, "a") // holders finds it out if both may append at once
		r.mu.Lock()
		links := 0
		for _, s := range r.sessions {
			if s.worker == "b" {
				links++
			}
		}
		r.mu.Unlock()
		if links == 0 {
			t.Error("the worker that was cut off dropped its links before it knew that others have them")
		}
		b.store.cut.Store(false)
		r.await("b has some again", func() bool { return len(r.holders()) == 20 && r.loads()["b"] >= 8 && quiet(r) })
	})
}

func TestStoreAwayForAll(t *testing.T) {
	t.Parallel()
	inMemory(t, func(r *rig) {
		t := r.t
		confs := conferences(30)
		members := []*member{r.worker("a", naming(confs...)), r.worker("b", naming(confs...)), r.worker("c", naming(confs...))}
		pass(time.Minute) // the first hands on what it had at the start
		r.await("all have some", func() bool { return len(r.holders()) == 30 && len(r.loads()) == 3 && quiet(r) })
		opened, before := 0, map[string]string{}
		r.change(func() { opened, before = r.opened, r.holders() })
		for _, m := range members {
			m.store.cut.Store(true)
		}
		r.await("nobody appends", func() bool { return len(r.holders()) == 0 })
		pass(10 * time.Second)
		for _, m := range members {
			m.store.cut.Store(false)
		}
		r.heldBy(confs, "a", "b", "c")
		pass(10 * time.Second)
		r.change(func() {
			if r.opened != opened {
				t.Errorf("sessions opened after the store was away = %d, want none", r.opened-opened)
			}
			for conf, w := range r.holders() {
				if w != before[conf] {
					t.Errorf("%s moved from %s to %s, want it left alone", conf, before[conf], w)
				}
			}
		})
	})
}

func TestDrain(t *testing.T) {
	t.Parallel()
	everywhere(t, func(r *rig) {
		t := r.t
		confs := conferences(60)
		r.worker("a", naming(confs...))
		b := r.worker("b", naming(confs...))
		r.worker("c", naming(confs...))
		r.await("all have some", func() bool { return len(r.holders()) == 60 && len(r.loads()) == 3 && quiet(r) })
		result := make(chan error, 1)
		go func() { result <- b.Drain(t.Context()) }()
		var g gap
		r.await("b has none", func() bool {
			g.look(len(r.holders()), len(confs))
			return r.loads()["b"] == 0
		})
		if err := <-result; err != nil {
			t.Errorf("Drain() = %v, want nil", err)
		}
		if g.longest > r.noGap() {
			t.Errorf("conferences were unheld for %v during a drain, want %v at most", g.longest, r.noGap())
		}
		r.change(func() {
			offers := 0
			for _, s := range r.sessions {
				if s.offer == "offer of b" {
					offers++
				}
			}
			if offers == 0 {
				t.Error("no successor was given an offer of b")
			}
		})
		b.stop()
		r.heldBy(confs, "a", "c")
	})
}

func TestDrainReleasesWhatNobodyTakes(t *testing.T) {
	t.Parallel()
	inMemory(t, func(r *rig) {
		t := r.t
		confs := conferences(10)
		a := r.worker("a", naming(confs...))
		r.heldBy(confs, "a")
		r.deaf["b"] = true
		r.worker("b", naming(confs...))
		pass(2 * time.Second) // all see each other; a worker that knows of no other lets go at once
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := a.Drain(ctx); err == nil {
			t.Error("Drain() with a successor that never comes live = nil, want an error")
		}
		a.stop()
		r.heldBy(confs, "b")
	})
}

func TestDrainAlone(t *testing.T) {
	t.Parallel()
	inMemory(t, func(r *rig) {
		t := r.t
		confs := conferences(10)
		a := r.worker("a", naming(confs...))
		r.heldBy(confs, "a")
		if err := a.Drain(t.Context()); err != nil {
			t.Errorf("Drain() of the only worker = %v, want nil", err)
		}
		r.heldBy(nil)
	})
}

// A successor that dies while a conference is offered to it costs nothing: the owner goes on, and another takes it.
func TestSuccessorDies(t *testing.T) {
	t.Parallel()
	inMemory(t, func(r *rig) {
		t := r.t
		a := r.worker("a")
		if _, err := a.Put(t.Context(), "conf", []byte("secret")); err != nil {
			t.Fatal(err)
		}
		r.heldBy([]string{"conf"}, "a")
		r.deaf["b"], r.deaf["c"] = true, true
		byName := map[string]*member{"b": r.worker("b"), "c": r.worker("c")}
		pass(2 * time.Second) // all see each other
		result := make(chan error, 1)
		go func() { result <- a.Drain(t.Context()) }()
		var first string
		r.await("a successor dials", func() bool {
			for _, s := range r.sessions {
				if s.hold.Successor {
					first = s.worker
				}
			}
			return first != ""
		})
		r.change(func() {
			for name := range r.deaf {
				r.deaf[name] = name == first
			}
		})
		byName[first].kill()
		if err := <-result; err != nil {
			t.Errorf("Drain() = %v, want nil", err)
		}
		r.await("the other has it", func() bool {
			w := r.holders()["conf"]
			return w != "" && w != "a" && w != first
		})
		r.change(func() {
			if r.resumed == 0 {
				t.Error("the owner wasn't told that the handover came to nothing")
			}
		})
	})
}

// A worker that was taken for dead in the middle of a handover, and had its conferences still when it was back, left their
// sessions as the handover had them: without an append, or without a new link where the old one was lost, for good.
func TestTakenForDeadInAHandover(t *testing.T) {
	t.Parallel()
	for name, until := range map[string]func(*fakeSession) bool{
		"before the offer": func(s *fakeSession) bool { return s.prepared },
		"after the offer":  func(s *fakeSession) bool { return s.frozen },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inMemory(t, func(r *rig) {
				t := r.t
				confs := conferences(40)
				a := r.worker("a", naming(confs...))
				r.heldBy(confs, "a")
				b := r.worker("b", naming(confs...))
				r.await("a session is on its way", func() bool { return slices.ContainsFunc(r.sessions, until) })
				a.store.cut.Store(true)
				b.kill()
				pass(3 * r.ttl)
				a.store.cut.Store(false)
				r.heldBy(confs, "a")
				pass(time.Minute)
				r.change(func() {
					if n := r.loads()["a"]; n != len(confs) {
						t.Errorf("a holds %d, want all %d", n, len(confs))
					}
					for _, s := range r.sessions {
						if s.prepared || s.frozen {
							t.Errorf("the session of %s is prepared %v, frozen %v: it still waits for a successor", s.hold.Conference, s.prepared, s.frozen)
						}
					}
				})
			})
		})
	}
}

func TestSuccessorThatNeverComesLive(t *testing.T) {
	t.Parallel()
	inMemory(t, func(r *rig) {
		t := r.t
		confs := conferences(40)
		r.worker("a", naming(confs...))
		r.heldBy(confs, "a")
		r.deaf["b"] = true
		r.worker("b", naming(confs...))
		r.await("the owner goes on", func() bool { return r.resumed > 0 })
		r.change(func() {
			if held := r.loads(); held["a"] != 40 {
				t.Errorf("a holds %d, want all 40", held["a"])
			}
		})
		r.change(func() { r.deaf["b"] = false })
		r.await("b has its share", func() bool { return r.loads()["b"] >= 16 })
	})
}

func TestProviderClosesOlderLinks(t *testing.T) {
	t.Parallel()
	everywhere(t, func(r *rig) {
		t := r.t
		confs := conferences(12)
		a := r.worker("a", naming(confs...))
		r.heldBy(confs, "a")
		// The first that is told that a successor dials loses its link.
		lost := make(chan struct{})
		go func() {
			defer close(lost)
			r.await("a session is prepared", func() bool {
				i := slices.IndexFunc(r.sessions, func(s *fakeSession) bool { return s.prepared })
				if i < 0 {
					return false
				}
				r.sessions[i].hold.LinkClosed()
				return true
			})
		}()
		r.worker("b", naming(confs...))
		<-lost
		r.await("b has its share", func() bool { return r.loads()["b"] >= 4 && quiet(r) })
		r.change(func() { clear(r.most) })
		if err := a.Drain(t.Context()); err != nil {
			t.Errorf("Drain() = %v, want nil", err)
		}
		r.heldBy(confs, "b")
		r.change(func() {
			if len(r.most) == 0 {
				t.Error("no link was dialled after the first handover")
			}
			for conf, n := range r.most {
				if n > 1 {
					t.Errorf("links of %s at once = %d, want 1 where the provider closes older ones", conf, n)
				}
			}
		})
	})
}

func TestRoom(t *testing.T) {
	t.Parallel()
	everywhere(t, func(r *rig) {
		t := r.t
		three := func(c *Config) { c.MaxConferences = 3 }
		a := r.worker("a", three)
		r.await("a has joined", func() bool { return a.listing.Load().room == 3 })
		r.worker("b", three)
		r.await("both have joined", func() bool { return a.listing.Load().room == 6 })
		confs := conferences(6)
		for _, c := range confs {
			if _, err := a.Put(t.Context(), c, []byte("secret")); err != nil {
				t.Fatalf("Put(%s) = %v, want nil", c, err)
			}
		}
		r.heldBy(confs, "a", "b")
		r.await("three each", func() bool { l := r.loads(); return l["a"] == 3 && l["b"] == 3 })
		if _, err := a.Put(t.Context(), "one-too-many", []byte("secret")); !errors.Is(err, ErrFull) {
			t.Errorf("Put() of a seventh = %v, want %v", err, ErrFull)
		}
		if created, err := a.Put(t.Context(), confs[0], []byte("secret")); created || err != nil {
			t.Errorf("Put() of a known one = %v, %v, want false, nil", created, err)
		}
	})
}

func TestFencedSessionStartsAnew(t *testing.T) {
	t.Parallel()
	inMemory(t, func(r *rig) {
		t := r.t
		r.worker("a", naming("conf"))
		r.heldBy([]string{"conf"}, "a")
		var s *fakeSession
		r.change(func() { s = r.session("conf") })
		close(s.fence)
		r.await("another session", func() bool { n := r.session("conf"); return n != nil && n != s })
		r.change(func() {
			if r.opened != 2 {
				t.Errorf("sessions opened = %d, want 2", r.opened)
			}
		})
	})
}

func TestLeavingIsNoticedAtOnce(t *testing.T) {
	t.Parallel()
	inMemory(t, func(r *rig) {
		t := r.t
		confs := conferences(10)
		a := r.worker("a", naming(confs...))
		r.heldBy(confs, "a")
		r.worker("b", naming(confs...))
		pass(2 * time.Second) // all see each other
		left := time.Now()
		a.stop()
		r.heldBy(confs, "b")
		if took := time.Since(left); took > r.ttl/2 {
			t.Errorf("conferences of a worker that left were held again after %v, want %v at most", took, r.ttl/2)
		}
	})
}

// A worker whose store is away can still leave: at once where it holds nothing, else when its time is over.
func TestDrainWithoutStore(t *testing.T) {
	t.Parallel()
	inMemory(t, func(r *rig) {
		t := r.t
		never := &cutStore{Store: r.store()}
		never.cut.Store(true)
		a := r.worker("a", naming("conf"), func(c *Config) { c.Store = never })
		if err := a.Drain(t.Context()); err != nil {
			t.Errorf("Drain() of a worker that never joined = %v, want nil", err)
		}
		for name, away := range map[string]time.Duration{"b": 0, "c": 2 * DefaultLeaseTTL} {
			w := r.worker(name, naming(name))
			r.await(name+" holds it", func() bool { return r.session(name) != nil })
			w.store.cut.Store(true)
			pass(away)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			began := time.Now()
			_ = w.Drain(ctx) // whether it says how many were let go of depends on what it could still tell
			cancel()
			if took := time.Since(began); took > 11*time.Second {
				t.Errorf("Drain() without a store took %v, want no longer than the 10 s that it was given", took)
			}
			if r.session(name) != nil {
				t.Errorf("%s still holds it after Drain()", name)
			}
			w.stop()
		}
	})
}
