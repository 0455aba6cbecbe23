package edge

import (
	"encoding/json"
	"strconv"
	"time"

	"confgate/internal/conference"
)

// Message types that the server sends.
const (
	typeWelcome      = "welcome"
	typeSubscribed   = "subscribed"
	typeUnsubscribed = "unsubscribed"
	typeHeartbeat    = "heartbeat"
	typePong         = "pong"
	typeError        = "error"
)

// Reasons of an unsubscribed message.
const (
	reasonAsked    = "asked"
	reasonReleased = "released"
)

// Codes of an error message.
const (
	errBadRequest   = "bad_request"
	errUnauthorized = "unauthorized"
	errForbidden    = "forbidden"
	errNotFound     = "not_found"
	errRateLimited  = "rate_limited"
	errTooMany      = "too_many_subscriptions"
	errUnavailable  = "unavailable"
	errInternal     = "internal"
)

// Encoder writes the messages that a feed makes once for all its readers. Its methods append one message, a JSON object,
// to dst and return it; they allocate nothing beside dst's growth.
type Encoder struct{}

// Delta appends a change of a state topic as "delta", one of an event topic as "event". body is what redaction left of
// c.Body; it is JSON and is copied as it is.
func (Encoder) Delta(dst []byte, conf string, c conference.Stamped, body []byte) []byte {
	typ, member := `{"type":"delta","conference":`, `,"patch":`
	if c.Topic.Event() {
		typ, member = `{"type":"event","conference":`, `,"data":`
	}
	dst = appendString(append(dst, typ...), conf)
	dst = appendString(append(dst, `,"topic":`...), c.Topic.String())
	dst = strconv.AppendUint(append(dst, `,"seq":`...), c.Seq, 10)
	dst = strconv.AppendUint(append(dst, `,"prev":`...), c.Prev, 10)
	dst = strconv.AppendInt(append(dst, `,"time":`...), c.Time, 10)
	dst = append(append(dst, member...), body...)
	return append(dst, '}')
}

// Snapshot appends a snapshot: state is the redacted document; events are whole event messages as Delta made them, and
// the member is left out where there is none.
func (Encoder) Snapshot(dst []byte, conf string, pos conference.Position, state []byte, events [][]byte) []byte {
	dst = appendString(append(dst, `{"type":"snapshot","conference":`...), conf)
	dst = appendString(append(dst, `,"epoch":`...), pos.Epoch)
	dst = strconv.AppendUint(append(dst, `,"seq":`...), pos.Seq, 10)
	dst = append(append(dst, `,"state":`...), state...)
	for i, e := range events {
		sep := `,`
		if i == 0 {
			sep = `,"events":[`
		}
		dst = append(append(dst, sep...), e...)
	}
	if len(events) > 0 {
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// Status appends whether the worker vouches for the state; since is in Unix milliseconds. Reason is left out where empty.
func (Encoder) Status(dst []byte, conf string, fresh bool, reason string, since int64) []byte {
	dst = appendString(append(dst, `{"type":"status","conference":`...), conf)
	dst = strconv.AppendBool(append(dst, `,"fresh":`...), fresh)
	if reason != "" {
		dst = appendString(append(dst, `,"reason":`...), reason)
	}
	dst = strconv.AppendInt(append(dst, `,"since":`...), since, 10)
	return append(dst, '}')
}

// Header appends what goes in front of a message of n bytes on a WebSocket.
func (Encoder) Header(dst []byte, n int) []byte { return appendFrameHeader(dst, opText, n) }

// welcome is what a connection is told first, and again when its token was renewed.
type welcome struct {
	id        string // of the auth that it answers; empty at first
	worker    string
	session   string
	now       time.Time
	heartbeat time.Duration
	scopes    Scopes
	expires   time.Time // zero: left out
}

func appendWelcome(dst []byte, w welcome) []byte {
	dst = appendID(append(dst, `{"type":"welcome"`...), w.id)
	dst = appendString(append(dst, `,"worker":`...), w.worker)
	dst = appendString(append(dst, `,"session":`...), w.session)
	dst = strconv.AppendInt(append(dst, `,"time":`...), w.now.UnixMilli(), 10)
	dst = strconv.AppendInt(append(dst, `,"heartbeatMs":`...), w.heartbeat.Milliseconds(), 10)
	dst = appendStrings(append(dst, `,"scopes":`...), w.scopes.Names())
	if !w.expires.IsZero() {
		dst = strconv.AppendInt(append(dst, `,"expires":`...), w.expires.UnixMilli(), 10)
	}
	return append(dst, '}')
}

func appendSubscribed(dst []byte, id, conf string, topics conference.Topics, view string, recovered bool) []byte {
	dst = appendID(append(dst, `{"type":"subscribed"`...), id)
	dst = appendString(append(dst, `,"conference":`...), conf)
	dst = appendStrings(append(dst, `,"topics":`...), topics.Names())
	dst = appendString(append(dst, `,"view":`...), view)
	dst = strconv.AppendBool(append(dst, `,"recovered":`...), recovered)
	return append(dst, '}')
}

func appendUnsubscribed(dst []byte, id, conf, reason string) []byte {
	dst = appendID(append(dst, `{"type":"unsubscribed"`...), id)
	dst = appendString(append(dst, `,"conference":`...), conf)
	dst = appendString(append(dst, `,"reason":`...), reason)
	return append(dst, '}')
}

func appendHeartbeat(dst []byte, now time.Time) []byte {
	dst = strconv.AppendInt(append(dst, `{"type":"heartbeat","time":`...), now.UnixMilli(), 10)
	return append(dst, '}')
}

func appendPong(dst []byte, id string) []byte {
	return append(appendID(append(dst, `{"type":"pong"`...), id), '}')
}

func appendError(dst []byte, id, code, message string) []byte {
	dst = appendID(append(dst, `{"type":"error"`...), id)
	dst = appendString(append(dst, `,"code":`...), code)
	dst = appendString(append(dst, `,"message":`...), message)
	return append(dst, '}')
}

// appendID appends the member "id", unless the client gave none.
func appendID(dst []byte, id string) []byte {
	if id == "" {
		return dst
	}
	return appendString(append(dst, `,"id":`...), id)
}

func appendStrings(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, s)
	}
	return append(dst, ']')
}

// appendString appends s as a JSON string. Ids, epochs and words are plain ASCII, which is copied; what else a client or
// a host name may bring is escaped by encoding/json.
func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string can't fail
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}
