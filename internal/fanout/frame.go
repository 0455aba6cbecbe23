package fanout

import (
	"sync"
	"sync/atomic"
	"time"

	"confgate/internal/conference"
)

// Encoder makes the messages that clients read. Its methods append to dst and return it; the feed calls them from several
// goroutines. Bodies and states are redacted already.
type Encoder interface {
	// Delta encodes a change, or an event where the topic is one; body is c.Body as the reader may see it.
	Delta(dst []byte, conf string, c conference.Stamped, body []byte) []byte
	// Snapshot encodes a state, with events that its readers have missed, as Delta encoded them.
	Snapshot(dst []byte, conf string, pos conference.Position, state []byte, events [][]byte) []byte
	// Status says whether the state is vouched for; since is in Unix milliseconds.
	Status(dst []byte, conf string, fresh bool, reason string, since int64) []byte
	// Header appends what goes in front of a message of n bytes on a client's connection, at most headerRoom bytes.
	Header(dst []byte, n int) []byte
}

// headerRoom is how many bytes are left free in front of a message for Encoder.Header.
const headerRoom = 16

// wire puts the header in front of a message, for which b has headerRoom free bytes.
func wire(enc Encoder, b []byte) []byte {
	head := enc.Header(b[:0:headerRoom], len(b)-headerRoom)
	at := headerRoom - len(head)
	copy(b[at:headerRoom], head)
	return b[at:]
}

// Frame is one message to a client, or several as a JSON array. It is shared by all its readers, who must not change it.
type Frame struct {
	Bytes    []byte         // the message
	Wire     []byte         // with what goes in front of it on a client's connection; Bytes is its end
	Messages []MessageCount // what is inside
	Snapshot string         // why a snapshot is inside: one of the Snapshot constants; else empty
	Received time.Time      // when the feed got the change from the log; zero for what no fresh change caused
	// Released, instead of a message: nobody holds the conference any more, and nothing comes after it.
	Released bool
}

// MessageCount is how many messages of one type a frame holds. It is an alias, so that the composition root can hand a list
// on between packages that don't know each other, for every frame and every client, without copying it.
type MessageCount = struct {
	Type string
	N    int
}

// Why a snapshot is sent.
const (
	SnapshotSubscribe = "subscribe" // asked for
	SnapshotResume    = "resume"    // resuming wasn't possible
	SnapshotLag       = "lag"       // the reader, or the log, has lost what came before
	SnapshotEpoch     = "epoch"     // the log began anew
)

// The types of messages.
const (
	typeDelta    = "delta"
	typeEvent    = "event"
	typeSnapshot = "snapshot"
	typeStatus   = "status"
)

// What most frames hold.
var (
	oneDelta = []MessageCount{{typeDelta, 1}}
	oneEvent = []MessageCount{{typeEvent, 1}}
)

// maxParts bounds the frames that an entry keeps for readers of some of its topics; rarer ones are made for one reader.
const maxParts = 8

// content is an entry as its readers see it: encoded once a profile, at first sight. Anybody may read it. It is one piece of
// memory with its item, and with the only view that most have.
type content struct {
	item     item
	conf     string
	enc      Encoder
	changes  []conference.Stamped
	topics   conference.Topics // those of the changes, but for withheld events
	received time.Time

	views [conference.NumProfiles]atomic.Pointer[view]
	mu    sync.Mutex // serialises the making of views and parts; a leaf
	first view       // the one that was made first
	taken bool       // there is one; guarded by mu
}

// view is an entry for one profile.
type view struct {
	messages []rendered // one a change
	all      Frame
	parts    atomic.Pointer[part]

	one [1]rendered // what messages are of most entries
}

// rendered is a change as it is sent. A withheld event has none: both are nil.
type rendered struct {
	text []byte
	wire []byte // with its header; text is its end
}

// part is a view for readers of some of the entry's topics; a list, newest first.
type part struct {
	topics conference.Topics
	frame  Frame
	next   *part
	depth  int
}

