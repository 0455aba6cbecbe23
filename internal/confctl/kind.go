package confctl

// Kind is a notify type that the reference describes (chapter 6.1.3), or KindOther.
type Kind uint8

// The documented notify types, and KindOther for every other action.
const (
	KindOther Kind = iota
	ConfBasicInfo
	ConfDynamicInfo
	Participants
	Attendees
	SpeakerChange
	NetCondition
	InviteResult
	RealTimeSubtitle
	WaitingList
	InterpreterGroup
	NumKinds int = iota
)

var kindNames = [NumKinds]string{
	"other", "ConfBasicInfoNotify", "ConfDynamicInfoNotify", "ParticipantsNotify", "AttendeesNotify", "SpeakerChangeNotify",
	"NetConditionNotify", "InviteResultNotify", "RealTimeSubtitleNotify", "WaitingListNotify", "InterpreterGroupNotify",
}

// String is the kind's name on the wire; "other" for KindOther.
func (k Kind) String() string {
	if int(k) >= NumKinds {
		return kindNames[KindOther]
	}
	return kindNames[k]
}

// ParseKind finds a kind by its name on the wire; KindOther where it is none of the documented ten.
func ParseKind(name string) Kind {
	for i := 1; i < NumKinds; i++ {
		if kindNames[i] == name {
			return Kind(i)
		}
	}
	return KindOther
}

// Event says whether the kind reports things that happen rather than a state that is.
func (k Kind) Event() bool { return k == InviteResult || k == RealTimeSubtitle || k == KindOther }

// Mode is a frame's msgMode.
type Mode uint8

// A full frame says everything about its kind, an increment what has changed.
const (
	Full      Mode = 0
	Increment Mode = 1
)

// String is the mode's name in metrics.
func (m Mode) String() string {
	if m == Increment {
		return "increment"
	}
	return "full"
}
