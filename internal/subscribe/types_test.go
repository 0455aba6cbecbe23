package subscribe

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"confgate/internal/confctl"
)

func TestTypes(t *testing.T) {
	t.Parallel()
	documented := []string{
		"ConfBasicInfoNotify", "ConfDynamicInfoNotify", "ParticipantsNotify", "AttendeesNotify", "SpeakerChangeNotify",
		"NetConditionNotify", "InviteResultNotify", "RealTimeSubtitleNotify", "WaitingListNotify", "InterpreterGroupNotify",
	}
	all := append([]string{}, documented...)
	all = append(all, extraTypes[:]...)
	for _, tt := range []struct {
		name string
		list []string
		want []string
	}{
		{"nothing said", nil, documented},
		{"one topic", []string{"participants"}, []string{"ParticipantsNotify"}},
		{"a topic of two types", []string{"conference"}, []string{"ConfBasicInfoNotify", "ConfDynamicInfoNotify"}},
		{
			"topics that share a type",
			[]string{"layout", "conference"},
			[]string{"ConfBasicInfoNotify", "ConfDynamicInfoNotify"},
		},
		{
			"the reference's order",
			[]string{"interpreters", "waiting", "quality"},
			[]string{"NetConditionNotify", "WaitingListNotify", "InterpreterGroupNotify"},
		},
		{"a topic and its type", []string{"speakers", "SpeakerChangeNotify"}, []string{"SpeakerChangeNotify"}},
		{"blanks", []string{" attendees ", "\tinvites"}, []string{"AttendeesNotify", "InviteResultNotify"}},
		{
			"an undocumented type by name",
			[]string{"NetworkQualityNotify", "subtitles"},
			[]string{"RealTimeSubtitleNotify", "NetworkQualityNotify"},
		},
		{"all undocumented ones", []string{"vendor"}, extraTypes[:]},
		{"the link comes from the gateway", []string{"link", "subtitles"}, []string{"RealTimeSubtitleNotify"}},
		{"every topic", topicNames(), all},
		{"every type", all, all},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := Types(tt.list)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Types(%q) (-want +got):\n%s", tt.list, diff)
			}
		})
	}
}

func TestTypesRefused(t *testing.T) {
	t.Parallel()
	if got, err := Types([]string{"link"}); !errors.Is(err, ErrNoTypes) {
		t.Errorf("Types(link) = %q, %v, want ErrNoTypes", got, err)
	}
	for _, word := range []string{"", "people", "Participants", "participantsnotify", "other"} {
		got, err := Types([]string{"participants", word})
		if err == nil {
			t.Errorf("Types(%q) = %q, want an error", word, got)
			continue
		}
		for _, part := range append(topicNames(), "ParticipantsNotify", "ViewPriorityListNotify", `"`+word+`"`) {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("Types(%q): the error doesn't name %s: %v", word, part, err)
			}
		}
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	got := Kinds([]string{"NetConditionNotify", "CustomMultiPicNotify", "ConfBasicInfoNotify"})
	want := []confctl.Kind{confctl.NetCondition, confctl.KindOther, confctl.ConfBasicInfo}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Kinds (-want +got):\n%s", diff)
	}
}
