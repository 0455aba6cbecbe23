package fanout_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"confgate/internal/conference"
	"confgate/internal/fanout"
	"confgate/internal/fanout/fanouttest"
)

// jsonEncoder writes messages that tests can read back.
type jsonEncoder struct{}

type message struct {
	Type   string            `json:"type"`
	Conf   string            `json:"conf"`
	Topic  string            `json:"topic,omitempty"`
	Epoch  string            `json:"epoch,omitempty"`
	Seq    uint64            `json:"seq,omitempty"`
	Prev   uint64            `json:"prev,omitempty"`
	Body   json.RawMessage   `json:"body,omitempty"`
	Events []json.RawMessage `json:"events,omitempty"`
	Fresh  bool              `json:"fresh,omitempty"`
	Reason string            `json:"reason,omitempty"`
}

func encode(dst []byte, m message) []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return append(dst, b...)
}

func (jsonEncoder) Delta(dst []byte, conf string, c conference.Stamped, body []byte) []byte {
	typ := "delta"
	if c.Topic.Event() {
		typ = "event"
	}
	return encode(dst, message{Type: typ, Conf: conf, Topic: c.Topic.String(), Seq: c.Seq, Prev: c.Prev, Body: body})
}

func (jsonEncoder) Snapshot(dst []byte, conf string, pos conference.Position, state []byte, events [][]byte) []byte {
	m := message{Type: "snapshot", Conf: conf, Epoch: pos.Epoch, Seq: pos.Seq, Body: state}
	for _, e := range events {
		m.Events = append(m.Events, e)
	}
	return encode(dst, m)
}

func (jsonEncoder) Status(dst []byte, conf string, fresh bool, reason string, _ int64) []byte {
	return encode(dst, message{Type: "status", Conf: conf, Fresh: fresh, Reason: reason})
}

// script is a log whose deliveries the test decides on.
type script struct {
	deliveries chan fanout.Delivery
	follows    chan string // one for each Follow
}

func newScript() *script {
	return &script{deliveries: make(chan fanout.Delivery), follows: make(chan string, 100)}
}

func (s *script) Follow(ctx context.Context, conf string, _ conference.Position, deliver func(fanout.Delivery)) error {
	s.follows <- conf
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case d := <-s.deliveries:
			d.Received = time.Now()
			deliver(d)
		}
	}
}

// runFeeds runs feeds until stop is called.
func runFeeds(opts fanout.FeedOptions) (feeds *fanout.Feeds, stop func()) {
	opts.Encoder = jsonEncoder{}
	feeds = fanout.NewFeeds(opts)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = feeds.Run(ctx)
	}()
	return feeds, func() {
		cancel()
		<-done
	}
}

// client reads a feed as the edge does: by Next, and after Wake again.
type client struct {
	*fanout.Reader
	wakes chan struct{}
}

func join(t *testing.T, feeds *fanout.Feeds, req fanout.Request) *client {
	t.Helper()
	c, err := tryJoin(t.Context(), feeds, req)
	if err != nil {
		t.Fatalf("Subscribe: %v", err)
	}
	return c
}

func tryJoin(ctx context.Context, feeds *fanout.Feeds, req fanout.Request) (*client, error) {
	c := &client{wakes: make(chan struct{}, 100)}
	if req.Topics == 0 {
		req.Topics = conference.AllTopics
	}
	req.Wake = func() { c.wakes <- struct{}{} }
	r, err := feeds.Subscribe(ctx, req)
	c.Reader = r
	return c, err
}

// drain reads what there is now.
func (c *client) drain(t *testing.T) (frames []fanout.Frame) {
	t.Helper()
	for {
		f, ok := c.Next()
		if !ok {
			return frames
		}
		frames = append(frames, f)
	}
}

