package conference

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"confgate/internal/confctl"
	"confgate/internal/rawjson"
)

// ErrRow: a part of a frame isn't what its kind's chapter says. The rest of the frame was applied.
var ErrRow = errors.New("conference: unusable part of a frame")

// State is a conference as its owner knows it: the document and what the reducer must remember beside it. It is pure and
// deterministic: no I/O, no clock. One goroutine, the session, owns it.
type State struct {
	id     string
	doc    *Doc
	memory memory

	scratch *builder // of the call under way
	gen     uint32   // number of the frame under way
	names   map[string]string
}

// memory is what the document doesn't say. It goes into checkpoints.
type memory struct {
	// Results is the last result of each number that was invited (chapter 6.1.3.9).
	Results map[string]result `json:"results,omitempty"`
	// Attendees is the last name that was given, n of "a<n>".
	Attendees uint64 `json:"attendees,omitempty"`
	// BasicCall and DynamicCall are callInRestriction of the two frames that bring it.
	BasicCall   json.RawMessage `json:"basicCall,omitempty"`
	DynamicCall json.RawMessage `json:"dynamicCall,omitempty"`
}

type result struct {
	Code string `json:"code"`
	Time int64  `json:"time"` // of the frame, Unix milliseconds
}

// New makes the state of a conference of which nothing is known yet. id is the one that it is held under.
func New(id string) *State { return &State{id: id, doc: NewDoc()} }

// Restore makes the state from a checkpoint's document and memory; it takes ownership of doc. Memory may be nil.
func Restore(id string, doc *Doc, mem []byte) (*State, error) {
	s := &State{id: id, doc: doc}
	for _, v := range doc.topics {
		if v.obj != nil {
			v.obj.forgetFrames()
		}
	}
	if len(mem) > 0 {
		if err := json.Unmarshal(mem, &s.memory); err != nil {
			return nil, fmt.Errorf("conference: restore: %w", err)
		}
	}
	s.memory.Attendees = max(s.memory.Attendees, lastAttendee(doc.topics[Attendees].obj))
	return s, nil
}

// MemoryTopics are the topics whose changes move the memory on: AdvanceMemory reads these.
const MemoryTopics = Topics(1<<Invites | 1<<Attendees)

// AdvanceMemory is mem as it is after more changes: a checkpoint's memory may be older than the document that the log makes
// of it, and would let a result be told, or a name be given, twice.
func AdvanceMemory(mem []byte, changes []Stamped) ([]byte, error) {
	s := New("")
	if len(mem) > 0 {
		if err := json.Unmarshal(mem, &s.memory); err != nil {
			return nil, fmt.Errorf("conference: memory: %w", err)
		}
	}
	for _, c := range changes {
		switch c.Topic {
		case Invites:
			var e struct{ Phone, Code string }
			if err := json.Unmarshal(c.Body, &e); err != nil {
				return nil, fmt.Errorf("conference: memory: %w", err)
			}
			s.remember(e.Phone, result{e.Code, c.Time})
		case Attendees:
			patch := rawjson.Walk(c.Body)
			for name, _, ok := patch.Member(); ok; name, _, ok = patch.Member() {
				s.memory.Attendees = max(s.memory.Attendees, attendeeNumber(string(name)))
			}
		default:
		}
	}
	return s.Memory(), nil
}

// Memory is what Restore needs beside the document, as JSON. It may hold telephone numbers, never secrets.
func (s *State) Memory() []byte {
	b, err := json.Marshal(s.memory)
	if err != nil {
		panic(fmt.Sprintf("conference: memory can't be encoded: %v", err)) // plain strings and numbers
	}
	return b
}

// Doc is the document, to be read by the owner only, until the next call that changes it.
func (s *State) Doc() *Doc { return s.doc }

// Ended says whether the provider has declared the conference destroyed.
func (s *State) Ended() bool {
	o := s.doc.topics[Info].obj
	return o != nil && string(o.at("state").raw) == `"destroyed"`
}

