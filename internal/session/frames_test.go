package session

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"confgate/internal/confctl"
)

var frameNumber atomic.Int64

// notify builds a frame; data is the value of "data", body further members.
func notify(action string, mode confctl.Mode, version int64, data, body string) []byte {
	if data != "" {
		body += `,"data":` + data
	}
	now := time.Now().UnixMilli()
	if mode == confctl.Full {
		version = now
	}
	return fmt.Appendf(nil, `{"action":%q,"version":%d,"createTime":%d,"msgID":"m%d","msgMode":%d,"confID":%q%s}`,
		action, version, now, frameNumber.Add(1), mode, conf, body)
}

// roster makes full ParticipantsNotify frames of people by pid, each as of when it is made.
func roster(pids ...string) func() []byte {
	rows := make([]string, 0, len(pids))
	for _, pid := range pids {
		rows = append(rows, row(pid, "name of "+pid))
	}
	return func() []byte {
		return notify("ParticipantsNotify", confctl.Full, 0, "["+strings.Join(rows, ",")+"]", "")
	}
}

func row(pid, name string) string {
	return fmt.Sprintf(`{"pid":%q,"mode":0,"pinfoMap":{"NAME":%q,"STATE":"0"}}`, pid, name)
}

// renamed is an increment that names one participant.
func renamed(number int64, pid, name string) []byte {
	return notify("ParticipantsNotify", confctl.Increment, number, "["+row(pid, name)+"]", "")
}

// dynamic is a full ConfDynamicInfoNotify.
func dynamic(state string) []byte {
	return notify("ConfDynamicInfoNotify", confctl.Full, 0, "", fmt.Sprintf(`,"state":%q`, state))
}

// subtitle is an event.
func subtitle(text string) []byte {
	return notify("RealTimeSubtitleNotify", confctl.Full, 0, fmt.Sprintf(`{"msgs":[{"translateText":%q,"id":"1"}],"participantID":"p1"}`, text), "")
}

// full is what every kind sends on a Subscribe, so that a link is live at once.
func full(makers ...func() []byte) func() [][]byte {
	return func() [][]byte {
		var frames, all [][]byte
		for _, mk := range makers {
			frames = append(frames, mk())
		}
		all = slices.Clone(frames)
		for k := confctl.KindOther + 1; int(k) < confctl.NumKinds; k++ {
			if k.Event() || slices.ContainsFunc(frames, func(f []byte) bool { return strings.Contains(string(f), `"`+k.String()+`"`) }) {
				continue
			}
			data := "[]"
			switch k {
			case confctl.ConfBasicInfo:
				data = ""
			case confctl.ConfDynamicInfo:
				all = append(all, dynamic("Created"))
				continue
			default:
			}
			all = append(all, notify(k.String(), confctl.Full, 0, data, ""))
		}
		return all
	}
}
