package conference

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"strconv"

	"confgate/internal/confctl"
	"confgate/internal/rawjson"
)

// applySpeakers reduces SpeakerChangeNotify: each frame names all who speak, and one without data says that nobody does.
func (s *State) applySpeakers(f *confctl.Frame) ([]Change, error) {
	list, err := rows(f.Data)
	if err != nil {
		return nil, err
	}
	type speaker struct {
		volume float64
		o      *object
	}
	var speakers []speaker
	n := 0
	for v, ok := list.Element(); ok; v, ok = list.Element() {
		n++
		if !rawjson.IsObject(v) {
			err = errors.Join(err, rowError(Speakers, n, "not an object"))
			continue
		}
		o := s.scratch.object()
		s.putAll(o, speakerFields, v)
		volume, parseErr := strconv.ParseFloat(o.at("volume").text(), 64)
		if parseErr != nil {
			volume = -1 // unknown: behind those that are known
		}
		speakers = append(speakers, speaker{volume, o})
	}
	slices.SortStableFunc(speakers, func(a, b speaker) int { return cmp.Compare(b.volume, a.volume) })
	text := []byte{'['}
	for i, sp := range speakers {
		if i > 0 {
			text = append(text, ',')
		}
		text = s.keep(value{obj: sp.o}).append(text)
	}
	return s.replaceRaw(nil, Speakers, append(text, ']'), f.CreateTime), err
}

// applyInterpreters reduces InterpreterGroupNotify: rows have no mode, so each frame is the complete set.
func (s *State) applyInterpreters(f *confctl.Frame) ([]Change, error) {
	list, err := rows(f.Data)
	if err != nil {
		return nil, err
	}
	e := s.edit(Interpreters, true, f.CreateTime)
	n := 0
	for v, ok := list.Element(); ok; v, ok = list.Element() {
		n++
		if !rawjson.IsObject(v) {
			err = errors.Join(err, rowError(Interpreters, n, "not an object"))
			continue
		}
		s.scratch.reset()
		id, fields, bad := s.readGroup(v)
		err = errors.Join(err, bad)
		if len(id) == 0 {
			err = errors.Join(err, rowError(Interpreters, n, "no groupId"))
			continue
		}
		if !e.update(id, fields) {
			err = errors.Join(err, rowError(Interpreters, n, "a second row for one groupId"))
		}
	}
	return e.end(), err
}

func (s *State) readGroup(v []byte) (id []byte, fields *object, err error) {
	b := s.scratch
	fields = b.object()
	var first, second []byte
	c := rawjson.Walk(v)
	for key, val, ok := c.Member(); ok; key, val, ok = c.Member() {
		switch key = bytes.TrimSpace(key); string(key) {
		case "groupId", "groupID":
			id = scalar(val)
		case "firstLanguage":
			first = nonNull(val)
		case "secondLanguage":
			second = nonNull(val)
		case "interpreters":
			var people []byte
			if people, err = s.list(nonNull(val), interpreterFields, Interpreters); people != nil {
				b.put(fields, "", "people", people)
			}
		default:
			s.put(fields, groupFields, extraKey, key, val)
		}
	}
	if first != nil || second != nil {
		b.put(fields, "", "languages", languages(b, first, second))
	}
	return id, fields, err
}

// languages is the pair [first, second]; one that is missing is empty, so that the other keeps its place.
func languages(b *builder, first, second []byte) []byte {
	pair := [2][]byte{[]byte(`""`), []byte(`""`)}
	for i, v := range [2][]byte{first, second} {
		if v != nil {
			pair[i] = asText(b, v)
		}
	}
	n := len(b.buf)
	b.buf = append(b.buf, '[')
	b.buf = append(b.buf, pair[0]...)
	b.buf = append(b.buf, ',')
	b.buf = append(b.buf, pair[1]...)
	b.buf = append(b.buf, ']')
	return b.tail(n)
}
