package conference

import (
	"errors"
	"fmt"

	"confgate/internal/rawjson"
)

// ErrPatch: a change doesn't fit the document.
var ErrPatch = errors.New("conference: patch doesn't fit")

// Doc is a conference's state document: for each state topic its member, or nothing. It isn't safe for concurrent use: one
// goroutine owns it.
type Doc struct{ topics [Invites]value }

// NewDoc makes an empty document.
func NewDoc() *Doc { return &Doc{} }

// ParseDoc reads a document from the JSON that AppendJSON wrote. Members that are no state topic are an error.
func ParseDoc(data []byte) (*Doc, error) {
	v, err := rawjson.Check(data)
	if err != nil || !rawjson.IsObject(v) {
		return nil, fmt.Errorf("conference: document isn't a JSON object: %w", errors.Join(ErrPatch, err))
	}
	d := NewDoc()
	c := rawjson.Walk(v)
	for key, val, ok := c.Member(); ok; key, val, ok = c.Member() {
		t, known := ParseTopic(string(key))
		if !known || t.Event() {
			return nil, fmt.Errorf("conference: document has a member that is no topic: %w", ErrPatch)
		}
		if !rawjson.Null(val) {
			d.topics[t] = parse(val)
		}
	}
	return d, nil
}

// Patch applies a change of a state topic; events are ignored. An error leaves the document as it was.
func (d *Doc) Patch(c Change) error {
	checked, err := c.Check()
	if err == nil {
		d.Merge(checked)
	}
	return err
}

// Checked is a change that fits every document.
type Checked struct {
	topic Topic
	patch []byte
}

// Check looks whether a change can be merged into documents; events always can, since they are ignored.
func (c Change) Check() (Checked, error) {
	if c.Topic.Event() {
		return Checked{topic: c.Topic}, nil
	}
	patch, err := rawjson.Check(c.Body)
	if err != nil {
		return Checked{}, fmt.Errorf("conference: patch of %s: %w", c.Topic, errors.Join(ErrPatch, err))
	}
	return Checked{c.Topic, patch}, nil
}

// Merge is Patch for a change that was checked before.
func (d *Doc) Merge(c Checked) {
	switch {
	case c.topic.Event():
	case rawjson.Null(c.patch):
		d.topics[c.topic] = value{}
	default:
		d.topics[c.topic] = mergePatch(d.topics[c.topic], c.patch)
	}
}

// AppendJSON appends the document, restricted to topics and redacted for p, as one JSON object: topics in document order,
// the members inside sorted by key.
func (d *Doc) AppendJSON(dst []byte, topics Topics, p Profile) []byte {
	dst = append(dst, '{')
	start := len(dst)
	for i := range d.topics {
		t := Topic(i)
		if !topics.Has(t) || !d.topics[i].exists() {
			continue
		}
		undo := len(dst)
		dst = appendKey(dst, start, t.String())
		var ok bool
		if dst, ok = d.AppendTopic(dst, t, p); !ok {
			dst = dst[:undo]
		}
	}
	return append(dst, '}')
}

// AppendTopic appends one topic's member, redacted for p; false, and nothing appended, where it is absent.
func (d *Doc) AppendTopic(dst []byte, t Topic, p Profile) ([]byte, bool) {
	if t.Event() || !d.topics[t].exists() || !p.VisibleTopics().Has(t) {
		return dst, false
	}
	return rules[t].appendValue(dst, d.topics[t], p), true
}

// Has says whether the document has a member for a topic.
func (d *Doc) Has(t Topic) bool { return !t.Event() && d.topics[t].exists() }

// Clone makes a deep copy.
func (d *Doc) Clone() *Doc {
	c := NewDoc()
	for i, v := range d.topics {
		c.topics[i] = v.clone()
	}
	return c
}

// Diff is the changes that turn from into to, one a topic at the most, in document order, each with the smallest patch.
func Diff(from, to *Doc, time int64) []Change {
	var changes []Change
	for i := range to.topics {
		if patch := diffTopic(from.topics[i], to.topics[i]); patch != nil {
			changes = append(changes, Change{Topic(i), time, patch})
		}
	}
	return changes
}

func diffTopic(from, to value) []byte {
	switch {
	case !to.exists():
		if from.exists() {
			return []byte("null")
		}
		return nil
	case from.obj != nil && to.obj != nil:
		patch := appendDiff([]byte{'{'}, from.obj, to.obj)
		if len(patch) == 1 {
			return nil
		}
		return append(patch, '}')
	case from.obj == nil && to.obj == nil && string(from.raw) == string(to.raw):
		return nil
	default:
		return to.append(nil)
	}
}
