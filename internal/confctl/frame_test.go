package confctl

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeSamples(t *testing.T) {
	t.Parallel()
	type head struct {
		class    Class
		kind     Kind
		mode     Mode
		version  int64
		sequence string
		data     string // how it begins
	}
	want := map[string]head{
		"attendees-full":                 {Notify, Attendees, Full, 1611993595059, "", "[{"},
		"conf-basic-full":                {Notify, ConfBasicInfo, Full, 1611993595029, "", ""},
		"conf-dynamic-full":              {Notify, ConfDynamicInfo, Full, 1611993595043, "", ""},
		"heartbeat-request":              {HeartBeatAnswer, 0, 0, 0, "000000000000000001611993655770", ""},
		"heartbeat-response":             {HeartBeatAnswer, 0, 0, 0, "000000000000000001611993655770", ""},
		"interpreter-group-full":         {Notify, InterpreterGroup, Full, 1702438732271, "", "[{"},
		"invite-result-full":             {Notify, InviteResult, Full, 1611993595063, "", "[{"},
		"netcondition-incremental":       {Notify, NetCondition, Increment, 39, "", "[{"},
		"participants-full":              {Notify, Participants, Full, 1611993595058, "", "[{"},
		"speaker-full":                   {Notify, SpeakerChange, Full, 1612178330127, "", "[{"},
		"subtitle-full":                  {Notify, RealTimeSubtitle, Full, 1614936396556, "", "{"},
		"waiting-list-incremental":       {Notify, WaitingList, Increment, 1, "", "[{"},
		"subscribe-response":             {SubscribeAnswer, 0, 0, 0, "00000000000000001611747313677", "{"},
		"subscribe-request":              {SubscribeAnswer, 0, 0, 0, "00000000000000001702459164879", `{"subscribeType"`},
		"subscribe-request-js-example":   {SubscribeAnswer, 0, 0, 0, "000000000000000000002611382273415", `{"subscribeType"`},
		"subscribe-request-java-example": {SubscribeAnswer, 0, 0, 0, "0000000000000000002611382271289", `{"subscribeType"`},
		"subtitle-control-request":       {ControlAnswer, 0, 0, 0, "000000000000000002611382273463", `{"conferenceID"`},
		"page-conf-basic-full":           {Notify, ConfBasicInfo, Full, 1611993595029, "", ""},
		"page-interpreter-group-full":    {Notify, InterpreterGroup, Full, 1702438732271, "", "[{"},
		"page-subtitle-full":             {Notify, RealTimeSubtitle, Full, 1614936396556, "", "{"},
		"page-subscribe-request":         {SubscribeAnswer, 0, 0, 0, "000000000000000001702459164879", "{"},
		"page-subscribe-response":        {SubscribeAnswer, 0, 0, 0, "000000000000000001611747313677", "{"},
	}
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) != len(want) {
		t.Fatalf("%d samples, %v; want %d", len(files), err, len(want))
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		f, err := Decode(data)
		if err != nil {
			t.Errorf("Decode(%s) = %v", name, err)
			continue
		}
		w := want[name]
		got := head{f.Class, f.Kind, f.Mode, f.Version, f.Sequence, ""}
		if bytes.HasPrefix(bytes.Map(dropSpace, f.Data), []byte(w.data)) {
			got.data = w.data
		}
		if w != got || f.ReturnCode != 0 {
			t.Errorf("Decode(%s) = %+v, code %d, data %.20q; want %+v", name, got, f.ReturnCode, f.Data, w)
		}
	}
}

func dropSpace(r rune) rune {
	if r == ' ' || r == '\n' {
		return -1
	}
	return r
}

