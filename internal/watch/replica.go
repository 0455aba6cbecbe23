package watch

import (
	"fmt"

	"confgate/internal/conference"
)

// Outcome is what a Replica made of a message.
type Outcome uint8

const (
	Ignored Outcome = iota // known already, of no concern, or the replica waits for a snapshot
	Applied
	Lost // a message before it is missing: subscribe without resume
)

// Counts are what a Replica has seen so far.
type Counts struct {
	Snapshots  int // all
	Resets     int // snapshots that brought another epoch than the one before
	Deltas     int // applied
	Events     int // applied, those inside snapshots included
	Duplicates int // deltas and events at or below the position
	Gaps       int // losses: prev above the position
}

// maxViolations is how many broken promises a Replica keeps; later ones are counted by none, since the first ones tell.
const maxViolations = 32

// Replica is a copy of one conference's document and its place in the conference's history: the rules of section 3 of the
// contract, without I/O. It also checks what the protocol promises and a client needn't rely on; see Violations. It isn't
// safe for concurrent use.
type Replica struct {
	doc         *conference.Doc
	epoch, view string
	seq         uint64 // the newest applied, whatever the topic
	positions   [conference.NumTopics]uint64
	chained     [conference.NumTopics]bool // a message of the topic came since the snapshot: the next prev is known exactly
	granted     conference.Topics          // what the server said that the subscription covers
	whole       bool                       // false before the first snapshot and after a loss
	counts      Counts
	violations  []string
}

// NewReplica makes a replica that waits for its first snapshot.
func NewReplica() *Replica { return &Replica{doc: conference.NewDoc()} }

// Resume is where a subscription may go on; nil where only a snapshot helps.
func (r *Replica) Resume() *Resume {
	if !r.whole {
		return nil
	}
	return &Resume{Epoch: r.epoch, View: r.view, Seq: r.seq}
}

// Counts are what was seen so far.
func (r *Replica) Counts() Counts { return r.counts }

// Violations tells which promises of the protocol were broken: chains with holes (also such that the positions forgive), messages out of
// order, an older state of the same epoch, topics that weren't granted. At most the first 32.
func (r *Replica) Violations() []string { return append([]string(nil), r.violations...) }

// AppendDocument appends the document as JSON.
func (r *Replica) AppendDocument(dst []byte) []byte {
	return r.doc.AppendJSON(dst, conference.AllTopics, conference.PII|conference.Secrets)
}

// Positions gives the position of every topic, by name.
func (r *Replica) Positions() map[string]uint64 {
	positions := make(map[string]uint64, conference.NumTopics)
	for i, seq := range r.positions {
		positions[conference.Topic(i).String()] = seq
	}
	return positions
}

// Subscribed takes the server's word that a subscription begins. Unless it resumes, the document is of no use until the
// snapshot that follows.
func (r *Replica) Subscribed(m *Message) {
	if m.Recovered && m.View != r.view {
		r.violate("resumed with view %q as %q", r.view, m.View)
	}
	r.view = m.View
	r.whole = r.whole && m.Recovered
	r.granted = 0
	for _, name := range m.Topics {
		if t, ok := conference.ParseTopic(name); ok {
			r.granted |= conference.TopicSet(t)
		}
	}
	if !r.granted.Has(conference.Link) {
		r.violate("subscription without link")
	}
}

