package faults

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"confgate/internal/oracle/oracletest"
	"confgate/internal/proctest"
	"confgate/internal/simulator"
	"confgate/internal/simulator/simulatortest"
)

var (
	idleOf   = flag.Int("faults.idle", 120, "conferences of TestIdleFleet, which compares with a fleet of a quarter")
	idleTime = flag.Duration("faults.idletime", 4*time.Second, "how long TestIdleFleet measures")
)

const (
	// idlePatience bounds the start of a fleet.
	idlePatience = 3 * time.Minute
	// watched is how many conferences a connection of TestIdleFleet subscribes to.
	watched = 200
)

// What a fleet asks of Redis while nothing happens grows with workers, and not with conferences. Figures are printed; those
// of docs/performance.md by -args -faults.idle 2000 -faults.idletime 30s -faults.lease 3s.
func TestIdleFleet(t *testing.T) {
	t.Parallel()
	small, large := startIdle(t, *idleOf/4), startIdle(t, *idleOf)
	resting := atRest(t, small, large)
	few, many := resting[0], resting[1]
	few.print(t, fmt.Sprintf("%d conferences, nobody watches", len(small.confs)))
	many.print(t, fmt.Sprintf("%d conferences, nobody watches", len(large.confs)))
	// Keys are renewed about nine times a day, three a conference: that is less than one a second for 2 000 of them.
	// A worker's poll more or less, with all that its script does, is the difference that there may be.
	if got, most := many.sum(), few.sum()*1.2+2; got > most {
		t.Errorf("%.1f commands a second with %d conferences, with %d it is %.1f: want about the same",
			got, len(large.confs), len(small.confs), few.sum())
	}
	if got, most := many.commands["evalsha"], few.commands["evalsha"]+1.5; got > most {
		t.Errorf("%.1f scripts a second with %d conferences, with %d it is %.1f: want the same",
			got, len(large.confs), len(small.confs), few.commands["evalsha"])
	}
	if few.commands["info"] == 0 {
		t.Error("no worker looked at its server")
	}

	large.watchAll(t)
	pass(2 * *idleTime) // until quiet conferences are polled seldom
	seen := atRest(t, large)[0]
	seen.print(t, fmt.Sprintf("%d conferences, each watched at every worker", len(large.confs)))
	if seen.commands["publish"] == 0 {
		t.Error("no worker probed its subscription")
	}
}

// Redis is replaced by an empty one while nothing happens. Owners that had nothing to append found out after half a minute.
func TestRedisLostWhileIdle(t *testing.T) {
	t.Parallel()
	f := startFleet(t, plan{})
	f.provider.Pause()
	f.await(t)
	dials := f.provider.Requests()["dial"]
	f.measure()
	f.server.Restart(t)
	back := time.Now()
	proctest.Until(t, "readers are given the new epoch", func() error {
		for _, r := range f.readers {
			if p := r.Report(); p.Counts.Resets == 0 || !p.Fresh || !p.Whole {
				return fmt.Errorf("%s: %d resets, fresh %v, whole %v", r.Name, p.Counts.Resets, p.Fresh, p.Whole)
			}
		}
		return nil
	})
	f.await(t)
	within(t, "documents right after the return of Redis", time.Since(back), 3*time.Second)
	f.untouched(t, dials)
	f.provider.Resume()
	pass(500 * time.Millisecond)
	f.finish(t, outcome{resets: 1})
}

// startIdle starts three workers, and waits until all conferences have a live link.
func startIdle(t *testing.T, conferences int) *fleet {
	t.Helper()
	f := &fleet{store: single(t)}
	var origin string
	f.provider, origin = simulatortest.Start(t, simulator.Config{Conferences: conferences, Participants: 20, Rate: -1, Seed: 1})
	secret := oracletest.SecretFile(t)
	flags := []string{
		"--redis-url", f.url, "--provider-url", origin, "--provider-rate", "100000/s", "--lease-ttl", leaseOf.String(),
		"--auth-hmac-secret-file", secret, "--seal-key-file", oracletest.SealKeyFile(t), "--max-subscriptions", strconv.Itoa(watched),
		"--message-rate", "-1",
	}
	for _, c := range f.provider.Conferences() {
		f.confs = append(f.confs, c.ID)
		flags = append(flags, "--conference", c.ID+"="+c.Password.Reveal())
	}
	f.token = oracletest.Token(t, secret, []string{"read"}, "*")
	t.Cleanup(func() { f.complain(t) })
	for i := range 3 {
		w := &worker{name: fmt.Sprintf("gw-%d", i), path: binary, flags: flags}
		w.start(t)
		f.workers = append(f.workers, w)
	}
	limit := time.Now().Add(idlePatience)
	for live := 0; live != conferences; {
		if time.Now().After(limit) {
			t.Fatalf("%d of %d links are live", live, conferences)
		}
		pass(100 * time.Millisecond)
		live = 0
		for _, w := range f.workers {
			live += w.metric(t, `confgate_upstream_links{state="live"}`)
		}
	}
	return f
}

