package conference

import (
	"bytes"
	"errors"
	"strings"

	"confgate/internal/confctl"
	"confgate/internal/rawjson"
)

// inviteReasons gives a word to each result of an invitation that the reference publishes (chapter 6.1.3.9, and the
// MMC.1110760xx, MMC.1110720xx and MMC.111111xxx of chapter 22, which are the same with a 1 in front).
var inviteReasons = map[string]string{
	"0":        "success",
	"11111001": "no_media_at_server",
	"11111002": "no_media_at_client",
	"11111003": "signalling_timeout",
	"11111004": "websocket_timeout",
	"11072075": "conference_ended",
	"11072076": "hung_up_by_host",
	"11072077": "conference_deleted",
	"11072078": "conference_rebuilt",
	"11072079": "move_failed",
	"11072080": "cross_region_failed",
	"11072081": "invite_failed",
	"11076001": "hung_up_by_host",
	"11076002": "hung_up_by_host",
	"11076003": "room_full",
	"11076004": "enterprise_full",
	"11076005": "no_answer",
	"11076006": "not_found",
	"11076007": "offline",
	"11076008": "busy",
	"11076009": "declined",
	"11076010": "hung_up",
	"11076011": "no_media_resources",
	"11076012": "pstn_disabled",
	"11076014": "call_timeout",
	"11076016": "hung_up_from_portal",
}

// inviteReason is the word for a result code, which may also come in the nine digits of chapter 22.
func inviteReason(code string) string {
	digits := strings.TrimPrefix(code, "MMC.")
	if len(digits) == 9 {
		digits = strings.TrimPrefix(digits, "1")
	}
	if word, ok := inviteReasons[digits]; ok {
		return word
	}
	return "unknown"
}

// applyInvites makes events of the results that are new. The provider repeats old results in a full frame on every
// subscription, so there a result is new when it is another one than before; an increment may also bring the same result
// again, of a later invitation.
func (s *State) applyInvites(f *confctl.Frame) ([]Change, error) {
	list, err := rows(f.Data)
	if err != nil {
		return nil, err
	}
	last := lastResults(list)
	var changes []Change
	n := 0
	for v, ok := list.Element(); ok; v, ok = list.Element() {
		n++
		if !rawjson.IsObject(v) {
			err = errors.Join(err, rowError(Invites, n, "not an object"))
			continue
		}
		s.scratch.reset()
		fields, number, code := s.readInvite(v)
		if code == "" {
			err = errors.Join(err, rowError(Invites, n, "no resultCode"))
			continue
		}
		if f.Mode == confctl.Full && last[number] != n {
			continue // a memory of a number is what became of it last
		}
		before, known := s.memory.Results[number]
		later := f.Mode == confctl.Increment && f.CreateTime > before.Time
		if known && before.Code == code && !later {
			continue
		}
		s.remember(number, result{code, f.CreateTime})
		changes = append(changes, Change{Invites, f.CreateTime, value{obj: fields}.append(nil)})
	}
	return changes, err
}

// lastResults says in which row, counted from 1, each number has its last usable result.
func lastResults(list rawjson.Cursor) map[string]int {
	last := make(map[string]int)
	n := 0
	for v, ok := list.Element(); ok; v, ok = list.Element() {
		n++
		var number string
		var usable bool
		c := rawjson.Walk(v)
		for key, val, ok := c.Member(); ok; key, val, ok = c.Member() {
			switch string(bytes.TrimSpace(key)) {
			case "callNumber":
				number = string(scalar(val))
			case "resultCode", "errorCode":
				usable = usable || len(scalar(val)) > 0
			}
		}
		if usable {
			last[number] = n
		}
	}
	return last
}

func (s *State) readInvite(v []byte) (fields *object, number, code string) {
	b := s.scratch
	fields = b.object()
	var byTable []byte // errorCode of the table; the wire says resultCode
	c := rawjson.Walk(v)
	for key, val, ok := c.Member(); ok; key, val, ok = c.Member() {
		switch key = bytes.TrimSpace(key); {
		case rawjson.Null(val):
		case string(key) == "callNumber":
			number = string(scalar(val))
			b.put(fields, "", "phone", asText(b, val))
		case string(key) == "resultCode":
			code = string(scalar(val))
		case string(key) == "errorCode":
			byTable = scalar(val)
		default:
			b.put(fields, extraKey, s.name(key), verbatim(b, val))
		}
	}
	if code == "" {
		code = string(byTable)
	}
	b.put(fields, "", "code", quoted(b, code))
	b.put(fields, "", "reason", quoted(b, inviteReason(code)))
	okay := jsonFalse
	if code == "0" {
		okay = jsonTrue
	}
	b.put(fields, "", "ok", okay)
	return fields, number, code
}

// applySubtitle makes an event of one caption.
func (s *State) applySubtitle(f *confctl.Frame) ([]Change, error) {
	if !rawjson.IsObject(f.Data) {
		return nil, rowError(Subtitles, 1, "no data")
	}
	b := s.scratch
	fields := b.object()
	var err error
	c := rawjson.Walk(f.Data)
	for key, val, ok := c.Member(); ok; key, val, ok = c.Member() {
		key = bytes.TrimSpace(key)
		switch {
		case rawjson.Null(val):
		case string(key) == "msgs":
			var lines []byte
			if lines, err = s.list(val, lineFields, Subtitles); lines != nil {
				b.put(fields, "", "lines", lines)
			}
		default:
			s.put(fields, subtitleFields, extraKey, key, val)
		}
	}
	return []Change{{Subtitles, f.CreateTime, value{obj: fields}.append(nil)}}, err
}

// vendorEvent passes a frame of an unknown kind on: its action, its mode, its data as it came, and every other member under
// extra. Of a frame without data the other members are the data.
func vendorEvent(f *confctl.Frame) Change {
	var data []byte
	rest := []byte{'{'}
	c := rawjson.Walk(f.Raw)
	for key, val, ok := c.Member(); ok; key, val, ok = c.Member() {
		switch string(bytes.TrimSpace(key)) {
		case "action", "msgMode":
		case "data":
			data = val
		default:
			rest = append(appendRawKey(rest, len("{"), key), val...)
		}
	}
	rest = append(rest, '}')
	body := rawjson.AppendString([]byte(`{"action":`), f.Action)
	body = append(body, `,"mode":"`...)
	body = append(body, f.Mode.String()...)
	body = append(body, `","data":`...)
	switch {
	case data == nil:
		body = append(body, rest...)
	case len(rest) == len("{}"):
		body = append(body, data...)
	default:
		body = append(body, data...)
		body = append(append(body, `,"extra":`...), rest...)
	}
	return Change{Vendor, f.CreateTime, append(body, '}')}
}
