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
