package gateway

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"confgate/internal/confctl"
	"confgate/internal/fanout/fanouttest"
	"confgate/internal/simulator"
)

// TestFencedWorkerFollows runs two workers that name the same conference over one Redis. The later claim wins; a client of
// the other worker sees the conference go on, and the log says what happened in one line.
func TestFencedWorkerFollows(t *testing.T) {
	t.Parallel()
	url, _ := fanouttest.StartRedis(t)
	provider, origin := startProvider(t, simulator.Config{Conferences: 1, Participants: 10, Rate: 50, Seed: 3})
	start := func(id string) (*running, *client) {
		opts := workerOptions(t, provider, origin)
		opts.WorkerID, opts.RedisURL = id, confctl.NewSecret(url)
		w := startWorker(t, opts)
		return w, w.dial(t, "read", "pii")
	}
	conf := provider.Conferences()[0].ID

	first, a := start("gw-first")
	a.send(`{"type":"subscribe","conference":"` + conf + `"}`)
	a.untilState("a live link", linkLive)
	_, b := start("gw-second")
	b.send(`{"type":"subscribe","conference":"` + conf + `"}`)
	b.untilState("a live link", linkLive)
	for deadline := time.After(patience); strings.Count(first.log(), "another worker holds this conference") != 1; {
		select {
		case <-deadline:
			t.Fatal("the first worker doesn't say that it was fenced, or more than once")
		case <-time.After(10 * time.Millisecond):
		}
	}

	// The world goes on for a while, then stands still: what the two workers show must come to be the same.
	a.untilChange(conf)
	provider.Pause()
	people := len(provider.Truth(conf).Participants)
	deadline := time.After(patience)
	for {
		one, other := a.refresh(conf), b.refresh(conf)
		there, _ := one["participants"].(map[string]any)
		diff := cmp.Diff(one, other)
		if linkLive(one) && len(there) == people && diff == "" {
			break
		}
		select {
		case <-deadline:
			t.Fatalf("%d people there, want %d; the first worker's state and the second's: -first +second:\n%s", len(there), people, diff)
		case <-time.After(100 * time.Millisecond): // a client that asks more often is told off
		}
	}
}

// refresh subscribes anew and gives what the client knows after that: a snapshot, and the changes behind it.
func (c *client) refresh(conf string) map[string]any {
	c.t.Helper()
	c.send(`{"type":"subscribe","conference":"` + conf + `"}`)
	c.untilType("subscribed") // nothing of the old subscription comes after it
	c.state = nil
	c.untilState("a snapshot", func(map[string]any) bool { return true })
	c.send(`{"type":"ping"}`)
	c.until("a pong", func(m map[string]any) bool {
		c.take(m)
		return m["type"] == "pong"
	})
	return c.state
}
