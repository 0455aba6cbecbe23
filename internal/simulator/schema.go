package simulator

// Keys of pinfoMap in ParticipantsNotify (chapter 6.1.3.5) and WaitingListNotify (6.1.3.12).
const (
	pName = iota
	pTel
	pRole
	pState
	pHand
	pBroadcast
	pRollCall
	pShare
	pAddTime
	pMute
	pVideo
	pCamera
	pM
	pT
	pAnonymous
	pLocalRec
	pClient
	pViewType
	pViewing
	pSVC
	pCohost
	pOrg
	pCapabilities
	pAccountID
	pAccount
	pThirdAccount
	pWaitingState
	pLockedView
	pAllowClientRec
	pClientRecState
	pRoleSwitchOver
	pRTCUserID
	pInviteShare
	pUserAgent
)

// Keys of a row of AttendeesNotify (6.1.3.6).
const (
	aName = iota
	aPhone
	aAccountID
	aUserUUID
	aParticipantID
	aEmail
	aSMS
	aThirdAccount
	aRole
	aMute
	aAutoInvite
	aType
	aAddress
	aDeptUUID
	aDeptName
	aOrg
	aHidePhone
	aNotOverlay
)

// Keys of a row of NetConditionNotify (6.1.3.8).
const (
	qRating = iota
	qLoss
	qDelay
	qJitter
	qOutJitter
	qFluxIn
	qFluxOut
	qAudioOutLoss
	qVideoInLoss
	qVideoOutLoss
	qShareInLoss
	qShareOutLoss
	qVideoFluxIn
	qVideoFluxOut
	qShareFluxIn
	qShareFluxOut
	qBandwidth
	qAudioCodec
	qVideoCodec
)

// Keys of ConfBasicInfoNotify (6.1.3.3).
const (
	bDisplayID = iota
	bTitle
	bStart
	bGuestJoinURI
	bPwds
	bRecType
	bMedia
	bOwner
	bOrg
	bCallIn
	bConfMode
	bSubtitle
	bWatermark
	bUserType
	bOwnerID
	bScheduled
	bAIRecType
	bAudienceCallIn
	bWebinar
	bBigMultiPic
	bPartView
	bInterpretation
	bSupportCohost
	bClientRecord
	bInviteShare
	bPortal
	bWaitingRoom
)

// Keys of ConfDynamicInfoNotify (6.1.3.4).
const (
	dState = iota
	dEndTime
	dMode
	dVAS
	dPicNum
	dLock
	dMute
	dLockSharing
	dCanUnmute
	dChairView
	dRecState
	dCallIn
	dForbiddenChat
	dSubtitle
	dPartViewNum
	dMaxPartViewNum
	dRecOccurred
	dIMGroup
	dMultiPic
	dAIRecState
	dShareSetting
	dAudienceCallIn
	dAudienceTotal
	dInterpretation
	dLanChannels
	dAllowAudience
	dPause
	dAudienceLayout
	dClientRecState
	dClientRecMode
	dWaitingRoom
	dShowAudience
	dAudienceMultiple
	dAudienceReal
)

// dialect is how one conference spells what the reference spells in two ways. Each conference keeps to one dialect, and a
// few conferences side by side speak them all.
type dialect struct {
	pinfo, attendee, quality, basic, dynamic []field

	groupsKey, groupID, userID string // InterpreterGroupNotify
	resultKey                  string // InviteResultNotify
	msgsKey, captionID         string // RealTimeSubtitleNotify
	picNumQuoted               bool   // ConfDynamicInfoNotify.picNum as text
	dynamicCallIn              bool   // ConfDynamicInfoNotify has callInRestriction too
	// subtitlesFull: subtitles come as the reference's sample has them, msgMode 0 with the creation time for a version;
	// else msgMode 1 with a number of their own.
	subtitlesFull bool
}

