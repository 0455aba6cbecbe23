package edge

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"confgate/internal/conference"
)

// Limits of a client's message.
const (
	maxID   = 128 // bytes of an id that is echoed
	maxEcho = 32  // bytes of an unknown type that an error names
)

// message is what a client sent, as far as its type uses it.
type message struct {
	typ        string
	id         string
	conference string
	topics     conference.Topics // those of the list that are known
	allTopics  bool              // the list was left out
	resume     *resume
	token      string
}

// resume is where a client wants to go on.
type resume struct {
	epoch, view string
	seq         uint64
}

// refusal is an error message to come.
type refusal struct{ id, code, text string }

// decodeMessage reads a client's message. Unknown members and topics are ignored, null is as good as left out, a member of
// the wrong type is refused. It never fails otherwise, whatever the bytes; it keeps none of data.
func decodeMessage(data []byte) (message, *refusal) {
	if !utf8.Valid(data) {
		return message{}, &refusal{code: errBadRequest, text: "not UTF-8"}
	}
	var members map[string]json.RawMessage
	// A null decodes too, into no members.
	if err := json.Unmarshal(data, &members); err != nil || members == nil {
		return message{}, &refusal{code: errBadRequest, text: "not a JSON object"}
	}
	d := decoder{members: members}
	m := message{id: d.text("id")}
	if len(m.id) > maxID {
		return message{}, &refusal{code: errBadRequest, text: "id is longer than 128 bytes"}
	}
	m.typ = d.text("type")
	switch {
	case d.wrong != "": // below
	case m.typ == "subscribe":
		m.conference = d.conference()
		m.topics, m.allTopics = d.topics()
		m.resume = d.resume()
	case m.typ == "unsubscribe":
		m.conference = d.conference()
	case m.typ == "auth":
		if m.token = d.text("token"); m.token == "" {
			d.fail("token is missing")
		}
	case m.typ == "ping":
	case m.typ == "":
		d.fail("type is missing")
	default:
		d.fail("unknown type " + string(appendString(nil, m.typ[:min(len(m.typ), maxEcho)])))
	}
	if d.wrong != "" {
		return message{}, &refusal{id: m.id, code: errBadRequest, text: d.wrong}
	}
	return m, nil
}

// decoder takes members out of a message and keeps the first complaint.
type decoder struct {
	members map[string]json.RawMessage
	wrong   string
}

func (d *decoder) fail(text string) {
	if d.wrong == "" {
		d.wrong = text
	}
}

// member is a member's JSON; false where it is absent or null.
func (d *decoder) member(name string) (json.RawMessage, bool) {
	raw, ok := d.members[name]
	return raw, ok && !bytes.Equal(raw, []byte("null"))
}

func (d *decoder) text(name string) string {
	raw, ok := d.member(name)
	if !ok {
		return ""
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		d.fail(name + " is not a string")
	}
	return s
}

func (d *decoder) conference() string {
	id := d.text("conference")
	if !validConference(id) {
		d.fail("conference is not an id: letters, digits, _ and -, 64 at most")
	}
	return id
}

// topics reads the list; true where there is none.
func (d *decoder) topics() (conference.Topics, bool) {
	raw, ok := d.member("topics")
	if !ok {
		return 0, true
	}
	var names []*string // a pointer, so that a null isn't taken for a name
	if json.Unmarshal(raw, &names) != nil {
		d.fail("topics is not an array of strings")
	}
	var set conference.Topics
	for _, name := range names {
		if name == nil {
			d.fail("topics is not an array of strings")
			break
		}
		if t, ok := conference.ParseTopic(*name); ok {
			set |= conference.TopicSet(t)
		}
	}
	return set, false
}

func (d *decoder) resume() *resume {
	raw, ok := d.member("resume")
	if !ok {
		return nil
	}
	inner := decoder{}
	if json.Unmarshal(raw, &inner.members) != nil {
		d.fail("resume is not an object")
		return nil
	}
	r := &resume{epoch: inner.text("epoch"), view: inner.text("view")}
	if raw, ok := inner.member("seq"); !ok || json.Unmarshal(raw, &r.seq) != nil {
		inner.fail("seq is not a whole number")
	}
	if inner.wrong != "" {
		d.fail("resume: " + inner.wrong)
	}
	return r
}

// validConference says whether s matches [A-Za-z0-9_-]{1,64}.
func validConference(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}