// atRest is what fleets use while nothing is appended and no checkpoint stored for as long as is measured: workers that come
// one after the other share conferences out anew for a while.
func atRest(t *testing.T, fleets ...*fleet) []usage {
	t.Helper()
	limit := time.Now().Add(idlePatience)
	for {
		used := make([]usage, len(fleets))
		for i, f := range fleets {
			used[i] = f.begin(t)
		}
		pass(*idleTime)
		busy := 0.0
		for i, f := range fleets {
			used[i] = f.since(t, used[i])
			busy += used[i].commands["xadd"] + used[i].commands["hset"]
		}
		if busy == 0 {
			return used
		}
		if time.Now().After(limit) {
			t.Fatalf("the fleet doesn't come to rest: %.1f writes a second", busy)
		}
	}
}

// usage is what a fleet has used so far, or in a second.
type usage struct {
	at       time.Time
	commands map[string]float64
	redis    float64 // seconds of processor
	workers  []float64
}

var (
	commandStat = regexp.MustCompile(`(?m)^cmdstat_(\S+):calls=(\d+)`)
	usedCPU     = regexp.MustCompile(`(?m)^used_cpu_(?:sys|user):([\d.]+)`)
)

func (f *fleet) begin(t *testing.T) usage {
	t.Helper()
	u := usage{at: time.Now(), commands: map[string]float64{}}
	text, err := connect(t, f.addrs[0]).Info(t.Context(), "commandstats", "cpu").Result()
	must(t, err)
	for _, m := range commandStat.FindAllStringSubmatch(text, -1) {
		n, err := strconv.ParseFloat(m[2], 64)
		must(t, err)
		u.commands[m[1]] = n
	}
	for _, m := range usedCPU.FindAllStringSubmatch(text, -1) {
		n, err := strconv.ParseFloat(m[1], 64)
		must(t, err)
		u.redis += n
	}
	for _, w := range f.workers {
		n, _ := oracletest.Metric(t, w.metrics(t), "process_cpu_seconds_total")
		u.workers = append(u.workers, n)
	}
	return u
}

// since is what was used in a second since then.
func (f *fleet) since(t *testing.T, then usage) usage {
	t.Helper()
	u := f.begin(t)
	seconds := u.at.Sub(then.at).Seconds()
	u.commands["info"]-- // this test's own
	for name := range u.commands {
		if u.commands[name] = (u.commands[name] - then.commands[name]) / seconds; u.commands[name] == 0 {
			delete(u.commands, name)
		}
	}
	u.redis = (u.redis - then.redis) / seconds
	for i := range u.workers {
		u.workers[i] = (u.workers[i] - then.workers[i]) / seconds
	}
	return u
}

// sum is all commands a second.
func (u usage) sum() float64 {
	sum := 0.0
	for _, n := range u.commands {
		sum += n
	}
	return sum
}

func (u usage) print(t *testing.T, what string) {
	t.Helper()
	names := slices.SortedFunc(maps.Keys(u.commands), func(a, b string) int {
		return int(1000*u.commands[b]) - int(1000*u.commands[a])
	})
	var text strings.Builder
	for _, name := range names {
		fmt.Fprintf(&text, " %s %.2f", name, u.commands[name])
	}
	t.Logf("%s: %.1f commands a second (%s); Redis %.2f %% of a core, workers", what, u.sum(), strings.TrimSpace(text.String()), 100*u.redis)
	for i, n := range u.workers {
		t.Logf("  gw-%d %.2f %%", i, 100*n)
	}
}

// watchAll has every conference watched at each worker until the test ends.
func (f *fleet) watchAll(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	running := 0
	t.Cleanup(func() {
		cancel()
		for range running {
			<-done
		}
	})
	for _, w := range f.workers {
		url, _ := w.endpoint()
		for confs := range slices.Chunk(f.confs, watched) {
			c, _, err := websocket.Dial(ctx, url+"/v1/ws", &websocket.DialOptions{Subprotocols: []string{"confgate.v1", "bearer." + f.token}})
			must(t, err)
			c.SetReadLimit(-1)
			for i, conf := range confs {
				must(t, c.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"type":"subscribe","id":"%d","conference":%q}`, i, conf)))
			}
			must(t, snapshots(ctx, c, len(confs)))
			running++
			go func() {
				defer func() { done <- struct{}{} }()
				for {
					if _, _, err := c.Read(ctx); err != nil {
						_ = c.CloseNow()
						return
					}
				}
			}()
		}
	}
}

// snapshots reads until so many have come.
func snapshots(ctx context.Context, c *websocket.Conn, n int) error {
	ctx, cancel := context.WithTimeout(ctx, idlePatience)
	defer cancel()
	for n > 0 {
		_, data, err := c.Read(ctx)
		if err != nil {
			return err
		}
		var messages []struct{ Type, Code string }
		if data[0] != '[' {
			data = fmt.Appendf(nil, "[%s]", data)
		}
		if err := json.Unmarshal(data, &messages); err != nil {
			return err
		}
		for _, m := range messages {
			switch m.Type {
			case "snapshot":
				n--
			case "error":
				return errors.New(m.Code)
			}
		}
	}
	return nil
}