// dialectOf gives the conference with this index its dialect; the first one's is that of the reference's samples.
func dialectOf(index int) dialect {
	pick := func(bit int, sample, other string) string {
		if index>>bit&1 == 0 {
			return sample
		}
		return other
	}
	d := dialect{
		groupsKey: pick(0, "interpreterGroups", "data"),
		groupID:   pick(1, "groupId", "groupID"),
		userID:    pick(1, "userId", "userID"),
		resultKey: pick(1, "resultCode", "errorCode"),
		msgsKey:   pick(1, "msgs", "msgs "),
		captionID: pick(1, "id", "id "),

		picNumQuoted:  index&1 == 1,
		dynamicCallIn: index&1 == 0,
		subtitlesFull: index&1 == 0,

		quality: qualitySchema(),
		dynamic: dynamicSchema(),
	}
	d.pinfo = pinfoSchema(pick(0, "CLIENT_LOGIN_TYPE", "CLICENT_LOGIN_TYPE"))
	d.attendee = attendeeSchema(pick(1, "orgID", "orgId"))
	d.basic = basicSchema(pick(1, "pws", "pwds"))
	return d
}

func texts(names ...string) []field {
	fs := make([]field, len(names))
	for i, n := range names {
		fs[i] = field{name: n}
	}
	return fs
}

func raws(names ...string) []field {
	fs := texts(names...)
	for i := range fs {
		fs[i].raw = true
	}
	return fs
}

func extras(fs []field) []field {
	for i := range fs {
		fs[i].extra = true
	}
	return fs
}

func join(parts ...[]field) []field {
	var all []field
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func pinfoSchema(client string) []field {
	return join(
		texts("NAME", "TEL", "ROLE", "STATE", "HAND", "BROADCAST", "ROLLCALL", "SHARE", "ADDTIME", "MUTE", "VIDEO",
			"CAMERASTATE", "M", "T", "ANONYMOUS", "LOCALREC", client, "VIEW_TYPE", "PART_VIEW_SRC", "IS_SVC", "IS_COHOST",
			"ORG_ID", "CLIENT_CAPABILITIES", "ACCOUNT_ID", "ACCOUNT", "THIRDACCOUNT", "WAITINGSTATE"),
		extras(texts("LOCKED_VIEW", "ALLOW_CLIENT_REC", "CLIENT_REC_STATE", "ROLE_SWITCH_OVER", "RTC_USER_ID",
			"INVITE_SHARE_STATE", "USER_AGENT")))
}

func attendeeSchema(org string) []field {
	return join(
		texts("name", "phone", "accountId", "userUUID", "participantID", "email", "sms", "thirdAccount"),
		raws("role", "isMute", "isAutoInvite"),
		texts("type", "address", "deptUUID", "deptName", org),
		extras(raws("hidePhone", "isNotOverlayPidName")))
}

func qualitySchema() []field {
	return join(
		texts("netInfo", "lostPacketRate", "delay", "jitter", "outJitter", "fluxIn", "fluxOut", "audioOutLossPacketRate",
			"videoInLossPacketRate", "videoOutLossPacketRate", "assistVideoInLossPacketRate", "assistVideoOutLossPacketRate",
			"videoFluxIn", "videoFluxOut", "assistVideoFluxIn", "assistVideoFluxOut"),
		raws("bandwidth"), texts("audioCodecType", "videoCodecType"))
}

func basicSchema(pwds string) []field {
	return join(
		texts("displayID", "title", "startTime", "guestJoinUri"), raws(pwds, "recType", "media"), texts("owner"),
		extras(texts("orgID")), raws("callInRestriction"), texts("confMode"),
		raws("realTimeSubtitle", "supportWatermark", "userType"), texts("ownerID", "scheduledStartTime"),
		extras(raws("aiRecType", "audienceCallInRestriction", "webinar", "bignumMultiPicSwitch", "partViewSwitch",
			"simultaneousInterpretation", "supportCohost", "supportClientRecord", "inviteShareSwitch")),
		extras(texts("confPortalCapabilities")), extras(raws("supportWaitingRoom")))
}

func dynamicSchema() []field {
	return join(
		texts("state", "endTime", "mode"),
		raws("vas", "picNum", "lock", "mute", "lockSharing", "canUnmute", "chairView", "recState", "callInRestriction",
			"forbiddenChat", "realTimeSubtitle", "partViewNum", "maxPartViewNum", "recOccurred"),
		texts("confIMGroupId"), raws("multiPic"),
		extras(raws("aiRecState", "enableShareSetting", "audienceCallInRestriction", "audienceTotalCount",
			"simultaneousInterpretation", "lanChannels", "allowAudience", "pause")),
		extras(texts("audienceVideoLayout")),
		extras(raws("clientRecState", "clientRecMode", "waitingRoomState", "showAudienceMode", "audienceCountMultiple",
			"audienceCountReal")))
}