// Apply reduces one notify frame. The changes are in order; there are none where the frame says nothing new. An error
// (ErrRow) tells of parts that couldn't be used and doesn't mean that there are no changes. Frames that aren't notifies
// change nothing.
func (s *State) Apply(f *confctl.Frame) ([]Change, error) {
	if f.Class != confctl.Notify {
		return nil, nil
	}
	s.scratch = borrow()
	defer s.giveBack()
	s.gen++
	switch f.Kind {
	case confctl.ConfBasicInfo, confctl.ConfDynamicInfo:
		return s.applyInfo(f)
	case confctl.Participants:
		return s.applyKeyed(f, participantRows)
	case confctl.WaitingList:
		return s.applyKeyed(f, waitingRows)
	case confctl.NetCondition:
		return s.applyKeyed(f, qualityRows)
	case confctl.Attendees:
		return s.applyAttendees(f)
	case confctl.SpeakerChange:
		return s.applySpeakers(f)
	case confctl.InterpreterGroup:
		return s.applyInterpreters(f)
	case confctl.InviteResult:
		return s.applyInvites(f)
	case confctl.RealTimeSubtitle:
		return s.applySubtitle(f)
	default:
		return []Change{vendorEvent(f)}, nil
	}
}

// Clear removes all topics but "link", as five minutes after a conference has ended, and forgets what went with them.
// now is in Unix milliseconds.
func (s *State) Clear(now int64) []Change {
	var changes []Change
	for i := range s.doc.topics {
		if t := Topic(i); t != Link && s.doc.topics[i].exists() {
			s.doc.topics[i] = value{}
			changes = append(changes, Change{t, now, jsonNull})
		}
	}
	s.memory = memory{Attendees: s.memory.Attendees}
	return changes
}

// put converts one of the provider's members into an element's: by the table, else verbatim under extra.
func (s *State) put(o *object, t table, extra string, key, val []byte) {
	key = bytes.TrimSpace(key)
	b := s.scratch
	f, known := t.find(key)
	switch {
	case rawjson.Null(val) && known:
		b.put(o, f.sub, f.name, jsonNull)
	case rawjson.Null(val):
		b.put(o, extra, s.name(key), jsonNull)
	case known:
		b.put(o, f.sub, f.name, f.as(b, val))
	default:
		b.put(o, extra, s.name(key), verbatim(b, val))
	}
}

// name is key as a string, the same one for every element, so that a roster holds each of the provider's keys once.
func (s *State) name(key []byte) string {
	if n, ok := internedNames[string(key)]; ok {
		return n
	}
	const most = 1024 // the reference knows about a hundred
	if n, ok := s.names[string(key)]; ok {
		return n
	}
	if s.names == nil || len(s.names) >= most {
		s.names = make(map[string]string)
	}
	n := string(key)
	s.names[n] = n
	return n
}

// reconcile makes target say what src says and appends the members of the patch that does the same. What src lacks stays
// in target, unless src is the whole. A null in src means "not there".
func (s *State) reconcile(target, src *object, whole bool) {
	start := len(s.scratch.patch)
	i := 0
	for j := range src.members {
		m := &src.members[j]
		for i < len(target.members) && target.members[i].key < m.key {
			if whole {
				s.drop(target, i, start)
			} else {
				i++
			}
		}
		found := i < len(target.members) && target.members[i].key == m.key
		switch {
		case m.val.obj == nil && rawjson.Null(m.val.raw):
			if found {
				s.drop(target, i, start)
			}
			continue
		case !found:
			kept := s.keep(m.val)
			target.insert(i, m.key, kept)
			s.scratch.patch = kept.append(appendKey(s.scratch.patch, start, m.key))
		case m.val.obj != nil && target.members[i].val.obj != nil:
			s.reconcileMember(start, m.key, target.members[i].val.obj, m.val.obj, whole)
		case m.val.obj != nil || target.members[i].val.obj != nil || !bytes.Equal(target.members[i].val.raw, m.val.raw):
			kept := s.keep(m.val)
			target.members[i].val = kept
			s.scratch.patch = kept.append(appendKey(s.scratch.patch, start, m.key))
		}
		i++
	}
	for whole && i < len(target.members) {
		s.drop(target, i, start)
	}
}

