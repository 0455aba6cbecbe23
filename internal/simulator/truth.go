package simulator

import (
	"encoding/json"
	"slices"
)

// Truth is a conference as a client that missed nothing knows it now. It is a copy: it doesn't change, and its reader may
// keep it. Text members are empty where the provider hasn't said anything; enumerations are the provider's words and
// numbers, times Unix milliseconds, rates and losses in the provider's units.
type Truth struct {
	ID      string
	Phase   Phase
	Steps   uint64 // changes that the world made since the conference started
	Basic   Basic
	Dynamic Dynamic
	Layout  *Layout // nil: none set

	Participants map[string]Participant // by pid
	Quality      map[string]Quality     // by pid, those that were measured
	Waiting      map[string]Waiting     // by pid
	Attendees    []Attendee             // in the order of the provider's list
	Speakers     []Speaker              // loudest first
	Interpreters []InterpreterGroup
	Invites      []InviteResult // the newest of each number, in the order in which the numbers were first called
	Subtitles    int            // frames sent so far
	CreateTime   int64          // of the newest frame made for this conference
}

// Phase says where in its life a conference is.
type Phase uint8

// The phases.
const (
	NotStarted Phase = iota
	Running
	Ended
)

// Extra is provider fields that the reference's tables don't list, verbatim.
type Extra map[string]json.RawMessage

// Basic is ConfBasicInfoNotify.
type Basic struct {
	DisplayID, Title, GuestJoinURI   string
	Start, ScheduledStart            int64
	ChairPassword, GeneralPassword   string
	RecType, Media, CallInRestrict   int64
	Owner, OwnerID, ConfMode         string
	UserType                         int64
	SubtitlesSupported, HasWatermark bool
	Extra                            Extra
}

// Dynamic is ConfDynamicInfoNotify.
type Dynamic struct {
	State, Mode                                        string
	EndTime                                            int64
	VoiceActivated, Lock, Mute, LockSharing, CanUnmute bool
	ChairView, Recording, RecordingOccurred            bool
	ChatForbidden, SubtitlesOn                         bool
	CallInRestrict                                     *int64 // nil: this conference's frames don't have it
	PicNum, PartViewNum, MaxPartViewNum                int64
	IMGroupID                                          string
	Extra                                              Extra
}

// Layout is multiPic.
type Layout struct {
	Pictures, Period int // Period in seconds
	Cells            []Cell
}

// Cell is one sub-picture of a Layout.
type Cell struct {
	Index int
	PIDs  []string
	Share bool
}

// Participant is a row of ParticipantsNotify.
type Participant struct {
	Name, Tel                               string
	Role, State                             int64
	Hand, Broadcast, RollCall, Share, Mute  bool
	Video, Camera, Anonymous, SVC, LocalRec bool
	Cohost                                  bool
	AddTime                                 int64
	Client, M, T                            string
	ViewType                                *int64 // nil: never sent
	Viewing                                 string
	OrgID, Capabilities                     string // Capabilities comma-separated
	AccountID, Account, ThirdAccount        string
	Extra                                   Extra
}

// Waiting is a row of WaitingListNotify. Every row has "delType":0 beside these.
type Waiting struct {
	Name, Tel                               string
	Anonymous, Admitted                     bool
	HasState                                bool // WAITINGSTATE was sent
	AddTime                                 int64
	Client                                  string
	OrgID, AccountID, Account, ThirdAccount string
}

// Attendee is a row of AttendeesNotify.
type Attendee struct {
	Name, Phone, Email, SMS           string
	AccountID, ThirdAccount, UserUUID string
	ParticipantID                     string
	Role                              int64
	Mute, AutoInvite                  bool
	Type, Address, DeptUUID, DeptName string
	OrgID                             string
	Extra                             Extra
}

// Speaker is a row of SpeakerChangeNotify.
type Speaker struct {
	PID, Name string
	Volume    int64
}

