package conference

import (
	"reflect"
	"strings"
	"testing"
)

// Every field that the reference documents (chapter 6.1.3) has its row, so that nothing documented ends under extra. The
// names are those of the reference's tables.
func TestEveryDocumentedFieldIsKnown(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		fields table
		keys   string
	}{
		{"basic", basicFields, "displayID title startTime recType media owner ownerID userType supportWatermark scheduledStartTime guestJoinUri callInRestriction confMode realTimeSubtitle"},
		{"dynamic", dynamicFields, "endTime mode state vas lock mute lockSharing canUnmute chairView picNum partViewNum maxPartViewNum recState confIMGroupId forbiddenChat recOccurred realTimeSubtitle"},
		{"participant", personFields, "NAME TEL ROLE STATE HAND BROADCAST ROLLCALL SHARE ADDTIME MUTE VIDEO M T ANONYMOUS LOCALREC CLIENT_LOGIN_TYPE CLICENT_LOGIN_TYPE VIEW_TYPE PART_VIEW_SRC IS_SVC ORG_ID CLIENT_CAPABILITIES ACCOUNT_ID ACCOUNT THIRDACCOUNT CAMERASTATE IS_COHOST"},
		{"waiting", waitingFields, "NAME ADDTIME ANONYMOUS CLIENT_LOGIN_TYPE ORG_ID ACCOUNT_ID ACCOUNT THIRDACCOUNT WAITINGSTATE TEL"},
		{"attendee", attendeeFields, "userUUID participantID phone name accountId role email sms isMute isAutoInvite type address deptUUID deptName orgId orgID thirdAccount"},
		{"speaker", speakerFields, "pid speakingVolume name"},
		{"quality", qualityFields, "netInfo delay jitter outJitter audioCodecType videoCodecType fluxIn fluxOut lostPacketRate audioOutLossPacketRate bandwidth videoFluxIn videoFluxOut videoInLossPacketRate videoOutLossPacketRate assistVideoFluxIn assistVideoFluxOut assistVideoInLossPacketRate assistVideoOutLossPacketRate"},
		{"group", groupFields, "groupName groupType"},
		{"interpreter", interpreterFields, "loginAccount userID userId callNumber name interpreterType"},
		{"layout", layoutFields, "picNum period"},
		{"cell", cellFields, "index id share"},
		{"subtitle", subtitleFields, "isFinal timestamp beginTime endTime participantID"},
		{"line", lineFields, "subtitleLang translateText id"},
	}
	for _, tt := range tests {
		for key := range strings.FieldsSeq(tt.keys) {
			if _, ok := tt.fields.find([]byte(key)); !ok {
				t.Errorf("%s: %s has no row", tt.name, key)
			}
		}
	}
	if _, ok := basicFields.find([]byte(strings.Repeat("x", 100))); ok {
		t.Error("a long unknown key has a row")
	}
}

// Every member that a table fills has a rule, so that nothing of the contract is hidden by omission.
func TestEveryMemberHasARule(t *testing.T) {
	t.Parallel()
	element := func(topic Topic) *rule { return rules[topic].each }
	tests := []struct {
		name   string
		fields table
		rule   *rule
	}{
		{"basic", basicFields, rules[Info]},
		{"dynamic", dynamicFields, rules[Info]},
		{"participant", personFields, element(Participants)},
		{"waiting", waitingFields, element(Waiting)},
		{"attendee", attendeeFields, element(Attendees)},
		{"speaker", speakerFields, element(Speakers)},
		{"quality", qualityFields, element(Quality)},
		{"group", groupFields, element(Interpreters)},
		{"interpreter", interpreterFields, element(Interpreters).kids["people"].each},
		{"layout", layoutFields, rules[Layout]},
		{"cell", cellFields, rules[Layout].kids["cells"].each},
		{"subtitle", subtitleFields, rules[Subtitles]},
		{"line", lineFields, rules[Subtitles].kids["lines"].each},
	}
	for _, tt := range tests {
		for _, f := range tt.fields.exact {
			r := tt.rule
			if f.sub != "" {
				r = r.kids[f.sub]
			}
			if r == nil || r.kids[f.name] == nil {
				t.Errorf("%s: no rule for %s.%s", tt.name, f.sub, f.name)
			}
		}
	}
	for i, r := range rules {
		if r == nil {
			t.Errorf("topic %s has no rules", Topic(i))
		}
	}
}

// What the reducer remembers goes into checkpoints whole: a field that isn't encoded would be lost in a takeover.
func TestMemoryIsEncodedWhole(t *testing.T) {
	t.Parallel()
	for f := range reflect.TypeFor[memory]().Fields() {
		if !f.IsExported() || f.Tag.Get("json") == "" {
			t.Errorf("memory.%s isn't encoded", f.Name)
		}
	}
}

func TestParseDocRefuses(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{``, `[]`, `{"nobody":1}`, `{"vendor":{}}`, `{`} {
		if _, err := ParseDoc([]byte(bad)); err == nil {
			t.Errorf("ParseDoc(%q) = nil error, want one", bad)
		}
	}
	d := NewDoc()
	if err := d.Patch(Change{Topic: Participants, Body: []byte(`{"a"`)}); err == nil || d.Has(Participants) {
		t.Errorf("Patch(broken) = %v, has participants: %v; want an error and no change", err, d.Has(Participants))
	}
}

func TestViewNamesTopicsAndProfile(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for p := range Profile(NumProfiles) {
		for _, topics := range []Topics{TopicSet(Link), TopicSet(Participants), AllTopics, StateTopics} {
			v := View(topics, p)
			if seen[v] {
				t.Errorf("View(%v, %d) = %q stands for two", topics.Names(), p, v)
			}
			seen[v] = true
		}
	}
	if View(TopicSet(Participants), 0) != View(TopicSet(Participants, Link), 0) {
		t.Error("a view differs by link, which is part of every subscription")
	}
}
