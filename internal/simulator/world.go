package simulator

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"confgate/internal/confctl"
)

// draft is a notify without its envelope: what a change of the world tells, encoded as it was at that moment.
type draft struct {
	kind confctl.Kind
	mode confctl.Mode
	body []byte // members of the frame, without braces
}

// world is one run of a conference, from its start to its end. It is pure: its dice and the time that step is given are
// its only input. Its room owns it.
type world struct {
	rng      *rand.Rand
	dialect  dialect
	id       string
	password confctl.Secret
	canary   Canary
	target   int // people to keep near to
	lively   bool
	now      int64 // Unix milliseconds of the change being made
	began    int64
	serial   int // numbers what is made, so that names and identifiers are unique within a run
	steps    uint64

	basic, dynamic record
	layout         *Layout

	people    []*person
	waiting   []*person
	attendees []*attendee
	speakers  []Speaker
	groups    []InterpreterGroup
	invites   []InviteResult
	caption   *caption
	subtitled int

	actions []action
	weight  int // of all actions together
	out     []draft
}

// person is somebody in the conference or in its waiting room: one pid. A person with two devices is two of these.
type person struct {
	pid      string
	info     record
	quality  *record // nil: the provider hasn't measured any
	anchored bool    // never leaves
}

type attendee struct {
	info     record
	anchored bool
}

// caption is a subtitle that is still being spoken.
type caption struct {
	id, pid     string
	words       []string
	said        int
	begin       int64
	secondTrack bool
}

// worldSpec is what a room makes a world from.
type worldSpec struct {
	id, title string
	password  confctl.Secret
	canary    Canary
	index     int
	target    int
	lively    bool
	rng       *rand.Rand
	now       int64
}

func newWorld(s worldSpec) *world {
	w := &world{
		rng: s.rng, dialect: dialectOf(s.index), id: s.id, password: s.password, canary: s.canary,
		target: s.target, lively: s.lively, now: s.now, began: s.now,
	}
	w.actions, w.weight = actionTable(s.lively)
	w.basic = w.newBasic(s.title)
	w.dynamic = w.newDynamic()
	w.populate()
	w.out = nil // nobody is linked yet: full frames will tell
	return w
}

func (w *world) newBasic(title string) record {
	b := newRecord(w.dialect.basic)
	b.set(bDisplayID, w.id)
	b.set(bTitle, title)
	b.setInt(bStart, w.began)
	b.setInt(bScheduled, w.began-464)
	b.set(bGuestJoinURI, secretOr(w.canary.JoinLink, "https://meeting.example.com/#/j/"+w.id+"/"+w.hex(48)))
	b.set(bRecType, "1")
	b.set(bMedia, "2")
	b.set(bOwner, w.someName())
	b.set(bOrg, orgID)
	b.set(bOwnerID, w.hex(32))
	b.set(bCallIn, "0")
	b.set(bConfMode, "COMMON")
	b.set(bSubtitle, "1")
	b.set(bWatermark, "1")
	b.set(bUserType, "2")
	for _, k := range []int{bAIRecType, bAudienceCallIn, bInterpretation} {
		b.set(k, "0")
	}
	b.set(bSupportCohost, "1")
	b.set(bClientRecord, "1")
	b.set(bWebinar, "false")
	b.set(bBigMultiPic, "true")
	b.set(bPartView, "true")
	b.set(bInviteShare, "true")
	b.set(bPortal, "1")
	b.set(bWaitingRoom, "true")
	b.set(bPwds, passwords(w.password, w.digits(6)))
	return b
}

func passwords(chair confctl.Secret, general string) string {
	dst := []byte(`[{"role":"chair","pwd":`)
	dst = appendString(dst, chair.Reveal())
	dst = append(dst, `},{"role":"general","pwd":`...)
	dst = appendString(dst, general)
	return string(append(dst, `}]`...))
}

