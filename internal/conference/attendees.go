package conference

import (
	"errors"
	"strconv"
	"strings"

	"confgate/internal/confctl"
)

// attendeeRows: the list has no key of its own (chapter 6.1.3.6), see identify.
var attendeeRows = rowKind{topic: Attendees, fields: attendeeFields}

// identities are the members by which an attendee is recognised, strongest first. A name counts only where it is unique.
var identities = [...]string{"pid", "userId", "phone", "email", "sms"}

const nameIdentity = "name"

// applyAttendees reduces AttendeesNotify. Elements are keyed by names that the gateway gives, since the provider's
// identifiers are personal data.
func (s *State) applyAttendees(f *confctl.Frame) ([]Change, error) {
	list, err := rows(f.Data)
	if err != nil {
		return nil, err
	}
	e := s.edit(Attendees, f.Mode == confctl.Full, f.CreateTime)
	known := indexAttendees(e.target)
	n := 0
	for v, ok := list.Element(); ok; v, ok = list.Element() {
		n++
		s.scratch.reset()
		r, usable := s.readRow(&attendeeRows, v)
		if !usable {
			err = errors.Join(err, rowError(Attendees, n, "not an object"))
			continue
		}
		s.applyAttendee(e, known, r)
	}
	return e.end(), err
}

// applyAttendee applies one row; known says who is there, and is kept up to date.
func (s *State) applyAttendee(e *edit, known attendeeIndex, r row) {
	name := s.identify(e, known, r.fields)
	switch {
	case r.removed && (e.full || name == ""):
	case r.removed:
		known.remove(name, e.target.at(name).obj)
		e.remove(name)
	default:
		if name == "" {
			s.memory.Attendees++
			name = "a" + strconv.FormatUint(s.memory.Attendees, 10)
		} else {
			known.remove(name, e.target.at(name).obj)
		}
		e.update([]byte(name), r.fields)
		known.add(name, e.target.at(name).obj)
	}
}

// lastAttendee is the highest n of the names "a<n>" in use, since a name must not be given twice.
func lastAttendee(o *object) uint64 {
	var last uint64
	if o == nil {
		return last
	}
	for i := range o.members {
		last = max(last, attendeeNumber(o.members[i].key))
	}
	return last
}

