package conference

import (
	"bytes"
	"errors"
	"fmt"

	"confgate/internal/confctl"
	"confgate/internal/rawjson"
)

// rowKind describes a notify whose data is a list of rows, each about one element of a topic.
type rowKind struct {
	topic  Topic
	id     string // the key that identifies the element
	fields table
	nested string // the key of the object that holds the fields; empty: the row itself
}

var (
	participantRows = rowKind{Participants, "pid", personFields, "pinfoMap"}
	waitingRows     = rowKind{Waiting, "pid", waitingFields, "pinfoMap"}
	qualityRows     = rowKind{Quality, "participantID", qualityFields, ""}
)

// row is one decoded row.
type row struct {
	id      []byte  // what the element is called; nil where the row doesn't say
	removed bool    // chapter 6.1: mode 1
	fields  *object // what the row says, in the builder
}

// readRow decodes a row of kind k.
func (s *State) readRow(k *rowKind, v []byte) (row, bool) {
	if !rawjson.IsObject(v) {
		return row{}, false
	}
	r := row{fields: s.scratch.object()}
	c := rawjson.Walk(v)
	for key, ok := c.Key(); ok; key, ok = c.Key() {
		key = bytes.TrimSpace(key)
		if k.nested != "" && string(key) == k.nested && c.Enter() {
			s.putMembers(r.fields, k.fields, &c)
			continue
		}
		val := c.Value()
		switch {
		case string(key) == k.id || (k.id != "" && (string(key) == "pid" || string(key) == "participantID")):
			r.id = scalar(val)
		case string(key) == "mode":
			r.removed = string(scalar(val)) == "1"
		case k.nested == "":
			s.put(r.fields, k.fields, "extra", key, val)
		case string(key) == k.nested:
			s.putAll(r.fields, k.fields, val)
		default:
			s.put(r.fields, table{}, "extra", key, val)
		}
	}
	return r, true
}

// putAll converts the members of an object, which may also come as a string that holds one.
func (s *State) putAll(o *object, t table, v []byte) {
	if rawjson.IsString(v) {
		text, _ := rawjson.Text(v)
		if inner, err := rawjson.Check(text); err == nil {
			v = inner
		}
	}
	c := rawjson.Walk(v)
	s.putMembers(o, t, &c)
}

// putMembers converts the members that c has still to find.
func (s *State) putMembers(o *object, t table, c *rawjson.Cursor) {
	for key, val, ok := c.Member(); ok; key, val, ok = c.Member() {
		s.put(o, t, "extra", key, val)
	}
}

// rows walks a frame's list; a single object counts as a list of one, and no data as an empty list (chapter 6.1.3.7 says
// so of speakers).
func rows(data []byte) (rawjson.Cursor, error) {
	switch {
	case data == nil || rawjson.IsArray(data):
		return rawjson.Walk(data), nil
	case rawjson.IsObject(data):
		list := make([]byte, 0, len(data)+2)
		return rawjson.Walk(append(append(append(list, '['), data...), ']')), nil
	default:
		return rawjson.Cursor{}, fmt.Errorf("%w: data is no list", ErrRow)
	}
}

func rowError(t Topic, i int, what string) error {
	return fmt.Errorf("%w: %s, row %d: %s", ErrRow, t, i, what)
}

// applyKeyed reduces a kind whose elements are keyed by the provider's own identifiers. A full frame replaces: what it
// doesn't name is gone.
func (s *State) applyKeyed(f *confctl.Frame, k rowKind) ([]Change, error) {
	list, err := rows(f.Data)
	if err != nil {
		return nil, err
	}
	e := s.edit(k.topic, f.Mode == confctl.Full, f.CreateTime)
	n := 0
	for v, ok := list.Element(); ok; v, ok = list.Element() {
		n++
		s.scratch.reset()
		r, usable := s.readRow(&k, v)
		switch {
		case !usable:
			err = errors.Join(err, rowError(k.topic, n, "not an object"))
		case len(r.id) == 0:
			err = errors.Join(err, rowError(k.topic, n, "no "+k.id))
		case !r.removed:
			if !e.update(r.id, r.fields) {
				err = errors.Join(err, rowError(k.topic, n, "a second row for one "+k.id))
			}
		case !e.full:
			e.remove(string(r.id))
		}
	}
	changes := e.end()
	if k.topic == Participants {
		changes = s.dropQuality(changes, e.gone, f.CreateTime)
	}
	return changes, err
}

// dropQuality removes the quality of participants who are gone.
func (s *State) dropQuality(changes []Change, gone []string, time int64) []Change {
	if s.doc.topics[Quality].obj == nil || len(gone) == 0 {
		return changes
	}
	e := s.edit(Quality, false, time)
	for _, pid := range gone {
		e.remove(pid)
	}
	return append(changes, e.end()...)
}
