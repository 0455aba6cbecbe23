package fanouttest

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"confgate/internal/proctest"
)

// StartCluster starts a Redis Cluster of n masters for one test, and gives a client of each. Slots are spread evenly.
func StartCluster(tb testing.TB, n int) []*redis.Client {
	tb.Helper()
	nodes := make([]*redis.Client, n)
	ports := proctest.Ports(tb, 2*n)
	for i := range nodes {
		dir, err := socketDir()
		if err != nil {
			tb.Fatal(err)
		}
		r, err := runRedis(dir, "--port", fmt.Sprint(ports[i]), "--bind", "127.0.0.1", "--cluster-enabled", "yes",
			"--cluster-port", fmt.Sprint(ports[n+i]), "--cluster-config-file", "nodes.conf")
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(r.Remove)
		nodes[i] = redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", ports[i])})
		tb.Cleanup(func() { _ = nodes[i].Close() })
	}
	const slots = 16384
	ctx := tb.Context()
	for i, node := range nodes {
		do(tb, node, "CLUSTER", "ADDSLOTSRANGE", slots*i/n, slots*(i+1)/n-1)
		if i > 0 {
			do(tb, node, "CLUSTER", "MEET", "127.0.0.1", ports[0], ports[n])
		}
	}
	for _, node := range nodes {
		proctest.Until(tb, "the cluster comes up", func() error {
			info, err := node.ClusterInfo(ctx).Result()
			if err == nil && (!strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", n))) {
				err = errors.New(info)
			}
			return err
		})
	}
	return nodes
}

// MoveSlot moves a key's slot, with all its keys, to the other node of a cluster of two.
func MoveSlot(tb testing.TB, nodes []*redis.Client, key string) {
	tb.Helper()
	ctx := tb.Context()
	slot := nodes[0].ClusterKeySlot(ctx, key).Val()
	from, to := nodes[0], nodes[1]
	if slot >= 16384/2 {
		from, to = to, from
	}
	fromID, toID := do(tb, from, "CLUSTER", "MYID"), do(tb, to, "CLUSTER", "MYID")
	do(tb, to, "CLUSTER", "SETSLOT", slot, "IMPORTING", fromID)
	do(tb, from, "CLUSTER", "SETSLOT", slot, "MIGRATING", toID)
	host, port, _ := net.SplitHostPort(to.Options().Addr)
	args := []any{"MIGRATE", host, port, "", 0, 5000, "KEYS"}
	for _, k := range from.ClusterGetKeysInSlot(ctx, int(slot), 100).Val() {
		args = append(args, k)
	}
	do(tb, from, args...)
	do(tb, to, "CLUSTER", "SETSLOT", slot, "NODE", toID)
	do(tb, from, "CLUSTER", "SETSLOT", slot, "NODE", toID)
}

func do(tb testing.TB, c *redis.Client, args ...any) any {
	tb.Helper()
	v, err := c.Do(tb.Context(), args...).Result()
	if err != nil {
		tb.Fatalf("%v: %v", args[:2], err)
	}
	return v
}
