package fanout_test

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"confgate/internal/conference"
	"confgate/internal/fanout"
	"confgate/internal/fanout/fanouttest"
)

// The server comes back empty: the owner learns that its epoch is gone, and followers get exactly one new snapshot.
func TestRedisRestartsEmpty(t *testing.T) {
	t.Parallel()
	url, server := fanouttest.StartRedis(t)
	m := newMetrics()
	log := runLog(t, url, nil, fanout.LogOptions{Metrics: m, PollInterval: quick})
	o := fanouttest.StartOwner(t, log, "900")
	o.Append(t, fanouttest.Set("p1", "Ann"))
	tail := fanouttest.StartTail(t, log, o.Conf, conference.Position{})
	tail.WaitAt(t, o.Pos)
	server.Stop()
	tail.Wait(t, "stale", func(s fanouttest.Seen) bool { return !s.Fresh })
	if _, err := log.Append(t.Context(), o.Conf, o.Claim, o.Pos, nil); err == nil || errors.Is(err, conference.ErrEpoch) {
		t.Errorf("Append without a server = %v, want an error that isn't final", err)
	}
	if up := metric(t, m, "fanout_up"); up != 0 {
		t.Errorf("fanout_up = %v without a server, want 0", up)
	}
	server.Restart(t)
	for {
		_, err := log.Append(t.Context(), o.Conf, o.Claim, o.Pos, []conference.Change{fanouttest.Set("p2", "Bob")})
		if errors.Is(err, conference.ErrEpoch) {
			break
		}
		if err == nil || errors.Is(err, conference.ErrFenced) || errors.Is(err, conference.ErrPosition) {
			t.Fatalf("Append to an empty server = %v, want ErrEpoch", err)
		}
	}
	claim, pos, err := log.Claim(t.Context(), o.Conf)
	if err != nil || pos.Epoch != "" {
		t.Fatalf("Claim = %v, %v, want no epoch", pos, err)
	}
	o.Claim = claim
	o.Begin(t)
	o.Append(t, fanouttest.Set("p2", "Bob"))
	seen := tail.Wait(t, "fresh at the new head", func(s fanouttest.Seen) bool { return s.Fresh && s.Position == o.Pos })
	if len(seen.Snapshots) != 2 || len(seen.Statuses) != 2 || seen.Statuses[0].Reason != fanout.ReasonLog {
		t.Errorf("follower was given %d snapshots and %v, want 2, and once stale and once fresh",
			len(seen.Snapshots), seen.Statuses)
	}
	// The gauge is the next poll's.
	for end := time.Now().Add(10 * time.Second); metric(t, m, "fanout_up") != 1; {
		if time.Now().After(end) {
			t.Fatal("fanout_up stays 0, want 1")
		}
		o.Append(t, fanouttest.Say("x"))
		tail.WaitAt(t, o.Pos)
	}
}

// raw is a client to do to a conference's keys what servers do to them.
type raw struct {
	*testing.T
	redis.UniversalClient
	conf string
}

func (r raw) key(part string) string { return "confgate:{" + r.conf + "}:" + part }

func (r raw) do(args ...any) any {
	r.Helper()
	v, err := r.Do(r.Context(), args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		r.Fatalf("%v: %v", args[0], err)
	}
	return v
}

// dump is all that lies in Redis of the conference; restore puts it back.
func (r raw) dump() map[string]any {
	r.Helper()
	all := map[string]any{}
	for _, part := range []string{"meta", "log", "ckpt"} {
		all[part] = r.do("DUMP", r.key(part))
	}
	return all
}

func (r raw) restore(all map[string]any) {
	r.Helper()
	for part, bytes := range all {
		if bytes != nil {
			r.do("RESTORE", r.key(part), 0, bytes, "REPLACE")
		} else {
			r.do("DEL", r.key(part))
		}
	}
}

// A replica that has everything takes over: its run id is another, and the owner carries on.
func TestFailOverWithoutLoss(t *testing.T) {
	t.Parallel()
	log := runLog(t, shared.URL(), nil, fanout.LogOptions{})
	o := fanouttest.StartOwner(t, log, fanouttest.Conf(t))
	r := raw{t, connect(t, shared.URL()), o.Conf}
	before := o.Pos
	o.Append(t, fanouttest.Set("p1", "Ann"))
	r.do("HSET", r.key("meta"), "run", "another")
	// The last append's answer was lost with the old server.
	pos, err := log.Append(t.Context(), o.Conf, o.Claim, before, []conference.Change{fanouttest.Set("p1", "Ann")})
	if err != nil || pos != o.Pos {
		t.Errorf("Append again after a fail-over = %v, %v, want %v", pos, err, o.Pos)
	}
	r.do("HSET", r.key("meta"), "run", "another")
	o.Append(t, fanouttest.Set("p2", "Bob"))
	if _, pos, err := log.Claim(t.Context(), o.Conf); err != nil || pos != o.Pos {
		t.Errorf("Claim after the owner carried on = %v, %v, want %v", pos, err, o.Pos)
	}
	r.do("HSET", r.key("meta"), "run", "another")
	claim, pos, err := log.Claim(t.Context(), o.Conf)
	if err != nil || pos.Epoch != "" {
		t.Errorf("Claim on another server = %v, %v, want no epoch", pos, err)
	}
	cp, err := log.Load(t.Context(), o.Conf)
	if err != nil || cp.Position != o.Pos {
		t.Errorf("Load = %v, %v, want what is left: %v", cp.Position, err, o.Pos)
	}
	if _, pos, _ := log.Claim(t.Context(), o.Conf); pos.Epoch != "" {
		t.Errorf("a second Claim = %v, want no epoch either", pos)
	}
	_, err = (&fanouttest.Owner{Log: log, Conf: o.Conf, Claim: claim}).BeginWith(t, cp)
	if !errors.Is(err, conference.ErrFenced) {
		t.Errorf("Begin under the first of two claims = %v, want ErrFenced", err)
	}
}