// Quality is a row of NetConditionNotify. Rates are in units of 100 bit/s, losses in 1/10000, times in ms; the names are
// the wire's, with its two meanings of In and Out.
type Quality struct {
	NetInfo                                    string
	Delay, Jitter, OutJitter, Bandwidth        int64
	LostPacketRate, AudioOutLossPacketRate     int64
	VideoInLossPacketRate                      int64
	VideoOutLossPacketRate                     int64
	AssistVideoInLossPacketRate                int64
	AssistVideoOutLossPacketRate               int64
	FluxIn, FluxOut, VideoFluxIn, VideoFluxOut int64
	AssistVideoFluxIn, AssistVideoFluxOut      int64
	AudioCodecType, VideoCodecType             string
}

// InterpreterGroup is a row of InterpreterGroupNotify.
type InterpreterGroup struct {
	ID, Name, FirstLanguage, SecondLanguage string
	Type                                    string // MANUAL, AI or nothing
	Interpreters                            []Interpreter
}

// Interpreter is one person or machine of an InterpreterGroup.
type Interpreter struct {
	LoginAccount, UserID, CallNumber, Name string
	Type, InterpreterID                    string
	AIDigitalInfo                          string // JSON of the object as sent, or nothing
}

// InviteResult is a row of InviteResultNotify.
type InviteResult struct{ CallNumber, Code string }

func (w *world) truth() Truth {
	t := Truth{
		ID: w.id, Phase: Running, Steps: w.steps, Basic: w.truthBasic(), Dynamic: w.truthDynamic(),
		Participants: make(map[string]Participant, len(w.people)),
		Quality:      make(map[string]Quality, len(w.people)),
		Waiting:      make(map[string]Waiting, len(w.waiting)),
		Attendees:    make([]Attendee, 0, len(w.attendees)),
		Speakers:     slices.Clone(w.speakers),
		Invites:      slices.Clone(w.invites),
		Subtitles:    w.subtitled,
	}
	if w.layout != nil {
		l := *w.layout // arrange makes a new one each time
		t.Layout = &l
	}
	for _, p := range w.people {
		t.Participants[p.pid] = truthParticipant(&p.info)
		if p.quality != nil {
			t.Quality[p.pid] = truthQuality(p.quality)
		}
	}
	for _, p := range w.waiting {
		t.Waiting[p.pid] = truthWaiting(&p.info)
	}
	for _, a := range w.attendees {
		t.Attendees = append(t.Attendees, truthAttendee(&a.info))
	}
	for _, g := range w.groups {
		g.Interpreters = slices.Clone(g.Interpreters)
		t.Interpreters = append(t.Interpreters, g)
	}
	return t
}

func (w *world) truthBasic() Basic {
	b := &w.basic
	var pwds []struct{ Role, Pwd string }
	if err := json.Unmarshal([]byte(b.vals[bPwds]), &pwds); err != nil || len(pwds) != 2 {
		panic("simulator: the world's own passwords are unreadable")
	}
	return Basic{
		DisplayID: b.vals[bDisplayID], Title: b.vals[bTitle], GuestJoinURI: b.vals[bGuestJoinURI],
		Start: b.num(bStart), ScheduledStart: b.num(bScheduled),
		ChairPassword: pwds[0].Pwd, GeneralPassword: pwds[1].Pwd,
		RecType: b.num(bRecType), Media: b.num(bMedia), CallInRestrict: b.num(bCallIn),
		Owner: b.vals[bOwner], OwnerID: b.vals[bOwnerID], ConfMode: b.vals[bConfMode], UserType: b.num(bUserType),
		SubtitlesSupported: b.flag(bSubtitle), HasWatermark: b.flag(bWatermark), Extra: b.extras(),
	}
}

