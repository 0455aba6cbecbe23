package edge

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"confgate/internal/conference"
)

func TestDecodeMessage(t *testing.T) {
	t.Parallel()
	bad := func(id, text string) *refusal { return &refusal{id: id, code: errBadRequest, text: text} }
	const notID = "conference is not an id: letters, digits, _ and -, 64 at most"
	tests := []struct {
		name, in string
		want     message
		bad      *refusal
	}{
		{
			name: "subscribe as documented",
			in:   `{"type":"subscribe","id":"1","conference":"900487914","topics":["participants","speakers"],"resume":{"epoch":"c5k2","view":"p3","seq":41}}`,
			want: message{
				typ: "subscribe", id: "1", conference: "900487914",
				topics: conference.TopicSet(conference.Participants, conference.Speakers), resume: &resume{"c5k2", "p3", 41},
			},
		},
		{
			name: "all topics", in: `{"type":"subscribe","conference":"a"}`,
			want: message{typ: "subscribe", conference: "a", allTopics: true},
		},
		{
			name: "null is left out", in: `{"type":"subscribe","id":null,"conference":"a","topics":null,"resume":null}`,
			want: message{typ: "subscribe", conference: "a", allTopics: true},
		},
		{
			name: "no topics", in: `{"type":"subscribe","conference":"a","topics":[]}`,
			want: message{typ: "subscribe", conference: "a"},
		},
		{
			name: "unknown members and topics", in: ` {"type":"subscribe","conference":"a","x":{"y":[1]},"topics":["link","weather"],"token":5} `,
			want: message{typ: "subscribe", conference: "a", topics: conference.TopicSet(conference.Link)},
		},
		{
			name: "largest seq", in: `{"type":"subscribe","conference":"a","topics":[],"resume":{"seq":18446744073709551615}}`,
			want: message{typ: "subscribe", conference: "a", resume: &resume{seq: 1<<64 - 1}},
		},
		{
			name: "unsubscribe", in: `{"type":"unsubscribe","id":"2","conference":"900487914"}`,
			want: message{typ: "unsubscribe", id: "2", conference: "900487914"},
		},
		{name: "ping", in: `{"type":"ping","id":"3"}`, want: message{typ: "ping", id: "3"}},
		{name: "ping without id", in: `{"type":"ping"}`, want: message{typ: "ping"}},
		{name: "auth", in: `{"type":"auth","id":"4","token":"t"}`, want: message{typ: "auth", id: "4", token: "t"}},
		{name: "64 characters", in: `{"type":"unsubscribe","conference":"` + strings.Repeat("_", 64) + `"}`, want: message{typ: "unsubscribe", conference: strings.Repeat("_", 64)}},

		{name: "empty", in: ``, bad: bad("", "not a JSON object")},
		{name: "broken", in: `{"type":"ping"`, bad: bad("", "not a JSON object")},
		{name: "null", in: `null`, bad: bad("", "not a JSON object")},
		{name: "array of messages", in: `[{"type":"ping"}]`, bad: bad("", "not a JSON object")},
		{name: "two objects", in: `{"type":"ping"}{"type":"ping"}`, bad: bad("", "not a JSON object")},
		{name: "too deep", in: `{"a":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, bad: bad("", "not a JSON object")},
		{name: "not UTF-8", in: "{\"type\":\"\xff\"}", bad: bad("", "not UTF-8")},
		{name: "no type", in: `{"id":"7"}`, bad: bad("7", "type is missing")},
		{name: "type of a wrong type", in: `{"type":1,"id":"7"}`, bad: bad("7", "type is not a string")},
		{name: "unknown type", in: `{"type":"mute","id":"7"}`, bad: bad("7", `unknown type "mute"`)},
		{name: "type in capitals", in: `{"type":"PING"}`, bad: bad("", `unknown type "PING"`)},
		{name: "long unknown type", in: `{"type":"` + strings.Repeat("x", 1000) + `"}`, bad: bad("", `unknown type "`+strings.Repeat("x", 32)+`"`)},
		{name: "id of a wrong type", in: `{"type":"ping","id":3}`, bad: bad("", "id is not a string")},
		{name: "long id", in: `{"type":"ping","id":"` + strings.Repeat("i", 129) + `"}`, bad: bad("", "id is longer than 128 bytes")},
		{name: "no conference", in: `{"type":"subscribe","id":"1"}`, bad: bad("1", notID)},
		{name: "empty conference", in: `{"type":"subscribe","conference":""}`, bad: bad("", notID)},
		{name: "65 characters", in: `{"type":"unsubscribe","conference":"` + strings.Repeat("a", 65) + `"}`, bad: bad("", notID)},
		{name: "bad character", in: `{"type":"subscribe","conference":"a/b"}`, bad: bad("", notID)},
		{name: "conference of a wrong type", in: `{"type":"subscribe","conference":900}`, bad: bad("", "conference is not a string")},
		{name: "topics of a wrong type", in: `{"type":"subscribe","conference":"a","topics":"link"}`, bad: bad("", "topics is not an array of strings")},
		{name: "topic of a wrong type", in: `{"type":"subscribe","conference":"a","topics":["link",1]}`, bad: bad("", "topics is not an array of strings")},
		{name: "null topic", in: `{"type":"subscribe","conference":"a","topics":[null]}`, bad: bad("", "topics is not an array of strings")},
		{name: "resume of a wrong type", in: `{"type":"subscribe","conference":"a","resume":41}`, bad: bad("", "resume is not an object")},
		{name: "resume without seq", in: `{"type":"subscribe","conference":"a","resume":{"epoch":"e","view":"v"}}`, bad: bad("", "resume: seq is not a whole number")},
		{name: "negative seq", in: `{"type":"subscribe","conference":"a","resume":{"seq":-1}}`, bad: bad("", "resume: seq is not a whole number")},
		{name: "fraction", in: `{"type":"subscribe","conference":"a","resume":{"seq":1.5}}`, bad: bad("", "resume: seq is not a whole number")},
		{name: "quoted seq", in: `{"type":"subscribe","conference":"a","resume":{"seq":"41"}}`, bad: bad("", "resume: seq is not a whole number")},
		{name: "epoch of a wrong type", in: `{"type":"subscribe","conference":"a","resume":{"epoch":1,"seq":1}}`, bad: bad("", "resume: epoch is not a string")},
		{name: "auth without token", in: `{"type":"auth","id":"4"}`, bad: bad("4", "token is missing")},
	}
	for _, tt := range tests {
		got, refused := decodeMessage([]byte(tt.in))
		opts := cmp.AllowUnexported(message{}, resume{}, refusal{})
		if diff := cmp.Diff(tt.want, got, opts) + cmp.Diff(tt.bad, refused, opts); diff != "" {
			t.Errorf("%s: decodeMessage (-want +got):\n%s", tt.name, diff)
		}
	}
}

func FuzzClientMessage(f *testing.F) {
	for _, s := range []string{
		`{"type":"subscribe","id":"1","conference":"900487914","topics":["participants"],"resume":{"epoch":"c5k2","view":"p3","seq":41}}`,
		`{"type":"unsubscribe","id":"2","conference":"900487914"}`, `{"type":"ping","id":"3"}`, `{"type":"auth","id":"4","token":"x"}`,
		`[]`, `null`, `{"type":"mute"}`, `{"type":"subscribe","conference":"a","topics":[null,1]}`, "{\"type\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, bad := decodeMessage(data)
		if bad != nil {
			if bad.code != errBadRequest || bad.text == "" || len(bad.id) > maxID || len(bad.text) > 300 {
				t.Errorf("refusal = %+v, want a bounded bad_request with a text", bad)
			}
			if reply := appendError(nil, bad.id, bad.code, bad.text); !json.Valid(reply) {
				t.Errorf("answer %q isn't JSON", reply)
			}
			return
		}
		switch m.typ {
		case "subscribe", "unsubscribe":
			if !validConference(m.conference) {
				t.Errorf("accepted conference %q", m.conference)
			}
		case "auth":
			if m.token == "" {
				t.Error("accepted an auth without a token")
			}
		case "ping":
		default:
			t.Errorf("accepted type %q", m.typ)
		}
		if m.topics&^conference.AllTopics != 0 || len(m.id) > maxID {
			t.Errorf("accepted %+v", m)
		}
		if !json.Valid(data) {
			t.Errorf("accepted %q, which isn't JSON", data)
		}
	})
}
