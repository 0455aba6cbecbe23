package conference

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"confgate/internal/confctl"
)

// frame decodes a notify whose members, beside the envelope's, are given.
func frame(tb testing.TB, action string, mode confctl.Mode, created int64, members string) *confctl.Frame {
	tb.Helper()
	f, err := confctl.Decode(fmt.Appendf(nil, `{%s,"action":%q,"msgMode":%d,"version":7,"createTime":%d,"confID":"c","msgID":"m"}`,
		members, action, mode, created))
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

func person(pid, fields string) string {
	return fmt.Sprintf(`{"pid":%q,"mode":0,"pinfoMap":{%s}}`, pid, fields)
}

// lines shows changes as text, one a line.
func lines(changes []Change) []string {
	out := []string{}
	for _, c := range changes {
		out = append(out, c.Topic.String()+" "+string(c.Body))
	}
	return out
}

type step struct {
	action  string
	mode    confctl.Mode
	members string
	want    []string // the changes
	bad     bool     // and an ErrRow
}

const (
	pList = "ParticipantsNotify"
	basic = "ConfBasicInfoNotify"
	dyn   = "ConfDynamicInfoNotify"
	inc   = confctl.Increment
)

func TestApply(t *testing.T) {
	t.Parallel()
	two := `"data":[` + person("a", `"NAME":"Ann","MUTE":"1"`) + `,` + person("b", `"NAME":"Bob"`) + `]`
	twoSaid := `participants {"a":{"muted":true,"name":"Ann"},"b":{"name":"Bob"}}`
	tests := []struct {
		name  string
		steps []step
	}{
		{"full frame fills", []step{{pList, confctl.Full, two, []string{twoSaid}, false}}},
		{"empty full frame makes the topic", []step{{pList, confctl.Full, `"data":[]`, []string{`participants {}`}, false}}},
		{"full frame without data empties", []step{
			{pList, confctl.Full, two, []string{twoSaid}, false},
			{pList, confctl.Full, `"x":1`, []string{`participants {"a":null,"b":null}`}, false},
		}},
		{"full frame replaces rows and members", []step{
			{pList, confctl.Full, two, []string{twoSaid}, false},
			{pList, confctl.Full, `"data":[` + person("a", `"NAME":"Ann"`) + `]`, []string{`participants {"a":{"muted":null},"b":null}`}, false},
		}},
		{"increment merges", []step{
			{pList, confctl.Full, two, []string{twoSaid}, false},
			{pList, inc, `"data":[` + person("a", `"MUTE":"0","HAND":"1"`) + `]`, []string{`participants {"a":{"handRaised":true,"muted":false}}`}, false},
			{pList, inc, `"data":[` + person("a", `"MUTE":0`) + `]`, []string{}, false},
		}},
		{"null in an increment removes the member", []step{
			{pList, confctl.Full, two, []string{twoSaid}, false},
			{pList, inc, `"data":[` + person("a", `"MUTE":null,"HAND":null`) + `]`, []string{`participants {"a":{"muted":null}}`}, false},
		}},
		{"row of a pid never seen is kept", []step{
			{pList, confctl.Full, two, []string{twoSaid}, false},
			{pList, inc, `"data":[{"pid":"z"}]`, []string{`participants {"z":{}}`}, false},
		}},
		{"removal without pinfoMap, and of nobody", []step{
			{pList, confctl.Full, two, []string{twoSaid}, false},
			{pList, inc, `"data":[{"pid":"b","mode":"1"},{"pid":"nobody","mode":1}]`, []string{`participants {"b":null}`}, false},
		}},
		{"removal takes quality along", []step{
			{pList, confctl.Full, two, []string{twoSaid}, false},
			{"NetConditionNotify", inc, `"data":[{"participantID":"b","netInfo":"poor"}]`, []string{`quality {"b":{"rating":"poor"}}`}, false},
			{pList, inc, `"data":[{"pid":"b","mode":1}]`, []string{`participants {"b":null}`, `quality {"b":null}`}, false},
		}},
		{"full frame that drops somebody takes quality along", []step{
			{pList, confctl.Full, two, []string{twoSaid}, false},
			{"NetConditionNotify", inc, `"data":[{"participantID":"b","netInfo":"poor"}]`, []string{`quality {"b":{"rating":"poor"}}`}, false},
			{pList, confctl.Full, `"data":[` + person("a", `"NAME":"Ann","MUTE":"1"`) + `]`, []string{`participants {"b":null}`, `quality {"b":null}`}, false},
		}},
		{"bad rows are told of and lose nothing else", []step{
			{pList, inc, `"data":[7,{"mode":0},` + person("a", `"NAME":"Ann"`) + `]`, []string{`participants {"a":{"name":"Ann"}}`}, true},
			{pList, inc, `"data":7`, []string{}, true},
		}},
		{"a list where an object belongs says nothing", []step{ // one string in it made a session panic
			{pList, inc, `"data":[{"pid":"a","pinfoMap":["MUTE"]}]`, []string{`participants {"a":{}}`}, false},
		}},
		{"data as a string, pinfoMap as a string, one row alone", []step{
			{pList, inc, `"data":"[{\"pid\":\"a\",\"pinfoMap\":\"{\\\"NAME\\\":\\\"Ann\\\"}\"}]"`, []string{`participants {"a":{"name":"Ann"}}`}, false},
			{pList, inc, `"data":` + person("a", `"HAND":"1"`), []string{`participants {"a":{"handRaised":true}}`}, false},
		}},
		{"both spellings, numbers for strings, values outside the enumeration", []step{
			{
				pList, inc, `"data":[` + person("a", `"CLICENT_LOGIN_TYPE":"Pad","TEL":123,"ROLE":"9","STATE":2,"ADDTIME":"5","MUTE":"x"`) + `]`,
				[]string{`participants {"a":{"client":"pad","joinedAt":5,"muted":"x","phone":"123","role":"9","state":"joining"}}`},
				false,
			},
		}},
		{"unknown keys go to extra, without nulls", []step{
			{
				pList, inc, `"data":[{"pid":"a","seat":{"row":1,"x":null},"pinfoMap":{"NEW ":"v","USER_AGENT":["a", 1]}}]`,
				[]string{`participants {"a":{"extra":{"NEW":"v","USER_AGENT":["a",1],"seat":{"row":1}}}}`},
				false,
			},
		}},
		{"names are canonical whatever their escapes", []step{
			{pList, confctl.Full, `"data":[` + person("a", `"NAME":"\u5f20"`) + `]`, []string{`participants {"a":{"name":"张"}}`}, false},
			{pList, confctl.Full, `"data":[` + person("a", `"NAME":"张"`) + `]`, []string{}, false},
		}},
		{"basic and dynamic each replace their own", []step{
			{basic, confctl.Full, `"title":"T","owner":"O","pws":[{"role":"chair","pwd":"s"}],"webinar":false`, []string{
				`conference {"extra":{"basic":{"webinar":false}},"id":"c1","owner":{"name":"O"},"passwords":{"chair":"s"},"title":"T"}`,
			}, false},
			{dyn, confctl.Full, `"lock":1,"state":"Created","pause":false`, []string{
				`conference {"extra":{"dynamic":{"pause":false}},"locked":true,"state":"created"}`,
			}, false},
			{dyn, inc, `"mute":"1"`, []string{`conference {"muted":true}`}, false},
			{dyn, confctl.Full, `"lock":0,"state":"Created"`, []string{`conference {"extra":{"dynamic":null},"locked":false,"muted":null}`}, false},
			{basic, confctl.Full, `"title":"T2"`, []string{`conference {"extra":null,"owner":null,"passwords":null,"title":"T2"}`}, false},
		}},
		{"call-in restriction: the dynamic frame's once seen", []step{
			{basic, confctl.Full, `"callInRestriction":0`, []string{`conference {"callInRestriction":"everyone","id":"c1"}`}, false},
			{dyn, confctl.Full, `"callInRestriction":2`, []string{`conference {"callInRestriction":"enterprise"}`}, false},
			{basic, confctl.Full, `"callInRestriction":3`, []string{}, false},
			{dyn, confctl.Full, `"lock":0`, []string{`conference {"callInRestriction":"invited","locked":false}`}, false},
		}},
		{"subtitles: one name, two meanings", []step{
			{basic, confctl.Full, `"realTimeSubtitle":3`, []string{`conference {"id":"c1","subtitlesSupported":true}`}, false},
			{dyn, confctl.Full, `"realTimeSubtitle":"0"`, []string{`conference {"subtitlesOn":false}`}, false},
		}},
		{"layout comes and goes with the dynamic frame", []step{
			{dyn, confctl.Full, `"multiPic":{"picNum":"4","period":10,"picInfos":[{"index":1,"id":["a","b"],"share":0}]}`, []string{
				`conference {"id":"c1"}`,
				`layout {"cells":[{"index":1,"participants":["a","b"],"share":false}],"intervalSeconds":10,"pictures":4}`,
			}, false},
			{dyn, inc, `"lock":1`, []string{`conference {"locked":true}`}, false},
			{dyn, confctl.Full, `"lock":1`, []string{`layout null`}, false},
		}},
		{"speakers, loudest first", []step{
			{
				"SpeakerChangeNotify", confctl.Full, `"data":[{"pid":"a","speakingVolume":"5"},{"pid":"b","name":"B","speakingVolume":45}]`,
				[]string{`speakers [{"name":"B","pid":"b","volume":45},{"pid":"a","volume":5}]`},
				false,
			},
			{"SpeakerChangeNotify", confctl.Full, `"x":0`, []string{`speakers []`}, false},
			{"SpeakerChangeNotify", inc, `"data":[]`, []string{}, false},
		}},
		{"quality in our units", []step{
			{
				"NetConditionNotify", inc, `"data":[{"mode":0,"participantID":"a","delay":"37","bandwidth":61440,"fluxIn":"2","fluxOut":3,"lostPacketRate":"29","videoOutLossPacketRate":"1000","jitter":"x"}]`,
				[]string{`quality {"a":{"audio":{"downBps":200,"upBps":300,"upLossPct":0.29},"bandwidthBps":6144000,"jitterUpMs":"x","rttMs":37,"video":{"downLossPct":10}}}`},
				false,
			},
		}},
		{"waiting room", []step{
			{
				"WaitingListNotify", inc, `"data":[{"pid":"w","mode":0,"delType":0,"pinfoMap":{"NAME":"W","WAITINGSTATE":"0"}}]`,
				[]string{`waiting {"w":{"admitted":false,"extra":{"delType":0},"name":"W"}}`},
				false,
			},
			{"WaitingListNotify", inc, `"data":[{"pid":"w","mode":1}]`, []string{`waiting {"w":null}`}, false},
		}},
		{"interpreters under either name", []step{
			{
				"InterpreterGroupNotify", confctl.Full, `"interpreterGroups":[{"groupID":"g","firstLanguage":"en","secondLanguage":"zh","groupType":"AI","interpreters":[{"userId":"u","aiDigitalInfo":{"localAuthInfo":"k"}}]}]`,
				[]string{`interpreters {"g":{"languages":["en","zh"],"people":[{"extra":{"aiDigitalInfo":{"localAuthInfo":"k"}},"id":"u"}],"type":"ai"}}`},
				false,
			},
			{"InterpreterGroupNotify", inc, `"data":[{"groupId":"h","groupName":"H"}]`, []string{`interpreters {"h":{"name":"H"},"g":null}`}, false},
		}},
		{"unknown kind becomes a vendor event, whole", []step{
			{"PollNotify", confctl.Full, `"data":[{"n":null}],"more":1`, []string{
				`vendor {"action":"PollNotify","mode":"full","data":[{"n":null}],"extra":{"more":1,"version":7,"createTime":%d,"confID":"c","msgID":"m"}}`,
			}, false},
			{"CustomMultiPicNotify", inc, `"mode":1,"picInfos":[{"id":["x"],"n":null}]`, []string{
				`vendor {"action":"CustomMultiPicNotify","mode":"increment","data":{"mode":1,"picInfos":[{"id":["x"],"n":null}],"version":7,"createTime":%d,"confID":"c","msgID":"m"}}`,
			}, false},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, replica := New("c1"), NewDoc()
			for i, st := range tt.steps {
				created := int64(1000 + i)
				changes, err := s.Apply(frame(t, st.action, st.mode, created, st.members))
				want := make([]string, len(st.want))
				for j, w := range st.want {
					want[j] = strings.ReplaceAll(w, "%d", fmt.Sprint(created))
				}
				if diff := cmp.Diff(want, lines(changes)); diff != "" {
					t.Errorf("step %d: changes (-want +got):\n%s", i, diff)
				}
				if errors.Is(err, ErrRow) != st.bad {
					t.Errorf("step %d: error %v, want ErrRow: %v", i, err, st.bad)
				}
				for _, c := range changes {
					if c.Time != created {
						t.Errorf("step %d: time %d, want the frame's %d", i, c.Time, created)
					}
					if err := replica.Patch(c); err != nil {
						t.Fatal(err)
					}
				}
				equalDocs(t, replica, s.Doc())
			}
		})
	}
}

func equalDocs(tb testing.TB, got, want *Doc) {
	tb.Helper()
	a, b := string(got.AppendJSON(nil, AllTopics, full)), string(want.AppendJSON(nil, AllTopics, full))
	if a != b {
		tb.Errorf("document = %s\nwant       %s", a, b)
	}
}

func TestAttendeesAreRecognised(t *testing.T) {
	t.Parallel()
	const list = "AttendeesNotify"
	steps := []step{
		{list, confctl.Full, `"data":[{"userUUID":"u1","name":"Ann","phone":"1"},{"phone":"2","name":"Bob"},{"phone":"3","name":"Bob"},{"name":"Cy"}]`, []string{
			`attendees {"a1":{"name":"Ann","phone":"1","userId":"u1"},"a2":{"name":"Bob","phone":"2"},"a3":{"name":"Bob","phone":"3"},"a4":{"name":"Cy"}}`,
		}, false},
		{list, confctl.Full, `"data":[{"name":"Cy"},{"phone":"3","name":"Bob"},{"phone":"2","name":"Bob"},{"userUUID":"u1","name":"Ann","phone":"1"}]`, []string{}, false},
		{list, inc, `"data":[{"mode":0,"userUUID":"u1","participantID":"p1"}]`, []string{`attendees {"a1":{"pid":"p1"}}`}, false},
		{list, inc, `"data":[{"mode":0,"userUUID":"u1","participantID":"p2"}]`, []string{`attendees {"a1":{"pid":"p2"}}`}, false},
		{list, inc, `"data":[{"mode":0,"userUUID":"u9","phone":"1","name":"Zed"}]`, []string{`attendees {"a5":{"name":"Zed","phone":"1","userId":"u9"}}`}, false},
		{list, inc, `"data":[{"mode":1,"name":"Bob"}]`, []string{}, false}, // two have that name
		{list, inc, `"data":[{"mode":1,"phone":"3"}]`, []string{`attendees {"a3":null}`}, false},
		{list, inc, `"data":[{"mode":1,"name":"Bob"}]`, []string{`attendees {"a2":null}`}, false},
		{list, inc, `"data":[{"mode":0,"phone":"3","name":"Bob","email":"b@x","isMute":1,"orgID":"o"}]`, []string{
			`attendees {"a6":{"email":"b@x","muteOnJoin":true,"name":"Bob","orgId":"o","phone":"3"}}`,
		}, false},
		{list, inc, `"data":[{"mode":1,"participantID":"p2"},{"mode":1,"email":"b@x"}]`, []string{`attendees {"a1":null,"a6":null}`}, false},
		{list, confctl.Full, `"data":[{"name":"Dee"},{"name":"Dee"}]`, []string{
			`attendees {"a7":{"name":"Dee"},"a8":{"name":"Dee"},"a4":null,"a5":null}`,
		}, false},
	}
	s := New("c1")
	for i, st := range steps {
		changes, err := s.Apply(frame(t, st.action, st.mode, int64(i), st.members))
		if diff := cmp.Diff(st.want, lines(changes)); diff != "" || err != nil {
			t.Errorf("step %d: %v, changes (-want +got):\n%s", i, err, diff)
		}
		if s, err = Restore("c1", s.Doc().Clone(), s.Memory()); err != nil { // names survive a takeover
			t.Fatal(err)
		}
	}
}

func TestInvitesAreRaisedOnce(t *testing.T) {
	t.Parallel()
	const list = "InviteResultNotify"
	ev := func(code, reason string, ok bool) string {
		return fmt.Sprintf(`invites {"code":%q,"ok":%v,"phone":"1","reason":%q}`, code, ok, reason)
	}
	tests := []struct {
		name    string
		mode    confctl.Mode
		created int64
		row     string
		want    []string
	}{
		{"first", confctl.Full, 10, `"callNumber":"1","resultCode":"11076009"`, []string{ev("11076009", "declined", false)}},
		{"repeated on a subscription", confctl.Full, 20, `"callNumber":"1","resultCode":"11076009"`, []string{}},
		{"the table's spelling, another result", confctl.Full, 30, `"callNumber":"1","errorCode":0`, []string{ev("0", "success", true)}},
		{"the same increment twice, once", inc, 40, `"callNumber":"1","resultCode":"11076005"`, []string{ev("11076005", "no_answer", false)}},
		{"the same increment twice, again", inc, 40, `"callNumber":"1","resultCode":"11076005"`, []string{}},
		{"a later one with the same result", inc, 50, `"callNumber":"1","resultCode":"11076005"`, []string{ev("11076005", "no_answer", false)}},
		{"nine digits", inc, 60, `"callNumber":"1","resultCode":"MMC.111076008"`, []string{ev("MMC.111076008", "busy", false)}},
		{"unknown", inc, 70, `"callNumber":"1","resultCode":"42"`, []string{ev("42", "unknown", false)}},
	}
	s := New("c1")
	for _, tt := range tests {
		changes, err := s.Apply(frame(t, list, tt.mode, tt.created, `"data":[{`+tt.row+`}]`))
		if diff := cmp.Diff(tt.want, lines(changes)); diff != "" || err != nil {
			t.Errorf("%s: %v, changes (-want +got):\n%s", tt.name, err, diff)
		}
		if s, err = Restore("c1", s.Doc(), s.Memory()); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10_001 { // bounded
		if _, err := s.Apply(frame(t, list, inc, int64(100+i), fmt.Sprintf(`"data":[{"callNumber":"n%d","resultCode":"0"}]`, i))); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(s.memory.Results); got != 10_000 {
		t.Errorf("%d results remembered, want 10000", got)
	}
}

func TestSubtitleEvent(t *testing.T) {
	t.Parallel()
	f := frame(t, "RealTimeSubtitleNotify", confctl.Full, 5,
		`"data":{"msgs ":[{"subtitleLang":"English","translateText":"hi","id ":"i"}],"isFinal ":false,"timestamp ":"9","participantID":"p","endTime":3}`)
	changes, err := New("c").Apply(f)
	want := []string{`subtitles {"endMs":3,"final":false,"lines":[{"id":"i","language":"english","text":"hi"}],"pid":"p","time":9}`}
	if diff := cmp.Diff(want, lines(changes)); diff != "" || err != nil {
		t.Errorf("%v, changes (-want +got):\n%s", err, diff)
	}
}

func TestLink(t *testing.T) {
	t.Parallel()
	s := New("c")
	var got []string
	for i, l := range []struct {
		state  LinkState
		reason LinkReason
	}{{LinkConnecting, ReasonNone}, {LinkConnecting, ReasonNone}, {LinkLive, ReasonNone}, {LinkStale, ReasonGap}, {LinkLive, ReasonNone}} {
		got = append(got, lines(s.SetLink(l.state, l.reason, int64(i)))...)
	}
	want := []string{
		`link {"since":0,"state":"connecting"}`, `link {"since":2,"state":"live"}`,
		`link {"reason":"gap","since":3,"state":"stale"}`, `link {"reason":null,"since":4,"state":"live"}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

func TestEndedAndClear(t *testing.T) {
	t.Parallel()
	s := New("c")
	s.SetLink(LinkLive, ReasonNone, 1)
	for _, f := range []*confctl.Frame{
		frame(t, pList, confctl.Full, 2, `"data":[`+person("a", `"NAME":"A"`)+`]`),
		frame(t, dyn, confctl.Full, 3, `"state":"Destroyed"`),
	} {
		if _, err := s.Apply(f); err != nil {
			t.Fatal(err)
		}
	}
	if !s.Ended() {
		t.Error("Ended() = false after Destroyed, want true")
	}
	if diff := cmp.Diff([]string{"conference null", "participants null"}, lines(s.Clear(9))); diff != "" {
		t.Errorf("Clear (-want +got):\n%s", diff)
	}
	if s.Ended() || len(s.Clear(10)) != 0 {
		t.Error("a cleared conference has ended or changes again, want neither")
	}
	if state, _ := s.Link(); state != LinkLive {
		t.Errorf("link = %q after Clear, want it untouched", state)
	}
}

func TestFill(t *testing.T) {
	t.Parallel()
	s := New("c")
	for _, f := range []*confctl.Frame{
		frame(t, pList, confctl.Full, 1, `"data":[`+person("a", `"NAME":"A","ROLE":"1","HAND":"1","CAMERASTATE":"1"`)+`,`+person("b", `"NAME":"B"`)+`]`),
		frame(t, "AttendeesNotify", confctl.Full, 1, `"data":[{"userUUID":"u","phone":"1","role":1},{"phone":"2"}]`),
	} {
		if _, err := s.Apply(f); err != nil {
			t.Fatal(err)
		}
	}
	one := int64(1)
	info := &confctl.RealTimeInfo{
		ChairID: "c", CoHosts: []string{"a"},
		Participants: []confctl.RealTimeParticipant{{PID: "a", Name: "A", Mute: &one}, {PID: "c", Name: "C", State: new(int64)}},
		Attendees:    []confctl.RealTimeAttendee{{UserUUID: "u", Name: "Ann"}},
	}
	want := []string{
		`participants {"a":{"cohost":true,"muted":true,"role":"guest"},"c":{"name":"C","role":"chair","state":"joined"},"b":null}`,
		`attendees {"a1":{"name":"Ann"},"a2":null}`,
	}
	if diff := cmp.Diff(want, lines(s.Fill(info, 5))); diff != "" {
		t.Errorf("Fill (-want +got):\n%s", diff)
	}
	if again := s.Fill(info, 6); len(again) != 0 {
		t.Errorf("Fill again = %v, want nothing", lines(again))
	}
}

// Every sample of the reference decodes to the document that the contract's tables say.
func TestSamples(t *testing.T) {
	t.Parallel()
	s := New("900487914")
	files, err := filepath.Glob("../confctl/testdata/*-full.json")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d samples, %v; want ten at least", len(files), err)
	}
	more, _ := filepath.Glob("../confctl/testdata/*-incremental.json")
	var events []string
	for _, file := range append(files, more...) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		f, err := confctl.Decode(data)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		changes, err := s.Apply(f)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		for _, c := range changes {
			if c.Topic.Event() {
				events = append(events, lines([]Change{c})...)
			}
		}
		if again, _ := s.Apply(f); len(again) > 0 && !f.Kind.Event() {
			t.Errorf("%s: again changes %v, want nothing", file, lines(again))
		}
	}
	golden(t, "samples.json", s.Doc().AppendJSON(nil, AllTopics, full))
	golden(t, "samples-read.json", s.Doc().AppendJSON(nil, AllTopics, 0))
	if len(events) != 3 {
		t.Errorf("events = %v, want the invitation and two captions", events)
	}
}

// golden compares JSON with a file of testdata; -update isn't offered, since these files were read by eye.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	want, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := errors.Join(json.Unmarshal(got, &a), json.Unmarshal(want, &b)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b, a); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// A successor may get a memory that is older than the document: then names aren't given twice, and results that the log
// has told of since aren't told again.
func TestMemoryOlderThanTheDocument(t *testing.T) {
	t.Parallel()
	s := New("c")
	old := s.Memory()
	var told []Stamped
	for i, f := range []*confctl.Frame{
		frame(t, "AttendeesNotify", confctl.Full, 1, `"data":[{"name":"A"},{"name":"B"},{"name":"Gone"}]`),
		frame(t, "AttendeesNotify", confctl.Full, 1, `"data":[{"name":"A"},{"name":"B"}]`),
		frame(t, "InviteResultNotify", inc, 2, `"data":[{"callNumber":"1","resultCode":"0"}]`),
	} {
		changes, err := s.Apply(f)
		if err != nil || len(changes) != 1 {
			t.Fatalf("frame %d: %v, %v", i, changes, err)
		}
		told = append(told, Stamped{Change: changes[0]})
	}
	mem, err := AdvanceMemory(old, told)
	if err != nil {
		t.Fatal(err)
	}
	s, err = Restore("c", s.Doc().Clone(), mem)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := s.Apply(frame(t, "AttendeesNotify", inc, 3, `"data":[{"name":"C"}]`))
	if diff := cmp.Diff([]string{`attendees {"a4":{"name":"C"}}`}, lines(changes)); diff != "" || err != nil {
		t.Errorf("%v, changes (-want +got):\n%s", err, diff)
	}
	changes, err = s.Apply(frame(t, "InviteResultNotify", confctl.Full, 4, `"data":[{"callNumber":"1","resultCode":"0"}]`))
	if len(changes) != 0 || err != nil {
		t.Errorf("a result that was told is told again: %v, %v", lines(changes), err)
	}
}
