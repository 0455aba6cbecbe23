package fanout_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"confgate/internal/conference"
	"confgate/internal/fanout"
	"confgate/internal/fanout/fanouttest"
)

func TestFeedDelivers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := fanout.NewMemoryLog(fanout.LogOptions{})
		o := testOwner(t, log, conf)
		feeds, stop := runFeeds(fanout.FeedOptions{Log: log})
		defer stop()
		c := join(t, feeds, fanout.Request{Conference: conf})
		defer c.Close()
		if c.Recovered() {
			t.Error("Recovered() = true without a resume")
		}
		c.want(t, "snapshot 0 subscribe")
		some := join(t, feeds, fanout.Request{Conference: conf, Topics: conference.TopicSet(conference.Subtitles)})
		defer some.Close()
		some.want(t, "snapshot 0 subscribe")

		time.Sleep(time.Second)
		before := time.Now()
		o.Append(t, fanouttest.Set("p1", "Ann"))
		o.Append(t, fanouttest.Say("a"), fanouttest.Set("p2", "Bob"), fanouttest.Say("b"))
		o.Append(t, fanouttest.Say("c"))
		synctest.Wait()
		frames := c.want(t, "delta 1<0", "[event 2<0 delta 3<1 event 4<2]", "event 5<4")
		for _, f := range frames {
			if !f.Received.Equal(before) {
				t.Errorf("Received = %v, want %v", f.Received, before)
			}
		}
		some.want(t, "[event 2<0 event 4<2]", "event 5<4")
		if len(c.wakes) != 1 || len(some.wakes) != 1 {
			t.Errorf("woken %d and %d times, want once each", len(c.wakes), len(some.wakes))
		}
	})
}

func TestFeedSharesBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := fanout.NewMemoryLog(fanout.LogOptions{})
		o := testOwner(t, log, conf)
		feeds, stop := runFeeds(fanout.FeedOptions{Log: log})
		defer stop()
		a, b := join(t, feeds, fanout.Request{Conference: conf}), join(t, feeds, fanout.Request{Conference: conf})
		pii := join(t, feeds, fanout.Request{Conference: conf, Profile: conference.PII})
		defer a.Close()
		defer b.Close()
		defer pii.Close()
		call := conference.Change{Topic: conference.Participants, Body: []byte(`{"p1":{"phone":"+4911"}}`)}
		o.Append(t, call, fanouttest.Say("x"))
		synctest.Wait()
		fa, fb, fp := a.drain(t), b.drain(t), pii.drain(t)
		for i := range fa {
			if &fa[i].Bytes[0] != &fb[i].Bytes[0] {
				t.Errorf("frame %d isn't the same bytes for two readers with one view", i)
			}
		}
		if got := string(fa[1].Bytes); strings.Contains(got, "+4911") {
			t.Errorf("a reader without pii was given %s", got)
		}
		if got := string(fp[1].Bytes); !strings.Contains(got, "+4911") {
			t.Errorf("a reader with pii was given %s", got)
		}
	})
}

func TestFeedResume(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := fanout.NewMemoryLog(fanout.LogOptions{})
		o := testOwner(t, log, conf)
		o.Append(t, fanouttest.Set("p1", "Ann"))
		o.Append(t, fanouttest.Say("a"), fanouttest.Set("p2", "Bob"), fanouttest.Say("b"))
		feeds, stop := runFeeds(fanout.FeedOptions{Log: log})
		defer stop()
		synctest.Wait()
		for _, phase := range []string{"from the log's history", "from the feed's list"} {
			if phase == "from the feed's list" {
				o.Append(t, fanouttest.Set("p3", "Eve"))
				synctest.Wait()
			}
			all := [][]string{
				{"delta 1<0", "[event 2<0 delta 3<1 event 4<2]", "delta 5<3"},
				{"[event 2<0 delta 3<1 event 4<2]", "delta 5<3"},
				{"[delta 3<1 event 4<2]", "delta 5<3"},
				{"event 4<2", "delta 5<3"},
				{"delta 5<3"},
				nil,
			}
			for seq, want := range all[:o.Pos.Seq+1] {
				pos := conference.Position{Epoch: o.Pos.Epoch, Seq: uint64(seq)}
				c := join(t, feeds, fanout.Request{Conference: conf, Resume: &pos})
				if !c.Recovered() {
					t.Errorf("%s: resume from %d isn't recovered", phase, seq)
				}
				if o.Pos.Seq < 5 && len(want) > 0 {
					want = want[:len(want)-1]
				}
				if len(want) == 0 {
					want = nil
				}
				for _, f := range c.want(t, want...) {
					if !f.Received.IsZero() {
						t.Errorf("%s: a frame from before the reader came says when it was received", phase)
					}
				}
				c.Close()
			}
			c := join(t, feeds, fanout.Request{
				Conference: conf, Resume: &conference.Position{Epoch: "cnever", Seq: 1},
			})
			if c.Recovered() {
				t.Errorf("%s: resume from another epoch is recovered", phase)
			}
			c.want(t, fmt.Sprintf("snapshot %d resume", o.Pos.Seq))
			c.Close()
		}
	})
}

func TestFeedResumeAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := fanout.NewMemoryLog(fanout.LogOptions{})
		o := testOwner(t, log, conf)
		feeds, stop := runFeeds(fanout.FeedOptions{Log: log})
		defer stop()
		ahead := conference.Position{Epoch: o.Pos.Epoch, Seq: 2}
		_, err := tryJoin(t.Context(), feeds, fanout.Request{Conference: conf, NotBefore: &ahead})
		if !errors.Is(err, fanout.ErrUnavailable) {
			t.Errorf("a snapshot from ahead = %v, want ErrUnavailable", err)
		}
		begin := time.Now()
		_, err = tryJoin(t.Context(), feeds, fanout.Request{Conference: conf, Resume: &ahead})
		if !errors.Is(err, fanout.ErrUnavailable) {
			t.Errorf("resume from ahead = %v, want ErrUnavailable", err)
		}
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("it gave up after %v, want 2s", took)
		}
		got := joining(t, feeds, fanout.Request{Conference: conf, Resume: &ahead})
		time.Sleep(time.Second)
		o.Append(t, fanouttest.Set("p1", "Ann"))
		synctest.Wait()
		select {
		case <-got:
			t.Error("resume was answered before the feed had caught up")
		default:
		}
		o.Append(t, fanouttest.Set("p2", "Bob"), fanouttest.Set("p3", "Eve"))
		c := <-got
		defer c.Close()
		if !c.Recovered() {
			t.Error("resume from ahead isn't recovered")
		}
		c.want(t, "delta 3<2")
	})
}

func TestFeedUnavailable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := fanout.NewMemoryLog(fanout.LogOptions{})
		feeds, stop := runFeeds(fanout.FeedOptions{
			Log: log, MaxFeeds: 1, Known: func(c string) bool { return c != "unknown" },
		})
		if _, err := tryJoin(t.Context(), feeds, fanout.Request{Conference: "unknown"}); !errors.Is(err, fanout.ErrNotFound) {
			t.Errorf("Subscribe to an unknown conference = %v, want ErrNotFound", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if _, err := tryJoin(ctx, feeds, fanout.Request{Conference: conf}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Subscribe with the caller's own limit = %v, want its error", err)
		}
		cancel()
		if _, err := tryJoin(t.Context(), feeds, fanout.Request{Conference: conf}); !errors.Is(err, fanout.ErrUnavailable) {
			t.Errorf("Subscribe to what has no document = %v, want ErrUnavailable", err)
		}
		// It comes up while somebody waits.
		got := joining(t, feeds, fanout.Request{Conference: conf})
		synctest.Wait()
		testOwner(t, log, conf)
		c := <-got
		c.want(t, "snapshot 0 subscribe")

		testOwner(t, log, "other")
		if _, err := tryJoin(t.Context(), feeds, fanout.Request{Conference: "other"}); !errors.Is(err, fanout.ErrUnavailable) {
			t.Errorf("Subscribe with no room = %v, want ErrUnavailable", err)
		}
		c.Close()
		c.Close() // is nothing
		if _, ok := c.Next(); ok {
			t.Error("Next after Close gave a frame")
		}
		synctest.Wait()
		other := join(t, feeds, fanout.Request{Conference: "other"}) // the idle feed makes room
		other.Close()
		stop()
		if _, err := tryJoin(t.Context(), feeds, fanout.Request{Conference: conf}); !errors.Is(err, fanout.ErrUnavailable) {
			t.Errorf("Subscribe after the end = %v, want ErrUnavailable", err)
		}
	})
}

func TestFeedLingers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		feeds, stop := runFeeds(fanout.FeedOptions{Log: s, Linger: 10 * time.Second})
		defer stop()
		visit := func() {
			got := joining(t, feeds, fanout.Request{Conference: conf})
			synctest.Wait()
			select {
			case s.deliveries <- snapshotAt("c1", 1):
			default: // it has one
			}
			(<-got).Close()
		}
		visit()
		time.Sleep(9 * time.Second)
		visit()
		time.Sleep(9 * time.Second)
		visit()
		if n := len(s.follows); n != 1 {
			t.Errorf("the log was followed %d times by a feed that was used, want 1", n)
		}
		time.Sleep(11 * time.Second)
		visit()
		if n := len(s.follows); n != 2 {
			t.Errorf("the log was followed %d times, want anew after the linger", n)
		}
	})
}
