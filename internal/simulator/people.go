package simulator

import (
	"fmt"
	"strings"

	"confgate/internal/confctl"
)

// newPerson makes somebody who joins now, not yet in the conference.
func (w *world) newPerson() *person {
	p := &person{pid: w.newPID(), info: newRecord(w.dialect.pinfo)}
	name := w.someName()
	account := fmt.Sprintf("user%04d", w.next())
	p.info.set(pName, name)
	p.info.set(pTel, w.newPhone())
	p.info.set(pAnonymous, "0")
	p.info.set(pOrg, orgID)
	p.info.set(pClient, []string{"Desktop", "Desktop", "Mobile", "Pad", "OtherType"}[w.rng.IntN(5)])
	p.info.set(pVideo, "1")
	switch n := w.rng.IntN(10); {
	case n < 7: // a member of the enterprise
		p.info.set(pAccountID, w.hex(32))
		p.info.set(pAccount, account)
		p.info.set(pThirdAccount, account)
	case n < 9: // a guest with a link
		p.info.set(pAnonymous, "1")
	default: // a telephone
		p.info.set(pClient, "OtherType")
		p.info.set(pVideo, "0")
	}
	w.seat(p)
	return p
}

// seat gives the values that everybody joins with.
func (w *world) seat(p *person) {
	for _, k := range []int{
		pRole, pState, pHand, pBroadcast, pRollCall, pShare, pCamera, pLocalRec, pCohost, pLockedView, pAllowClientRec,
		pClientRecState, pRoleSwitchOver, pInviteShare,
	} {
		p.info.set(k, "0")
	}
	p.info.setInt(pAddTime, w.now)
	p.info.set(pMute, zeroOne(w.dynamic.is(dMute, "1") || w.chance(60)))
	p.info.set(pCamera, zeroOne(p.info.is(pVideo, "1") && w.chance(50)))
	p.info.set(pSVC, zeroOne(w.chance(80)))
	p.info.set(pM, "1")
	p.info.set(pT, fmt.Sprint(1+w.next()))
	p.info.set(pCapabilities, []string{"1,3", "1,2,3,4,5,6", "2"}[w.rng.IntN(3)])
	p.info.set(pRTCUserID, p.pid)
	if w.chance(20) {
		p.info.set(pUserAgent, "Conf-client/9.2 (zh)")
	}
}