// A replica that lacks the last appends takes over: the owner learns it, and followers never go back within the epoch.
func TestFailOverWithLoss(t *testing.T) {
	t.Parallel()
	log := runLog(t, shared.URL(), nil, fanout.LogOptions{PollInterval: quick})
	o := fanouttest.StartOwner(t, log, fanouttest.Conf(t))
	r := raw{t, connect(t, shared.URL()), o.Conf}
	o.Append(t, fanouttest.Set("p1", "Ann"))
	old := r.dump()
	o.Append(t, fanouttest.Set("p2", "Bob"))
	o.Append(t, fanouttest.Set("p3", "Eve"))
	tail := fanouttest.StartTail(t, log, o.Conf, conference.Position{})
	tail.WaitAt(t, o.Pos)
	r.restore(old)
	r.do("HSET", r.key("meta"), "run", "another")
	tail.Wait(t, "stale", func(s fanouttest.Seen) bool { return !s.Fresh })
	_, err := log.Append(t.Context(), o.Conf, o.Claim, o.Pos, []conference.Change{fanouttest.Set("p4", "Zed")})
	if !errors.Is(err, conference.ErrEpoch) {
		t.Errorf("Append to a log that lost something = %v, want ErrEpoch", err)
	}
	if o.Claim, _, err = log.Claim(t.Context(), o.Conf); err != nil {
		t.Fatal(err)
	}
	o.Begin(t)
	seen := tail.Wait(t, "fresh at the new epoch", func(s fanouttest.Seen) bool { return s.Fresh && s.Position == o.Pos })
	if len(seen.Snapshots) != 2 {
		t.Errorf("follower was given %d snapshots, want 2", len(seen.Snapshots))
	}
}

// Parts of a conference can be gone, by eviction.
func TestPartsAreGone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, part string
		left       uint64 // what Load finds
	}{
		{"the stream", "log", 1},
		{"the checkpoint", "ckpt", 0},
		{"the claim", "meta", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			log := runLog(t, shared.URL(), nil, fanout.LogOptions{})
			o := fanouttest.StartOwner(t, log, fanouttest.Conf(t))
			o.Append(t, fanouttest.Set("p1", "Ann"))
			o.Checkpoint(t, "")
			o.Append(t, fanouttest.Set("p2", "Bob"))
			r := raw{t, connect(t, shared.URL()), o.Conf}
			r.do("DEL", r.key(tt.part))
			tail := fanouttest.StartTail(t, log, o.Conf, conference.Position{})
			if tt.part != "meta" {
				tail.Wait(t, "stale", func(s fanouttest.Seen) bool { return !s.Fresh })
			}
			cp, err := log.Load(t.Context(), o.Conf)
			if err != nil || cp.Seq != tt.left {
				t.Errorf("Load = %v, %v, want seq %d", cp.Position, err, tt.left)
			}
			if tt.part == "log" {
				// The owner doesn't notice, but its next checkpoint mends it for followers.
				o.Append(t, fanouttest.Set("p3", "Eve"))
				if cp, err = log.Load(t.Context(), o.Conf); err != nil || cp.Seq != 1 {
					t.Errorf("Load over a hole = %v, %v, want seq 1", cp.Position, err)
				}
				cp.Position = o.Pos
				cp.Prev[conference.Participants] = o.Pos.Seq
				if err := o.Store(t, cp); err != nil {
					t.Errorf("Checkpoint = %v", err)
				}
				tail.Wait(t, "fresh", func(s fanouttest.Seen) bool { return s.Fresh && s.Position == o.Pos })
				r.do("DEL", r.key("log"))
				o.Append(t, fanouttest.Set("p3", "Eve"))
				r.do("DEL", r.key("log"))
			}
			claim, pos, err := log.Claim(t.Context(), o.Conf)
			if err != nil || pos.Epoch != "" {
				t.Errorf("Claim = %v, %v, want no epoch", pos, err)
			}
			o.Claim = claim
			o.Begin(t)
			tail.Wait(t, "fresh at the new epoch", func(s fanouttest.Seen) bool { return s.Fresh && s.Position == o.Pos })
		})
	}
}
