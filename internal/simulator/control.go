package simulator

import (
	"fmt"
	"strconv"
	"time"

	"confgate/internal/confctl"
)

// setDynamic changes keys of the dynamic information and tells it: mostly as a full frame, now and then as an increment
// with the changed keys.
func (w *world) setDynamic(m mask, change func()) {
	change()
	if w.chance(25) {
		w.emit(confctl.ConfDynamicInfo, confctl.Increment, w.dynamic.appendMembers(nil, m))
		return
	}
	w.emit(confctl.ConfDynamicInfo, confctl.Full, w.dynamic.appendMembers(nil, allKeys))
}

func (w *world) flipDynamic(k int) {
	w.setDynamic(keys(k), func() { w.dynamic.set(k, zeroOne(!w.dynamic.flag(k))) })
}

// setting flips one of the conference's switches.
func (w *world) setting() {
	ks := []int{dVAS, dLock, dLockSharing, dCanUnmute, dChairView, dForbiddenChat, dSubtitle, dWaitingRoom}
	w.flipDynamic(ks[w.rng.IntN(len(ks))])
}

// record starts or stops the recording.
func (w *world) record() {
	m := keys(dRecState)
	if w.dynamic.is(dRecOccurred, "0") {
		m |= keys(dRecOccurred)
	}
	w.setDynamic(m, func() {
		w.dynamic.set(dRecState, zeroOne(!w.dynamic.flag(dRecState)))
		w.dynamic.set(dRecOccurred, "1")
	})
}

// restrict changes who may call in; the dynamic frame has it in some dialects only.
func (w *world) restrict() {
	v := []string{"0", "2", "3"}[w.rng.IntN(3)]
	if w.dialect.dynamicCallIn {
		if !w.dynamic.is(dCallIn, v) {
			w.setDynamic(keys(dCallIn), func() { w.dynamic.set(dCallIn, v) })
		}
		return
	}
	if w.basic.set(bCallIn, v) {
		w.tellBasic()
	}
}

func (w *world) tellBasic() {
	w.emit(confctl.ConfBasicInfo, confctl.Full, w.basic.appendMembers(nil, allKeys))
}

// retitle changes the title, or takes a change of it back.
func (w *world) retitle() {
	const suffix = " ✎"
	title := w.basic.vals[bTitle]
	if n := len(title) - len(suffix); n > 0 && title[n:] == suffix {
		title = title[:n]
	} else {
		title += suffix
	}
	w.basic.set(bTitle, title)
	w.tellBasic()
}

func (w *world) extend() {
	w.setDynamic(keys(dEndTime), func() {
		w.dynamic.setInt(dEndTime, w.dynamic.num(dEndTime)+(15*time.Minute).Milliseconds())
	})
}

// muteAll mutes everybody but chair and co-hosts, in one frame, or allows microphones again.
func (w *world) muteAll() {
	w.flipDynamic(dMute)
	if !w.dynamic.flag(dMute) {
		return
	}
	rows := w.rows()
	var hushed []*person
	for _, p := range w.people {
		if p.info.is(pRole, "1") || p.info.flag(pCohost) || p.info.flag(pMute) {
			continue
		}
		p.info.set(pMute, "1")
		rows.person(p, keys(pMute))
		hushed = append(hushed, p)
	}
	rows.tell(confctl.Participants)
	for _, p := range hushed {
		w.hush(p)
	}
}

// broadcast shows one site to all, or ends that: the display mode and the site's flag change in two frames.
func (w *world) broadcast() { w.display(pBroadcast, "BROADCAST") }

// rollCall calls one site by name, or ends that.
func (w *world) rollCall() { w.display(pRollCall, "ROLLCALL") }

func (w *world) display(k int, mode string) {
	if chosen := w.exclusive(k, w.chance(60)); chosen == nil {
		mode = "FREE"
		if w.chance(10) {
			mode = "FIXED"
		}
	}
	if !w.dynamic.is(dMode, mode) {
		w.setDynamic(keys(dMode), func() { w.dynamic.set(dMode, mode) })
	}
}

// arrange changes the pictures' layout, or removes it: the latter only a full frame can tell.
func (w *world) arrange() {
	if w.layout != nil && w.chance(30) {
		w.layout = nil
		w.dynamic.set(dMultiPic, "")
		w.emit(confctl.ConfDynamicInfo, confctl.Full, w.dynamic.appendMembers(nil, allKeys))
		return
	}
	if len(w.people) == 0 {
		return
	}
	n := []int{1, 2, 4, 6, 9, 16}[w.rng.IntN(6)]
	l := &Layout{Pictures: n, Period: 10 * (1 + w.rng.IntN(6))}
	for i := range n {
		c := Cell{Index: i + 1, Share: w.chance(5)}
		for range 1 + w.rng.IntN(2) {
			c.PIDs = append(c.PIDs, w.people[w.rng.IntN(len(w.people))].pid)
		}
		l.Cells = append(l.Cells, c)
	}
	w.setDynamic(keys(dMultiPic, dPicNum), func() {
		w.layout = l
		w.dynamic.set(dMultiPic, string(appendLayout(nil, l)))
		w.setPicNum(n)
	})
}