// Snapshot replaces the document and sets all positions. It returns those of the snapshot's events that are news. An error
// leaves the replica as it was.
func (r *Replica) Snapshot(m *Message) ([]Message, error) {
	doc := conference.NewDoc()
	for name, member := range m.State {
		t, known := conference.ParseTopic(name)
		if !known || t.Event() {
			continue // of a newer protocol
		}
		if !r.granted.Has(t) {
			r.violate("snapshot %d has %s, which wasn't granted", m.Seq, name)
		}
		if err := doc.Patch(conference.Change{Topic: t, Body: member}); err != nil {
			return nil, fmt.Errorf("watch: snapshot: %w", err)
		}
	}
	first := r.counts.Snapshots == 0
	same := !first && r.epoch == m.Epoch
	if same && m.Seq < r.seq {
		r.violate("snapshot %d is older than %d of the same epoch", m.Seq, r.seq)
	}
	var news []Message
	for i, e := range m.Events {
		t, known := conference.ParseTopic(e.Topic)
		if i > 0 && e.Seq <= m.Events[i-1].Seq || e.Seq > m.Seq {
			r.violate("event %d of snapshot %d is out of order", e.Seq, m.Seq)
		}
		if known && t.Event() && (!same || e.Seq > r.positions[t]) {
			news = append(news, e)
		}
	}
	if !first && !same {
		r.counts.Resets++
	}
	r.counts.Snapshots++
	r.counts.Events += len(news)
	r.doc, r.epoch, r.seq, r.whole = doc, m.Epoch, m.Seq, true
	for i := range r.positions {
		r.positions[i], r.chained[i] = m.Seq, false
	}
	return news, nil
}

// Change takes a delta or an event. An error means that its patch can't be applied; the replica then waits for a snapshot,
// as after a loss.
func (r *Replica) Change(m *Message) (Outcome, error) {
	t, known := conference.ParseTopic(m.Topic)
	if !known || !r.whole {
		return Ignored, nil
	}
	position := r.positions[t]
	if m.Seq <= position {
		r.counts.Duplicates++
		return Ignored, nil
	}
	if m.Prev > position {
		r.counts.Gaps++
		r.violate("%s %d continues %d, but %d was the last", m.Topic, m.Seq, m.Prev, position)
		r.whole = false
		return Lost, nil
	}
	r.check(t, m, position)
	if m.Type == "delta" {
		if err := r.doc.Patch(conference.Change{Topic: t, Time: m.Time, Body: m.Patch}); err != nil {
			r.whole = false
			return Lost, fmt.Errorf("watch: delta: %w", err)
		}
		r.counts.Deltas++
	} else {
		r.counts.Events++
	}
	r.positions[t], r.chained[t] = m.Seq, true
	r.seq = max(r.seq, m.Seq)
	return Applied, nil
}

// check notes what a server must not do although a client gets over it.
func (r *Replica) check(t conference.Topic, m *Message, position uint64) {
	switch {
	case t.Event() != (m.Type == "event"):
		r.violate("%s %d came as %s", m.Topic, m.Seq, m.Type)
	case m.Prev >= m.Seq:
		r.violate("%s %d continues %d", m.Topic, m.Seq, m.Prev)
	case r.chained[t] && m.Prev != position:
		r.violate("%s %d continues %d instead of %d", m.Topic, m.Seq, m.Prev, position)
	case m.Seq <= r.seq:
		r.violate("%s %d came after %d", m.Topic, m.Seq, r.seq)
	case !r.granted.Has(t):
		r.violate("%s %d wasn't granted", m.Topic, m.Seq)
	}
}

func (r *Replica) violate(format string, args ...any) {
	if len(r.violations) < maxViolations {
		r.violations = append(r.violations, fmt.Sprintf(format, args...))
	}
}

// Report is a copy of what a Client knows, for others to read.
type Report struct {
	Epoch      string
	View       string
	Seq        uint64            // the newest applied, whatever the topic
	Positions  map[string]uint64 // by topic
	Document   []byte            // JSON, topics in document order, members sorted by key; `{}` before the first snapshot
	Counts     Counts
	Violations []string
	Whole      bool // the document is the server's at Seq; false while a snapshot is awaited

	Connected  bool // and subscribed
	Connects   int  // connections that were greeted
	Recovered  int  // resumes that were granted
	Refused    int  // resumes that weren't
	Fresh      bool // the serving worker vouches for the state
	Stale      string
	StaleSince int64 // Unix milliseconds, where not Fresh
	Worker     string
	Messages   uint64
}

func (r *Replica) report() Report {
	return Report{
		Epoch: r.epoch, View: r.view, Seq: r.seq, Positions: r.Positions(), Document: r.AppendDocument(nil),
		Counts: r.counts, Violations: r.Violations(), Whole: r.whole,
	}
}
