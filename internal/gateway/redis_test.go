package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"confgate/internal/confctl"
	"confgate/internal/fanout/fanouttest"
	"confgate/internal/simulator"
	"confgate/internal/simulator/simulatortest"
)

// TestWorkersShare runs two workers that name the same conferences over one Redis. Each conference is held once, clients of
// either see all of them, and when one worker leaves, its conferences go on at the other: no reset, no gap, one link each.
func TestWorkersShare(t *testing.T) {
	t.Parallel()
	url, _ := fanouttest.StartRedis(t)
	provider, origin := simulatortest.Start(t, simulator.Config{Conferences: 4, Participants: 10, Rate: 50, Seed: 3})
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

// linkIs says whether a document's link is in a state for a reason.
func linkIs(state map[string]any, want, reason string) bool {
	link, _ := state["link"].(map[string]any)
	got, _ := link["reason"].(string)
	return link["state"] == want && got == reason
}

// A worker that takes over sends no password where the last one left a control token, and none that the provider refused,
// whatever became of the log. Both need a seal key.
func TestSuccessorSendsNoPassword(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name           string
		sealed         bool
		password       string // empty: the right one
		state, reason  string
		tokens, afters int // token requests of the first worker, and of both
	}{
		{"token", true, "", "live", "", 1, 1},
		{"token without a seal key", false, "", "live", "", 1, 2},
		{"refused", true, "canary-wrong", "unavailable", "credentials", 1, 1},
		{"refused without a seal key", false, "canary-wrong", "unavailable", "credentials", 1, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url, server := fanouttest.StartRedis(t)
			provider, origin := simulatortest.Start(t, simulator.Config{Conferences: 1, Participants: 3, Seed: 3})
			conf := provider.Conferences()[0].ID
			opts := workerOptions(t, provider, origin)
			opts.RedisURL, opts.LeaseTTL = confctl.NewSecret(url), time.Second
			opts.DrainTimeout = 600 * time.Millisecond // nobody is there to hand over to
			if tt.sealed {
				opts.SealKeyFile = filepath.Join(t.TempDir(), "seal")
				if err := os.WriteFile(opts.SealKeyFile, []byte(strings.Repeat("5a", 32)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if tt.password != "" {
				opts.Conferences[0].Password = confctl.NewSecret(tt.password)
			}
			hold := func(id string, want int) {
				opts := opts
				opts.WorkerID, opts.LogOutput = id, new(logBuffer)
				w := startWorker(t, opts)
				c := w.dial(t, "read")
				c.send(`{"type":"subscribe","conference":"` + conf + `"}`)
				c.untilState("link "+tt.state, func(s map[string]any) bool { return linkIs(s, tt.state, tt.reason) })
				if got := provider.Requests()["token"]; got != want {
					t.Errorf("%s: token requests = %d, want %d", id, got, want)
				}
				w.end(t)
			}
			hold("gw-first", tt.tokens)
			// The log alone remembers refusals too, but only once a checkpoint has them.
			client := redis.NewClient(&redis.Options{Network: "unix", Addr: server.Socket()})
			defer func() { _ = client.Close() }()
			prefix := "confgate:{" + conf + "}:"
			if err := client.Del(t.Context(), prefix+"meta", prefix+"log", prefix+"ckpt").Err(); err != nil {
				t.Fatal(err)
			}
			hold("gw-second", tt.afters)
		})
	}
}

// Clients on one worker of a conference that no worker holds are told, and told again when one does.
func TestUnheldConferenceIsTold(t *testing.T) {
	t.Parallel()
	url, _ := fanouttest.StartRedis(t)
	provider, origin := simulatortest.Start(t, simulator.Config{Conferences: 1, Participants: 3, Seed: 3})
	conf := provider.Conferences()[0].ID
	opts := workerOptions(t, provider, origin)
	opts.RedisURL, opts.LeaseTTL, opts.DrainTimeout = confctl.NewSecret(url), time.Second, 600*time.Millisecond
	start := func(id string, change func(*Options)) *running {
		opts := opts
		opts.WorkerID, opts.LogOutput = id, new(logBuffer)
		change(&opts)
		return startWorker(t, opts)
	}
	status := func(c *client, fresh bool, reason string) {
		t.Helper()
		m := c.untilType("status")
		if got, _ := m["reason"].(string); m["fresh"] != fresh || got != reason || m["conference"] != conf {
			t.Errorf("told %v, want fresh %v and reason %q", m, fresh, reason)
		}
	}
	owner := start("gw-owner", func(*Options) {})
	other := start("gw-other", func(o *Options) { o.Conferences = nil })
	waitFor(t, "the other worker to know the owner", func() bool { return other.owner(conf) == "gw-owner" })
	c := other.dial(t, "read")
	c.send(`{"type":"subscribe","conference":"` + conf + `"}`)
	c.untilState("a live link", linkLive)
	owner.end(t)
	status(c, false, "owner")
	start("gw-successor", func(*Options) {})
	status(c, true, "")
}

// waitFor asks again and again until ok.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.After(patience); !ok(); {
		select {
		case <-deadline:
			t.Fatalf("never came: %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