// show writes frames so that a test can say what it wants: "snapshot 3 subscribe", "delta 4<2", "[event 5<0 delta 6<4]".
func show(t *testing.T, frames []fanout.Frame) []string {
	t.Helper()
	var out []string
	for _, f := range frames {
		var messages []message
		array := f.Bytes[0] == '['
		if !array {
			messages = make([]message, 1)
			if err := json.Unmarshal(f.Bytes, &messages[0]); err != nil {
				t.Fatalf("frame %s: %v", f.Bytes, err)
			}
		} else if err := json.Unmarshal(f.Bytes, &messages); err != nil {
			t.Fatalf("frame %s: %v", f.Bytes, err)
		}
		var words []string
		counts := map[string]int{}
		for _, m := range messages {
			counts[m.Type]++
			switch m.Type {
			case "snapshot":
				word := fmt.Sprintf("snapshot %d %s", m.Seq, f.Snapshot)
				for _, e := range m.Events {
					var event message
					if err := json.Unmarshal(e, &event); err != nil {
						t.Fatal(err)
					}
					word += fmt.Sprintf(" +%d", event.Seq)
				}
				words = append(words, word)
			case "status":
				words = append(words, fmt.Sprintf("status %v", m.Fresh))
			default:
				words = append(words, fmt.Sprintf("%s %d<%d", m.Type, m.Seq, m.Prev))
			}
		}
		for _, n := range f.Messages {
			counts[n.Type] -= n.N
		}
		for typ, n := range counts {
			if n != 0 {
				t.Errorf("frame %s: counts %v are off by %d for %s", f.Bytes, f.Messages, n, typ)
			}
		}
		text := strings.Join(words, " ")
		if array {
			text = "[" + text + "]"
		}
		out = append(out, text)
	}
	return out
}

func (c *client) want(t *testing.T, want ...string) []fanout.Frame {
	t.Helper()
	frames := c.drain(t)
	if diff := cmp.Diff(want, show(t, frames)); diff != "" {
		t.Errorf("frames (-want +got):\n%s", diff)
	}
	return frames
}

func testOwner(t *testing.T, log fanout.Log, conf string) *fanouttest.Owner {
	t.Helper()
	return fanouttest.StartOwner(t, log, conf)
}

const conf = "900487914"

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
		o.Append(t, conference.Change{Topic: conference.Participants, Body: []byte(`{"p1":{"phone":"+4911"}}`)}, fanouttest.Say("x"))
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
		begin := time.Now()
		if _, err := tryJoin(t.Context(), feeds, fanout.Request{Conference: conf, Resume: &ahead}); !errors.Is(err, fanout.ErrUnavailable) {
			t.Errorf("resume from ahead = %v, want ErrUnavailable", err)
		}
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("it gave up after %v, want 2s", took)
		}
		got := make(chan *client)
		go func() {
			c, err := tryJoin(t.Context(), feeds, fanout.Request{Conference: conf, Resume: &ahead})
			if err != nil {
				t.Errorf("resume from ahead: %v", err)
			}
			got <- c
		}()
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
		got := make(chan *client)
		go func() {
			c, err := tryJoin(t.Context(), feeds, fanout.Request{Conference: conf})
			if err != nil {
				t.Errorf("Subscribe: %v", err)
			}
			got <- c
		}()
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
			got := make(chan *client)
			go func() {
				c, err := tryJoin(t.Context(), feeds, fanout.Request{Conference: conf})
				if err != nil {
					t.Errorf("Subscribe: %v", err)
				}
				got <- c
			}()
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

func snapshotAt(epoch string, seq uint64) fanout.Delivery {
	return fanout.Delivery{Snapshot: &fanout.Snapshot{Checkpoint: conference.Checkpoint{
		Position: conference.Position{Epoch: epoch, Seq: seq}, Doc: conference.NewDoc(),
	}}}
}

