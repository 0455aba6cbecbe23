package faults

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"confgate/internal/fanout/fanouttest"
	"confgate/internal/proctest"
)

// store is where a fleet's log lies.
type store struct {
	url   string
	addrs []string // of every server that may hold keys
	// server is the only one, where there is only one.
	server *fanouttest.Redis
}

// single is one redis-server.
func single(t *testing.T) *store {
	t.Helper()
	url, r := fanouttest.StartRedis(t)
	return &store{url: url, addrs: []string{r.Socket()}, server: r}
}

// redisNode is a redis-server on a port, as Sentinel and Cluster want it.
type redisNode struct {
	*proctest.Process
	*redis.Client
	name, host, port string
}

func (n *redisNode) addr() string { return net.JoinHostPort(n.host, n.port) }

// startNode starts a redis-server on a port of its own. Sentinels rewrite their configuration, so all get a directory and a file.
func startNode(t *testing.T, name, config string, args ...string) *redisNode {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("no redis-server here: apt-get install redis-server")
	}
	dir, port := t.TempDir(), strconv.Itoa(proctest.Ports(t, 1)[0])
	file := filepath.Join(dir, "redis.conf")
	config = fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nsave \"\"\nappendonly no\n%s\n", port, dir, config)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	n := &redisNode{name: name, host: "127.0.0.1", port: port}
	n.Process = proctest.Start(t, name, path, nil, append([]string{file}, args...)...)
	n.Client = connect(t, n.addr())
	proctest.Until(t, name+" starts", func() error {
		if n.Ended() {
			return fmt.Errorf("%w: %s", proctest.ErrEnded, n.Output())
		}
		return n.Ping(t.Context()).Err()
	})
	return n
}

const mastername = "conferences"

// sentinels is a master with a replica, watched by three Sentinels.
type sentinels struct {
	*store
	master, replica *redisNode
	watchers        []*redisNode
}

func startSentinels(t *testing.T) *sentinels {
	t.Helper()
	s := &sentinels{master: startNode(t, "master", "")}
	s.replica = startNode(t, "replica", "replicaof "+s.master.host+" "+s.master.port+"\nrepl-diskless-sync-delay 0")
	var addrs []string
	for i := range 3 {
		w := startNode(t, fmt.Sprintf("sentinel %d", i), fmt.Sprintf(
			"sentinel monitor %[1]s %[2]s %[3]s 2\nsentinel down-after-milliseconds %[1]s 1000\nsentinel failover-timeout %[1]s 5000",
			mastername, s.master.host, s.master.port), "--sentinel")
		s.watchers = append(s.watchers, w)
		addrs = append(addrs, w.addr())
	}
	for _, w := range s.watchers {
		proctest.Until(t, w.name+" knows the others", func() error {
			return contains(t.Context(), w, "sentinel", "slaves=1,sentinels=3")
		})
	}
	s.awaitReplica(t)
	s.store = &store{
		url:   "redis://" + strings.Join(addrs, ",") + "/?master=" + mastername,
		addrs: []string{s.master.addr(), s.replica.addr()},
	}
	return s
}

func (s *sentinels) awaitReplica(t *testing.T) {
	t.Helper()
	proctest.Until(t, "the replica is in step", func() error {
		return contains(t.Context(), s.replica, "replication", "master_link_status:up")
	})
}

// contains is an error unless a section of INFO contains a text.
func contains(ctx context.Context, n *redisNode, section, text string) error {
	info, err := n.Info(ctx, section).Result()
	if err == nil && !strings.Contains(info, text) {
		err = fmt.Errorf("%s: no %s in INFO %s", n.name, text, section)
	}
	return err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// knownKey is what the gateway may put into Redis: see docs/operations.md.
var knownKey = regexp.MustCompile(`^confgate:(mark|\{fleet\}:(meta|workers|infos|conferences|named|owners|terms|handovers|offers|` +
	`changes|demand|rate:\w+)|\{\w+\}:(meta|log|ckpt|token|refused:\w+))$`)

// checkKeys checks that every key is known, belongs to a conference that there is, and ends one day by itself. A key that
// has just been made gets its TTL with its worker's next renewal.
func (s *store) checkKeys(t *testing.T, conferences map[string]bool) {
	t.Helper()
	var clients []*redis.Client
	for _, addr := range s.addrs {
		c := connect(t, addr)
		info, err := c.Info(t.Context(), "replication").Result()
		if err == nil && strings.Contains(info, "role:master") { // else a fault has taken it for good, or a master has the same
			clients = append(clients, c)
		}
	}
	proctest.Until(t, "keys have TTLs", func() error {
		found := 0
		for _, c := range clients {
			n, err := checkServer(t, c, conferences)
			if err != nil {
				return err
			}
			found += n
		}
		if found < len(conferences) {
			return fmt.Errorf("%d keys, want some of each of %d conferences", found, len(conferences))
		}
		return nil
	})
}

// checkServer counts the keys of one server; it is an error where one has no TTL.
func checkServer(t *testing.T, c *redis.Client, conferences map[string]bool) (int, error) {
	t.Helper()
	keys, err := c.Keys(t.Context(), "*").Result()
	must(t, err)
	for _, k := range keys {
		_, tag, tagged := strings.Cut(k, "{")
		tag, _, _ = strings.Cut(tag, "}")
		if !knownKey.MatchString(k) || tagged && tag != "fleet" && !conferences[tag] {
			t.Errorf("key %s is left over", k)
		}
		ttl, err := c.TTL(t.Context(), k).Result()
		must(t, err)
		if ttl == -1 { // -2: it has gone meanwhile
			return 0, fmt.Errorf("key %s has no TTL", k)
		}
	}
	return len(keys), nil
}
