package conference

import "maps"

// field says where in an element a provider's key goes.
type field struct {
	sub, name string // sub: the object inside the element, if any
	as        convert
}

// table maps the provider's keys to fields. Keys are looked up as they are and, since the provider spells some both ways
// (orgId and orgID, groupId and groupID), without regard to case.
type table struct {
	exact, folded map[string]field
}

func newTable(fields map[string]field) table {
	t := table{exact: fields, folded: make(map[string]field, len(fields))}
	for key, f := range fields {
		t.folded[lower(key)] = f
	}
	return t
}

func lower(s string) string {
	b := []byte(s)
	fold(b)
	return string(b)
}

// fold turns ASCII capitals into small letters.
func fold(b []byte) {
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + ('a' - 'A')
		}
	}
}

func (t table) find(key []byte) (field, bool) {
	if f, ok := t.exact[string(key)]; ok {
		return f, true
	}
	var small [40]byte
	if len(key) > len(small) {
		return field{}, false
	}
	n := copy(small[:], key)
	fold(small[:n])
	f, ok := t.folded[string(small[:n])]
	return f, ok
}

// with is the table and one more key.
func (t table) with(key string, f field) table {
	fields := maps.Clone(t.exact)
	fields[key] = f
	return newTable(fields)
}

// names are the members that a table fills.
func (t table) names() map[string]bool {
	names := make(map[string]bool, len(t.exact))
	for _, f := range t.exact {
		if f.sub != "" {
			names[f.sub] = true
		} else {
			names[f.name] = true
		}
	}
	return names
}

var (
	asRestriction = asWord("0", "everyone", "2", "enterprise", "3", "invited")
	asClient      = asWord("Desktop", "desktop", "Mobile", "mobile", "Pad", "pad", "OtherType", "other")
)

// Chapter 6.1.3.3.
var basicFields = newTable(map[string]field{
	"displayID":          {name: "displayId", as: asText},
	"title":              {name: "title", as: asText},
	"startTime":          {name: "startsAt", as: asNumber},
	"scheduledStartTime": {name: "scheduledAt", as: asNumber},
	"media":              {name: "media", as: asWord("1", "voice", "2", "video")},
	"confMode":           {name: "type", as: asLower},
	"recType":            {name: "recordingType", as: asWord("0", "disabled", "1", "record", "2", "record_and_live", "3", "live")},
	"owner":              {sub: "owner", name: "name", as: asText},
	"ownerID":            {sub: "owner", name: "id", as: asText},
	"userType":           {sub: "owner", name: "userType", as: asNumber},
	"supportWatermark":   {name: "watermark", as: asFlag},
	"callInRestriction":  {name: "callInRestriction", as: asRestriction},
	"realTimeSubtitle":   {name: "subtitlesSupported", as: asNonZero},
	"guestJoinUri":       {name: "guestJoinUri", as: asText},
})

// Chapter 6.1.3.4; multiPic is the topic layout.
var dynamicFields = newTable(map[string]field{
	"endTime":           {name: "endsAt", as: asNumber},
	"callInRestriction": {name: "callInRestriction", as: asRestriction},
	"realTimeSubtitle":  {name: "subtitlesOn", as: asNonZero},
	"state":             {name: "state", as: asWord("Schedule", "scheduled", "Created", "created", "Destroyed", "destroyed")},
	"mode":              {name: "mode", as: asWord("FREE", "free", "FIXED", "fixed", "ROLLCALL", "rollcall", "BROADCAST", "broadcast")},
	"vas":               {name: "voiceActivated", as: asFlag},
	"lock":              {name: "locked", as: asFlag},
	"mute":              {name: "muted", as: asFlag},
	"lockSharing":       {name: "sharingLocked", as: asFlag},
	"canUnmute":         {name: "selfUnmuteAllowed", as: asFlag},
	"chairView":         {name: "chairPolling", as: asFlag},
	"picNum":            {name: "pictures", as: asNumber},
	"partViewNum":       {name: "views", as: asNumber},
	"maxPartViewNum":    {name: "maxViews", as: asNumber},
	"recState":          {name: "recording", as: asFlag},
	"recOccurred":       {name: "recordingOccurred", as: asFlag},
	"forbiddenChat":     {name: "chatForbidden", as: asFlag},
	"confIMGroupId":     {name: "chatGroupId", as: asText},
})

// pinfoMap of chapters 6.1.3.5 and 6.1.3.12.
var personFields = newTable(map[string]field{
	"NAME":                {name: "name", as: asText},
	"TEL":                 {name: "phone", as: asText},
	"ROLE":                {name: "role", as: asWord("0", "guest", "1", "chair", "2", "audience")},
	"IS_COHOST":           {name: "cohost", as: asFlag},
	"STATE":               {name: "state", as: asWord("0", "joined", "1", "calling", "2", "joining")},
	"HAND":                {name: "handRaised", as: asFlag},
	"BROADCAST":           {name: "broadcasting", as: asFlag},
	"ROLLCALL":            {name: "rollCalled", as: asFlag},
	"SHARE":               {name: "sharing", as: asFlag},
	"MUTE":                {name: "muted", as: asFlag},
	"VIDEO":               {name: "video", as: asFlag},
	"CAMERASTATE":         {name: "camera", as: asFlag},
	"ANONYMOUS":           {name: "anonymous", as: asFlag},
	"IS_SVC":              {name: "svc", as: asFlag},
	"LOCALREC":            {name: "recordingLocally", as: asFlag},
	"ADDTIME":             {name: "joinedAt", as: asNumber},
	"CLIENT_LOGIN_TYPE":   {name: "client", as: asClient},
	"CLICENT_LOGIN_TYPE":  {name: "client", as: asClient},
	"M":                   {name: "mNumber", as: asText},
	"T":                   {name: "tNumber", as: asText},
	"VIEW_TYPE":           {name: "viewType", as: asWord("0", "unspecified", "1", "layout", "2", "participant")},
	"PART_VIEW_SRC":       {name: "viewing", as: asText},
	"ORG_ID":              {name: "orgId", as: asText},
	"CLIENT_CAPABILITIES": {name: "capabilities", as: asNumbers},
	"ACCOUNT_ID":          {name: "userId", as: asText},
	"ACCOUNT":             {name: "account", as: asText},
	"THIRDACCOUNT":        {name: "thirdAccount", as: asText},
})

