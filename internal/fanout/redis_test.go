package fanout_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"confgate/internal/conference"
	"confgate/internal/fanout"
	"confgate/internal/fanout/fanouttest"
	"confgate/internal/telemetry"
)

// quick is an interval for tests that wait for a poll.
const quick = 100 * time.Millisecond

func newMetrics() *telemetry.Metrics { return telemetry.NewMetrics("test", "", "") }

// metric is the sum of a metric's series.
func metric(t *testing.T, m *telemetry.Metrics, name string) float64 {
	t.Helper()
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum, found := 0.0, false
	for _, f := range families {
		if f.GetName() == "confgate_"+name {
			found = true
			for _, s := range f.GetMetric() {
				sum += s.GetCounter().GetValue() + s.GetGauge().GetValue()
			}
		}
	}
	if !found && name != "fanout_published_total" { // that one has no series before its first
		t.Fatalf("no metric %s", name)
	}
	return sum
}

// persist repeats an append, as a session does, until it is answered.
func persist(t *testing.T, o *fanouttest.Owner, changes ...conference.Change) {
	t.Helper()
	for {
		pos, err := o.Log.Append(t.Context(), o.Conf, o.Claim, o.Pos, changes)
		switch {
		case err == nil:
			if pos.Seq != o.Pos.Seq+uint64(len(changes)) {
				t.Fatalf("Append of %d after %v = %v", len(changes), o.Pos, pos)
			}
			o.Pos = pos
			return
		case errors.Is(err, conference.ErrFenced), errors.Is(err, conference.ErrPosition), errors.Is(err, conference.ErrEpoch):
			t.Fatalf("Append after %v = %v, want done or not known", o.Pos, err)
		case t.Context().Err() != nil:
			t.Fatal(err)
		}
	}
}

// Published messages are lost and all connections cut, the owner's too: followers have no gap, no repeat and one snapshot.
func TestFollowerSurvivesLoss(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		seed  uint64
		share float64
		cuts  int
	}{
		{"a tenth lost", 1, .1, 0},
		{"half lost", 2, .5, 0},
		{"cut only", 3, 0, 12},
		{"a tenth lost and cut", 4, .1, 12},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			proxy := fanouttest.StartProxy(t, shared, tt.seed)
			m := newMetrics()
			log := runLog(t, proxy.URL(), keyring(t, keyFile), fanout.LogOptions{Metrics: m, PollInterval: quick})
			o := fanouttest.StartOwner(t, log, fanouttest.Conf(t))
			other := fanouttest.StartOwner(t, log, fanouttest.Conf(t))
			tails := []*fanouttest.Tail{
				fanouttest.StartTail(t, log, o.Conf, conference.Position{}),
				fanouttest.StartTail(t, log, o.Conf, o.Pos),
				fanouttest.StartTail(t, log, other.Conf, conference.Position{}),
			}
			tails[0].WaitAt(t, o.Pos)
			tails[2].WaitAt(t, other.Pos)
			proxy.Lose(tt.share)
			const appends = 300
			for i := range appends {
				persist(t, o, fanouttest.Set(fmt.Sprintf("p%d", i%10), fmt.Sprint(i)), fanouttest.Say(fmt.Sprint(i)))
				persist(t, other, fanouttest.Set("p1", fmt.Sprint(i)))
				if tt.cuts > 0 && i%(appends/tt.cuts) == 0 {
					proxy.Cut()
				}
			}
			first := tails[0].WaitAt(t, o.Pos)
			second := tails[1].WaitAt(t, o.Pos)
			third := tails[2].WaitAt(t, other.Pos)
			if first.Doc == "{}" || len(first.Snapshots) != 1 || len(second.Snapshots) != 0 || len(third.Snapshots) != 1 {
				t.Errorf("followers were given %d, %d and %d snapshots, want 1, 0 and 1; document %s",
					len(first.Snapshots), len(second.Snapshots), len(third.Snapshots), first.Doc)
			}
			if lost := proxy.Dropped(); (tt.share > 0) != (lost > 0) {
				t.Errorf("the proxy lost %d messages", lost)
			}
			if cuts := proxy.Cuts(); cuts < int64(tt.cuts) {
				t.Errorf("the proxy cut %d connections, want %d at least", cuts, tt.cuts)
			}
			if n := metric(t, m, "fanout_log_refills_total"); n == 0 {
				t.Error("nothing was read from the stream")
			}
		})
	}
}

