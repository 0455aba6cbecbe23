package confctl

// RealTimeInfo is the answer of the query realTimeInfo (chapter 5.2.2).
type RealTimeInfo struct {
	Participants []RealTimeParticipant
	Attendees    []RealTimeAttendee
	ChairID      string
	CoHosts      []string
}

// RealTimeParticipant is one online site. A pointer is nil where the provider didn't say.
type RealTimeParticipant struct {
	PID, Name, Phone         string
	State, Video, Mute, Hand *int64
}

// RealTimeAttendee is one invited person.
type RealTimeAttendee struct {
	AccountID, UserUUID, Name, Phone string
}
