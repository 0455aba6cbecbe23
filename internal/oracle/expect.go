package oracle

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"confgate/internal/simulator"
)

// Scopes are the rights beyond "read" that decide what a client sees.
type Scopes struct{ PII, Secrets bool }

// object is a JSON object under construction; its setters leave out what the provider hasn't said.
type object map[string]any

func (o object) text(key, v string) {
	if v != "" {
		o[key] = v
	}
}

func (o object) pii(s Scopes, key, v string) {
	if s.PII {
		o.text(key, v)
	}
}

// word maps an enumeration; a value outside stays as it is.
func (o object) word(key, v string, words ...string) {
	for i := 0; i < len(words); i += 2 {
		if words[i] == v {
			v = words[i+1]
			break
		}
	}
	o.text(key, v)
}

// extra keeps the fields that the contract has no row for: the listed ones for everybody, all with the right to secrets.
func (o object) extra(s Scopes, fields simulator.Extra, listed string) {
	if len(fields) == 0 {
		return
	}
	shown := object{}
	for key, v := range fields {
		if s.Secrets || strings.Contains(" "+listed+" ", " "+key+" ") {
			shown[key] = v
		}
	}
	o["extra"] = shown
}

// Expect is the document, less link, that a client with the given scopes must have when the provider's truth is t. Attendees
// are a list in the order of their JSON text. The result is what encoding/json makes of it.
func Expect(t simulator.Truth, s Scopes) (map[string]any, error) {
	doc := object{
		"conference":   expectConference(t, s),
		"participants": expectParticipants(t, s),
		"attendees":    expectAttendees(t, s),
		"waiting":      expectWaiting(t, s),
		"speakers":     expectSpeakers(t),
		"quality":      expectQuality(t),
		"interpreters": expectInterpreters(t, s),
	}
	if t.Layout != nil {
		doc["layout"] = expectLayout(t.Layout)
	}
	return Normal(doc)
}

// Normal is a document as encoding/json reads it, with attendees as a list in the order of their JSON text.
func Normal(doc any) (map[string]any, error) {
	data, ok := doc.([]byte)
	if !ok {
		var err error
		if data, err = json.Marshal(doc); err != nil {
			return nil, fmt.Errorf("oracle: %w", err)
		}
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("oracle: %w", err)
	}
	if people, keyed := m["attendees"].(map[string]any); keyed {
		list := make([]any, 0, len(people))
		for _, a := range people {
			list = append(list, a)
		}
		m["attendees"] = list
	}
	if list, ok := m["attendees"].([]any); ok {
		sortByText(list)
	}
	return m, nil
}

