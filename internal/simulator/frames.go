package simulator

import (
	"fmt"
	"strconv"

	"confgate/internal/confctl"
)

// full appends the members of a full frame of a kind: everything that the world has of it. Kinds without full frames, and
// those that aren't the world's, report false.
func (w *world) full(dst []byte, kind confctl.Kind) ([]byte, bool) {
	switch kind {
	case confctl.ConfBasicInfo:
		return w.basic.appendMembers(dst, allKeys), true
	case confctl.ConfDynamicInfo:
		return w.dynamic.appendMembers(dst, allKeys), true
	case confctl.SpeakerChange:
		return w.appendSpeakers(dst), true
	case confctl.InterpreterGroup:
		return w.appendGroups(dst), true
	case confctl.Participants:
		return appendList(dst, w.people, func(dst []byte, p *person) ([]byte, bool) {
			return appendPersonRow(dst, p, allKeys, -1), true
		}), true
	case confctl.WaitingList:
		return appendList(dst, w.waiting, func(dst []byte, p *person) ([]byte, bool) {
			return appendPersonRow(dst, p, allKeys, 0), true
		}), true
	case confctl.Attendees:
		return appendList(dst, w.attendees, func(dst []byte, a *attendee) ([]byte, bool) {
			return appendAttendeeRow(dst, a, allKeys), true
		}), true
	case confctl.NetCondition:
		return appendList(dst, w.people, func(dst []byte, p *person) ([]byte, bool) {
			if p.quality == nil {
				return dst, false
			}
			return appendQualityRow(dst, p, allKeys), true
		}), true
	case confctl.InviteResult:
		return appendList(dst, w.invites, func(dst []byte, r InviteResult) ([]byte, bool) {
			return w.appendInvite(dst, r), true
		}), true
	case confctl.RealTimeSubtitle, confctl.KindOther:
	}
	return dst, false
}

func appendList[T any](dst []byte, list []T, row func([]byte, T) ([]byte, bool)) []byte {
	dst = append(dst, `"data":[`...)
	some := false
	for _, e := range list {
		n := len(dst)
		if some {
			dst = append(dst, ',')
		}
		var ok bool
		if dst, ok = row(dst, e); ok {
			some = true
		} else {
			dst = dst[:n]
		}
	}
	return append(dst, ']')
}

// envelope is what every notify carries beside its own members.
type envelope struct {
	action     string
	mode       confctl.Mode
	confID     string
	msgID      string
	version    int64
	createTime int64
	quoted     bool // version and createTime are texts, as in RealTimeSubtitleNotify
}

// appendNotify appends a whole notify: its members, then the envelope, in the order of the reference's samples.
func appendNotify(dst, body []byte, e envelope) []byte {
	dst = append(dst, '{')
	if len(body) > 0 {
		dst = append(append(dst, body...), ',')
	}
	dst = append(appendString(append(dst, `"confID":`...), e.confID), `,"msgID":"`...)
	dst = append(append(dst, e.msgID...), `","msgMode":`...)
	dst = strconv.AppendInt(dst, int64(e.mode), 10)
	number := func(key string, n int64) {
		dst = append(dst, key...)
		if e.quoted {
			dst = append(dst, '"')
		}
		dst = strconv.AppendInt(dst, n, 10)
		if e.quoted {
			dst = append(dst, '"')
		}
	}
	number(`,"version":`, e.version)
	number(`,"createTime":`, e.createTime)
	dst = append(dst, `,"action":`...)
	return append(appendString(dst, e.action), '}')
}

// Frames that answer a request.

func heartBeatAnswer(sequence string) []byte {
	dst := appendString([]byte(`{"sequence":`), sequence)
	return append(dst, `,"action":"HeartBeat"}`...)
}

func subscribeAnswer(sequence string, code int, desc string) []byte {
	dst := appendString([]byte(`{"action":"Subscribe","sequence":`), sequence)
	return append(append(append(dst, `,"data":`...), result(code, desc)...), '}')
}

func result(code int, desc string) []byte {
	dst := fmt.Appendf(nil, `{"returnCode":%d,"returnDesc":`, code)
	return append(appendString(dst, desc), '}')
}

// controlAnswer answers a ConfControl request; data is JSON.
func controlAnswer(sequence, typ string, data []byte) []byte {
	dst := appendString([]byte(`{"action":"ConfControl","sequence":`), sequence)
	dst = appendString(append(dst, `,"type":`...), typ)
	return append(append(append(dst, `,"data":`...), data...), '}')
}

// garbage is a frame that no decoder can make sense of; n chooses how.
func garbage(n int, victim []byte) []byte {
	switch n % 6 {
	case 0:
		return victim[:len(victim)/2] // cut off in the middle
	case 1:
		return []byte(`{"action":17,"data":[`)
	case 2:
		return []byte("\x00\x01 not json \x7f")
	case 3:
		return []byte(`[1,2,3]`)
	case 4:
		return []byte(`{"data":{}}`) // no action
	default:
		return []byte(`null`)
	}
}

// unknownNotify is the members of a notify of a type that the reference names but doesn't describe, or not even names.
func unknownNotify(n int) (action string, body []byte) {
	switch n % 4 {
	case 0:
		return "NetworkQualityNotify", []byte(`"data":[{"participantID":"p` + strconv.Itoa(n) + `","level":4}]`)
	case 1:
		return "OperationResultNotify", []byte(`"data":{"operation":"` + strconv.Itoa(n) + `","resultCode":"0"}`)
	case 2:
		return "CustomMultiPicNotify", []byte(`"mode":0,"picNum":` + strconv.Itoa(n) + `,"period":10,"vas":0,"skipEmptyPic":1`)
	default:
		return "SomethingNewNotify", []byte(`"weather":["fine",` + strconv.Itoa(n) + `,null]`)
	}
}
