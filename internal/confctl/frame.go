package confctl

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"confgate/internal/rawjson"
)

// Class parts the frames that answer a request from those that the provider pushes.
type Class uint8

// The classes of incoming frames.
const (
	Notify          Class = iota // a notify of any kind, known or not
	SubscribeAnswer              // chapter 6.1.3.2
	HeartBeatAnswer              // chapter 6.1.3.11
	ControlAnswer                // ConfControl, chapter 6.1.3.10 and undocumented types
)

// Errors of Decode.
var (
	// ErrFrame: the bytes are no JSON object.
	ErrFrame = errors.New("confctl: frame is not a JSON object")
	// ErrAction: the object names no action.
	ErrAction = errors.New("confctl: frame without action")
)

// Frame is one decoded frame from the provider. Byte slices are parts of the buffer that was decoded (or of its cleaned
// copy): they live as long as it does, and nobody may write to it meanwhile.
type Frame struct {
	Class  Class
	Kind   Kind
	Action string // as on the wire
	Mode   Mode

	// Envelope of a notify (chapter 6.1.3).
	Version    int64 // full: creation time in ms; increment: a growing number
	CreateTime int64 // Unix milliseconds
	MsgID      string

	// Answers.
	Sequence   string
	Type       string // of a ConfControl answer
	ReturnCode int64  // 0: success; -1: refused without a number
	ReturnDesc string
	ErrorCode  string // error_code, where the answer has the form of a REST error

	// Raw is the whole frame. Data is the value of its member "data" (or of the other spelling that the kind has), nil
	// where it is missing or null; a string that holds JSON is unwrapped.
	Raw, Data []byte
}

// Decode reads one frame, as tolerantly as the provider requires: members in any order, keys with blanks around them,
// numbers quoted or not, data as an object, an array or a string that holds either, and anything beside that. It never
// panics, whatever the bytes; an error means that the frame is unusable, and carries none of its content.
func Decode(data []byte) (*Frame, error) {
	f := new(Frame)
	if err := f.Decode(data); err != nil {
		return nil, err
	}
	return f, nil
}

// Decode is Decode into a frame that is at hand. Of data only Raw and Data are parts.
func (f *Frame) Decode(data []byte) error {
	raw, err := rawjson.Check(data)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFrame, err)
	}
	if !rawjson.IsObject(raw) {
		return ErrFrame
	}
	*f = Frame{Raw: raw}
	var members envelope
	c := rawjson.Walk(raw)
	for key, val, ok := c.Member(); ok; key, val, ok = c.Member() {
		members.take(bytes.TrimSpace(key), val)
	}
	action, _ := rawjson.Text(members.action)
	if len(action) == 0 {
		return ErrAction
	}
	switch string(action) { // the constants spare an allocation each
	case "Subscribe":
		f.Class, f.Action = SubscribeAnswer, "Subscribe"
	case "HeartBeat":
		f.Class, f.Action = HeartBeatAnswer, "HeartBeat"
	case "ConfControl":
		f.Class, f.Action = ControlAnswer, "ConfControl"
	default:
		f.Kind = parseKind(action)
		f.Action = f.Kind.String()
		if f.Kind == KindOther {
			f.Action = string(action)
		}
	}
	if f.Class == Notify {
		members.notify(f)
	} else {
		members.answer(f)
	}
	return nil
}

func parseKind(action []byte) Kind {
	for i := 1; i < NumKinds; i++ {
		if kindNames[i] == string(action) {
			return Kind(i)
		}
	}
	return KindOther
}

// envelope holds the raw values of the members that are not a kind's own.
type envelope struct {
	action, version, createTime, msgID, msgMode, sequence, typ, data, groups []byte
	returnCode, returnDesc, errorCode                                        []byte
}

func (e *envelope) take(key, val []byte) {
	switch string(key) {
	case "action":
		e.action = val
	case "version":
		e.version = val
	case "createTime":
		e.createTime = val
	case "msgID", "msgId":
		e.msgID = val
	case "msgMode":
		e.msgMode = val
	case "sequence":
		e.sequence = val
	case "type":
		e.typ = val
	case "data":
		e.data = val
	case "interpreterGroups":
		e.groups = val
	case "returnCode":
		e.returnCode = val
	case "returnDesc":
		e.returnDesc = val
	case "error_code":
		e.errorCode = val
	}
}

// EnvelopeKey says whether a member of a notify belongs to the envelope rather than to the kind.
func EnvelopeKey(key []byte) bool {
	switch string(key) {
	case "action", "version", "createTime", "msgID", "msgId", "msgMode", "confID", "confId":
		return true
	}
	return false
}

func (e *envelope) notify(f *Frame) {
	f.Version = integer(e.version)
	f.CreateTime = integer(e.createTime)
	f.MsgID = text(e.msgID)
	if integer(e.msgMode) == int64(Increment) {
		f.Mode = Increment
	}
	if f.Kind == InterpreterGroup && rawjson.Null(e.data) {
		e.data = e.groups // chapter 6.1.3.13: "data" in the table, "interpreterGroups" in the sample
	}
	f.Data = unwrap(e.data)
}

func (e *envelope) answer(f *Frame) {
	f.Sequence = text(e.sequence)
	f.Type = text(e.typ)
	f.Data = unwrap(e.data)
	if rawjson.IsObject(f.Data) { // wrapped; else the answer is bare
		c := rawjson.Walk(f.Data)
		for key, val, ok := c.Member(); ok; key, val, ok = c.Member() {
			switch key = bytes.TrimSpace(key); string(key) {
			case "returnCode", "returnDesc", "error_code":
				e.take(key, val)
			}
		}
	}
	f.ReturnCode = integer(e.returnCode)
	f.ReturnDesc = text(e.returnDesc)
	f.ErrorCode = text(e.errorCode)
	code, isText := rawjson.Text(e.returnCode)
	number := isText && isInteger(code)
	if f.ReturnCode == 0 && ((isText && !number) || (!isText && f.ErrorCode != "")) {
		f.ReturnCode = -1
	}
}

// unwrap takes JSON out of a string, since the provider sends some data so; anything else stays as it is.
func unwrap(v []byte) []byte {
	if rawjson.Null(v) {
		return nil
	}
	if !rawjson.IsString(v) {
		return v
	}
	inner, _ := rawjson.Text(v)
	if checked, err := rawjson.Check(inner); err == nil && (rawjson.IsObject(checked) || rawjson.IsArray(checked)) {
		return checked
	}
	return v
}

// text is a scalar's content, empty where there is none.
func text(v []byte) string {
	t, _ := rawjson.Text(v)
	return string(t)
}

// integer reads a number that may be quoted; 0 where it is none.
func integer(v []byte) int64 {
	t, _ := rawjson.Text(v)
	t = bytes.TrimSpace(t)
	if len(t) == 0 || len(t) > 32 {
		return 0
	}
	if n, err := strconv.ParseInt(string(t), 10, 64); err == nil {
		return n
	}
	if x, err := strconv.ParseFloat(string(t), 64); err == nil && x > -1<<62 && x < 1<<62 {
		return int64(x) // 1.611993595058e12
	}
	return 0
}

func isInteger(t []byte) bool {
	_, err := strconv.ParseInt(string(bytes.TrimSpace(t)), 10, 64)
	return err == nil
}
