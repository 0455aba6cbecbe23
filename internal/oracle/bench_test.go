package oracle

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"confgate/internal/confctl"
	"confgate/internal/conference"
	"confgate/internal/edge"
)

// roster is a full frame of n participants, as many keys each as the provider sends; those below changed have a hand up.
func roster(n, changed int) []byte {
	var b strings.Builder
	b.WriteString(`{"data":[`)
	for i := range n {
		hand := "0"
		if i < changed {
			hand = "1"
		}
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"pid":"uzr571a9brwu11cvcibvru5a7r7r%04d","mode":0,"pinfoMap":{"CAMERASTATE":"1","ORG_ID":"44252","LOCKED_VIEW":"0",`+
			`"MUTE":"1","ACCOUNT_ID":"271682cfdb14fa9ae3a8b25f7502%04d","LOCALREC":"0","TEL":"+8657129967649%04d","ALLOW_CLIENT_REC":"0",`+
			`"STATE":"0","SHARE":"0","ANONYMOUS":"0","ADDTIME":"161198848%04d","NAME":"张三%d","CLIENT_REC_STATE":"0","CLIENT_CAPABILITIES":"1,3",`+
			`"ROLE_SWITCH_OVER":"0","RTC_USER_ID":"uzr571a9brwu11cvcibvru5a7r7r%04d","CLIENT_LOGIN_TYPE":"Desktop","T":"1","ACCOUNT":"zhangsan%d",`+
			`"BROADCAST":"0","IS_COHOST":"0","HAND":%q,"IS_SVC":"1","ROLLCALL":"0","M":"1","VIDEO":"1","ROLE":"0","THIRDACCOUNT":"zhangsan%d",`+
			`"INVITE_SHARE_STATE":"0"}}`, i, i, i, i, i, i, i, hand, i)
	}
	b.WriteString(`],"confID":"900487914","msgID":"23a429e862d111eb980a11b5be5aab3c","msgMode":0,"version":1611993595058,` +
		`"createTime":1611993595058,"action":"ParticipantsNotify"}`)
	return []byte(b.String())
}

func increment(pid int, hand string) []byte {
	return fmt.Appendf(nil, `{"data":[{"pid":"uzr571a9brwu11cvcibvru5a7r7r%04d","mode":0,"pinfoMap":{"HAND":%q,"MUTE":"0"}}],`+
		`"confID":"900487914","msgID":"23a429e862d111eb980a11b5be5aab3c","msgMode":1,"version":39,"createTime":1611993595058,`+
		`"action":"ParticipantsNotify"}`, pid, hand)
}

// BenchmarkFrame sets the way of a frame through the gateway (decoding, reduction, redaction for a plain reader, the message
// that all of them share) beside one json.Unmarshal of the same frame into a map, which is the least that a gateway of the
// usual kind does with it.
func BenchmarkFrame(b *testing.B) {
	pairs := []struct {
		name   string
		frames [2][]byte // in turn, so that each says something new
	}{
		{"increment", [2][]byte{increment(250, "1"), increment(250, "0")}},
		{"full500two", [2][]byte{roster(500, 2), roster(500, 0)}},
	}
	for _, p := range pairs {
		b.Run(p.name+"/gateway", func(b *testing.B) {
			s := conference.New("900487914")
			through(b, s, roster(500, 0), 0)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if through(b, s, p.frames[n&1], uint64(n)) != 1 {
					b.Fatal("the frame changed nothing")
				}
				n++
			}
		})
		b.Run(p.name+"/unmarshal", func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				var m map[string]any
				if err := json.Unmarshal(p.frames[n&1], &m); err != nil {
					b.Fatal(err)
				}
				n++
			}
		})
	}
}

// through takes a frame all the way, and says how many messages it made.
func through(b *testing.B, s *conference.State, data []byte, seq uint64) int { //nolint:thelper // Helper would be measured too
	f, err := confctl.Decode(data)
	if err != nil {
		b.Fatal(err)
	}
	changes, err := s.Apply(f)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range changes {
		stamped := conference.Stamped{Change: c, Seq: seq + 1, Prev: seq}
		edge.Encoder{}.Delta(nil, "900487914", stamped, conference.Redact(c, 0))
	}
	return len(changes)
}