func newContent(conf string, enc Encoder, changes []conference.Stamped, received time.Time) *content {
	c := &content{conf: conf, enc: enc, changes: changes, received: received}
	c.item = item{content: c, last: last(changes)}
	for _, ch := range changes {
		if ch.Body != nil {
			c.topics |= conference.TopicSet(ch.Topic)
		}
	}
	return c
}

// frame is what a reader of some topics sees; false where it sees nothing. Once encoded it takes no lock.
func (c *content) frame(p conference.Profile, topics conference.Topics) (Frame, bool) {
	topics &= c.topics
	if topics == 0 {
		return Frame{}, false
	}
	v := c.view(p)
	if topics == c.topics {
		return v.all, true
	}
	for part := v.parts.Load(); part != nil; part = part.next {
		if part.topics == topics {
			return part.frame, true
		}
	}
	return c.part(v, topics), true
}

// redactions are where bodies are redacted: they are in the message then, and of no use any more.
var redactions = rooms{most: 64 << 10}

// view encodes the entry for a profile, unless that was done.
func (c *content) view(p conference.Profile) *view {
	slot := &c.views[int(p)%conference.NumProfiles]
	if v := slot.Load(); v != nil {
		return v
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if v := slot.Load(); v != nil {
		return v
	}
	v := &c.first
	if c.taken {
		v = new(view)
	}
	c.taken = true
	if v.messages = v.one[:]; len(c.changes) != len(v.one) {
		v.messages = make([]rendered, len(c.changes))
	}
	room := redactions.borrow()
	for i, ch := range c.changes {
		if ch.Body == nil {
			continue
		}
		var body []byte
		room.bytes, body = conference.RedactInto(room.bytes, ch.Change, p)
		b := c.enc.Delta(make([]byte, headerRoom, headerRoom+len(body)+160), c.conf, ch, body)
		v.messages[i] = rendered{b[headerRoom:], wire(c.enc, b)}
	}
	redactions.giveBack(room)
	v.all = c.pick(v, c.topics, 0)
	slot.Store(v)
	return v
}

// part makes the frame for some topics, and keeps it if few are kept.
func (c *content) part(v *view, topics conference.Topics) Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := v.parts.Load()
	for p := first; p != nil; p = p.next {
		if p.topics == topics {
			return p.frame
		}
	}
	p := &part{topics: topics, frame: c.pick(v, topics, 0), next: first, depth: 1}
	if first != nil {
		p.depth += first.depth
	}
	if p.depth <= maxParts {
		v.parts.Store(p)
	}
	return p.frame
}

// pick puts the messages of some topics, after a seq, into one frame: a single message as it is, several as an array.
func (c *content) pick(v *view, topics conference.Topics, after uint64) Frame {
	f := Frame{Received: c.received}
	deltas, events, size, only := 0, 0, 0, 0
	each := func(do func(i int)) {
		for i, ch := range c.changes {
			if topics.Has(ch.Topic) && ch.Seq > after && v.messages[i].text != nil {
				do(i)
			}
		}
	}
	each(func(i int) {
		only = i
		size += len(v.messages[i].text) + 1
		if c.changes[i].Topic.Event() {
			events++
		} else {
			deltas++
		}
	})
	switch deltas + events {
	case 0:
	case 1:
		f.Bytes, f.Wire = v.messages[only].text, v.messages[only].wire
	default:
		b := make([]byte, headerRoom, headerRoom+size+1)
		each(func(i int) {
			b = append(b, ',')
			b = append(b, v.messages[i].text...)
		})
		b[headerRoom] = '['
		b = append(b, ']')
		f.Bytes, f.Wire = b[headerRoom:], wire(c.enc, b)
	}
	switch {
	case deltas == 1 && events == 0:
		f.Messages = oneDelta
	case events == 1 && deltas == 0:
		f.Messages = oneEvent
	default:
		if deltas > 0 {
			f.Messages = append(f.Messages, MessageCount{typeDelta, deltas})
		}
		if events > 0 {
			f.Messages = append(f.Messages, MessageCount{typeEvent, events})
		}
	}
	return f
}

// encoded is how many bytes the entry's messages take for a profile.
func (v *view) encoded() int {
	n := 0
	for _, m := range v.messages {
		n += len(m.text)
	}
	return n
}
