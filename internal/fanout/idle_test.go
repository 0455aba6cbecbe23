package fanout_test

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"confgate/internal/conference"
	"confgate/internal/fanout"
	"confgate/internal/fanout/fanouttest"
)

// tick is an interval for tests that wait for many looks.
const tick = 20 * time.Millisecond

var commandStat = regexp.MustCompile(`(?m)^cmdstat_(\w+):calls=(\d+)`)

// commands are a server's counts of what it was asked for.
func commands(t *testing.T, c redis.Cmdable) map[string]int {
	t.Helper()
	text, err := c.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, m := range commandStat.FindAllStringSubmatch(text, -1) {
		counts[m[1]], _ = strconv.Atoi(m[2])
	}
	return counts
}

// eventually waits until ok holds, which it asks each few milliseconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("never came: %s", what)
		}
	}
}

// Each idle conference cost a command a second where it was followed, and two a minute where it was held.
func TestIdleConferencesCostLittle(t *testing.T) {
	t.Parallel()
	url, _ := fanouttest.StartRedis(t)
	// Renewals have a test of their own.
	log := runLog(t, url, nil, fanout.LogOptions{PollInterval: tick, KeyTTL: 10_000 * time.Hour})
	client := connect(t, url)
	const conferences, looks = 50, 100
	for i := range conferences {
		o := fanouttest.StartOwner(t, log, fmt.Sprintf("conf%d", i))
		t.Cleanup(log.Hold(o.Conf, func() {}))
		fanouttest.StartTail(t, log, o.Conf, conference.Position{}).WaitAt(t, o.Pos)
	}
	before := commands(t, client)
	asked := 0 // by this test
	var after map[string]int
	eventually(t, "a hundred looks", func() bool {
		asked++
		after = commands(t, client)
		return after["info"]-before["info"]-asked >= looks
	})
	// Each conference is polled after 1, 2, 4, 8, 16 and 30 looks, and each 22 to 30 from then on.
	const most = 10 * conferences
	if n := after["hmget"] - before["hmget"]; n < conferences || n > most {
		t.Errorf("%d polls of %d conferences while their servers were looked at %d times, want %d at the most", n, conferences, looks, most)
	}
	if n := after["publish"] - before["publish"]; n < looks/2 || n > 2*looks {
		t.Errorf("%d probes with %d looks, want one each", n, looks)
	}
	for command, n := range after {
		allowed := 0
		switch command {
		case "hmget", "publish", "info":
			continue
		case "set": // the mark, with each look
			allowed = 2 * looks
		case "hello": // where calls overlap that never did before, the pool dials
			allowed = 10
		}
		if n -= before[command]; n > allowed {
			t.Errorf("%d times %s while nothing happened", n, command)
		}
	}
}

// A subscription that lived and was deaf was noticed only when a conference moved.
func TestDeafSubscriptionOfQuietConferences(t *testing.T) {
	t.Parallel()
	proxy := fanouttest.StartProxy(t, shared, 1)
	core, logs := observer.New(zap.WarnLevel)
	m := newMetrics()
	follow := runLog(t, proxy.URL(), nil, fanout.LogOptions{Logger: zap.New(core), Metrics: m, PollInterval: quick})
	o := fanouttest.StartOwner(t, runLog(t, shared.URL(), nil, fanout.LogOptions{}), fanouttest.Conf(t))
	tail := fanouttest.StartTail(t, follow, o.Conf, conference.Position{})
	tail.WaitAt(t, o.Pos)
	proxy.Mute()
	eventually(t, "the deaf subscription is restarted", func() bool {
		return logs.FilterMessageSnippet("delivers nothing").Len() > 0
	})
	if proxy.Dropped() == 0 {
		t.Error("the proxy lost nothing")
	}
	hears(t, m, o, tail, "after it was restarted")
}

// Redis dies and comes back empty, or another in its place, while nothing happens in a conference: its owner is told.
func TestOwnersAreToldOfAnotherServer(t *testing.T) {
	t.Parallel()
	url, server := fanouttest.StartRedis(t)
	log := runLog(t, url, nil, fanout.LogOptions{PollInterval: tick})
	o := fanouttest.StartOwner(t, log, "900")
	doubt := make(chan struct{}, 1)
	defer log.Hold(o.Conf, raise(doubt))()
	await := func(what string) {
		t.Helper()
		select {
		case <-doubt:
		case <-time.After(time.Minute):
			t.Fatalf("the owner isn't told %s", what)
		}
	}
	await("after its claim: the server may have been another by then")
	server.Restart(t)
	await("that the server is another")
	if _, err := log.Append(t.Context(), o.Conf, o.Claim, o.Pos, nil); err == nil {
		t.Error("Append at the old place of an empty log was taken")
	}
	o = fanouttest.StartOwner(t, log, o.Conf)
	if err := connect(t, url).FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	await("that the server was emptied while it ran")
	if _, err := log.Append(t.Context(), o.Conf, o.Claim, o.Pos, nil); err == nil {
		t.Error("Append at the old place of an emptied log was taken")
	}
}

