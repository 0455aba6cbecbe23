package gateway

import (
	"strings"
	"testing"
	"time"

	"confgate/internal/confctl"
	"confgate/internal/fanout/fanouttest"
	"confgate/internal/simulator"
)

// TestWorkersShare runs two workers that name the same conferences over one Redis. Each conference is held once, clients of
// either see all of them, and when one worker leaves, its conferences go on at the other: no reset, no gap, one link each.
func TestWorkersShare(t *testing.T) {
	t.Parallel()
	url, _ := fanouttest.StartRedis(t)
	provider, origin := startProvider(t, simulator.Config{Conferences: 4, Participants: 10, Rate: 50, Seed: 3})
	start := func(id string) (*running, *client) {
		opts := workerOptions(t, provider, origin)
		opts.WorkerID, opts.RedisURL, opts.LeaseTTL = id, confctl.NewSecret(url), 2*time.Second
		w := startWorker(t, opts)
		return w, w.dial(t, "read", "pii")
	}
	first, _ := start("gw-first")
	_, b := start("gw-second")
	conf := ""
	for deadline := time.After(patience); conf == ""; {
		held := map[string]int{}
		for _, c := range provider.Conferences() {
			owner := first.owner(c.ID)
			held[owner]++
			if owner == "gw-first" {
				conf = c.ID
			}
		}
		if held["gw-first"] == 0 || held["gw-second"] == 0 || held["gw-first"]+held["gw-second"] != 4 {
			conf = ""
		}
		select {
		case <-deadline:
			t.Fatalf("conferences are held so: %v, want all of them, some by each", held)
		case <-time.After(10 * time.Millisecond):
		}
	}
	b.send(`{"type":"subscribe","conference":"` + conf + `"}`)
	b.untilState("a live link", linkLive)
	b.untilChange(conf)

	first.end(t)
	left := time.Now().UnixMilli()
	b.until("a change after the worker has left", func(m map[string]any) bool {
		if m["type"] == "snapshot" || m["type"] == "delta" && m["topic"] == "link" {
			t.Errorf("the client was told %v, want nothing of a handover", m)
		}
		at, _ := m["time"].(float64)
		return m["type"] == "delta" && m["topic"] == "participants" && int64(at) > left
	})
	if log := first.log(); !strings.Contains(log, "handed over a conference") {
		t.Error("the worker that left doesn't say that it handed anything over")
	}
	provider.Pause()
	people := len(provider.Truth(conf).Participants)
	deadline := time.After(patience)
	for {
		there, _ := b.refresh(conf)["participants"].(map[string]any)
		if linkLive(b.state) && len(there) == people {
			break
		}
		select {
		case <-deadline:
			t.Fatalf("%d people there, want %d", len(there), people)
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
