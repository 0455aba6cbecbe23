package fanout_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
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

func (jsonEncoder) Header(dst []byte, n int) []byte { return fmt.Append(dst, n, ":") }

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

func (s *script) Follow(conf string, _ conference.Position, kick chan<- struct{}) fanout.Tail {
	s.follows <- conf
	return newPushed(s.deliveries, kick)
}

// pushed is a tail that is given what comes over a channel.
type pushed struct {
	closed, done chan struct{}
	came         chan fanout.Delivery
}

func newPushed(deliveries <-chan fanout.Delivery, kick chan<- struct{}) *pushed {
	p := &pushed{closed: make(chan struct{}), done: make(chan struct{}), came: make(chan fanout.Delivery, 1)}
	go func() {
		defer close(p.done)
		for {
			select {
			case d := <-deliveries:
				d.Received = time.Now()
				select {
				case p.came <- d:
				case <-p.closed:
					return
				}
				select {
				case kick <- struct{}{}:
				default:
				}
			case <-p.closed:
				return
			}
		}
	}()
	return p
}

func (p *pushed) Step(_ context.Context, deliver func(fanout.Delivery)) {
	for {
		select {
		case d := <-p.came:
			deliver(d)
		default:
			return
		}
	}
}

func (p *pushed) Close() {
	close(p.closed)
	<-p.done
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
	wakes   chan struct{}
	nothing int // calls of Next that had nothing
}

func (c *client) Next() (fanout.Frame, bool) {
	f, ok := c.Reader.Next()
	if !ok {
		c.nothing++
	}
	return f, ok
}

func join(t *testing.T, feeds *fanout.Feeds, req fanout.Request) *client {
	t.Helper()
	c, err := tryJoin(t.Context(), feeds, req)
	if err != nil {
		t.Fatalf("Subscribe: %v", err)
	}
	return c
}

type wakeFunc func()

func (f wakeFunc) Wake() { f() }

func tryJoin(ctx context.Context, feeds *fanout.Feeds, req fanout.Request) (*client, error) {
	c := &client{wakes: make(chan struct{}, 10_000)}
	if req.Topics == 0 {
		req.Topics = conference.AllTopics
	}
	req.Wake = wakeFunc(func() { c.wakes <- struct{}{} })
	r, err := feeds.Subscribe(ctx, req)
	c.Reader = r
	return c, err
}

// joining joins meanwhile.
func joining(t *testing.T, feeds *fanout.Feeds, req fanout.Request) <-chan *client {
	t.Helper()
	got := make(chan *client)
	go func() {
		c, err := tryJoin(t.Context(), feeds, req)
		if err != nil {
			t.Errorf("Subscribe: %v", err)
		}
		got <- c
	}()
	return got
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
