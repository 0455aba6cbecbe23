package fanout_test

import (
	"fmt"
	"testing"

	"confgate/internal/conference"
	"confgate/internal/fanout"
	"confgate/internal/fanout/fanouttest"
)

// until reads frames into a replica until it is as wanted.
func (c *client) until(t *testing.T, r *replica, ok func(message) bool) {
	t.Helper()
	for {
		f, more := c.Next()
		if !more {
			select {
			case <-c.wakes:
				continue
			case <-t.Context().Done():
				t.Fatal(t.Context().Err())
			}
		}
		m, err := r.frame(f)
		if err != nil {
			t.Fatal(err)
		}
		if ok(m) {
			return
		}
	}
}

// A client moves from one worker to another that didn't follow its conference before: it is given just what it missed, the
// events too, though the log has a checkpoint in between.
func TestResumeOnAnotherWorker(t *testing.T) {
	t.Parallel()
	logs := []*fanout.RedisLog{
		runLog(t, shared.URL(), nil, fanout.LogOptions{}), runLog(t, shared.URL(), nil, fanout.LogOptions{}),
	}
	o := fanouttest.StartOwner(t, logs[0], fanouttest.Conf(t))
	first, stopFirst := runFeeds(fanout.FeedOptions{Log: logs[0]})
	defer stopFirst()
	all := fanout.Request{Conference: o.Conf, Profile: conference.PII | conference.Secrets}
	c := join(t, first, all)
	r := &replica{doc: conference.NewDoc()}
	o.Append(t, fanouttest.Set("p1", "Ann"), fanouttest.Say("seen"))
	c.until(t, r, func(message) bool { return r.pos == o.Pos })
	c.Close()
	for i := range 5 {
		o.Append(t, fanouttest.Set("p2", fmt.Sprint(i)), fanouttest.Say("missed"))
	}
	o.Checkpoint(t, "")
	o.Append(t, fanouttest.Set("p3", "Eve"))

	second, stopSecond := runFeeds(fanout.FeedOptions{Log: logs[1]})
	defer stopSecond()
	snapshots := r.snapshots
	pos := r.pos
	all.Resume = &pos
	c = join(t, second, all)
	defer c.Close()
	if !c.Recovered() {
		t.Error("Recovered() = false on a worker that was cold, want true")
	}
	c.until(t, r, func(message) bool { return r.pos == o.Pos })
	cp, err := logs[0].Load(t.Context(), o.Conf)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fanouttest.JSON(r.doc), fanouttest.JSON(cp.Doc); got != want || r.snapshots != snapshots || len(r.events) != 6 {
		t.Errorf("client has %s, %d more snapshots, events %v; want %s, none, 6", got, r.snapshots-snapshots, r.events, want)
	}
}

// Clients are told when the log is away, and when it is back; what was shown stays.
func TestStatusReachesClients(t *testing.T) {
	t.Parallel()
	url, server := fanouttest.StartRedis(t)
	log := runLog(t, url, nil, fanout.LogOptions{PollInterval: quick})
	o := fanouttest.StartOwner(t, log, "900")
	feeds, stop := runFeeds(fanout.FeedOptions{Log: log})
	defer stop()
	c := join(t, feeds, fanout.Request{Conference: o.Conf})
	defer c.Close()
	r := &replica{doc: conference.NewDoc()}
	server.Stall(t)
	c.until(t, r, func(m message) bool { return m.Type == "status" && !m.Fresh && m.Reason == fanout.ReasonLog })
	late := join(t, feeds, fanout.Request{Conference: o.Conf})
	defer late.Close()
	late.want(t, "status false", "snapshot 0 subscribe")
	server.Resume(t)
	c.until(t, r, func(m message) bool { return m.Type == "status" && m.Fresh })
	persist(t, o, fanouttest.Set("p1", "Ann"))
	c.until(t, r, func(message) bool { return r.pos == o.Pos })
	if r.snapshots != 1 {
		t.Errorf("client was given %d snapshots, want 1", r.snapshots)
	}
}