// reconcileMember reconciles the object under key with src, inside a patch whose first member began at start.
func (s *State) reconcileMember(start int, key string, target, src *object, whole bool) {
	undo := len(s.scratch.patch)
	s.scratch.patch = append(appendKey(s.scratch.patch, start, key), '{')
	inner := len(s.scratch.patch)
	s.reconcile(target, src, whole)
	if len(s.scratch.patch) == inner {
		s.scratch.patch = s.scratch.patch[:undo]
		return
	}
	s.scratch.patch = append(s.scratch.patch, '}')
}

// drop removes member i of target, and says so in the patch.
func (s *State) drop(target *object, i, start int) {
	s.scratch.patch = appendKey(s.scratch.patch, start, target.members[i].key)
	s.scratch.patch = append(s.scratch.patch, jsonNull...)
	target.removeAt(i)
}

// keep makes a value that outlives the frame. Nulls have no place in it.
func (s *State) keep(v value) value {
	if v.obj == nil {
		return value{raw: keepText(v.raw)}
	}
	o := &object{members: make([]member, 0, len(v.obj.members))}
	for i := range v.obj.members {
		m := &v.obj.members[i]
		if m.val.obj == nil && rawjson.Null(m.val.raw) {
			continue
		}
		o.members = append(o.members, member{key: m.key, val: s.keep(m.val)})
	}
	return value{obj: o}
}

// topicPatch begins a patch, and says where its first member will be.
func (s *State) topicPatch() int {
	s.scratch.patch = append(s.scratch.patch[:0], '{')
	return len(s.scratch.patch)
}

// topicObject is a topic's object, made where it wasn't there.
func (s *State) topicObject(t Topic) (o *object, created bool) {
	if s.doc.topics[t].obj == nil {
		s.doc.topics[t] = value{obj: &object{}}
		return s.doc.topics[t].obj, true
	}
	return s.doc.topics[t].obj, false
}

// replaceTopic makes a topic's object say what src says and nothing else.
func (s *State) replaceTopic(changes []Change, t Topic, src *object, time int64) []Change {
	e := s.edit(t, false, time)
	s.reconcile(e.target, src, true)
	return append(changes, e.end()...)
}

// replaceRaw makes a topic's member the given text.
func (s *State) replaceRaw(changes []Change, t Topic, raw []byte, time int64) []Change {
	if bytes.Equal(s.doc.topics[t].raw, raw) {
		return changes
	}
	kept := bytes.Clone(raw)
	s.doc.topics[t] = value{raw: kept}
	return append(changes, Change{t, time, kept})
}

// removeTopic removes a topic's member.
func (s *State) removeTopic(changes []Change, t Topic, time int64) []Change {
	if !s.doc.topics[t].exists() {
		return changes
	}
	s.doc.topics[t] = value{}
	return append(changes, Change{t, time, jsonNull})
}

func quoted(b *builder, s string) []byte {
	n := len(b.buf)
	b.buf = rawjson.AppendString(b.buf, s)
	return b.tail(n)
}

func decimal(b *builder, n int64) []byte {
	at := len(b.buf)
	b.buf = strconv.AppendInt(b.buf, n, 10)
	return b.tail(at)
}

// remember records an invitation's result, bounded.
func (s *State) remember(number string, r result) {
	const most = 10_000 // far more numbers than a conference invites
	if s.memory.Results == nil {
		s.memory.Results = make(map[string]result)
	}
	if _, known := s.memory.Results[number]; !known && len(s.memory.Results) >= most {
		oldest, at := "", int64(0)
		for n, r := range maps.All(s.memory.Results) {
			if oldest == "" || r.Time < at || (r.Time == at && n < oldest) {
				oldest, at = n, r.Time
			}
		}
		delete(s.memory.Results, oldest)
	}
	s.memory.Results[number] = r
}