func entryAt(seq uint64, changes ...conference.Change) fanout.Delivery {
	var d fanout.Delivery
	for i, c := range changes {
		d.Entry = append(d.Entry, conference.Stamped{Change: c, Seq: seq + uint64(i), Prev: seq + uint64(i) - 1})
	}
	return d
}

// scripted starts feeds over a script, with its first delivery made.
func scripted(t *testing.T, opts fanout.FeedOptions, first fanout.Delivery) (*script, *fanout.Feeds, func()) {
	t.Helper()
	s := newScript()
	opts.Log = s
	feeds, stop := runFeeds(opts)
	// A feed starts with its first reader.
	go func() { s.deliveries <- first }()
	join(t, feeds, fanout.Request{Conference: conf}).Close()
	return s, feeds, stop
}

func TestFeedLag(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, feeds, stop := scripted(t, fanout.FeedOptions{ResumeWindow: 10 * time.Second}, snapshotAt("c1", 1))
		defer stop()
		slow := join(t, feeds, fanout.Request{Conference: conf})
		other := join(t, feeds, fanout.Request{Conference: conf})
		defer slow.Close()
		defer other.Close()
		slow.want(t, "snapshot 1 subscribe")
		other.want(t, "snapshot 1 subscribe")
		s.deliveries <- entryAt(2, fanouttest.Say("lost"))
		time.Sleep(6 * time.Second)
		s.deliveries <- entryAt(3, fanouttest.Say("kept"))
		s.deliveries <- entryAt(4, fanouttest.Set("p1", "Ann"))
		time.Sleep(6 * time.Second)
		s.deliveries <- entryAt(5, fanouttest.Say("kept"))
		synctest.Wait()
		if f, ok := slow.Next(); ok {
			t.Errorf("a reader that fell off was given %s at once, want that it asks first", f.Bytes)
		}
		synctest.Wait()
		if len(slow.wakes) != 2 {
			t.Errorf("woken %d times, want for the first entry and for the answer", len(slow.wakes))
		}
		a := slow.want(t, "snapshot 5 lag +3 +5")
		other.want(t) // asks
		synctest.Wait()
		b := other.want(t, "snapshot 5 lag +3 +5")
		if &a[0].Bytes[0] != &b[0].Bytes[0] {
			t.Error("two lagging readers have two encodings of one snapshot")
		}
		late := conference.Position{Epoch: "c1", Seq: 1}
		c := join(t, feeds, fanout.Request{Conference: conf, Resume: &late})
		defer c.Close()
		if c.Recovered() {
			t.Error("resume from what isn't kept is recovered")
		}
		c.want(t, "snapshot 5 resume")
		s.deliveries <- entryAt(6, fanouttest.Say("on"))
		synctest.Wait()
		slow.want(t, "event 6<5")
		other.want(t, "event 6<5")
		c.want(t, "event 6<5")
	})
}

func TestFeedListIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, feeds, stop := scripted(t, fanout.FeedOptions{WindowBytes: 10_000}, snapshotAt("c1", 0))
		defer stop()
		slow := join(t, feeds, fanout.Request{Conference: conf})
		defer slow.Close()
		slow.want(t, "snapshot 0 subscribe")
		for seq := range uint64(20) {
			s.deliveries <- entryAt(seq+1, fanouttest.Say(strings.Repeat("x", 1000)))
		}
		synctest.Wait()
		slow.want(t)
		synctest.Wait()
		// An entry counts with its message: twice a kilobyte, and something.
		slow.want(t, "snapshot 20 lag +17 +18 +19 +20")
		// One that is beyond the bound by itself.
		s.deliveries <- entryAt(21, fanouttest.Set("p1", strings.Repeat("y", 20_000)))
		synctest.Wait()
		slow.want(t)
		synctest.Wait()
		slow.want(t, "snapshot 21 lag")
	})
}

func TestFeedEpochAndGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, feeds, stop := scripted(t, fanout.FeedOptions{}, snapshotAt("c1", 5))
		defer stop()
		c := join(t, feeds, fanout.Request{Conference: conf})
		defer c.Close()
		behind := join(t, feeds, fanout.Request{Conference: conf})
		defer behind.Close()
		c.want(t, "snapshot 5 subscribe")
		behind.want(t, "snapshot 5 subscribe")
		s.deliveries <- entryAt(6, fanouttest.Say("a"))
		synctest.Wait()
		c.want(t, "event 6<5")
		again := snapshotAt("c2", 2)
		again.Snapshot.History = [][]conference.Stamped{
			entryAt(1, fanouttest.Say("b")).Entry, entryAt(2, fanouttest.Set("p1", "Ann")).Entry,
		}
		s.deliveries <- again
		synctest.Wait()
		c.want(t)
		// It walks what was there, then learns that it doesn't go on.
		behind.want(t, "event 6<5")
		synctest.Wait()
		c.want(t, "snapshot 2 epoch +1")
		behind.want(t, "snapshot 2 epoch +1")
		for seq, want := range [][]string{{"event 1<0", "delta 2<1"}, {"delta 2<1"}, nil} {
			r := join(t, feeds, fanout.Request{
				Conference: conf, Resume: &conference.Position{Epoch: "c2", Seq: uint64(seq)},
			})
			if !r.Recovered() {
				t.Errorf("resume from %d of the new epoch isn't recovered", seq)
			}
			r.want(t, want...)
			r.Close()
		}
		r := join(t, feeds, fanout.Request{Conference: conf, Resume: &conference.Position{Epoch: "c1", Seq: 5}})
		r.want(t, "snapshot 2 resume")
		r.Close()

		s.deliveries <- snapshotAt("c2", 9)
		synctest.Wait()
		c.want(t)
		synctest.Wait()
		c.want(t, "snapshot 9 lag")
		s.deliveries <- entryAt(10, fanouttest.Say("c"))
		synctest.Wait()
		c.want(t, "event 10<9")
		r = join(t, feeds, fanout.Request{Conference: conf, Resume: &conference.Position{Epoch: "c2", Seq: 2}})
		r.want(t, "snapshot 10 resume")
		r.Close()
	})
}

func TestFeedStatus(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, feeds, stop := scripted(t, fanout.FeedOptions{ResumeWindow: 10 * time.Second}, snapshotAt("c1", 5))
		defer stop()
		c := join(t, feeds, fanout.Request{Conference: conf})
		defer c.Close()
		c.want(t, "snapshot 5 subscribe")
		stale := fanout.Delivery{Status: &fanout.Status{Reason: fanout.ReasonLog, Since: 7}}
		fresh := fanout.Delivery{Status: &fanout.Status{Fresh: true, Since: 8}}
		s.deliveries <- stale
		synctest.Wait()
		c.want(t, "status false")
		late := join(t, feeds, fanout.Request{Conference: conf})
		defer late.Close()
		late.want(t, "status false", "snapshot 5 subscribe")
		s.deliveries <- fresh
		s.deliveries <- entryAt(6, fanouttest.Say("x"))
		synctest.Wait()
		c.want(t, "status true", "event 6<5")
		late.want(t, "status true", "event 6<5")
		// One that comes now isn't told of what is over, also not by the list that it walks.
		r := join(t, feeds, fanout.Request{Conference: conf, Resume: &conference.Position{Epoch: "c1", Seq: 5}})
		defer r.Close()
		r.want(t, "event 6<5")

		// A reader that fell off the list has missed the status, too.
		s.deliveries <- stale
		synctest.Wait()
		time.Sleep(11 * time.Second)
		s.deliveries <- entryAt(7, fanouttest.Say("y"))
		s.deliveries <- entryAt(8, fanouttest.Say("z"))
		time.Sleep(11 * time.Second)
		s.deliveries <- entryAt(9, fanouttest.Say("z"))
		synctest.Wait()
		c.want(t)
		synctest.Wait()
		c.want(t, "status false", "snapshot 9 lag +9")
	})
}

func TestFeedLoadsAnewWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		bad  fanout.Delivery
	}{
		{"a jump", entryAt(9, fanouttest.Say("x"))},
		{"no JSON", entryAt(6, fanouttest.Set("p1", "Ann"), conference.Change{Topic: conference.Info, Body: []byte("{")})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, feeds, stop := scripted(t, fanout.FeedOptions{}, snapshotAt("c1", 5))
				defer stop()
				c := join(t, feeds, fanout.Request{Conference: conf})
				defer c.Close()
				c.want(t, "snapshot 5 subscribe")
				s.deliveries <- tt.bad
				time.Sleep(2 * time.Second)
				if n := len(s.follows); n != 2 {
					t.Errorf("the log was followed %d times, want a second time", n)
				}
				c.want(t)
				s.deliveries <- snapshotAt("c1", 9)
				synctest.Wait()
				c.want(t)
				synctest.Wait()
				c.want(t, "snapshot 9 lag")
			})
		})
	}
}

func TestFeedWithholds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, feeds, stop := scripted(t, fanout.FeedOptions{}, snapshotAt("c1", 5))
		defer stop()
		c := join(t, feeds, fanout.Request{Conference: conf, Profile: conference.Secrets})
		defer c.Close()
		c.want(t, "snapshot 5 subscribe")
		withheld := conference.Change{Topic: conference.Vendor}
		s.deliveries <- entryAt(6, withheld)
		s.deliveries <- entryAt(7, withheld, fanouttest.Say("x"), withheld)
		s.deliveries <- entryAt(10, fanouttest.Say("y"))
		synctest.Wait()
		c.want(t, "event 8<7", "event 10<9")
		r := join(t, feeds, fanout.Request{
			Conference: conf, Profile: conference.Secrets, Resume: &conference.Position{Epoch: "c1", Seq: 8},
		})
		defer r.Close()
		r.want(t, "event 10<9")
	})
}

// A storm of joiners shares an encoding, also while the conference goes on.
func TestFeedSharesSnapshots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := fanout.NewMemoryLog(fanout.LogOptions{})
		o := testOwner(t, log, conf)
		for i := range 100 {
			o.Append(t, fanouttest.Set(fmt.Sprintf("p%d", i), "somebody with a name"))
		}
		feeds, stop := runFeeds(fanout.FeedOptions{Log: log})
		defer stop()
		encodings := map[*byte]bool{}
		for i := range 200 {
			c := join(t, feeds, fanout.Request{Conference: conf})
			frames := c.drain(t)
			encodings[&frames[0].Bytes[0]] = true
			checkReplica(t, frames, log)
			c.Close()
			if i%20 == 0 {
				o.Append(t, fanouttest.Set("p1", fmt.Sprint(i)))
				synctest.Wait()
			}
		}
		if n := len(encodings); n > 5 {
			t.Errorf("200 joiners had %d encodings of the state", n)
		}
	})
}