// Keys of a held conference are renewed though nothing happens, and no longer when it is let go of.
func TestHeldKeysAreRenewed(t *testing.T) {
	t.Parallel()
	url, _ := fanouttest.StartRedis(t)
	log := runLog(t, url, nil, fanout.LogOptions{PollInterval: tick, KeyTTL: 2 * time.Second})
	client := connect(t, url)
	held, abandoned := fanouttest.StartOwner(t, log, "held"), fanouttest.StartOwner(t, log, "abandoned")
	doubt := make(chan struct{}, 1)
	defer log.Hold(held.Conf, raise(doubt))()
	letGo := log.Hold(abandoned.Conf, func() {})
	// lives takes the keys' ends away, and waits until they have ends again.
	lives := func(o *fanouttest.Owner) {
		t.Helper()
		r := raw{t, client, o.Conf}
		for _, part := range []string{"meta", "ckpt"} {
			r.do("PERSIST", r.key(part))
			eventually(t, part+" is renewed", func() bool { return client.TTL(t.Context(), r.key(part)).Val() > 0 })
		}
	}
	lives(held)
	lives(abandoned)
	letGo()
	lives(held) // what was on its way is over
	r := raw{t, client, abandoned.Conf}
	r.do("PERSIST", r.key("meta"))
	lives(held)
	lives(held)
	eventually(t, "the checkpoint of an abandoned conference expires", func() bool {
		return client.Exists(t.Context(), r.key("ckpt")).Val() == 0
	})
	if ttl := client.TTL(t.Context(), r.key("meta")).Val(); ttl > 0 {
		t.Errorf("an abandoned conference was renewed: it lives for %v", ttl)
	}
	select {
	case <-doubt: // after the claim
	default:
	}
	h := raw{t, client, held.Conf}
	h.do("DEL", h.key("meta"))
	select {
	case <-doubt:
	case <-time.After(time.Minute):
		t.Error("the owner isn't told that its claim is gone")
	}
}

// On a cluster each connection's probe goes to the shard that the connection is for, and along when a slot moves.
func TestClusterProbes(t *testing.T) {
	t.Parallel()
	nodes, client := startCluster(t)
	core, logs := observer.New(zap.WarnLevel)
	m := newMetrics()
	log := runOver(t, client, nil, fanout.LogOptions{Metrics: m, Logger: zap.New(core), PollInterval: quick})
	var owners []*fanouttest.Owner
	var tails []*fanouttest.Tail
	doubts := make([]chan struct{}, 6)
	for i := range doubts {
		o := fanouttest.StartOwner(t, log, fmt.Sprintf("conf%d", i))
		doubts[i] = make(chan struct{}, 1)
		t.Cleanup(log.Hold(o.Conf, raise(doubts[i])))
		owners, tails = append(owners, o), append(tails, fanouttest.StartTail(t, log, o.Conf, conference.Position{}))
		tails[i].WaitAt(t, o.Pos)
		<-doubts[i]
	}
	probed := func(when string) {
		t.Helper()
		for i, n := range nodes {
			before := commands(t, n)["spublish"]
			eventually(t, fmt.Sprintf("probes at node %d %s", i, when), func() bool { return commands(t, n)["spublish"] >= before+10 })
		}
	}
	probed("while nothing happens")
	// Twenty probes that don't come back are some ten warnings; a busy machine may be late with one.
	if n := logs.Len(); n > 3 {
		t.Errorf("%d warnings while nothing happens: %v", n, logs.All())
	}
	fanouttest.MoveSlot(t, nodes, "{"+owners[0].Conf+"}")
	follow(t, owners[0], tails[0])
	<-doubts[0] // its server is another
	for i, o := range owners {
		hears(t, m, o, tails[i], "after a slot has moved")
	}
	probed("after a slot has moved")
	select {
	case <-doubts[1]:
		t.Error("an owner is told though its slot has not moved")
	default:
	}
}

// A memory log forgets what nobody has touched for long, but not what is held.
func TestMemoryLogKeepsWhatIsHeld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := fanout.NewMemoryLog(fanout.LogOptions{KeyTTL: time.Hour})
		held, abandoned := fanouttest.StartOwner(t, log, "held"), fanouttest.StartOwner(t, log, "abandoned")
		defer log.Hold(held.Conf, func() {})()
		log.Hold(abandoned.Conf, func() {})()
		time.Sleep(2 * time.Hour)
		fanouttest.StartOwner(t, log, "another") // is when the log looks
		if _, err := log.Append(t.Context(), held.Conf, held.Claim, held.Pos, nil); err != nil {
			t.Errorf("Append to a conference that is held = %v", err)
		}
		if _, err := log.Append(t.Context(), abandoned.Conf, abandoned.Claim, abandoned.Pos, nil); !errors.Is(err, conference.ErrEpoch) {
			t.Errorf("Append to an abandoned conference = %v, want ErrEpoch", err)
		}
	})
}

// Symptom: a conference that had been idle for longer than KeyTTL while it was held was forgotten as soon as it was let go of.
func TestMemoryLogKeepsWhatWasLetGoOf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := fanout.NewMemoryLog(fanout.LogOptions{KeyTTL: time.Hour})
		o := fanouttest.StartOwner(t, log, "900")
		letGo := log.Hold(o.Conf, func() {})
		time.Sleep(2 * time.Hour)
		letGo()
		fanouttest.StartOwner(t, log, "another") // is when the log looks
		if _, err := log.Append(t.Context(), o.Conf, o.Claim, o.Pos, nil); err != nil {
			t.Errorf("Append to a conference that was let go of just now = %v", err)
		}
	})
}

// raise leaves a note that a log is in doubt.
func raise(doubt chan<- struct{}) func() {
	return func() {
		select {
		case doubt <- struct{}{}:
		default:
		}
	}
}
