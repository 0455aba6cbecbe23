package fanout_test

import (
	"encoding/json"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"confgate/internal/conference"
	"confgate/internal/fanout"
	"confgate/internal/fanout/fanouttest"
)

// reasons reads what a client is told of its feed's freshness: "fresh", or why not.
func (c *client) reasons(t *testing.T) (told []string) {
	t.Helper()
	for _, f := range c.drain(t) {
		var m message
		if err := json.Unmarshal(f.Bytes, &m); err != nil {
			t.Fatal(err)
		}
		switch {
		case m.Type == "status" && m.Fresh:
			told = append(told, "fresh")
		case m.Type == "status":
			told = append(told, m.Reason)
		}
	}
	return told
}

// TestFeedOfAConferenceThatNobodyHolds walks a feed through both reasons for doubt.
func TestFeedOfAConferenceThatNobodyHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var held atomic.Bool
		held.Store(true)
		opts := fanout.FeedOptions{Held: func(string) bool { return held.Load() }}
		s, feeds, stop := scripted(t, opts, snapshotAt("c1", 5))
		defer stop()
		c := join(t, feeds, fanout.Request{Conference: conf})
		defer c.Close()
		c.want(t, "snapshot 5 subscribe")
		step := func(what string, do func(), want ...string) {
			t.Helper()
			do()
			time.Sleep(time.Second)
			synctest.Wait()
			if diff := cmp.Diff(want, c.reasons(t)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
			d, err := feeds.Document(t.Context(), conf, conference.AllTopics, conference.Profile(0), nil)
			if fresh := len(want) == 0 || want[len(want)-1] == "fresh"; err != nil || d.Fresh != fresh {
				t.Errorf("%s: Document() is fresh: %v, %v; want %v", what, d.Fresh, err, fresh)
			}
		}
		away := func() { s.deliveries <- fanout.Delivery{Status: &fanout.Status{Reason: fanout.ReasonLog}} }
		back := func() { s.deliveries <- fanout.Delivery{Status: &fanout.Status{Fresh: true}} }
		die := func() { held.Store(false) }
		succeed := func() { held.Store(true) }
		step("held", func() {})
		step("its owner died", die, "owner")
		late := join(t, feeds, fanout.Request{Conference: conf})
		if diff := cmp.Diff([]string{"owner"}, late.reasons(t)); diff != "" {
			t.Errorf("one that joins (-want +got):\n%s", diff)
		}
		late.Close()
		step("held again", succeed, "fresh")
		step("the log is away", away, "log")
		held.Store(false)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := c.reasons(t); len(got) != 0 {
			t.Errorf("told %v while the log is away already, want nothing", got)
		}
		step("the log is back", back, "owner")
		step("the log is away once more", away, "log")
		succeed()
		time.Sleep(time.Second)
		step("the log is back, and the conference held", back, "fresh")
	})
}

// A feed that begins while nobody holds its conference says so to its first reader.
func TestFeedBeginsUnheld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, feeds, stop := scripted(t, fanout.FeedOptions{Held: func(string) bool { return false }}, snapshotAt("c1", 5))
		defer stop()
		c := join(t, feeds, fanout.Request{Conference: conf})
		defer c.Close()
		if diff := cmp.Diff([]string{"owner"}, c.reasons(t)); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}

// A conference that was put and deleted ends for all who read it, also for those who had fallen off the list; one that only
// flags name doesn't, and one that is put again begins with a snapshot. Symptom: a DELETE left its clients waiting for ever.
func TestReleasedFeed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var put, named atomic.Bool
		put.Store(true)
		opts := fanout.FeedOptions{
			Put:         func(string) bool { return put.Load() },
			Known:       func(string) bool { return put.Load() || named.Load() },
			WindowBytes: 1, // keeps next to nothing
		}
		s, feeds, stop := scripted(t, opts, snapshotAt("c1", 5))
		defer stop()
		look := func() {
			time.Sleep(time.Second)
			synctest.Wait()
		}
		released := func(c *client) bool {
			t.Helper()
			for range 2 { // what it has to ask for comes a moment later
				frames := c.drainTo(func(f fanout.Frame) bool { return f.Released })
				if len(frames) > 0 && frames[len(frames)-1].Released {
					return true
				}
				synctest.Wait()
			}
			return false
		}
		c, slow := join(t, feeds, fanout.Request{Conference: conf}), join(t, feeds, fanout.Request{Conference: conf})
		c.want(t, "snapshot 5 subscribe")
		named.Store(true)
		put.Store(false)
		look()
		put.Store(true)
		look()
		if released(c) {
			t.Error("a conference that flags name was released")
		}
		named.Store(false)
		put.Store(false)
		look()
		if len(c.wakes) == 0 || !released(c) {
			t.Error("who had read everything wasn't told of the release")
		}
		put.Store(true)
		look()
		again := join(t, feeds, fanout.Request{Conference: conf, Resume: &conference.Position{Epoch: "c1", Seq: 5}})
		again.drainTo(func(f fanout.Frame) bool { return f.Snapshot != "" })
		for seq := range uint64(4) {
			s.deliveries <- entryAt(6+seq, fanouttest.Set("p1", "Ann"))
			synctest.Wait()
		}
		if !released(slow) {
			t.Error("who had fallen off the list wasn't told of the release")
		}
		if released(again) {
			t.Error("who came to the conference that was put again was told of the release before")
		}
		for _, r := range []*client{c, slow, again} {
			r.Close()
		}
	})
}

// drainTo reads what there is now, up to the first frame for which ok is true.
func (c *client) drainTo(ok func(fanout.Frame) bool) (frames []fanout.Frame) {
	for {
		f, some := c.Next()
		if !some {
			return frames
		}
		if frames = append(frames, f); ok(f) {
			return frames
		}
	}
}

// Who holds what is asked when the answer may be another one, and then of all: a worker with thousands of conferences has
// better to do four times a second.
func TestHoldersAreAskedWhenSomethingChanged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var held atomic.Bool
		var asked, generation atomic.Uint64
		held.Store(true)
		opts := fanout.FeedOptions{
			Held:       func(string) bool { asked.Add(1); return held.Load() },
			Generation: generation.Load,
		}
		_, feeds, stop := scripted(t, opts, snapshotAt("c1", 5))
		defer stop()
		c := join(t, feeds, fanout.Request{Conference: conf})
		defer c.Close()
		c.want(t, "snapshot 5 subscribe")
		time.Sleep(time.Second)
		before := asked.Load()
		time.Sleep(time.Minute)
		if n := asked.Load() - before; n != 0 {
			t.Errorf("holders were asked for %d times in a minute without news", n)
		}
		held.Store(false)
		generation.Add(1)
		time.Sleep(time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{"owner"}, c.reasons(t)); diff != "" {
			t.Errorf("told after the news (-want +got):\n%s", diff)
		}
	})
}