func zeroOne(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// admit puts a person into the conference without telling.
func (w *world) admit(p *person) { w.people = append(w.people, p) }

// pick chooses one of the people for whom ok holds; nil where a few tries find none.
func (w *world) pick(ok func(*person) bool) *person {
	if len(w.people) == 0 {
		return nil
	}
	for range 8 {
		if p := w.people[w.rng.IntN(len(w.people))]; ok(p) {
			return p
		}
	}
	return nil
}

func present(p *person) bool { return p.info.is(pState, "0") }

func guest(p *person) bool { return present(p) && p.info.is(pRole, "0") && !p.anchored }

// rowSet is the rows of one increment in the making: each as the world is when the row is added.
type rowSet struct {
	w    *world
	body []byte
}

func (w *world) rows() *rowSet { return &rowSet{w: w} }

func (r *rowSet) begin() {
	if len(r.body) == 0 {
		r.body = append(r.body, `"data":[`...)
		return
	}
	r.body = append(r.body, ',')
}

// person adds a row with the named keys of p.
func (r *rowSet) person(p *person, m mask) *rowSet {
	r.begin()
	r.body = appendPersonRow(r.body, p, m, -1)
	return r
}

// gone adds a row that removes p. Half of the removals have no pinfoMap.
func (r *rowSet) gone(p *person) *rowSet {
	r.begin()
	r.body = append(r.body, `{"pid":`...)
	r.body = appendString(r.body, p.pid)
	r.body = append(r.body, `,"mode":1`...)
	if r.w.chance(50) {
		r.body = append(r.body, `,"pinfoMap":{`...)
		r.body = p.info.appendMembers(r.body, keys(pName, pTel))
		r.body = append(r.body, '}')
	}
	r.body = append(r.body, '}')
	return r
}

func (r *rowSet) tell(kind confctl.Kind) {
	if len(r.body) > 0 {
		r.w.emit(kind, confctl.Increment, append(r.body, ']'))
	}
}

// appendPersonRow appends a row of ParticipantsNotify, or with a delType of WaitingListNotify.
func appendPersonRow(dst []byte, p *person, m mask, delType int) []byte {
	dst = append(dst, `{"pid":`...)
	dst = appendString(dst, p.pid)
	dst = append(dst, `,"mode":0`...)
	if delType >= 0 {
		dst = fmt.Appendf(dst, `,"delType":%d`, delType)
	}
	dst = append(dst, `,"pinfoMap":{`...)
	dst = p.info.appendMembers(dst, m)
	return append(dst, `}}`...)
}

// update sets one key of p and tells it.
func (w *world) update(p *person, k int, v string) {
	if p.info.set(k, v) {
		w.rows().person(p, keys(k)).tell(confctl.Participants)
	}
}

// flip changes a flag of p and tells it.
func (w *world) flip(p *person, k int) {
	w.update(p, k, zeroOne(!p.info.flag(k)))
}

// crowded says whether nobody should join now, so that the world keeps its size.
func (w *world) crowded() bool { return len(w.people) > w.target+w.target/5 }

func (w *world) join() {
	if w.crowded() {
		return
	}
	p := w.newPerson()
	if len(w.people) > 0 && w.chance(15) {
		w.copyIdentity(p, w.people[w.rng.IntN(len(w.people))])
	}
	w.enter(p)
}

// enter puts p into the conference and tells it, in one row or two: some are "joining" first.
func (w *world) enter(p *person) {
	w.admit(p)
	if w.chance(20) {
		p.info.set(pState, "2")
		w.rows().person(p, keys(pName, pTel, pState, pRole, pAddTime)).tell(confctl.Participants)
		p.info.set(pState, "0")
	}
	w.rows().person(p, allKeys).tell(confctl.Participants)
	w.arrived(p)
}

// copyIdentity makes p another device of q's owner: the same name, number and accounts under another pid.
func (w *world) copyIdentity(p, q *person) {
	for _, k := range []int{pName, pTel, pAnonymous, pAccountID, pAccount, pThirdAccount} {
		p.info.vals[k] = q.info.vals[k]
	}
	p.info.set(pClient, "Mobile")
}

func (w *world) leave() {
	if len(w.people) <= w.target-w.target/5 {
		return
	}
	p := w.pick(guest)
	if p == nil {
		return
	}
	w.remove(p)
	if w.chance(25) {
		code := []string{"11076010", "11076002", "11076016", "11111002"}[w.rng.IntN(4)]
		w.inviteResult(p.info.vals[pTel], code)
	}
}

// remove takes p out of the conference and tells it.
func (w *world) remove(p *person) {
	for i, q := range w.people {
		if q == p {
			w.people = append(w.people[:i], w.people[i+1:]...)
			break
		}
	}
	w.rows().gone(p).tell(confctl.Participants)
	if p.quality != nil && w.chance(50) {
		w.emit(confctl.NetCondition, confctl.Increment, appendQualityGone(nil, p.pid))
	}
	if w.caption != nil && w.caption.pid == p.pid {
		w.caption = nil
	}
	w.hush(p)
}

func (w *world) toggleMute() {
	p := w.pick(present)
	if p == nil {
		return
	}
	w.flip(p, pMute)
	if p.info.flag(pMute) {
		w.hush(p)
	}
}

func (w *world) toggleHand() {
	if p := w.pick(present); p != nil {
		w.flip(p, pHand)
	}
}

func (w *world) toggleCamera() {
	if p := w.pick(func(p *person) bool { return present(p) && p.info.flag(pVideo) }); p != nil {
		w.flip(p, pCamera)
	}
}

func (w *world) toggleLocalRec() {
	if p := w.pick(present); p != nil {
		w.flip(p, pLocalRec)
	}
}

func (w *world) toggleCohost() {
	if p := w.pick(guest); p != nil {
		w.flip(p, pCohost)
	}
}

// share passes the presentation to somebody, or ends it: whoever shared before and whoever does now are in one frame.
func (w *world) share() {
	w.exclusive(pShare, w.chance(70))
}

// exclusive gives flag k to one other person, or with some false to nobody, and tells all who are concerned in one frame.
func (w *world) exclusive(k int, some bool) *person {
	var chosen *person
	if some {
		chosen = w.pick(func(p *person) bool { return present(p) && !p.info.flag(k) })
	}
	rows := w.rows()
	for _, p := range w.people {
		if p != chosen && p.info.flag(k) {
			p.info.set(k, "0")
			rows.person(p, keys(k))
		}
	}
	if chosen != nil {
		chosen.info.set(k, "1")
		rows.person(chosen, keys(k))
	}
	rows.tell(confctl.Participants)
	return chosen
}

func (w *world) rename() {
	p := w.pick(present)
	if p == nil {
		return
	}
	name := p.info.vals[pName]
	if base, _, renamed := strings.Cut(name, " ("); renamed {
		name = base
	} else {
		name += " (" + w.someName() + ")"
	}
	w.update(p, pName, name)
}

// switchRole makes a guest part of the audience, or back. Audience can't be co-host: both keys come in one row.
func (w *world) switchRole() {
	p := w.pick(func(p *person) bool { return present(p) && !p.anchored && !p.info.is(pRole, "1") })
	if p == nil {
		return
	}
	m := keys(pRole)
	if p.info.is(pRole, "2") {
		p.info.set(pRole, "0")
	} else {
		p.info.set(pRole, "2")
		if p.info.set(pCohost, "0") {
			m |= keys(pCohost)
		}
	}
	w.rows().person(p, m).tell(confctl.Participants)
}

// passChair hands the chair over: the old one and the new one in one frame.
func (w *world) passChair() {
	var old *person
	for _, p := range w.people {
		if p.info.is(pRole, "1") {
			old = p
		}
	}
	heir := w.pick(guest)
	if heir == nil {
		return
	}
	rows := w.rows()
	if old != nil {
		old.info.set(pRole, "0")
		rows.person(old, keys(pRole))
	}
	m := keys(pRole)
	heir.info.set(pRole, "1")
	if heir.info.set(pCohost, "0") {
		m |= keys(pCohost)
	}
	rows.person(heir, m).tell(confctl.Participants)
}

// view changes what somebody looks at.
func (w *world) view() {
	p := w.pick(present)
	if p == nil {
		return
	}
	m := keys(pViewType)
	switch w.rng.IntN(3) {
	case 0:
		p.info.set(pViewType, "0")
	case 1:
		p.info.set(pViewType, "1")
	default:
		q := w.people[w.rng.IntN(len(w.people))]
		p.info.set(pViewType, "2")
		p.info.set(pViewing, q.pid)
		m |= keys(pViewing)
	}
	w.rows().person(p, m).tell(confctl.Participants)
}

func (w *world) newWaiter() *person {
	p := &person{pid: w.hex(32), info: newRecord(w.dialect.pinfo)}
	account := fmt.Sprintf("user%04d", w.next())
	p.info.set(pName, w.someName())
	p.info.set(pOrg, orgID)
	p.info.set(pAnonymous, "0")
	p.info.set(pClient, "Desktop")
	p.info.set(pTel, w.newPhone())
	p.info.setInt(pAddTime, w.now)
	if w.chance(60) {
		p.info.set(pAccountID, w.hex(32))
		p.info.set(pAccount, account)
		p.info.set(pThirdAccount, account)
	} else {
		p.info.set(pAnonymous, "1")
	}
	return p
}

func (w *world) waiterArrives() {
	if len(w.waiting) > 3+w.target/10 {
		return
	}
	p := w.newWaiter()
	w.waiting = append(w.waiting, p)
	w.tellWaiting(p, allKeys)
}

func (w *world) tellWaiting(p *person, m mask) {
	body := appendPersonRow([]byte(`"data":[`), p, m, 0)
	w.emit(confctl.WaitingList, confctl.Increment, append(body, ']'))
}

// waiterMoves lets somebody out of the waiting room: admitted first, then inside; some give up.
func (w *world) waiterMoves() {
	if len(w.waiting) == 0 {
		return
	}
	i := w.rng.IntN(len(w.waiting))
	p := w.waiting[i]
	admitted := p.info.is(pWaitingState, "1")
	if admitted && w.crowded() {
		return
	}
	if !admitted && w.chance(75) {
		p.info.set(pWaitingState, "1")
		w.tellWaiting(p, keys(pWaitingState))
		return
	}
	w.waiting = append(w.waiting[:i], w.waiting[i+1:]...)
	body := append([]byte(`"data":[{"pid":`), '"')
	body = append(append(body, p.pid...), `","mode":1`...)
	if admitted {
		body = append(body, `,"delType":1`...)
	}
	w.emit(confctl.WaitingList, confctl.Increment, append(body, `}]`...))
	if admitted {
		p.info.vals[pWaitingState] = ""
		p.info.set(pVideo, "1")
		w.seat(p)
		w.enter(p)
	}
}
