package faults

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"confgate/internal/proctest"
)

// cluster is three masters, each with a replica.
type cluster struct {
	*store
	nodes []*redisNode // first the masters, then the replica of each
	bus   string       // port of the first, at which the others find it
}

const masters = 3

func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{store: &store{}}
	for i := range 2 * masters {
		bus := strconv.Itoa(proctest.Ports(t, 1)[0])
		c.bus = or(c.bus, bus)
		n := startNode(t, fmt.Sprintf("node %d", i), "cluster-enabled yes\ncluster-port "+bus+"\n"+
			"cluster-node-timeout 1000\ncluster-replica-validity-factor 0\nrepl-diskless-sync-delay 0")
		c.nodes = append(c.nodes, n)
		c.addrs = append(c.addrs, n.addr())
	}
	ctx := t.Context()
	const slots = 16384
	for i, n := range c.nodes {
		if i < masters {
			must(t, n.ClusterAddSlotsRange(ctx, slots*i/masters, slots*(i+1)/masters-1).Err())
		}
		if i > 0 {
			must(t, n.Do(ctx, "CLUSTER", "MEET", c.nodes[0].host, c.nodes[0].port, c.bus).Err())
		}
	}
	for i, n := range c.nodes[masters:] {
		id := c.nodes[i].ClusterMyID(ctx).Val()
		proctest.Until(t, n.name+" becomes a replica", func() error { return n.ClusterReplicate(ctx, id).Err() })
	}
	for i, n := range c.nodes {
		proctest.Until(t, n.name+" is in step", func() error {
			info, err := n.ClusterInfo(ctx).Result()
			switch {
			case err != nil:
				return err
			case !strings.Contains(info, "cluster_state:ok"), !strings.Contains(info, "cluster_known_nodes:6"):
				return errors.New(info)
			case i >= masters:
				return contains(ctx, n, "replication", "master_link_status:up")
			}
			return contains(ctx, n, "replication", "connected_slaves:1")
		})
	}
	c.url = "redis://" + strings.Join(c.addrs[:masters], ",") + "/?cluster=true"
	return c
}

// of is the number of the master that has a key.
func (c *cluster) of(t *testing.T, key string) int {
	t.Helper()
	slot, err := c.nodes[0].ClusterKeySlot(t.Context(), key).Result()
	must(t, err)
	for i := range masters {
		if int(slot) < 16384*(i+1)/masters {
			return i
		}
	}
	t.Fatalf("slot %d has no master", slot)
	return -1
}

// A master of a cluster is lost: the one that has a conference, or the one that has what the fleet agreed on.
func TestClusterPrimaryLost(t *testing.T) {
	t.Parallel()
	for _, of := range []string{"conference", "fleet"} {
		t.Run(of, func(t *testing.T) {
			t.Parallel()
			clusterLost(t, of)
		})
	}
}

func clusterLost(t *testing.T, of string) {
	t.Helper()
	var c *cluster
	f := startFleet(t, plan{store: func(t *testing.T) *store {
		t.Helper()
		c = startCluster(t)
		return c.store
	}})
	key := "confgate:{fleet}:meta"
	if of == "conference" {
		key = "confgate:{" + f.confs[0] + "}:meta"
	}
	i := c.of(t, key)
	f.measure()
	c.nodes[i].Kill()
	proctest.Until(t, "its replica becomes a master", func() error {
		return contains(t.Context(), c.nodes[masters+i], "replication", "role:master")
	})
	f.settle(t)
	pass(time.Second)
	f.silences(t, f.workers...)
	f.finish(t, outcome{resets: 1, overlaps: len(f.confs)})
}
