package ownership

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPutAndDelete(t *testing.T) {
	t.Parallel()
	everywhere(t, func(r *rig) {
		t := r.t
		ctx := t.Context()
		a := r.worker("a", naming("flagged"))
		r.heldBy([]string{"flagged"}, "a")
		for i, want := range []bool{true, false} {
			if created, err := a.Put(ctx, "put", []byte("canary")); created != want || err != nil {
				t.Fatalf("Put() number %d = %v, %v, want %v, nil", i, created, err, want)
			}
		}
		r.heldBy([]string{"flagged", "put"}, "a")
		r.change(func() {
			if got := string(r.session("put").hold.Password); got != "canary" {
				t.Errorf("password of a session = %q, want the stored one", got)
			}
			if got := r.session("flagged").hold.Password; got != nil {
				t.Errorf("password of a session of the flags = %q, want none", got)
			}
		})
		got, err := a.List(ctx)
		want := []Conference{{ID: "flagged", Worker: "a", Flags: true}, {ID: "put", Worker: "a", Stored: true}}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("List() = %v, differs (-want +got):\n%s", err, diff)
		}
		if _, err := a.Put(ctx, "put", []byte("another")); err != nil {
			t.Fatal(err)
		}
		r.await("the session has the new password", func() bool {
			s := r.session("put")
			return s != nil && slices.Contains(s.passwords, "another")
		})
		for _, tt := range []struct {
			id   string
			want error
		}{{"flagged", ErrNamedByFlags}, {"unknown", ErrNotFound}, {"put", nil}, {"put", ErrNotFound}} {
			if err := a.Delete(ctx, tt.id); !errors.Is(err, tt.want) {
				t.Errorf("Delete(%s) = %v, want %v", tt.id, err, tt.want)
			}
		}
		r.heldBy([]string{"flagged"}, "a")
		if _, err := a.Get(ctx, "put"); !errors.Is(err, ErrNotFound) {
			t.Errorf("Get() of what was deleted = %v, want %v", err, ErrNotFound)
		}
	})
}

// lateStore is a store whose answers are on their way for a while.
type lateStore struct{ Store }

func (s lateStore) poll(ctx context.Context, q query) (view, error) {
	v, err := s.Store.poll(ctx, q)
	<-time.After(50 * time.Millisecond)
	return v, err
}

// Who had put or deleted a conference sometimes got a list without that change: from an answer of the store that had been on
// its way before, or because the caller was told before the list was made.
func TestOwnChangesShowAtOnce(t *testing.T) {
	t.Parallel()
	inMemory(t, func(r *rig) {
		t := r.t
		a := r.worker("a", func(c *Config) { c.Store = lateStore{c.Store} })
		r.await("it has joined", func() bool { return len(a.listing.Load().byID) == 0 && a.listing.Load().room > 0 })
		for i := range 200 {
			if _, err := a.Put(t.Context(), "conf", []byte("secret")); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Get(t.Context(), "conf"); err != nil {
				t.Fatalf("Get() after Put() number %d = %v, want nil", i, err)
			}
			pass(time.Duration(i) * 7 * time.Millisecond % a.cfg.LeaseTTL) // another part of the way of some answer each time
			if err := a.Delete(t.Context(), "conf"); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Get(t.Context(), "conf"); !errors.Is(err, ErrNotFound) {
				t.Fatalf("Get() after Delete() number %d = %v, want %v", i, err, ErrNotFound)
			}
		}
	})
}

