package conference

import "slices"

// edit is a keyed topic while a frame changes it: the document changes at once, and the patch that says the same grows
// with it, in the builder.
type edit struct {
	s       *State
	topic   Topic
	target  *object
	full    bool // the frame names every element: the others go at the end
	time    int64
	created bool // the topic wasn't there before
	start   int
	gone    []string // elements that this frame removed
	changes []Change
}

// edit begins to change a topic. Only one edit can be under way: the next takes its place.
func (s *State) edit(t Topic, full bool, time int64) *edit {
	e := &s.scratch.edit
	*e = edit{s: s, topic: t, full: full, time: time}
	e.target, e.created = s.topicObject(t)
	e.start = s.topicPatch()
	return e
}

// update makes the element key say what fields say: nothing else after a full frame, that beside the rest after an
// increment. false: a full frame has named the element before, and its first word counts.
func (e *edit) update(key []byte, fields *object) bool {
	s := e.s
	i, found := e.target.findRaw(key)
	switch {
	case found && e.target.members[i].val.named(s.gen):
		if e.full {
			return false
		}
		e.split()
	case !found && slices.Contains(e.gone, string(key)):
		e.split()
	}
	if !found {
		v := s.keep(value{obj: fields})
		e.target.insert(i, string(key), v)
		s.scratch.patch = v.append(appendRawKey(s.scratch.patch, e.start, key))
	} else {
		s.reconcileMember(e.start, e.target.members[i].key, e.target.members[i].val.obj, fields, e.full)
	}
	e.target.members[i].val.obj.gen = s.gen
	return true
}

// remove removes an element, if it is there.
func (e *edit) remove(key string) {
	i, found := e.target.find(key)
	if !found {
		return
	}
	if e.target.members[i].val.named(e.s.gen) {
		e.split()
	}
	e.s.drop(e.target, i, e.start)
	e.gone = append(e.gone, key)
}

// split ends the patch and begins another, since a patch can say only one thing about an element.
func (e *edit) split() {
	e.flush()
	e.start = e.s.topicPatch()
}

func (e *edit) flush() {
	if len(e.s.scratch.patch) == e.start && !e.created {
		return
	}
	e.created = false
	patch := make([]byte, 0, len(e.s.scratch.patch)+1)
	patch = append(append(patch, e.s.scratch.patch...), '}')
	e.changes = append(e.changes, Change{e.topic, e.time, patch})
}

// end removes what a full frame didn't name, and gives the changes.
func (e *edit) end() []Change {
	if e.full {
		e.sweep()
	}
	e.flush()
	return e.changes
}

func (e *edit) sweep() {
	s := e.s
	kept := e.target.members[:0]
	for _, m := range e.target.members {
		if m.val.named(s.gen) {
			kept = append(kept, m)
			continue
		}
		e.gone = append(e.gone, m.key)
		s.scratch.patch = append(appendKey(s.scratch.patch, e.start, m.key), jsonNull...)
	}
	clear(e.target.members[len(kept):])
	e.target.members = kept
}