// checkReplica checks that frames lead to what the log has.
func checkReplica(t *testing.T, frames []fanout.Frame, log fanout.Log) {
	t.Helper()
	r := replica{doc: conference.NewDoc()}
	for _, f := range frames {
		if err := r.frame(f); err != nil {
			t.Fatal(err)
		}
	}
	cp, err := log.Load(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fanouttest.JSON(r.doc), fanouttest.JSON(cp.Doc); got != want || r.pos != cp.Position {
		t.Errorf("client is at %v with %s, want %v with %s", r.pos, got, cp.Position, want)
	}
}

// replica is what a client with all scopes makes of its frames, by the rules of the protocol.
type replica struct {
	pos       conference.Position
	topics    [conference.NumTopics]uint64
	doc       *conference.Doc
	snapshots int
	events    []uint64
}

func (r *replica) frame(f fanout.Frame) error {
	messages := make([]message, 1)
	var err error
	if f.Bytes[0] == '[' {
		err = json.Unmarshal(f.Bytes, &messages)
	} else {
		err = json.Unmarshal(f.Bytes, &messages[0])
	}
	if err != nil {
		return err
	}
	for _, m := range messages {
		if err := r.message(m); err != nil {
			return fmt.Errorf("at %v: %w", r.pos, err)
		}
	}
	return nil
}

func (r *replica) message(m message) (err error) {
	switch m.Type {
	case "status":
		return nil
	case "snapshot":
		if m.Epoch == r.pos.Epoch && m.Seq < r.pos.Seq {
			return fmt.Errorf("snapshot at %d is older", m.Seq)
		}
		r.snapshots++
		r.pos = conference.Position{Epoch: m.Epoch, Seq: m.Seq}
		for i := range r.topics {
			r.topics[i] = m.Seq
		}
		for _, e := range m.Events {
			var event message
			if err := json.Unmarshal(e, &event); err != nil {
				return err
			}
			r.events = append(r.events, event.Seq)
		}
		r.doc, err = conference.ParseDoc(m.Body)
		return err
	}
	topic, ok := conference.ParseTopic(m.Topic)
	at := &r.topics[topic]
	switch {
	case !ok:
		return fmt.Errorf("unknown topic %q", m.Topic)
	case m.Seq <= *at:
		return fmt.Errorf("%s %d again", m.Topic, m.Seq)
	case m.Prev > *at:
		return fmt.Errorf("%s %d continues %d, but is at %d", m.Topic, m.Seq, m.Prev, *at)
	}
	*at, r.pos.Seq = m.Seq, m.Seq
	if topic.Event() {
		r.events = append(r.events, m.Seq)
	}
	return r.doc.Patch(conference.Change{Topic: topic, Body: m.Body})
}

// Readers of all speeds, with real goroutines: each ends equal to the log, and sees no repeat and no hole.
func TestFeedRace(t *testing.T) {
	t.Parallel()
	log := fanout.NewMemoryLog(fanout.LogOptions{})
	o := testOwner(t, log, conf)
	feeds, stop := runFeeds(fanout.FeedOptions{Log: log, WindowBytes: 30_000})
	defer stop()
	const appends = 2000
	end := conference.Position{Epoch: o.Pos.Epoch, Seq: appends}
	var wg sync.WaitGroup
	results := make(chan *replica, 16)
	for i := range cap(results) {
		c := join(t, feeds, fanout.Request{Conference: conf, Profile: conference.PII | conference.Secrets})
		wg.Go(func() {
			r := &replica{doc: conference.NewDoc()}
			defer func() { results <- r }()
			for r.pos != end {
				f, ok := c.Next()
				if !ok {
					<-c.wakes
					continue
				}
				if err := r.frame(f); err != nil {
					t.Errorf("reader %d: %v", i, err)
					break
				}
				if i%4 == 3 && r.pos.Seq%100 == 0 { // some leave and come back, by turns with their position
					c.Close()
					pos := r.pos
					var err error
					if c, err = tryJoin(t.Context(), feeds, fanout.Request{
						Conference: conf, Profile: conference.PII | conference.Secrets, Resume: &pos,
					}); err != nil {
						t.Errorf("reader %d: %v", i, err)
						break
					}
				}
			}
			c.Close()
		})
	}
	for i := range appends {
		o.Append(t, fanouttest.Set(fmt.Sprintf("p%d", i%30), fmt.Sprint(i)))
	}
	wg.Wait()
	cp, err := log.Load(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	for range cap(results) {
		if r := <-results; fanouttest.JSON(r.doc) != fanouttest.JSON(cp.Doc) {
			t.Errorf("a reader has %s, want %s", fanouttest.JSON(r.doc), fanouttest.JSON(cp.Doc))
		}
	}
}
