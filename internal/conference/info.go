package conference

import (
	"bytes"
	"errors"

	"confgate/internal/confctl"
	"confgate/internal/rawjson"
)

// The member "extra" of the topic conference, and of which frame its members are.
const (
	extraKey        = "extra"
	extraBasicKey   = "basic"
	extraDynamicKey = "dynamic"
	callKey         = "callInRestriction"
)

var (
	basicNames   = withPasswords(basicFields.names())
	dynamicNames = dynamicFields.names()
)

func withPasswords(names map[string]bool) map[string]bool {
	names["passwords"] = true
	return names
}

// applyInfo reduces ConfBasicInfoNotify and ConfDynamicInfoNotify. Both fill the topic conference, each its own members;
// the dynamic one also brings the topic layout.
func (s *State) applyInfo(f *confctl.Frame) ([]Change, error) {
	b := s.scratch
	fields, own, extra := basicFields, basicNames, extraBasicKey
	if f.Kind == confctl.ConfDynamicInfo {
		fields, own, extra = dynamicFields, dynamicNames, extraDynamicKey
	}
	src := b.object()
	var layout []byte
	var err error
	c := rawjson.Walk(f.Raw)
	for key, val, ok := c.Member(); ok; key, val, ok = c.Member() {
		key = bytes.TrimSpace(key)
		switch {
		case confctl.EnvelopeKey(key):
		case f.Kind == confctl.ConfDynamicInfo && string(key) == "multiPic":
			layout = val
		case f.Kind == confctl.ConfBasicInfo && (string(key) == "pwds" || string(key) == "pws"):
			err = errors.Join(err, s.putPasswords(src, val))
		default:
			s.put(src, fields, extra, key, val)
		}
	}
	full := f.Mode == confctl.Full
	s.mergeInfo(src, own, extra, full)
	changes := s.replaceTopic(nil, Info, src, f.CreateTime)
	if f.Kind == confctl.ConfDynamicInfo {
		var bad error
		changes, bad = s.applyLayout(changes, layout, full, f.CreateTime)
		err = errors.Join(err, bad)
	}
	return changes, err
}

// putPasswords reads pwds, a list of {role, pwd}.
func (s *State) putPasswords(src *object, v []byte) error {
	b := s.scratch
	list, err := rows(nonNull(v))
	if err != nil {
		return err
	}
	n := 0
	for p, ok := list.Element(); ok; p, ok = list.Element() {
		n++
		var role, pwd []byte
		c := rawjson.Walk(p)
		for key, val, ok := c.Member(); ok; key, val, ok = c.Member() {
			switch key = bytes.TrimSpace(key); string(key) {
			case "role":
				role = scalar(val)
			case "pwd":
				pwd = val
			}
		}
		if len(role) == 0 || rawjson.Null(pwd) {
			err = errors.Join(err, rowError(Info, n, "password without role"))
			continue
		}
		b.put(src, "passwords", s.name(role), asText(b, pwd))
	}
	return err
}

func nonNull(v []byte) []byte {
	if rawjson.Null(v) {
		return nil
	}
	return v
}

// mergeInfo completes src, which holds what one of the two frames says, to the whole topic: the other frame's members,
// what an increment leaves unsaid, the conference's id, and the call-in restriction that counts.
func (s *State) mergeInfo(src *object, own map[string]bool, extra string, full bool) {
	b := s.scratch
	call := &s.memory.BasicCall
	if extra == extraDynamicKey {
		call = &s.memory.DynamicCall
	}
	if said := src.at(callKey).raw; said != nil && !rawjson.Null(said) {
		*call = bytes.Clone(said)
	} else if full || said != nil {
		*call = nil
	}
	src.remove(callKey)
	part := src.at(extra) // put collected what the table doesn't know under the frame's own name
	src.remove(extra)
	extras := b.object()
	if part.obj != nil {
		extras.set(extra, part)
	}
	if have := s.doc.topics[Info].obj; have != nil {
		for i := range have.members {
			m := &have.members[i]
			switch {
			case m.key == callKey || m.key == "id":
			case m.key == extraKey:
				for _, known := range m.val.obj.members {
					if known.key != extra || !full {
						inherit(extras, known.key, known.val)
					}
				}
			case !own[m.key] || !full:
				inherit(src, m.key, m.val)
			}
		}
	}
	if len(extras.members) > 0 {
		src.set(extraKey, value{obj: extras})
	}
	b.put(src, "", "id", quoted(b, s.id))
	switch {
	case s.memory.DynamicCall != nil:
		b.put(src, "", callKey, s.memory.DynamicCall)
	case s.memory.BasicCall != nil:
		b.put(src, "", callKey, s.memory.BasicCall)
	}
}

// inherit makes o keep what is known under key, as far as it doesn't say something else itself.
func inherit(o *object, key string, known value) {
	said := o.at(key)
	switch {
	case !said.exists():
		o.set(key, known)
	case said.obj != nil && known.obj != nil:
		for i := range known.obj.members {
			inherit(said.obj, known.obj.members[i].key, known.obj.members[i].val)
		}
	}
}

// applyLayout reduces multiPic of the dynamic frame.
func (s *State) applyLayout(changes []Change, v []byte, full bool, time int64) ([]Change, error) {
	switch {
	case v == nil && !full:
		return changes, nil
	case rawjson.Null(v):
		return s.removeTopic(changes, Layout, time), nil
	case !rawjson.IsObject(v):
		return changes, rowError(Layout, 1, "multiPic is not an object")
	}
	b := s.scratch
	src := b.object()
	var err error
	c := rawjson.Walk(v)
	for key, val, ok := c.Member(); ok; key, val, ok = c.Member() {
		if key = bytes.TrimSpace(key); string(key) != "picInfos" {
			s.put(src, layoutFields, extraKey, key, val)
			continue
		}
		var cells []byte
		if cells, err = s.list(nonNull(val), cellFields, Layout); cells != nil {
			b.put(src, "", "cells", cells)
		}
	}
	return s.replaceTopic(changes, Layout, src, time), err
}

// list converts a list of objects into a JSON array; rows that aren't objects are left out.
func (s *State) list(v []byte, t table, topic Topic) ([]byte, error) {
	cells, err := rows(v)
	if err != nil {
		return nil, err
	}
	var out []byte // apart from the builder's buffer, which the elements grow
	out = append(out, '[')
	n := 0
	for cell, ok := cells.Element(); ok; cell, ok = cells.Element() {
		n++
		if !rawjson.IsObject(cell) {
			err = errors.Join(err, rowError(topic, n, "not an object"))
			continue
		}
		o := s.scratch.object()
		s.putAll(o, t, cell)
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = s.keep(value{obj: o}).append(out)
	}
	return append(out, ']'), err
}
