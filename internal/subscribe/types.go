package subscribe

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"confgate/internal/confctl"
)

// extraTypes are notify types that were seen on the wire and that no document describes. They are subscribed to only when
// asked for, since a type that the provider doesn't know may make it refuse the whole list.
var extraTypes = [...]string{
	"ChannelAndParticipantsNotify", "CustomMultiPicNotify", "NetworkQualityNotify", "OperationResultNotify",
	"BreakoutSettingNotify", "DynamicBreakoutSubConfsNotify", "DynamicBCAttendeesNotify", "ViewPriorityListNotify",
}

// topics are the contract's topics and the documented types behind each. "link" is the gateway's own and "vendor" stands
// for extraTypes.
var topics = [...]struct {
	name  string
	kinds []confctl.Kind
}{
	{"link", nil},
	{"conference", []confctl.Kind{confctl.ConfBasicInfo, confctl.ConfDynamicInfo}},
	{"participants", []confctl.Kind{confctl.Participants}},
	{"attendees", []confctl.Kind{confctl.Attendees}},
	{"waiting", []confctl.Kind{confctl.WaitingList}},
	{"speakers", []confctl.Kind{confctl.SpeakerChange}},
	{"quality", []confctl.Kind{confctl.NetCondition}},
	{"interpreters", []confctl.Kind{confctl.InterpreterGroup}},
	{"layout", []confctl.Kind{confctl.ConfDynamicInfo}},
	{"invites", []confctl.Kind{confctl.InviteResult}},
	{"subtitles", []confctl.Kind{confctl.RealTimeSubtitle}},
	{"vendor", nil},
}

// ErrNoTypes is returned for a list that leaves nothing to subscribe to.
var ErrNoTypes = errors.New("subscribe: these topics leave nothing to subscribe to")

// Documented is the ten notify types that the reference describes (chapter 6.1.3), in its order. The caller owns the slice.
func Documented() []string {
	types := make([]string, 0, confctl.NumKinds-1)
	for k := confctl.KindOther + 1; int(k) < confctl.NumKinds; k++ {
		types = append(types, k.String())
	}
	return types
}

// Types is the notify types to subscribe to for a list of topic names and type names: the documented ones in the
// reference's order, then others, each once. An empty list means the documented ten. The error names what is allowed.
func Types(list []string) ([]string, error) {
	if len(list) == 0 {
		return Documented(), nil
	}
	wanted := make(map[string]bool)
	for _, word := range list {
		named, ok := typesOf(strings.TrimSpace(word))
		if !ok {
			return nil, fmt.Errorf("subscribe: unknown topic %q; allowed are the topics %s and the types %s",
				word, strings.Join(topicNames(), ", "), strings.Join(knownTypes(), ", "))
		}
		for _, t := range named {
			wanted[t] = true
		}
	}
	types := slices.DeleteFunc(knownTypes(), func(t string) bool { return !wanted[t] })
	if len(types) == 0 {
		return nil, ErrNoTypes
	}
	return types, nil
}

// typesOf is the types that one word of a list stands for.
func typesOf(word string) ([]string, bool) {
	for _, t := range topics {
		if t.name != word {
			continue
		}
		if word == "vendor" {
			return extraTypes[:], true
		}
		var types []string
		for _, k := range t.kinds {
			types = append(types, k.String())
		}
		return types, true
	}
	if slices.Contains(knownTypes(), word) {
		return []string{word}, true
	}
	return nil, false
}

func knownTypes() []string { return append(Documented(), extraTypes[:]...) }

func topicNames() []string {
	names := make([]string, 0, len(topics))
	for _, t := range topics {
		names = append(names, t.name)
	}
	return names
}

// Kinds is the kinds of a list of notify types, as LinkUp wants them; KindOther for one that isn't documented.
func Kinds(types []string) []confctl.Kind {
	kinds := make([]confctl.Kind, 0, len(types))
	for _, t := range types {
		kinds = append(kinds, confctl.ParseKind(t))
	}
	return kinds
}
