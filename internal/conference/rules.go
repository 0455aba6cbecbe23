package conference

import "maps"

// read, pii and secret are rules for values that are shown whole to those who see them.
var (
	read   = &rule{leaf: true}
	pii    = &rule{leaf: true, need: PII}
	secret = &rule{leaf: true, need: Secrets}
)

// members lists the members that a rule knows.
func members(parts ...map[string]*rule) *rule {
	r := &rule{kids: map[string]*rule{}}
	for _, part := range parts {
		maps.Copy(r.kids, part)
	}
	return r
}

func keyed(each *rule) *rule { return &rule{each: each} }

func all(r *rule, names ...string) map[string]*rule {
	kids := make(map[string]*rule, len(names))
	for _, n := range names {
		kids[n] = r
	}
	return kids
}

func one(name string, r *rule) map[string]*rule { return map[string]*rule{name: r} }

// The keys of "extra" that a reader without Secrets sees: flags and counts which the reference shows in its samples
// without describing them. The list is part of the interface, see api/.
var (
	extraParticipant = []string{
		"LOCKED_VIEW", "ALLOW_CLIENT_REC", "CLIENT_REC_STATE", "ROLE_SWITCH_OVER", "INVITE_SHARE_STATE", "RTC_USER_ID",
	}
	extraWaiting  = []string{"delType"}
	extraAttendee = []string{"hidePhone", "isNotOverlayPidName"}
	extraPerson   = []string{"interpreterId"}
	extraBasic    = []string{
		"aiRecType", "audienceCallInRestriction", "bignumMultiPicSwitch", "confPortalCapabilities", "inviteShareSwitch", "orgID",
		"partViewSwitch", "simultaneousInterpretation", "supportClientRecord", "supportCohost", "supportWaitingRoom", "webinar",
	}
	extraDynamic = []string{
		"aiRecState", "allowAudience", "audienceCallInRestriction", "audienceCountMultiple", "audienceCountReal",
		"audienceTotalCount", "audienceVideoLayout", "clientRecMode", "clientRecState", "enableShareSetting", "lanChannels", "pause",
		"showAudienceMode", "simultaneousInterpretation", "waitingRoomState",
	}
)

var personRules = all(read, "name", "role", "cohost", "state", "handRaised", "broadcasting", "rollCalled", "sharing", "muted",
	"video", "camera", "anonymous", "svc", "recordingLocally", "joinedAt", "client", "mNumber", "tNumber", "viewType", "viewing",
	"orgId", "capabilities", "userId", "admitted")

var streamRule = members(all(read, "codec", "upBps", "downBps", "upLossPct", "downLossPct"))

// rules is the allow-list of section 4 of the contract, by topic.
var rules = [NumTopics]*rule{
	Link: members(all(read, "state", "since", "reason")),
	Info: members(
		all(read, "id", "displayId", "title", "startsAt", "endsAt", "scheduledAt", "media", "type", "recordingType", "watermark",
			"callInRestriction", "subtitlesSupported", "subtitlesOn", "state", "mode", "voiceActivated", "locked", "muted",
			"sharingLocked", "selfUnmuteAllowed", "chairPolling", "pictures", "views", "maxViews", "recording", "recordingOccurred",
			"chatForbidden", "chatGroupId"),
		one("owner", members(all(read, "name", "id", "userType"))),
		all(secret, "guestJoinUri", "passwords"),
		one("extra", members(
			one("basic", members(all(read, extraBasic...))),
			one("dynamic", members(all(read, extraDynamic...))))),
	),
	Participants: keyed(members(personRules, all(pii, "phone", "account", "thirdAccount"),
		one("extra", members(all(read, extraParticipant...))))),
	Waiting: keyed(members(personRules, all(pii, "phone", "account", "thirdAccount"),
		one("extra", members(all(read, append(extraWaiting, extraParticipant...)...))))),
	Attendees: keyed(members(
		all(read, "name", "userId", "pid", "role", "muteOnJoin", "autoInvite", "type", "address", "departmentId", "department", "orgId"),
		all(pii, "phone", "email", "sms", "account", "thirdAccount"),
		one("extra", members(all(read, extraAttendee...))))),
	Speakers: keyed(members(all(read, "pid", "name", "volume"))),
	Quality: keyed(members(all(read, "rating", "rttMs", "jitterUpMs", "jitterDownMs", "bandwidthBps"),
		all(streamRule, "audio", "video", "share"))),
	Interpreters: keyed(members(all(read, "name", "languages", "type"),
		one("people", keyed(members(all(read, "id", "name", "type"), all(pii, "account", "phone"),
			one("extra", members(all(read, extraPerson...)))))))),
	Layout: members(all(read, "pictures", "intervalSeconds"),
		one("cells", keyed(members(all(read, "index", "participants", "share"))))),
	Invites: members(all(read, "code", "ok", "reason"), all(pii, "phone")),
	Subtitles: members(all(read, "pid", "final", "time", "beginMs", "endMs"),
		one("lines", keyed(members(all(read, "id", "language", "text"))))),
	Vendor: {need: Secrets},
}