func (w *world) truthDynamic() Dynamic {
	d := &w.dynamic
	t := Dynamic{
		State: d.vals[dState], Mode: d.vals[dMode], EndTime: d.num(dEndTime),
		VoiceActivated: d.flag(dVAS), Lock: d.flag(dLock), Mute: d.flag(dMute), LockSharing: d.flag(dLockSharing),
		CanUnmute: d.flag(dCanUnmute), ChairView: d.flag(dChairView), Recording: d.flag(dRecState),
		RecordingOccurred: d.flag(dRecOccurred), ChatForbidden: d.flag(dForbiddenChat), SubtitlesOn: d.flag(dSubtitle),
		PicNum: d.num(dPicNum), PartViewNum: d.num(dPartViewNum), MaxPartViewNum: d.num(dMaxPartViewNum),
		IMGroupID: d.vals[dIMGroup], Extra: d.extras(),
	}
	if d.vals[dCallIn] != "" {
		n := d.num(dCallIn)
		t.CallInRestrict = &n
	}
	return t
}

func truthParticipant(r *record) Participant {
	p := Participant{
		Name: r.vals[pName], Tel: r.vals[pTel], Role: r.num(pRole), State: r.num(pState),
		Hand: r.flag(pHand), Broadcast: r.flag(pBroadcast), RollCall: r.flag(pRollCall), Share: r.flag(pShare),
		Mute: r.flag(pMute), Video: r.flag(pVideo), Camera: r.flag(pCamera), Anonymous: r.flag(pAnonymous),
		SVC: r.flag(pSVC), LocalRec: r.flag(pLocalRec), Cohost: r.flag(pCohost), AddTime: r.num(pAddTime),
		Client: r.vals[pClient], M: r.vals[pM], T: r.vals[pT], Viewing: r.vals[pViewing],
		OrgID: r.vals[pOrg], Capabilities: r.vals[pCapabilities],
		AccountID: r.vals[pAccountID], Account: r.vals[pAccount], ThirdAccount: r.vals[pThirdAccount], Extra: r.extras(),
	}
	if r.vals[pViewType] != "" {
		n := r.num(pViewType)
		p.ViewType = &n
	}
	return p
}

func truthWaiting(r *record) Waiting {
	return Waiting{
		Name: r.vals[pName], Tel: r.vals[pTel], Anonymous: r.flag(pAnonymous), Admitted: r.flag(pWaitingState),
		HasState: r.vals[pWaitingState] != "", AddTime: r.num(pAddTime), Client: r.vals[pClient], OrgID: r.vals[pOrg],
		AccountID: r.vals[pAccountID], Account: r.vals[pAccount], ThirdAccount: r.vals[pThirdAccount],
	}
}

func truthAttendee(r *record) Attendee {
	return Attendee{
		Name: r.vals[aName], Phone: r.vals[aPhone], Email: r.vals[aEmail], SMS: r.vals[aSMS],
		AccountID: r.vals[aAccountID], ThirdAccount: r.vals[aThirdAccount], UserUUID: r.vals[aUserUUID],
		ParticipantID: r.vals[aParticipantID], Role: r.num(aRole), Mute: r.flag(aMute), AutoInvite: r.flag(aAutoInvite),
		Type: r.vals[aType], Address: r.vals[aAddress], DeptUUID: r.vals[aDeptUUID], DeptName: r.vals[aDeptName],
		OrgID: r.vals[aOrg], Extra: r.extras(),
	}
}

func truthQuality(r *record) Quality {
	return Quality{
		NetInfo: r.vals[qRating], Delay: r.num(qDelay), Jitter: r.num(qJitter), OutJitter: r.num(qOutJitter),
		Bandwidth: r.num(qBandwidth), LostPacketRate: r.num(qLoss), AudioOutLossPacketRate: r.num(qAudioOutLoss),
		VideoInLossPacketRate: r.num(qVideoInLoss), VideoOutLossPacketRate: r.num(qVideoOutLoss),
		AssistVideoInLossPacketRate: r.num(qShareInLoss), AssistVideoOutLossPacketRate: r.num(qShareOutLoss),
		FluxIn: r.num(qFluxIn), FluxOut: r.num(qFluxOut), VideoFluxIn: r.num(qVideoFluxIn), VideoFluxOut: r.num(qVideoFluxOut),
		AssistVideoFluxIn: r.num(qShareFluxIn), AssistVideoFluxOut: r.num(qShareFluxOut),
		AudioCodecType: r.vals[qAudioCodec], VideoCodecType: r.vals[qVideoCodec],
	}
}