// A server that hangs shows as stale; nothing is lost when it goes on.
func TestRedisStalls(t *testing.T) {
	t.Parallel()
	url, server := fanouttest.StartRedis(t)
	log := runLog(t, url, nil, fanout.LogOptions{PollInterval: quick})
	o := fanouttest.StartOwner(t, log, "900")
	tail := fanouttest.StartTail(t, log, o.Conf, conference.Position{})
	tail.WaitAt(t, o.Pos)
	o.Append(t, fanouttest.Set("p1", "Ann"))
	begin := time.Now()
	server.Stall(t)
	tail.Wait(t, "stale", func(s fanouttest.Seen) bool { return !s.Fresh })
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("a stalled server was noticed after %v", took)
	}
	server.Resume(t)
	persist(t, o, fanouttest.Set("p2", "Bob"))
	seen := tail.Wait(t, "fresh at the head", func(s fanouttest.Seen) bool { return s.Fresh && s.Position == o.Pos })
	if len(seen.Snapshots) != 1 {
		t.Errorf("follower was given %d snapshots, want 1", len(seen.Snapshots))
	}
	if since := time.UnixMilli(seen.Statuses[0].Since); since.Sub(begin).Abs() > 5*time.Second {
		t.Errorf("stale since %v, want about %v", since, begin)
	}
}

// A subscription that lives and delivers nothing is noticed and replaced.
func TestDeafSubscription(t *testing.T) {
	t.Parallel()
	proxy := fanouttest.StartProxy(t, shared, 1)
	core, logs := observer.New(zap.WarnLevel)
	m := newMetrics()
	follow := runLog(t, proxy.URL(), nil, fanout.LogOptions{Logger: zap.New(core), Metrics: m, PollInterval: quick})
	o := fanouttest.StartOwner(t, runLog(t, shared.URL(), nil, fanout.LogOptions{}), fanouttest.Conf(t))
	tail := fanouttest.StartTail(t, follow, o.Conf, conference.Position{})
	tail.WaitAt(t, o.Pos)
	o.Append(t, fanouttest.Set("p1", "Ann"))
	tail.WaitAt(t, o.Pos)
	proxy.Mute()
	restarted := func() bool { return logs.FilterMessageSnippet("delivers nothing").Len() > 0 }
	for i := 0; !restarted(); i++ {
		if i > 20 {
			t.Fatal("a deaf subscription wasn't restarted")
		}
		o.Append(t, fanouttest.Set("p1", fmt.Sprint(i)))
		tail.WaitAt(t, o.Pos) // the poll brings it
	}
	if proxy.Dropped() == 0 {
		t.Error("the proxy lost nothing")
	}
	// The new subscription hears again: in the end an append comes without a look at the stream.
	for i := 0; ; i++ {
		before := metric(t, m, "fanout_log_refills_total")
		o.Append(t, fanouttest.Say("x"))
		tail.WaitAt(t, o.Pos)
		if metric(t, m, "fanout_log_refills_total") == before {
			return
		}
		if i > 20 {
			t.Fatal("the new subscription hears nothing either")
		}
	}
}

// A follower that is held up gets everything, though its queue is bounded.
func TestSlowFollower(t *testing.T) {
	t.Parallel()
	log := runLog(t, shared.URL(), nil, fanout.LogOptions{})
	o := fanouttest.StartOwner(t, log, fanouttest.Conf(t))
	slow := &slowLog{log: log, gate: make(chan struct{})}
	tail := fanouttest.StartTail(t, slow, o.Conf, o.Pos)
	big := strings.Repeat("x", 100_000)
	for i := range 60 { // six megabytes
		o.Append(t, fanouttest.Say(fmt.Sprint(i, big)))
	}
	for i := range 1200 {
		o.Append(t, fanouttest.Set("p1", fmt.Sprint(i)))
	}
	close(slow.gate)
	if seen := tail.WaitAt(t, o.Pos); len(seen.Entries) != 1260 || len(seen.Snapshots) != 0 {
		t.Errorf("follower was given %d entries and %d snapshots, want 1260 and 0", len(seen.Entries), len(seen.Snapshots))
	}
}

// All keys die of themselves, whatever call touched them last.
func TestKeysExpire(t *testing.T) {
	t.Parallel()
	log := runLog(t, shared.URL(), nil, fanout.LogOptions{KeyTTL: time.Hour})
	conf := fanouttest.Conf(t)
	r := raw{t, connect(t, shared.URL()), conf}
	check := func(what string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if ttl := r.TTL(t.Context(), r.key(part)).Val(); ttl < 59*time.Minute || ttl > time.Hour {
				t.Errorf("after %s %s lives for %v, want an hour", what, part, ttl)
			}
			r.do("PERSIST", r.key(part))
		}
	}
	o := fanouttest.StartOwner(t, log, conf)
	check("Begin", "meta", "ckpt")
	o.Append(t, fanouttest.Set("p1", "Ann"))
	check("Append", "meta", "log", "ckpt")
	o.Append(t)
	check("an empty Append", "meta", "log", "ckpt")
	o.Checkpoint(t, "m")
	check("Checkpoint", "meta", "log", "ckpt")
	if _, _, err := log.Claim(t.Context(), conf); err != nil {
		t.Fatal(err)
	}
	check("Claim", "meta", "log", "ckpt")
}

