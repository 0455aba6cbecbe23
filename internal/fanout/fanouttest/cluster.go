package fanouttest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// StartCluster starts a Redis Cluster of n masters for one test, and gives a client of each. Slots are spread evenly.
func StartCluster(tb testing.TB, n int) []*redis.Client {
	tb.Helper()
	nodes := make([]*redis.Client, n)
	ports := freePorts(tb, 2*n)
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
	limit, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, node := range nodes {
		for {
			info, _ := node.ClusterInfo(limit).Result()
			if strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", n)) {
				break
			}
			select {
			case <-tick.C:
			case <-limit.Done():
				tb.Fatalf("the cluster doesn't come up: %s", info)
			}
		}
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

// freePorts finds ports that nobody listens on now: a server can't be asked to choose its two by itself. They lie below those
// that the system gives out, so that nobody is given one before the server has it.
func freePorts(tb testing.TB, n int) []int {
	tb.Helper()
	var lc net.ListenConfig
	ports := make([]int, n)
	for i := range ports {
		for tries := 0; ports[i] == 0; tries++ {
			port := 10_000 + rand.IntN(9_000)
			l, err := lc.Listen(tb.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil && tries > 100 {
				tb.Fatal(err)
			}
			if err == nil {
				defer func() { _ = l.Close() }() // held until all are found, so that they differ
				ports[i] = port
			}
		}
	}
	return ports
}