// attendeeNumber is n of the name "a<n>"; 0 for what isn't one.
func attendeeNumber(name string) uint64 {
	n, err := strconv.ParseUint(strings.TrimPrefix(name, "a"), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// attendeeIndex finds the names of attendees by what identifies them: by a member's name and its value, those who have it.
type attendeeIndex map[[2]string][]string

func indexAttendees(o *object) attendeeIndex {
	x := make(attendeeIndex, 2*len(o.members))
	for i := range o.members {
		x.add(o.members[i].key, o.members[i].val.obj)
	}
	return x
}

func (x attendeeIndex) each(o *object, do func(key [2]string)) {
	for _, id := range identities {
		if text := o.at(id).text(); text != "" {
			do([2]string{id, text})
		}
	}
	if text := o.at(nameIdentity).text(); text != "" {
		do([2]string{nameIdentity, text})
	}
}

func (x attendeeIndex) add(name string, o *object) {
	x.each(o, func(key [2]string) { x[key] = append(x[key], name) })
}

func (x attendeeIndex) remove(name string, o *object) {
	x.each(o, func(key [2]string) {
		for i, n := range x[key] {
			if n == name {
				x[key] = append(x[key][:i:i], x[key][i+1:]...)
				return
			}
		}
	})
}

// identify finds whom a row is about: the one with the same participantID, else userUUID, phone, email or sms, else the
// only one of that name. A candidate who contradicts the row in a stronger identity, other than the participantID, which
// changes with each call, is somebody else. Within a full frame nobody is found twice. Empty: a new one.
func (s *State) identify(e *edit, known attendeeIndex, fields *object) string {
	for i, id := range identities {
		text := fields.at(id).text()
		if text == "" {
			continue
		}
		for _, name := range known[[2]string{id, text}] {
			if s.candidate(e, name, fields, i) {
				return name
			}
		}
	}
	text := fields.at(nameIdentity).text()
	if text == "" {
		return ""
	}
	if names := known[[2]string{nameIdentity, text}]; len(names) == 1 &&
		s.candidate(e, names[0], fields, len(identities)) {
		return names[0]
	}
	return ""
}

func (s *State) candidate(e *edit, name string, fields *object, strength int) bool {
	i, found := e.target.find(name)
	if !found || (e.full && e.target.members[i].val.named(s.gen)) {
		return false
	}
	for _, id := range identities[1:max(strength, 1)] {
		have, said := e.target.members[i].val.obj.at(id).text(), fields.at(id).text()
		if have != "" && said != "" && have != said {
			return false
		}
	}
	return true
}

// Fill applies the roster that the REST query realTimeInfo gave (chapter 5.2.2), as far as it goes: whom it doesn't name is
// gone from participants and attendees, and members that it can't know stay. now is in Unix milliseconds.
func (s *State) Fill(info *confctl.RealTimeInfo, now int64) []Change {
	s.scratch = borrow()
	defer s.giveBack()
	s.gen++
	cohosts := make(map[string]bool, len(info.CoHosts))
	for _, pid := range info.CoHosts {
		cohosts[pid] = true
	}
	e := s.edit(Participants, false, now)
	for i := range info.Participants {
		p := &info.Participants[i]
		if p.PID == "" {
			continue
		}
		s.scratch.reset()
		fields := s.realTimeRow(p)
		if info.ChairID != "" { // the answer says who presides
			s.presiding(fields, e.target.at(p.PID).obj, p.PID == info.ChairID, cohosts[p.PID])
		}
		e.update([]byte(p.PID), fields)
	}
	e.sweep()
	changes := s.dropQuality(e.end(), e.gone, now)

	e = s.edit(Attendees, false, now)
	known := indexAttendees(e.target)
	for _, a := range info.Attendees {
		s.scratch.reset()
		s.applyRealTimeAttendee(e, known, a)
	}
	e.sweep()
	return append(changes, e.end()...)
}

// presiding completes a participant's fields by whether it is the chair or a co-host. Of the others the answer doesn't say
// whether they are guests or audience, so only a chair who no longer is one changes.
func (s *State) presiding(fields, known *object, chair, cohost bool) {
	b := s.scratch
	switch {
	case chair:
		b.put(fields, "", "role", []byte(`"chair"`))
	case known != nil && known.at("role").text() == "chair":
		b.put(fields, "", "role", []byte(`"guest"`))
	}
	switch {
	case cohost:
		b.put(fields, "", "cohost", jsonTrue)
	case known != nil && string(known.at("cohost").raw) == "true":
		b.put(fields, "", "cohost", jsonFalse)
	}
}

func (s *State) realTimeRow(p *confctl.RealTimeParticipant) *object {
	b := s.scratch
	o := b.object()
	put := func(key, text string) {
		if text != "" {
			s.put(o, personFields, extraKey, []byte(key), quoted(b, text))
		}
	}
	number := func(key string, n *int64) {
		if n != nil {
			put(key, strconv.FormatInt(*n, 10))
		}
	}
	put("NAME", p.Name)
	put("TEL", p.Phone)
	number("STATE", p.State)
	number("VIDEO", p.Video)
	number("MUTE", p.Mute)
	number("HAND", p.Hand)
	return o
}

func (s *State) applyRealTimeAttendee(e *edit, known attendeeIndex, a confctl.RealTimeAttendee) {
	b := s.scratch
	o := b.object()
	for _, f := range [...]struct{ key, text string }{
		{"accountId", a.AccountID}, {"userUUID", a.UserUUID}, {"name", a.Name}, {"phone", a.Phone},
	} {
		if f.text != "" {
			s.put(o, attendeeFields, extraKey, []byte(f.key), quoted(b, f.text))
		}
	}
	if len(o.members) > 0 {
		s.applyAttendee(e, known, row{fields: o})
	}
}