func expectConference(t simulator.Truth, s Scopes) object {
	b, d := t.Basic, t.Dynamic
	o := object{
		"id": t.ID, "startsAt": b.Start, "endsAt": d.EndTime, "scheduledAt": b.ScheduledStart,
		"watermark": b.HasWatermark, "subtitlesSupported": b.SubtitlesSupported, "subtitlesOn": d.SubtitlesOn,
		"voiceActivated": d.VoiceActivated, "locked": d.Lock, "muted": d.Mute, "sharingLocked": d.LockSharing,
		"selfUnmuteAllowed": d.CanUnmute, "chairPolling": d.ChairView, "pictures": d.PicNum, "views": d.PartViewNum,
		"maxViews": d.MaxPartViewNum, "recording": d.Recording, "recordingOccurred": d.RecordingOccurred,
		"chatForbidden": d.ChatForbidden,
		"owner":         object{"name": b.Owner, "id": b.OwnerID, "userType": b.UserType},
	}
	o.text("displayId", b.DisplayID)
	o.text("title", b.Title)
	o.text("chatGroupId", d.IMGroupID)
	o.text("type", strings.ToLower(b.ConfMode))
	o.word("media", number(b.Media), "1", "voice", "2", "video")
	o.word("recordingType", number(b.RecType), "0", "disabled", "1", "record", "2", "record_and_live", "3", "live")
	o.word("state", d.State, "Schedule", "scheduled", "Created", "created", "Destroyed", "destroyed")
	o.word("mode", d.Mode, "FREE", "free", "FIXED", "fixed", "ROLLCALL", "rollcall", "BROADCAST", "broadcast")
	call := b.CallInRestrict
	if d.CallInRestrict != nil {
		call = *d.CallInRestrict
	}
	o.word("callInRestriction", number(call), "0", "everyone", "2", "enterprise", "3", "invited")
	if s.Secrets {
		o["guestJoinUri"] = b.GuestJoinURI
		o["passwords"] = object{"chair": b.ChairPassword, "general": b.GeneralPassword}
	}
	extra := object{}
	part := object{}
	part.extra(s, b.Extra, "aiRecType audienceCallInRestriction bignumMultiPicSwitch confPortalCapabilities inviteShareSwitch orgID "+
		"partViewSwitch simultaneousInterpretation supportClientRecord supportCohost supportWaitingRoom webinar")
	extra["basic"] = part["extra"]
	part = object{}
	part.extra(s, d.Extra, "aiRecState allowAudience audienceCallInRestriction audienceCountMultiple audienceCountReal "+
		"audienceTotalCount audienceVideoLayout clientRecMode clientRecState enableShareSetting lanChannels pause "+
		"showAudienceMode simultaneousInterpretation waitingRoomState")
	extra["dynamic"] = part["extra"]
	o["extra"] = extra
	return o
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func clientKind(o object, v string) {
	o.word("client", v, "Desktop", "desktop", "Mobile", "mobile", "Pad", "pad", "OtherType", "other")
}

func expectParticipants(t simulator.Truth, s Scopes) object {
	all := object{}
	for pid, p := range t.Participants {
		o := object{
			"handRaised": p.Hand, "broadcasting": p.Broadcast, "rollCalled": p.RollCall, "sharing": p.Share, "muted": p.Mute,
			"video": p.Video, "camera": p.Camera, "anonymous": p.Anonymous, "svc": p.SVC, "recordingLocally": p.LocalRec,
			"cohost": p.Cohost, "joinedAt": p.AddTime, "capabilities": capabilities(p.Capabilities),
		}
		o.text("name", p.Name)
		o.word("role", number(p.Role), "0", "guest", "1", "chair", "2", "audience")
		o.word("state", number(p.State), "0", "joined", "1", "calling", "2", "joining")
		clientKind(o, p.Client)
		o.text("mNumber", p.M)
		o.text("tNumber", p.T)
		o.text("viewing", p.Viewing)
		o.text("orgId", p.OrgID)
		o.text("userId", p.AccountID)
		o.pii(s, "phone", p.Tel)
		o.pii(s, "account", p.Account)
		o.pii(s, "thirdAccount", p.ThirdAccount)
		if p.ViewType != nil {
			o.word("viewType", number(*p.ViewType), "0", "unspecified", "1", "layout", "2", "participant")
		}
		o.extra(s, p.Extra, "LOCKED_VIEW ALLOW_CLIENT_REC CLIENT_REC_STATE ROLE_SWITCH_OVER INVITE_SHARE_STATE RTC_USER_ID")
		all[pid] = o
	}
	return all
}

func capabilities(list string) []int {
	var out []int
	for part := range strings.SplitSeq(list, ",") {
		if n, err := strconv.Atoi(part); err == nil {
			out = append(out, n)
		}
	}
	return out
}

func expectWaiting(t simulator.Truth, s Scopes) object {
	all := object{}
	for pid, p := range t.Waiting {
		o := object{"anonymous": p.Anonymous, "joinedAt": p.AddTime, "extra": object{"delType": 0}}
		o.text("name", p.Name)
		clientKind(o, p.Client)
		o.text("orgId", p.OrgID)
		o.text("userId", p.AccountID)
		o.pii(s, "phone", p.Tel)
		o.pii(s, "account", p.Account)
		o.pii(s, "thirdAccount", p.ThirdAccount)
		if p.HasState {
			o["admitted"] = p.Admitted
		}
		all[pid] = o
	}
	return all
}

func expectAttendees(t simulator.Truth, s Scopes) []object {
	all := []object{}
	for _, a := range t.Attendees {
		o := object{"muteOnJoin": a.Mute, "autoInvite": a.AutoInvite}
		o.word("role", number(a.Role), "0", "guest", "1", "chair")
		o.text("name", a.Name)
		o.text("userId", a.UserUUID)
		o.text("pid", a.ParticipantID)
		o.text("type", a.Type)
		o.text("address", a.Address)
		o.text("departmentId", a.DeptUUID)
		o.text("department", a.DeptName)
		o.text("orgId", a.OrgID)
		o.pii(s, "phone", a.Phone)
		o.pii(s, "email", a.Email)
		o.pii(s, "sms", a.SMS)
		o.pii(s, "account", a.AccountID)
		o.pii(s, "thirdAccount", a.ThirdAccount)
		o.extra(s, a.Extra, "hidePhone isNotOverlayPidName")
		all = append(all, o)
	}
	return all
}

func expectSpeakers(t simulator.Truth) []object {
	all := []object{}
	for _, sp := range t.Speakers {
		o := object{"pid": sp.PID, "volume": sp.Volume}
		o.text("name", sp.Name)
		all = append(all, o)
	}
	return all
}

func expectQuality(t simulator.Truth) object {
	stream := func(codec string, up, down, upLoss, downLoss int64) object {
		o := object{
			"upBps": up * 100, "downBps": down * 100, "upLossPct": float64(upLoss) / 100, "downLossPct": float64(downLoss) / 100,
		}
		o.text("codec", codec)
		return o
	}
	all := object{}
	for pid, q := range t.Quality {
		all[pid] = object{
			"rating": q.NetInfo, "rttMs": q.Delay, "jitterUpMs": q.Jitter, "jitterDownMs": q.OutJitter, "bandwidthBps": q.Bandwidth * 100,
			"audio": stream(q.AudioCodecType, q.FluxOut, q.FluxIn, q.LostPacketRate, q.AudioOutLossPacketRate),
			"video": stream(q.VideoCodecType, q.VideoFluxOut, q.VideoFluxIn, q.VideoInLossPacketRate, q.VideoOutLossPacketRate),
			"share": stream("", q.AssistVideoFluxOut, q.AssistVideoFluxIn, q.AssistVideoInLossPacketRate, q.AssistVideoOutLossPacketRate),
		}
	}
	return all
}

func expectInterpreters(t simulator.Truth, s Scopes) object {
	all := object{}
	for _, g := range t.Interpreters {
		people := []object{}
		for _, p := range g.Interpreters {
			o := object{"name": p.Name}
			o.text("id", p.UserID)
			o.word("type", p.Type, "MANUAL", "manual", "AI", "ai")
			o.pii(s, "account", p.LoginAccount)
			o.pii(s, "phone", p.CallNumber)
			fields := simulator.Extra{}
			if p.InterpreterID != "" {
				fields["interpreterId"] = json.RawMessage(strconv.Quote(p.InterpreterID))
			}
			if p.AIDigitalInfo != "" {
				fields["aiDigitalInfo"] = json.RawMessage(p.AIDigitalInfo)
			}
			o.extra(s, fields, "interpreterId")
			people = append(people, o)
		}
		o := object{"languages": []string{g.FirstLanguage, g.SecondLanguage}, "people": people}
		o.text("name", g.Name)
		o.word("type", g.Type, "MANUAL", "manual", "AI", "ai")
		all[g.ID] = o
	}
	return all
}

func expectLayout(l *simulator.Layout) object {
	cells := []object{}
	for _, c := range l.Cells {
		cells = append(cells, object{"index": c.Index, "participants": c.PIDs, "share": c.Share})
	}
	return object{"pictures": l.Pictures, "intervalSeconds": l.Period, "cells": cells}
}
