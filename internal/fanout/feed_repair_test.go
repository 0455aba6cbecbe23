package fanout_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"confgate/internal/conference"
	"confgate/internal/fanout"
	"confgate/internal/fanout/fanouttest"
)

func TestFeedLag(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, feeds, stop := scripted(t, fanout.FeedOptions{ResumeWindow: 10 * time.Second}, snapshotAt("c1", 1))
		defer stop()
		slow := join(t, feeds, fanout.Request{Conference: conf})
		other := join(t, feeds, fanout.Request{Conference: conf})
		defer slow.Close()
		defer other.Close()
		slow.want(t, "snapshot 1 subscribe")
		other.want(t, "snapshot 1 subscribe")
		s.deliveries <- entryAt(2, fanouttest.Say("lost"))
		time.Sleep(6 * time.Second)
		s.deliveries <- entryAt(3, fanouttest.Say("kept"))
		s.deliveries <- entryAt(4, fanouttest.Set("p1", "Ann"))
		time.Sleep(6 * time.Second)
		s.deliveries <- entryAt(5, fanouttest.Say("kept"))
		synctest.Wait()
		if f, ok := slow.Next(); ok {
			t.Errorf("a reader that fell off was given %s at once, want that it asks first", f.Bytes)
		}
		synctest.Wait()
		if len(slow.wakes) != 2 {
			t.Errorf("woken %d times, want for the first entry and for the answer", len(slow.wakes))
		}
		a := slow.want(t, "snapshot 5 lag +3 +5")
		other.want(t) // asks
		synctest.Wait()
		b := other.want(t, "snapshot 5 lag +3 +5")
		if &a[0].Bytes[0] != &b[0].Bytes[0] {
			t.Error("two lagging readers have two encodings of one snapshot")
		}
		late := conference.Position{Epoch: "c1", Seq: 1}
		c := join(t, feeds, fanout.Request{Conference: conf, Resume: &late})
		defer c.Close()
		if c.Recovered() {
			t.Error("resume from what isn't kept is recovered")
		}
		c.want(t, "snapshot 5 resume")
		s.deliveries <- entryAt(6, fanouttest.Say("on"))
		synctest.Wait()
		slow.want(t, "event 6<5")
		other.want(t, "event 6<5")
		c.want(t, "event 6<5")
	})
}

func TestFeedListIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, feeds, stop := scripted(t, fanout.FeedOptions{WindowBytes: 10_000}, snapshotAt("c1", 0))
		defer stop()
		slow := join(t, feeds, fanout.Request{Conference: conf})
		defer slow.Close()
		slow.want(t, "snapshot 0 subscribe")
		for seq := range uint64(20) {
			s.deliveries <- entryAt(seq+1, fanouttest.Say(strings.Repeat("x", 1000)))
		}
		synctest.Wait()
		slow.want(t)
		synctest.Wait()
		// An entry counts with its message: twice a kilobyte, and something.
		slow.want(t, "snapshot 20 lag +17 +18 +19 +20")
		// One that is beyond the bound by itself.
		s.deliveries <- entryAt(21, fanouttest.Set("p1", strings.Repeat("y", 20_000)))
		synctest.Wait()
		slow.want(t)
		synctest.Wait()
		slow.want(t, "snapshot 21 lag")
	})
}

func TestFeedEpochAndGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, feeds, stop := scripted(t, fanout.FeedOptions{}, snapshotAt("c1", 5))
		defer stop()
		c := join(t, feeds, fanout.Request{Conference: conf})
		defer c.Close()
		behind := join(t, feeds, fanout.Request{Conference: conf})
		defer behind.Close()
		c.want(t, "snapshot 5 subscribe")
		behind.want(t, "snapshot 5 subscribe")
		s.deliveries <- entryAt(6, fanouttest.Say("a"))
		synctest.Wait()
		c.want(t, "event 6<5")
		again := snapshotAt("c2", 2)
		again.Snapshot.History = [][]conference.Stamped{
			entryAt(1, fanouttest.Say("b")).Entry, entryAt(2, fanouttest.Set("p1", "Ann")).Entry,
		}
		s.deliveries <- again
		synctest.Wait()
		c.want(t)
		// It walks what was there, then learns that it doesn't go on.
		behind.want(t, "event 6<5")
		synctest.Wait()
		c.want(t, "snapshot 2 epoch +1")
		behind.want(t, "snapshot 2 epoch +1")
		for seq, want := range [][]string{{"event 1<0", "delta 2<1"}, {"delta 2<1"}, nil} {
			r := join(t, feeds, fanout.Request{
				Conference: conf, Resume: &conference.Position{Epoch: "c2", Seq: uint64(seq)},
			})
			if !r.Recovered() {
				t.Errorf("resume from %d of the new epoch isn't recovered", seq)
			}
			r.want(t, want...)
			r.Close()
		}
		r := join(t, feeds, fanout.Request{Conference: conf, Resume: &conference.Position{Epoch: "c1", Seq: 5}})
		r.want(t, "snapshot 2 resume")
		r.Close()

		s.deliveries <- snapshotAt("c2", 9)
		synctest.Wait()
		c.want(t)
		synctest.Wait()
		c.want(t, "snapshot 9 lag")
		s.deliveries <- entryAt(10, fanouttest.Say("c"))
		synctest.Wait()
		c.want(t, "event 10<9")
		r = join(t, feeds, fanout.Request{Conference: conf, Resume: &conference.Position{Epoch: "c2", Seq: 2}})
		r.want(t, "snapshot 10 resume")
		r.Close()
	})
}

