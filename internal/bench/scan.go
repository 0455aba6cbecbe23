package bench

import (
	"bytes"

	"confgate/internal/conference"
)

// change is what the bench reads of a delta or an event.
type change struct {
	topic     conference.Topic
	known     bool // topic is one
	seq, prev uint64
	time      int64  // Unix milliseconds
	raw       []byte // the message
}

var (
	messageStart = []byte(`{"type":"`)
	deltaStart   = []byte(`{"type":"delta","conference":"`)
	eventStart   = []byte(`{"type":"event","conference":"`)
	topicKey     = []byte(`","topic":"`)
	seqKey       = []byte(`"seq":`)
	epochKey     = []byte(`"epoch":"`)
)

// scan calls f for each delta and event of a frame's payload, and reports whether it holds none. The c it passes is the
// same each time.
func scan(payload []byte, c *change, f func(*change)) (other bool) {
	array := len(payload) > 0 && payload[0] == '['
	other = true
	for rest := payload; ; {
		start := bytes.Index(rest, messageStart)
		if start < 0 {
			return other
		}
		rest = rest[start:]
		end := len(rest)
		next := bytes.Index(rest[len(messageStart):], messageStart)
		if next >= 0 {
			end = len(messageStart) + next
		}
		if c.parse(rest[:end]) {
			other = false
			if array {
				c.raw = c.raw[:len(c.raw)-1] // the comma or the bracket
			}
			f(c)
		}
		if next < 0 {
			return other
		}
		rest = rest[end:]
	}
}

// parse reads a message; false: it is neither a delta nor an event.
func (c *change) parse(msg []byte) bool {
	var rest []byte
	switch {
	case bytes.HasPrefix(msg, deltaStart):
		rest = msg[len(deltaStart):]
	case bytes.HasPrefix(msg, eventStart):
		rest = msg[len(eventStart):]
	default:
		return false
	}
	i := bytes.Index(rest, topicKey)
	if i < 0 {
		return false
	}
	rest = rest[i+len(topicKey):]
	if i = bytes.IndexByte(rest, '"'); i < 0 {
		return false
	}
	c.topic, c.known = conference.ParseTopic(string(rest[:i]))
	var a, b, d bool
	c.seq, rest, a = number(rest[i:], `","seq":`)
	c.prev, rest, b = number(rest, `,"prev":`)
	t, _, d := number(rest, `,"time":`)
	c.time, c.raw = int64(t), msg
	return a && b && d
}

// number reads a member's number, which is at the start of b behind key.
func number(b []byte, key string) (n uint64, rest []byte, ok bool) {
	if len(b) < len(key) || string(b[:len(key)]) != key {
		return 0, b, false
	}
	i := len(key)
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		n = n*10 + uint64(b[i]-'0')
	}
	return n, b[i:], i > len(key)
}

// member reads a string member that stands near the front of a message, for the few that come once a connection.
func member(msg, key []byte) string {
	_, rest, ok := bytes.Cut(msg, key)
	if !ok {
		return ""
	}
	value, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(value)
}
