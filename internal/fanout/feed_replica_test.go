package fanout_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"confgate/internal/conference"
	"confgate/internal/fanout"
	"confgate/internal/fanout/fanouttest"
)

// A storm of joiners shares an encoding until the conference goes on; then an older one could set back who was here before.
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
		if n := len(encodings); n != 11 {
			t.Errorf("200 joiners had %d encodings of the state, want one for each of its 11 places", n)
		}
	})
}

// Who subscribes anew on a connection isn't set back behind what it got from the subscription before, not even by what
// comes between Subscribe and the first Next.
func TestFeedNeverGoesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := fanout.NewMemoryLog(fanout.LogOptions{})
		o := testOwner(t, log, conf)
		o.Append(t, fanouttest.Set("p1", "Ann"))
		feeds, stop := runFeeds(fanout.FeedOptions{Log: log})
		defer stop()
		join(t, feeds, fanout.Request{Conference: conf}).Close()

		c := join(t, feeds, fanout.Request{Conference: conf})
		defer c.Close()
		o.Append(t, fanouttest.Set("p2", "Bob"), fanouttest.Set("p3", "Eve"))
		synctest.Wait()
		c.Renew()
		synctest.Wait()
		c.want(t, fmt.Sprintf("snapshot %d subscribe", o.Pos.Seq))

		resumed := join(t, feeds, fanout.Request{Conference: conf, Resume: &conference.Position{Epoch: o.Pos.Epoch, Seq: 1}})
		defer resumed.Close()
		resumed.Renew() // what was missed comes all the same
		checkReplicaFrom(t, 1, resumed.drain(t), o.Pos.Seq)
	})
}

// checkReplicaFrom checks that frames continue a place up to another without a snapshot.
func checkReplicaFrom(t *testing.T, from uint64, frames []fanout.Frame, to uint64) {
	t.Helper()
	for _, f := range frames {
		messages, err := messagesOf(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			if m.Type == "snapshot" || m.Seq != from+1 {
				t.Fatalf("%s %d after %d", m.Type, m.Seq, from)
			}
			from = m.Seq
		}
	}
	if from != to {
		t.Errorf("frames lead to %d, want %d", from, to)
	}
}

// checkReplica checks that frames lead to what the log has.
func checkReplica(t *testing.T, frames []fanout.Frame, log fanout.Log) {
	t.Helper()
	r := replica{doc: conference.NewDoc()}
	for _, f := range frames {
		if _, err := r.frame(f); err != nil {
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

// messagesOf reads a frame.
func messagesOf(f fanout.Frame) (messages []message, err error) {
	if f.Bytes[0] == '[' {
		err = json.Unmarshal(f.Bytes, &messages)
		return messages, err
	}
	messages = make([]message, 1)
	return messages, json.Unmarshal(f.Bytes, &messages[0])
}

// replica is what a client with all scopes makes of its frames, by the rules of the protocol.
type replica struct {
	pos       conference.Position
	topics    [conference.NumTopics]uint64
	doc       *conference.Doc
	snapshots int
	events    []uint64
}

// frame takes a frame, and gives its last message.
func (r *replica) frame(f fanout.Frame) (last message, err error) {
	messages, err := messagesOf(f)
	if err != nil {
		return last, err
	}
	for _, m := range messages {
		if err := r.message(m); err != nil {
			return last, fmt.Errorf("at %v: %w", r.pos, err)
		}
	}
	return messages[len(messages)-1], nil
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
			woken := 0
			for r.pos != end {
				f, ok := c.Next()
				if !ok {
					<-c.wakes
					woken++
					continue
				}
				if woken+len(c.wakes) > c.nothing {
					t.Errorf("reader %d: woken %d times after %d calls of Next had nothing", i, woken+len(c.wakes), c.nothing)
				}
				if _, err := r.frame(f); err != nil {
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
					woken = 0
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
