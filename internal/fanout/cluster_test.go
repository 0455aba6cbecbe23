package fanout_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"confgate/internal/conference"
	"confgate/internal/fanout"
	"confgate/internal/fanout/fanouttest"
	"confgate/internal/telemetry"
)

// On a cluster conferences lie on several masters, followers listen to each, and go along when a slot moves.
func TestCluster(t *testing.T) {
	t.Parallel()
	nodes, client := startCluster(t)
	m := newMetrics()
	log := runOver(t, client, nil, fanout.LogOptions{Metrics: m, PollInterval: quick})
	var owners []*fanouttest.Owner
	var tails []*fanouttest.Tail
	perNode := map[bool]int{}
	for i := range 8 {
		conf := fmt.Sprintf("conf%d", i)
		o := fanouttest.StartOwner(t, log, conf)
		o.Append(t, fanouttest.Set("p1", "Ann"))
		perNode[client.ClusterKeySlot(t.Context(), "{"+conf+"}").Val() < 8192]++
		owners, tails = append(owners, o), append(tails, fanouttest.StartTail(t, log, conf, conference.Position{}))
	}
	if len(perNode) != 2 {
		t.Fatalf("conferences lie on %d nodes, want 2", len(perNode))
	}
	for range 3 {
		for i, o := range owners {
			tails[i].WaitAt(t, o.Pos)
			o.Append(t, fanouttest.Set("p2", "Bob"), fanouttest.Say("x"))
			o.Checkpoint(t, "")
		}
	}
	for i, o := range owners {
		if seen := tails[i].WaitAt(t, o.Pos); len(seen.Snapshots) != 1 {
			t.Errorf("follower %d was given %d snapshots, want 1", i, len(seen.Snapshots))
		}
	}

	moved, tail := owners[0], tails[0]
	fanouttest.MoveSlot(t, nodes, "{"+moved.Conf+"}")
	follow(t, moved, tail)
	hears(t, m, moved, tail, "after its slot has moved")
	if seen := tail.WaitAt(t, moved.Pos); len(seen.Snapshots) != 1 {
		t.Errorf("follower of a moved conference was given %d snapshots, want 1", len(seen.Snapshots))
	}
	for i, o := range owners {
		o.Append(t, fanouttest.Say("still"))
		tails[i].WaitAt(t, o.Pos)
	}
}

// A command that names shard channels of several slots is refused, whole: followers that come together, and all of a
// connection that is lost, have to be subscribed one by one.
func TestClusterSubscribesOneByOne(t *testing.T) {
	t.Parallel()
	nodes, client := startCluster(t)
	m := newMetrics()
	log := fanout.NewRedisLog(client, nil, fanout.LogOptions{Metrics: m, PollInterval: quick})
	var owners []*fanouttest.Owner
	var tails []*fanouttest.Tail
	for i := range 8 {
		o := fanouttest.StartOwner(t, log, fmt.Sprintf("conf%d", i))
		owners, tails = append(owners, o), append(tails, fanouttest.StartTail(t, log, o.Conf, o.Pos))
	}
	runHub(t, log) // now all of them are found at once
	for i, o := range owners {
		hears(t, m, o, tails[i], "after a common start")
	}
	for _, node := range nodes {
		if n, err := node.Do(t.Context(), "CLIENT", "KILL", "TYPE", "pubsub").Int(); err != nil || n == 0 {
			t.Fatalf("CLIENT KILL = %d, %v, want subscriptions killed", n, err)
		}
	}
	for i, o := range owners {
		hears(t, m, o, tails[i], "after its connection was lost")
	}
}

// hears appends until one comes by itself, not by a look at the stream.
func hears(t *testing.T, m *telemetry.Metrics, o *fanouttest.Owner, tail *fanouttest.Tail, when string) {
	t.Helper()
	for range 50 {
		before := metric(t, m, "fanout_log_refills_total")
		o.Append(t, fanouttest.Say("x"))
		tail.WaitAt(t, o.Pos)
		if metric(t, m, "fanout_log_refills_total") == before {
			return
		}
	}
	t.Fatalf("the subscription to %s doesn't hear %s", o.Conf, when)
}

// follow appends, as a session does it, while a slot moves.
func follow(t *testing.T, o *fanouttest.Owner, tail *fanouttest.Tail) {
	t.Helper()
	for i := range 5 {
		change := []conference.Change{fanouttest.Set("p3", fmt.Sprint(i))}
		for {
			pos, err := o.Log.Append(t.Context(), o.Conf, o.Claim, o.Pos, change)
			if err == nil {
				o.Pos = pos
				break
			}
			if errors.Is(err, conference.ErrEpoch) || errors.Is(err, conference.ErrFenced) || errors.Is(err, context.Canceled) {
				t.Fatalf("Append while a slot moves = %v", err)
			}
		}
		tail.WaitAt(t, o.Pos)
	}
}

// startCluster starts two masters, and makes a client of both.
func startCluster(t *testing.T) ([]*redis.Client, *redis.ClusterClient) {
	t.Helper()
	nodes := fanouttest.StartCluster(t, 2)
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: []string{nodes[0].Options().Addr}, ContextTimeoutEnabled: true,
	})
	t.Cleanup(func() { _ = client.Close() })
	return nodes, client
}