func appendLayout(dst []byte, l *Layout) []byte {
	dst = append(dst, `{"picInfos":[`...)
	for i, c := range l.Cells {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"index":`...)
		dst = strconv.AppendInt(dst, int64(c.Index), 10)
		dst = append(dst, `,"id":[`...)
		for j, pid := range c.PIDs {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = appendString(dst, pid)
		}
		dst = append(dst, `],"share":`...)
		dst = append(append(dst, zeroOne(c.Share)...), '}')
	}
	return fmt.Appendf(dst, `],"picNum":%d,"period":%d}`, l.Pictures, l.Period)
}

func (w *world) newGroup(ai bool) InterpreterGroup {
	g := InterpreterGroup{ID: w.hex(32), FirstLanguage: "en", SecondLanguage: "zh"}
	switch w.rng.IntN(3) {
	case 0:
		g.SecondLanguage = "fr"
	case 1:
		g.FirstLanguage = "de"
	}
	if ai || w.chance(60) {
		g.Name = fmt.Sprintf("Group %d", w.next())
	}
	if ai {
		g.Type = "AI"
	} else if w.chance(50) {
		g.Type = "MANUAL"
	}
	for range 1 + w.rng.IntN(2) {
		g.Interpreters = append(g.Interpreters, w.newInterpreter(ai))
	}
	return g
}

func (w *world) newInterpreter(ai bool) Interpreter {
	i := Interpreter{UserID: w.hex(32), CallNumber: w.newPhone(), Name: w.someName()}
	if w.chance(50) {
		i.LoginAccount = fmt.Sprintf("user%04d", w.next())
	}
	if ai {
		i.Type = "AI"
		i.InterpreterID = strconv.Itoa(w.next())
		i.AIDigitalInfo = string(w.appendDigitalInfo(nil))
	}
	return i
}

func (w *world) appendDigitalInfo(dst []byte) []byte {
	dst = append(dst, `{"type":"LOCAL","digitalAccount":`...)
	dst = append(appendString(dst, fmt.Sprintf("asset%d", w.next())), `,"digitalName":"Reader","localConfId":`...)
	dst = append(appendString(dst, w.digits(9)), `,"localConfAddr":"meeting.example.com","localAuthInfo":`...)
	dst = append(appendString(dst, secretOr(w.canary.AuthInfo, w.hex(32))), `,"localNeedProxy":false,"localAuthUrl":`...)
	dst = append(appendString(dst, "https://auth.example.com/"+w.hex(8)), `,"localAuthAppId":`...)
	return append(appendString(dst, w.digits(6)), '}')
}

// interpret changes the groups of interpreters; every frame has them all. The first group, which speaks by machine, stays.
func (w *world) interpret() {
	groups := append([]InterpreterGroup(nil), w.groups...)
	switch n := w.rng.IntN(3); {
	case len(groups) < 2 || n == 0 && len(groups) < 4:
		groups = append(groups, w.newGroup(false))
	case n == 1:
		groups = groups[:len(groups)-1]
	default:
		g := &groups[len(groups)-1]
		g.Interpreters = append([]Interpreter{w.newInterpreter(false)}, g.Interpreters[:min(2, len(g.Interpreters))]...)
	}
	w.groups = groups
	w.emit(confctl.InterpreterGroup, confctl.Full, w.appendGroups(nil))
}

func (w *world) appendGroups(dst []byte) []byte {
	d := w.dialect
	member := func(name, value string) {
		if value != "" {
			dst = append(appendString(appendKey(dst, name), value), ',')
		}
	}
	dst = append(appendKey(dst, d.groupsKey), '[')
	for i, g := range w.groups {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '{')
		member(d.groupID, g.ID)
		member("groupName", g.Name)
		member("firstLanguage", g.FirstLanguage)
		member("secondLanguage", g.SecondLanguage)
		member("groupType", g.Type)
		dst = append(dst, `"interpreters":[`...)
		for j, p := range g.Interpreters {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, '{')
			member("loginAccount", p.LoginAccount)
			member(d.userID, p.UserID)
			member("callNumber", p.CallNumber)
			member("interpreterType", p.Type)
			member("interpreterId", p.InterpreterID)
			if p.AIDigitalInfo != "" {
				dst = append(append(append(dst, `"aiDigitalInfo":`...), p.AIDigitalInfo...), ',')
			}
			dst = append(appendString(appendKey(dst, "name"), p.Name), '}')
		}
		dst = append(dst, `]}`...)
	}
	return append(dst, ']')
}