// A waiting row has the same keys and one more (chapter 6.1.3.12).
var waitingFields = personFields.with("WAITINGSTATE", field{name: "admitted", as: asFlag})

// Chapter 6.1.3.6.
var attendeeFields = newTable(map[string]field{
	"name":          {name: "name", as: asText},
	"phone":         {name: "phone", as: asText},
	"email":         {name: "email", as: asText},
	"sms":           {name: "sms", as: asText},
	"accountId":     {name: "account", as: asText},
	"thirdAccount":  {name: "thirdAccount", as: asText},
	"userUUID":      {name: "userId", as: asText},
	"participantID": {name: "pid", as: asText},
	"role":          {name: "role", as: asWord("0", "guest", "1", "chair")},
	"isMute":        {name: "muteOnJoin", as: asFlag},
	"isAutoInvite":  {name: "autoInvite", as: asFlag},
	"type":          {name: "type", as: asText},
	"address":       {name: "address", as: asText},
	"deptUUID":      {name: "departmentId", as: asText},
	"deptName":      {name: "department", as: asText},
	"orgId":         {name: "orgId", as: asText},
})

// Chapter 6.1.3.8. "In" of a rate is server to terminal, "In" of a loss is terminal to server.
var qualityFields = newTable(map[string]field{
	"netInfo":                     {name: "rating", as: asText},
	"delay":                       {name: "rttMs", as: asNumber},
	"jitter":                      {name: "jitterUpMs", as: asNumber},
	"outJitter":                   {name: "jitterDownMs", as: asNumber},
	"bandwidth":                   {name: "bandwidthBps", as: asBps},
	"audioCodecType":              {sub: "audio", name: "codec", as: asText},
	"fluxOut":                     {sub: "audio", name: "upBps", as: asBps},
	"fluxIn":                      {sub: "audio", name: "downBps", as: asBps},
	"lostPacketRate":              {sub: "audio", name: "upLossPct", as: asPercent},
	"audioOutLossPacketRate":      {sub: "audio", name: "downLossPct", as: asPercent},
	"videoCodecType":              {sub: "video", name: "codec", as: asText},
	"videoFluxOut":                {sub: "video", name: "upBps", as: asBps},
	"videoFluxIn":                 {sub: "video", name: "downBps", as: asBps},
	"videoInLossPacketRate":       {sub: "video", name: "upLossPct", as: asPercent},
	"videoOutLossPacketRate":      {sub: "video", name: "downLossPct", as: asPercent},
	"assistVideoCodecType":        {sub: "share", name: "codec", as: asText},
	"assistVideoFluxOut":          {sub: "share", name: "upBps", as: asBps},
	"assistVideoFluxIn":           {sub: "share", name: "downBps", as: asBps},
	"assistVideoInLossPacketRate": {sub: "share", name: "upLossPct", as: asPercent},
	"assistVideoOutLossPacketRate": {
		sub: "share", name: "downLossPct", as: asPercent,
	},
})

// Chapter 6.1.3.7.
var speakerFields = newTable(map[string]field{
	"pid":            {name: "pid", as: asText},
	"name":           {name: "name", as: asText},
	"speakingVolume": {name: "volume", as: asNumber},
})

// Chapter 6.1.3.13.
var (
	groupFields = newTable(map[string]field{
		"groupName": {name: "name", as: asText},
		"groupType": {name: "type", as: asWord("MANUAL", "manual", "AI", "ai")},
	})
	interpreterFields = newTable(map[string]field{
		"userID":          {name: "id", as: asText},
		"name":            {name: "name", as: asText},
		"loginAccount":    {name: "account", as: asText},
		"callNumber":      {name: "phone", as: asText},
		"interpreterType": {name: "type", as: asWord("MANUAL", "manual", "AI", "ai")},
	})
)

// multiPic of chapter 6.1.3.4.
var (
	layoutFields = newTable(map[string]field{
		"picNum": {name: "pictures", as: asNumber},
		"period": {name: "intervalSeconds", as: asNumber},
	})
	cellFields = newTable(map[string]field{
		"index": {name: "index", as: asNumber},
		"id":    {name: "participants", as: verbatim},
		"share": {name: "share", as: asFlag},
	})
)

// Chapters 6.1.3.9 and 6.1.3.10.
var (
	subtitleFields = newTable(map[string]field{
		"participantID": {name: "pid", as: asText},
		"isFinal":       {name: "final", as: asFlag},
		"timestamp":     {name: "time", as: asNumber},
		"beginTime":     {name: "beginMs", as: asNumber},
		"endTime":       {name: "endMs", as: asNumber},
	})
	lineFields = newTable(map[string]field{
		"id":            {name: "id", as: asText},
		"subtitleLang":  {name: "language", as: asWord("Original", "original", "Mandarin", "mandarin", "English", "english")},
		"translateText": {name: "text", as: asText},
	})
)