func (w *world) newDynamic() record {
	d := newRecord(w.dialect.dynamic)
	d.set(dState, "Created")
	d.setInt(dEndTime, w.began+2*time.Hour.Milliseconds())
	d.set(dMode, "FREE")
	w.dynamic = d
	w.setPicNum(16)
	for _, k := range []int{
		dLock, dMute, dLockSharing, dChairView, dRecState, dForbiddenChat, dSubtitle, dPartViewNum, dRecOccurred,
		dAIRecState, dAudienceCallIn, dAudienceTotal, dInterpretation, dClientRecState, dClientRecMode, dWaitingRoom,
		dShowAudience, dAudienceMultiple, dAudienceReal,
	} {
		d.set(k, "0")
	}
	d.set(dVAS, "1")
	d.set(dCanUnmute, "1")
	d.set(dShareSetting, "1")
	d.set(dMaxPartViewNum, "8")
	d.set(dLanChannels, "[]")
	d.set(dAllowAudience, "false")
	d.set(dPause, "false")
	d.set(dAudienceLayout, "speakerVideoLayout")
	d.set(dIMGroup, w.digits(9))
	if w.dialect.dynamicCallIn {
		d.set(dCallIn, "0")
	}
	return d
}

func (w *world) setPicNum(n int) bool {
	v := strconv.Itoa(n)
	if w.dialect.picNumQuoted {
		v = `"` + v + `"`
	}
	return w.dynamic.set(dPicNum, v)
}

// populate fills a new world with its first people.
func (w *world) populate() {
	if w.canary.Phone != "" || w.canary.Account != "" {
		p := w.newPerson()
		p.anchored = true
		p.info.set(pTel, or(w.canary.Phone, p.info.vals[pTel]))
		p.info.set(pAccount, or(w.canary.Account, p.info.vals[pAccount]))
		w.admit(p)
	}
	for len(w.people) < w.target {
		w.admit(w.newPerson())
	}
	for i, p := range w.people {
		if i%4 != 3 {
			w.measure(p)
		}
	}
	if len(w.people) > 0 {
		w.people[0].info.set(pRole, "1")
		w.people[0].anchored = true
	}
	for range 2 + w.target/10 {
		w.attendees = append(w.attendees, w.newAttendee())
	}
	if w.canary.Phone != "" || w.canary.Email != "" {
		a := w.newAttendee()
		a.anchored = true
		a.info.set(aPhone, or(w.canary.Phone, a.info.vals[aPhone]))
		a.info.set(aEmail, or(w.canary.Email, a.info.vals[aEmail]))
		a.info.set(aAccountID, or(w.canary.Account, a.info.vals[aAccountID]))
		w.attendees = append(w.attendees, a)
		w.invites = append(w.invites, InviteResult{CallNumber: a.info.vals[aPhone], Code: "11076005"})
	}
	for range 1 + w.target/20 {
		w.waiting = append(w.waiting, w.newWaiter())
	}
	w.groups = append(w.groups, w.newGroup(true))
	w.speak()
}

// step makes one change, and returns what it tells.
func (w *world) step(now int64) []draft {
	w.now = max(w.now, now)
	w.steps++
	w.out = nil
	for range 64 {
		n := w.rng.IntN(w.weight)
		for i := range w.actions {
			if n -= w.actions[i].weight; n < 0 {
				w.actions[i].do(w)
				break
			}
		}
		if len(w.out) > 0 {
			return w.out
		}
	}
	w.extend() // is possible always
	return w.out
}

func (w *world) emit(kind confctl.Kind, mode confctl.Mode, body []byte) {
	w.out = append(w.out, draft{kind: kind, mode: mode, body: body})
}

// chance is true with probability n in 100.
func (w *world) chance(n int) bool { return w.rng.IntN(100) < n }

func (w *world) hex(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = hexDigits[w.rng.IntN(16)]
	}
	return string(b)
}

func (w *world) digits(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('0' + w.rng.IntN(10))
	}
	return string(b)
}

func (w *world) newPID() string {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyz"
	b := make([]byte, 32)
	for i := range b {
		b[i] = letters[w.rng.IntN(len(letters))]
	}
	return string(b)
}

func (w *world) newPhone() string { return "+86571" + w.digits(11) }

func (w *world) next() int {
	w.serial++
	return w.serial
}

func (w *world) uuid() string {
	return fmt.Sprintf("%s-%s-4%s-a%s-%s", w.hex(8), w.hex(4), w.hex(3), w.hex(3), w.hex(12))
}

func secretOr(s confctl.Secret, fallback string) string {
	if s.Empty() {
		return fallback
	}
	return s.Reveal()
}

// orgID is the enterprise that everybody of a simulated provider belongs to.
const orgID = "44252"