func TestFeedStatus(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, feeds, stop := scripted(t, fanout.FeedOptions{ResumeWindow: 10 * time.Second}, snapshotAt("c1", 5))
		defer stop()
		c := join(t, feeds, fanout.Request{Conference: conf})
		defer c.Close()
		c.want(t, "snapshot 5 subscribe")
		stale := fanout.Delivery{Status: &fanout.Status{Reason: fanout.ReasonLog, Since: 7}}
		fresh := fanout.Delivery{Status: &fanout.Status{Fresh: true, Since: 8}}
		s.deliveries <- stale
		synctest.Wait()
		c.want(t, "status false")
		late := join(t, feeds, fanout.Request{Conference: conf})
		defer late.Close()
		late.want(t, "status false", "snapshot 5 subscribe")
		s.deliveries <- fresh
		s.deliveries <- entryAt(6, fanouttest.Say("x"))
		synctest.Wait()
		c.want(t, "status true", "event 6<5")
		late.want(t, "status true", "event 6<5")
		// One that comes now isn't told of what is over, also not by the list that it walks.
		r := join(t, feeds, fanout.Request{Conference: conf, Resume: &conference.Position{Epoch: "c1", Seq: 5}})
		defer r.Close()
		r.want(t, "event 6<5")

		// A reader that fell off the list has missed the status, too.
		s.deliveries <- stale
		synctest.Wait()
		time.Sleep(11 * time.Second)
		s.deliveries <- entryAt(7, fanouttest.Say("y"))
		s.deliveries <- entryAt(8, fanouttest.Say("z"))
		time.Sleep(11 * time.Second)
		s.deliveries <- entryAt(9, fanouttest.Say("z"))
		synctest.Wait()
		c.want(t)
		synctest.Wait()
		c.want(t, "status false", "snapshot 9 lag +9")
	})
}

func TestFeedLoadsAnewWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		bad  fanout.Delivery
	}{
		{"a jump", entryAt(9, fanouttest.Say("x"))},
		{"no JSON", entryAt(6, fanouttest.Set("p1", "Ann"), conference.Change{Topic: conference.Info, Body: []byte("{")})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, feeds, stop := scripted(t, fanout.FeedOptions{}, snapshotAt("c1", 5))
				defer stop()
				c := join(t, feeds, fanout.Request{Conference: conf})
				defer c.Close()
				c.want(t, "snapshot 5 subscribe")
				s.deliveries <- tt.bad
				time.Sleep(2 * time.Second)
				if n := len(s.follows); n != 2 {
					t.Errorf("the log was followed %d times, want a second time", n)
				}
				c.want(t)
				s.deliveries <- snapshotAt("c1", 9)
				synctest.Wait()
				c.want(t)
				synctest.Wait()
				c.want(t, "snapshot 9 lag")
			})
		})
	}
}

func TestFeedWithholds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, feeds, stop := scripted(t, fanout.FeedOptions{}, snapshotAt("c1", 5))
		defer stop()
		c := join(t, feeds, fanout.Request{Conference: conf, Profile: conference.Secrets})
		defer c.Close()
		c.want(t, "snapshot 5 subscribe")
		withheld := conference.Change{Topic: conference.Vendor}
		s.deliveries <- entryAt(6, withheld)
		s.deliveries <- entryAt(7, withheld, fanouttest.Say("x"), withheld)
		s.deliveries <- entryAt(10, fanouttest.Say("y"))
		synctest.Wait()
		c.want(t, "event 8<7", "event 10<9")
		r := join(t, feeds, fanout.Request{
			Conference: conf, Profile: conference.Secrets, Resume: &conference.Position{Epoch: "c1", Seq: 8},
		})
		defer r.Close()
		r.want(t, "event 10<9")
	})
}
