package simulator

import (
	"fmt"

	"confgate/internal/confctl"
)

// maxAttendees keeps the list of the invited from growing for ever.
const maxAttendees = 60

func (w *world) newAttendee() *attendee {
	a := &attendee{info: newRecord(w.dialect.attendee)}
	n := w.next()
	account := fmt.Sprintf("user%04d", n)
	a.info.set(aName, w.someName())
	a.info.set(aOrg, orgID)
	a.info.set(aRole, "0")
	a.info.set(aMute, zeroOne(w.chance(30)))
	a.info.set(aAutoInvite, zeroOne(w.chance(50)))
	a.info.set(aHidePhone, "false")
	a.info.set(aNotOverlay, "false")
	switch w.rng.IntN(6) {
	case 0, 1, 2: // a member of the enterprise
		a.info.set(aType, "normal")
		a.info.set(aUserUUID, w.hex(32))
		a.info.set(aPhone, w.newPhone())
		a.info.set(aAccountID, account)
		a.info.set(aThirdAccount, account)
		a.info.set(aDeptUUID, w.hex(32))
		a.info.set(aDeptName, []string{"Research", "Sales", "研发部"}[w.rng.IntN(3)])
	case 3: // a room
		a.info.set(aType, "terminal")
		a.info.set(aPhone, w.newPhone())
		a.info.set(aAddress, fmt.Sprintf("Room %d", 100+n))
	case 4: // somebody outside, known by mail only
		a.info.set(aType, "outside")
		a.info.set(aEmail, account+"@example.com")
	default: // somebody outside, known by text message only
		a.info.set(aType, "outside")
		a.info.set(aSMS, w.newPhone())
	}
	return a
}

// attendeeIdentity are the keys that every row about an attendee carries.
func attendeeIdentity() mask { return keys(aUserUUID, aPhone, aEmail, aSMS, aName) }

func appendAttendeeRow(dst []byte, a *attendee, m mask) []byte {
	dst = append(dst, `{"mode":0,`...)
	return append(a.info.appendMembers(dst, m), '}')
}

func (w *world) tellAttendee(a *attendee, m mask) {
	body := appendAttendeeRow([]byte(`"data":[`), a, m)
	w.emit(confctl.Attendees, confctl.Increment, append(body, ']'))
}

// invite calls somebody who isn't there: a new attendee, and where it has a number, a participant that is being called.
func (w *world) invite() {
	if len(w.attendees) > maxAttendees || w.crowded() {
		return
	}
	a := w.newAttendee()
	w.attendees = append(w.attendees, a)
	w.tellAttendee(a, allKeys)
	phone := a.info.vals[aPhone]
	if phone == "" {
		return
	}
	p := w.newPerson()
	p.info.vals[pName] = a.info.vals[aName]
	p.info.vals[pTel] = phone
	p.info.vals[pAccountID] = a.info.vals[aUserUUID]
	p.info.vals[pAccount] = a.info.vals[aAccountID]
	p.info.vals[pThirdAccount] = a.info.vals[aThirdAccount]
	p.info.set(pAnonymous, "0")
	p.info.set(pState, "1")
	w.admit(p)
	w.rows().person(p, allKeys).tell(confctl.Participants)
}

// answer ends a call: somebody who is being called comes in, or refuses.
func (w *world) answer() {
	p := w.pick(func(p *person) bool { return p.info.is(pState, "1") })
	if p == nil {
		for _, q := range w.people {
			if q.info.is(pState, "1") {
				p = q
				break
			}
		}
	}
	if p == nil {
		return
	}
	if w.chance(60) {
		p.info.set(pState, "0")
		p.info.setInt(pAddTime, w.now)
		w.rows().person(p, keys(pState, pAddTime)).tell(confctl.Participants)
		w.inviteResult(p.info.vals[pTel], "0")
		w.arrived(p)
		return
	}
	w.inviteResult(p.info.vals[pTel], []string{"11076005", "11076008", "11076009", "11076014"}[w.rng.IntN(4)])
	w.remove(p)
}

// arrived tells the attendee that p is, if any, that it now has p's pid.
func (w *world) arrived(p *person) {
	uuid, tel := p.info.vals[pAccountID], p.info.vals[pTel]
	for _, a := range w.attendees {
		if (uuid != "" && a.info.is(aUserUUID, uuid)) || (tel != "" && a.info.is(aPhone, tel)) {
			if a.info.set(aParticipantID, p.pid) {
				w.tellAttendee(a, attendeeIdentity()|keys(aParticipantID))
			}
			return
		}
	}
}

// inviteResult remembers how a call ended, the newest for each number, and tells it.
func (w *world) inviteResult(number, code string) {
	if number == "" {
		return
	}
	result := InviteResult{CallNumber: number, Code: code}
	known := false
	for i := range w.invites {
		if w.invites[i].CallNumber == number {
			w.invites[i], known = result, true
		}
	}
	if !known {
		w.invites = append(w.invites, result)
	}
	body := w.appendInvite([]byte(`"data":[`), result)
	w.emit(confctl.InviteResult, confctl.Increment, append(body, ']'))
}

func (w *world) appendInvite(dst []byte, r InviteResult) []byte {
	dst = append(dst, `{"callNumber":`...)
	dst = appendString(dst, r.CallNumber)
	dst = append(dst, ',')
	dst = appendKey(dst, w.dialect.resultKey)
	return append(appendString(dst, r.Code), '}')
}

func (w *world) changeAttendee() {
	if len(w.attendees) == 0 {
		return
	}
	a := w.attendees[w.rng.IntN(len(w.attendees))]
	k := []int{aMute, aAutoInvite}[w.rng.IntN(2)]
	a.info.set(k, zeroOne(!a.info.flag(k)))
	w.tellAttendee(a, attendeeIdentity()|keys(k))
}

// dropAttendee takes somebody off the list of the invited, by one identifier or by all of them.
func (w *world) dropAttendee() {
	if len(w.attendees) <= 2+w.target/10 {
		return
	}
	i := w.rng.IntN(len(w.attendees))
	a := w.attendees[i]
	if a.anchored {
		return
	}
	w.attendees = append(w.attendees[:i], w.attendees[i+1:]...)
	m := attendeeIdentity()
	if w.chance(60) {
		for _, k := range []int{aUserUUID, aPhone, aEmail, aSMS} {
			if a.info.vals[k] != "" {
				m = keys(k)
				break
			}
		}
	}
	body := append(a.info.appendMembers([]byte(`"data":[{"mode":1,`), m), `}]`...)
	w.emit(confctl.Attendees, confctl.Increment, body)
}