// The stream is trimmed up to the checkpoint, and spares the window.
func TestTrim(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		window time.Duration
		want   int64
	}{
		{"no window", -1, 0},
		{"a long window", time.Hour, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			log := runLog(t, shared.URL(), nil, fanout.LogOptions{ResumeWindow: tt.window})
			o := fanouttest.StartOwner(t, log, fanouttest.Conf(t))
			for range 10 {
				o.Append(t, fanouttest.Set("p1", "Ann"), fanouttest.Say("x"))
				o.Checkpoint(t, "")
			}
			r := raw{t, connect(t, shared.URL()), o.Conf}
			if n := r.XLen(t.Context(), r.key("log")).Val(); n != tt.want {
				t.Errorf("the stream has %d entries, want %d", n, tt.want)
			}
			if marks := r.HGet(t.Context(), r.key("meta"), "marks").Val(); len(marks) > 100 {
				t.Errorf("ten checkpoints in a moment left marks of %d bytes: %s", len(marks), marks)
			}
		})
	}
}

// Only one of many claimers can append.
func TestClaimsCompete(t *testing.T) {
	t.Parallel()
	log := runLog(t, shared.URL(), nil, fanout.LogOptions{})
	o := fanouttest.StartOwner(t, log, fanouttest.Conf(t))
	m := newMetrics()
	rival := runLog(t, shared.URL(), nil, fanout.LogOptions{Metrics: m})
	const rivals = 8
	claims := make([]conference.Claim, rivals)
	var wg sync.WaitGroup
	for i := range rivals {
		wg.Go(func() {
			var err error
			if claims[i], _, err = rival.Claim(t.Context(), o.Conf); err != nil {
				t.Errorf("Claim: %v", err)
			}
		})
	}
	wg.Wait()
	won := 0
	for _, c := range claims {
		if _, err := rival.Append(t.Context(), o.Conf, c, o.Pos, []conference.Change{fanouttest.Say("me")}); err == nil {
			won++
		} else if !errors.Is(err, conference.ErrFenced) {
			t.Errorf("Append = %v, want ErrFenced", err)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d claimers could append, want 1", won, rivals)
	}
	if n := metric(t, m, "fanout_fenced_total"); n != rivals-1 {
		t.Errorf("fanout_fenced_total = %v, want %d", n, rivals-1)
	}
	if n := metric(t, m, "fanout_published_total"); n != 1 {
		t.Errorf("fanout_published_total = %v, want 1", n)
	}
}

// never keeps polls out of a test, so that it sees what the subscription does alone.
const never = time.Hour

// A conference that is left and followed again at once has a subscription of its own that stands.
func TestFollowAgainAtOnce(t *testing.T) {
	t.Parallel()
	log := runLog(t, shared.URL(), nil, fanout.LogOptions{PollInterval: never})
	o := fanouttest.StartOwner(t, log, fanouttest.Conf(t))
	for range 50 {
		tail := fanouttest.StartTail(t, log, o.Conf, conference.Position{})
		tail.Stop()
		tail = fanouttest.StartTail(t, log, o.Conf, conference.Position{})
		tail.WaitAt(t, o.Pos)
		o.Append(t, fanouttest.Say("x"))
		tail.WaitAt(t, o.Pos)
		tail.Stop()
	}
}

// A follower's queue is bounded in bytes at a time, not for ever.
func TestQueueEmpties(t *testing.T) {
	t.Parallel()
	m := newMetrics()
	log := runLog(t, shared.URL(), nil, fanout.LogOptions{PollInterval: never, Metrics: m})
	o := fanouttest.StartOwner(t, log, fanouttest.Conf(t))
	tail := fanouttest.StartTail(t, log, o.Conf, conference.Position{})
	tail.WaitAt(t, o.Pos)
	big := strings.Repeat("x", 500_000)
	for range 12 {
		o.Append(t, fanouttest.Say(big))
		tail.WaitAt(t, o.Pos)
	}
	if n := metric(t, m, "fanout_log_refills_total"); n != 0 {
		t.Errorf("%v times the stream was read, though nothing was lost", n)
	}
}