func TestDecodeTolerates(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, frame string
		want        Frame
	}{
		{
			"quoted numbers", `{"action":"ParticipantsNotify","version":"41","createTime":"1611993595058","msgMode":"1"}`,
			Frame{Kind: Participants, Action: "ParticipantsNotify", Mode: Increment, Version: 41, CreateTime: 1611993595058},
		},
		{
			"floats and nonsense for numbers", `{"action":"ParticipantsNotify","version":4.1e3,"createTime":"soon","msgMode":null}`,
			Frame{Kind: Participants, Action: "ParticipantsNotify", Version: 4100},
		},
		{
			"keys with blanks", `{"action ":"SpeakerChangeNotify"," data":[]}`,
			Frame{Kind: SpeakerChange, Action: "SpeakerChangeNotify", Data: []byte("[]")},
		},
		{
			"unknown action", `{"action":"BreakoutSettingNotify","data":{"x":1},"msgID":"m","confID":900}`,
			Frame{Action: "BreakoutSettingNotify", MsgID: "m", Data: []byte(`{"x":1}`)},
		},
		{
			"data in a string", `{"action":"AttendeesNotify","data":"[{\"name\":\"A\"}]"}`,
			Frame{Kind: Attendees, Action: "AttendeesNotify", Data: []byte(`[{"name":"A"}]`)},
		},
		{"data null", `{"action":"SpeakerChangeNotify","data":null}`, Frame{Kind: SpeakerChange, Action: "SpeakerChangeNotify"}},
		{
			"both places for interpreters", `{"action":"InterpreterGroupNotify","data":null,"interpreterGroups":[1]}`,
			Frame{Kind: InterpreterGroup, Action: "InterpreterGroupNotify", Data: []byte("[1]")},
		},
		{
			"wrapped answer", `{"action":"Subscribe","sequence":"7","data":{"returnCode":"5","returnDesc ":"no"}}`,
			Frame{Class: SubscribeAnswer, Action: "Subscribe", Sequence: "7", ReturnCode: 5, ReturnDesc: "no", Data: []byte(`{"returnCode":"5","returnDesc ":"no"}`)},
		},
		{
			"bare answer", `{"action":"Subscribe","sequence":7,"returnCode":1}`,
			Frame{Class: SubscribeAnswer, Action: "Subscribe", Sequence: "7", ReturnCode: 1},
		},
		{
			"answer in the form of a REST error", `{"action":"Subscribe","data":{"error_code":"MMC.111081006","error_msg":"x"}}`,
			Frame{Class: SubscribeAnswer, Action: "Subscribe", ReturnCode: -1, ErrorCode: "MMC.111081006", Data: []byte(`{"error_code":"MMC.111081006","error_msg":"x"}`)},
		},
		{
			"return code that is a word", `{"action":"Subscribe","returnCode":"MMC.111081006"}`,
			Frame{Class: SubscribeAnswer, Action: "Subscribe", ReturnCode: -1},
		},
		{
			"refreshed token", `{"action":"ConfControl","type":"REFRESHTOKEN","sequence":"1","data":{"data":{"token":"t"}}}`,
			Frame{Class: ControlAnswer, Action: "ConfControl", Type: "REFRESHTOKEN", Sequence: "1", Data: []byte(`{"data":{"token":"t"}}`)},
		},
	}
	for _, tt := range tests {
		got, err := Decode([]byte(tt.frame))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		got.Raw = nil
		if diff := cmp.Diff(&tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		frame string
		want  error
	}{
		{``, ErrFrame},
		{`hello`, ErrFrame},
		{`[]`, ErrFrame},
		{`"x"`, ErrFrame},
		{`{"action":"Sub`, ErrFrame},
		{`{}`, ErrAction},
		{`{"action":null}`, ErrAction},
		{`{"action":{}}`, ErrAction},
		{strings.Repeat(`{"a":`, 100), ErrFrame},
	}
	for _, tt := range tests {
		_, err := Decode([]byte(tt.frame))
		if !errors.Is(err, tt.want) {
			t.Errorf("Decode(%.20q) = %v, want %v", tt.frame, err, tt.want)
		}
	}
	if _, err := Decode([]byte(`{"pwd":"hunter2"`)); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Decode of a broken frame = %v, want an error without its content", err)
	}
}

func TestRequestsReadBack(t *testing.T) {
	t.Parallel()
	b := AppendSubscribe(nil, "0042", []string{"ParticipantsNotify", "Other\"Notify"}, NewSecret(`to"ken`))
	f, err := Decode(b)
	want := `{"subscribeType":["ParticipantsNotify","Other\"Notify"],"confToken":"to\"ken"}`
	if err != nil || f.Class != SubscribeAnswer || f.Sequence != "0042" || string(f.Data) != want {
		t.Errorf("subscribe = %s, %v; want data %s", b, err, want)
	}
	if !strings.Contains(string(b), `"data":"{`) {
		t.Errorf("subscribe = %s, want data as a string", b)
	}
	if got, want := string(AppendHeartBeat(nil, "007")), `{"sequence":"007","action":"HeartBeat"}`; got != want {
		t.Errorf("heartbeat = %s, want %s", got, want)
	}
}

func TestSecretPrintsAsStars(t *testing.T) {
	t.Parallel()
	s := NewSecret("hunter2")
	type holder struct{ S, T any }
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T|%v", "%10v", "%-3s"} {
		for _, v := range []any{s, &s, []Secret{s}, map[string]Secret{"k": s}, holder{s, &s}, struct{ s Secret }{s}} {
			args := []any{v, v}[:strings.Count(verb, "%")]
			if got := fmt.Sprintf(verb, args...); strings.Contains(got, "hunter2") || strings.Contains(got, "68756e74") {
				t.Errorf("Sprintf(%q) = %s, want no secret", verb, got)
			}
		}
	}
	text, _ := s.MarshalText()
	jsonText, _ := s.MarshalJSON()
	if got := string(text) + string(jsonText) + s.String(); got != `***"***"***` {
		t.Errorf("encodings = %s, want stars", got)
	}
	if !s.Equal(NewSecret("hunter2")) || s.Equal(NewSecret("hunter3")) || s.Empty() || !NewSecret("").Empty() || s.Reveal() != "hunter2" {
		t.Error("a secret doesn't compare or reveal as it should")
	}
	if a, b := s.Fingerprint([]byte("k")), NewSecret("hunter2").Fingerprint([]byte("j")); bytes.Equal(a, b) || len(a) != 32 {
		t.Error("fingerprints under two keys are equal, want a keyed digest of 32 bytes")
	}
}

func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no samples: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fr, err := Decode(data)
		if (fr == nil) == (err == nil) {
			t.Fatalf("Decode = %v, %v; want one of them", fr, err)
		}
		if err == nil && (fr.Action == "" || len(fr.Data) > 3*len(data)+3) {
			t.Fatalf("Decode(%q) = %+v", data, fr)
		}
	})
}