func TestPutReachesTheWholeFleet(t *testing.T) {
	t.Parallel()
	everywhere(t, func(r *rig) {
		t := r.t
		a, b := r.worker("a"), r.worker("b")
		confs := conferences(10)
		for i, c := range confs {
			if _, err := []*member{a, b}[i%2].Put(t.Context(), c, []byte("secret")); err != nil {
				t.Fatal(err)
			}
		}
		r.heldBy(confs, "a", "b")
		r.await("both have some", func() bool { l := r.loads(); return l["a"] >= 4 && l["b"] >= 4 && quiet(r) })
		for _, c := range confs {
			if err := b.Delete(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		r.heldBy(nil)
	})
}

func TestPutWithoutSealKey(t *testing.T) {
	t.Parallel()
	client := freshRedis(t)
	r := newRig(t, 3*time.Second, time.Minute, func() Store { return NewRedisStore(client, nil) })
	a := r.worker("a", naming("flagged"))
	r.heldBy([]string{"flagged"}, "a")
	if _, err := a.Put(t.Context(), "put", []byte("canary")); !errors.Is(err, ErrNoSealKey) {
		t.Errorf("Put() without a seal key = %v, want %v", err, ErrNoSealKey)
	}
	if n := client.HLen(t.Context(), fleetKey("conferences")).Val(); n != 0 {
		t.Errorf("conferences stored without a seal key = %d, want none", n)
	}
}

// A conference that only one worker's flags name goes with it.
func TestFlagsOfOneWorker(t *testing.T) {
	t.Parallel()
	everywhere(t, func(r *rig) {
		t := r.t
		a := r.worker("a", naming("both", "only-a"))
		r.worker("b", naming("both"))
		r.heldBy([]string{"both", "only-a"}, "a", "b")
		r.change(func() {
			if w := r.holders()["only-a"]; w != "a" {
				t.Errorf("only-a is held by %s, want a, whose flags name it", w)
			}
		})
		a.stop()
		r.heldBy([]string{"both"}, "b")
	})
}

func TestOnDemand(t *testing.T) {
	t.Parallel()
	everywhere(t, func(r *rig) {
		t := r.t
		const linger = 2 * time.Second
		demand := func(c *Config) { c.OnDemand, c.Linger = true, linger }
		a := r.worker("a", demand)
		b := r.worker("b", demand)
		for _, c := range []string{"one", "two"} {
			if _, err := a.Put(t.Context(), c, []byte("secret")); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Want(t.Context(), "one", true); err != nil {
			t.Fatal(err)
		}
		r.heldBy([]string{"one"}, "a", "b")
		// It stays for as long as there are clients.
		since, opened := time.Now(), 0
		r.change(func() { opened = r.opened })
		r.await("twice the linger", func() bool { return time.Since(since) > 2*linger })
		r.change(func() {
			if len(r.holders()) != 1 || r.opened != opened {
				t.Errorf("held %v, opened %d times more, want one held throughout", r.holders(), r.opened-opened)
			}
		})
		since = time.Now()
		if err := b.Want(t.Context(), "one", false); err != nil {
			t.Fatal(err)
		}
		r.heldBy(nil)
		if took := time.Since(since); took < linger-100*time.Millisecond || took > 2*linger+r.slack {
			t.Errorf("released %v after the last client left, want about the linger of %v", took, linger)
		}
	})
}

func TestGenerationIsThatOfAnswers(t *testing.T) {
	t.Parallel()
	inMemory(t, func(r *rig) {
		t := r.t
		a := r.worker("a", naming("flagged"))
		r.heldBy([]string{"flagged"}, "a")
		pass(time.Minute)
		before := a.Generation()
		pass(time.Minute)
		if got := a.Generation(); got != before {
			t.Errorf("Generation() went from %d to %d in a minute in which nothing changed", before, got)
		}
		if _, err := a.Put(t.Context(), "put", []byte("canary")); err != nil {
			t.Fatal(err)
		}
		if got := a.Generation(); got == before {
			t.Errorf("Generation() is %d as before a Put", got)
		}
		r.heldBy([]string{"flagged", "put"}, "a")
		before = a.Generation()
		if err := a.Delete(t.Context(), "put"); err != nil {
			t.Fatal(err)
		}
		if got := a.Generation(); got == before {
			t.Errorf("Generation() is %d as before a Delete", got)
		}
	})
}
