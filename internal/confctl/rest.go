package confctl

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Limits of an answer's size, in bytes.
const (
	answerLimit = 1 << 20
	rosterLimit = 16 << 20 // realTimeInfo names every participant and everybody invited
)

// DefaultTokenLife is how long a control token lives where the answer doesn't say (chapter 5.2.1).
const DefaultTokenLife = 30 * time.Minute

// API calls the provider's REST interface (chapter 5.2). It is immutable and safe for concurrent use.
type API struct {
	// Base is the origin of the provider's API; a path in front of /v1 is kept.
	Base *url.URL
	// HTTP does the calls; nil means http.DefaultClient. Redirects are refused whatever its CheckRedirect says, since they
	// would carry the password to wherever they point.
	HTTP *http.Client
	// Observe is told about every call, by the goroutine that made it; nil: nobody.
	Observe func(Call)
}

// Call is what one REST call came to.
type Call struct {
	API  string // "token", "refresh", "wsToken" or "realTimeInfo"
	Code string // "200", the provider's code, the HTTP status, "network" or "canceled"
	Rate Rate   // from the answer's headers; zero where it had none
}

// Rate is a limit that the provider announces.
type Rate struct {
	Limit, Remaining int
	Per              time.Duration
}

// Token is the answer of the token call.
type Token struct {
	Token Secret
	// WSURL is the origin to dial, as the provider wrote it: to be checked before use.
	WSURL string
	// Life is how long the token is good for, counted from the receipt of the answer.
	Life time.Duration
	// CurrentConfID is the conference that is really running in a virtual meeting room; empty where it is the one asked for.
	CurrentConfID string
}

// Token fetches a control token by the chair password (chapter 5.2.1).
func (a *API) Token(ctx context.Context, conf string, password Secret) (Token, error) {
	return a.token(ctx, request{api: "token", conf: conf, password: password})
}

// Refresh prolongs a control token. The provider doesn't look at passwords here, so none is sent. Where the answer names no
// other token the old one stays.
func (a *API) Refresh(ctx context.Context, conf string, token Secret) (Token, error) {
	t, err := a.token(ctx, request{api: "refresh", conf: conf, token: token})
	if err == nil && t.Token.Empty() {
		t.Token = token
	}
	return t, err
}

func (a *API) token(ctx context.Context, r request) (Token, error) {
	r.path, r.limit = "token", answerLimit
	ans, err := a.call(ctx, r)
	if err != nil {
		return Token{}, err
	}
	t := Token{
		Token:         NewSecret(ans.text("token")),
		WSURL:         ans.text("wsurl"),
		CurrentConfID: ans.text("vmrcurrentconfid"),
		Life:          DefaultTokenLife,
	}
	if t.Token.Empty() && r.token.Empty() {
		return Token{}, &Error{API: r.api, HTTPStatus: http.StatusOK, Code: "no-token"}
	}
	// The two clocks needn't agree, so an instant only counts against the answer's own Date.
	if s := ans.number("conftokenexpiretime"); s != nil && *s > 0 {
		t.Life = time.Duration(min(*s, int64(maxTokenLife/time.Second))) * time.Second
	} else if ms := ans.number("expiretime"); ms != nil && !ans.date.IsZero() {
		if life := time.UnixMilli(*ms).Sub(ans.date); life > 0 {
			t.Life = min(life, maxTokenLife)
		}
	}
	return t, nil
}

// maxTokenLife bounds what an answer may claim, so that no arithmetic on it overflows.
const maxTokenLife = 30 * 24 * time.Hour

// WSToken fetches the token that one dial spends (chapter 5.2.29); it lives for 60 s.
func (a *API) WSToken(ctx context.Context, conf string, token Secret) (Secret, error) {
	ans, err := a.call(ctx, request{api: "wsToken", path: "wsToken", conf: conf, token: token, limit: answerLimit})
	if err != nil {
		return Secret{}, err
	}
	ws := NewSecret(ans.text("websockettoken"))
	if ws.Empty() {
		return Secret{}, &Error{API: "wsToken", HTTPStatus: http.StatusOK, Code: "no-token"}
	}
	return ws, nil
}

// RealTimeInfo asks who is there (chapter 5.2.2).
func (a *API) RealTimeInfo(ctx context.Context, conf string, token Secret) (*RealTimeInfo, error) {
	ans, err := a.call(ctx, request{api: "realTimeInfo", path: "realTimeInfo", conf: conf, token: token, limit: rosterLimit})
	if err != nil {
		return nil, err
	}
	info := &RealTimeInfo{}
	for _, row := range ans.objects("participants") {
		info.Participants = append(info.Participants, RealTimeParticipant{
			PID: row.text("pid"), Name: row.text("name"), Phone: row.text("phone"),
			State: row.number("state"), Video: row.number("video"), Mute: row.number("mute"), Hand: row.number("hand"),
		})
	}
	for _, row := range ans.objects("attendees") {
		info.Attendees = append(info.Attendees, RealTimeAttendee{
			AccountID: row.text("accountid"), UserUUID: row.text("useruuid"), Name: row.text("name"), Phone: row.text("phone"),
		})
	}
	// One table calls the member conflInfo.
	for _, name := range []string{"confinfo", "conflinfo"} {
		if conf := ans.object(name); conf != nil {
			info.ChairID = conf.text("chairid")
			_ = json.Unmarshal(conf["cohosts"], &info.CoHosts)
			break
		}
	}
	return info, nil
}

// request is one REST call; password and token are sent where they aren't empty.
type request struct {
	api, path, conf string
	password, token Secret
	limit           int64
}

// answer is the object that a call came to, and when the provider sent it.
type answer struct {
	members
	date time.Time
}

func (a *API) call(ctx context.Context, r request) (answer, error) {
	ans, rate, err := a.do(ctx, r)
	if a.Observe != nil {
		a.Observe(Call{API: r.api, Code: CallLabel(ctx, err), Rate: rate})
	}
	return ans, err
}

// CallLabel names in one word what a call or a dial came to: "200", the refusal's code or status, "canceled", "network".
func CallLabel(ctx context.Context, err error) string {
	if err == nil {
		return "200"
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Label()
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return "canceled"
	}
	return "network"
}

func (a *API) do(ctx context.Context, r request) (answer, Rate, error) {
	u := a.Base.JoinPath("v1/mmc/control/conferences", r.path)
	u.RawQuery = url.Values{"conferenceID": {r.conf}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return answer{}, Rate{}, fmt.Errorf("confctl: %s: %w", r.api, err)
	}
	req.Header.Set("Accept", "application/json")
	if !r.token.Empty() {
		req.Header.Set("X-Conference-Authorization", r.token.Reveal())
	}
	if !r.password.Empty() {
		req.Header.Set("X-Password", r.password.Reveal())
	}
	if r.path == "token" {
		req.Header.Set("X-Login-Type", "1")
	}
	client := http.DefaultClient
	if a.HTTP != nil {
		client = a.HTTP
	}
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, Rate{}, fmt.Errorf("confctl: %s: %w", r.api, TransportError(err))
	}
	defer func() { _ = resp.Body.Close() }()
	rate := ParseRate(resp.Header)
	body, err := io.ReadAll(io.LimitReader(resp.Body, r.limit+1))
	if err != nil {
		return answer{}, rate, fmt.Errorf("confctl: %s: read answer: %w", r.api, TransportError(err))
	}
	if int64(len(body)) > r.limit {
		return answer{}, rate, fmt.Errorf("confctl: %s: answer is larger than %d bytes", r.api, r.limit)
	}
	ans, err := parse(r, resp, body)
	return ans, rate, err
}

// ErrNotHTTP stands for every error of the transport that may quote what the other side sent.
var ErrNotHTTP = errors.New("not a valid HTTP exchange")

// TransportError is an error of the HTTP transport as it may be shown: without the URL, since a dial's holds a token, and
// without anything that the other side sent, since that may repeat a token or the password. Errors of the network and of
// certificates keep their words; they quote addresses and names only.
func TransportError(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	_, network := errors.AsType[net.Error](err)
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, record := errors.AsType[tls.RecordHeaderError](err)
	if network || certificate || record || errors.Is(err, http.ErrSchemeMismatch) || errors.Is(err, context.Canceled) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return ErrNotHTTP
}

func parse(r request, resp *http.Response, body []byte) (answer, error) {
	top, readable := parseObject(body)
	code := CleanCode(refusal(top))
	data := top
	// A wrapped answer keeps what was asked for in "data", which may itself be wrapped once more.
	for range 2 {
		inner := data.object("data")
		if inner == nil {
			break
		}
		if code == "" {
			code = CleanCode(refusal(inner))
		}
		data = inner
	}
	if resp.StatusCode/100 == 2 && code == "" && readable {
		date, _ := http.ParseTime(resp.Header.Get("Date"))
		return answer{members: data, date: date}, nil
	}
	e := &Error{API: r.api, HTTPStatus: resp.StatusCode, Code: code, RetryAfter: retryAfter(resp.Header)}
	switch {
	case resp.StatusCode/100 == 2 && code == "":
		e.Code = "unreadable"
	case resp.StatusCode/100 == 3:
		e.Code = "redirect"
	default:
		e.Class = Classify(code, resp.StatusCode, !r.password.Empty())
	}
	return answer{}, e
}

// Refusal reads an answer that should have been another: a dial's, which wasn't upgraded. It reads the body, not closes it.
func Refusal(api string, resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	if err != nil {
		body = nil
	}
	if _, err := parse(request{api: api}, resp, body); err != nil {
		return err
	}
	return &Error{API: api, HTTPStatus: resp.StatusCode, Code: "unreadable"}
}

// refusal is the code of an answer that says no, under any of the names that it goes by; empty where it says yes.
func refusal(o members) string {
	for _, name := range []string{"error_code", "errorcode", "returncode"} {
		if code := strings.TrimSpace(o.text(name)); code != "" && strings.Trim(code, "0") != "" {
			return code
		}
	}
	return ""
}

// retryAfter reads the header of that name in its form in seconds, an hour at the most.
func retryAfter(h http.Header) time.Duration {
	s, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || s < 0 {
		return 0
	}
	return min(time.Duration(s)*time.Second, time.Hour)
}

// ParseRate reads the header `X-APIG-Ratelimit-Api: remain:99,limit:100,time:1 minute`. The zero Rate where it is missing or
// says something else.
func ParseRate(h http.Header) Rate {
	var r Rate
	for part := range strings.SplitSeq(h.Get("X-Apig-Ratelimit-Api"), ",") {
		name, value, _ := strings.Cut(part, ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "remain":
			r.Remaining, _ = strconv.Atoi(value)
		case "limit":
			r.Limit, _ = strconv.Atoi(value)
		case "time":
			r.Per = span(value)
		}
	}
	if r.Limit <= 0 || r.Per <= 0 {
		return Rate{}
	}
	return r
}

// span reads "1 minute".
func span(s string) time.Duration {
	count, unit, _ := strings.Cut(s, " ")
	n, err := strconv.Atoi(count)
	if err != nil || n <= 0 || n > 1_000_000 {
		return 0
	}
	switch strings.TrimSuffix(strings.ToLower(strings.TrimSpace(unit)), "s") {
	case "second":
		return time.Duration(n) * time.Second
	case "minute":
		return time.Duration(n) * time.Minute
	case "hour":
		return time.Duration(n) * time.Hour
	case "day":
		return time.Duration(min(n, 365)) * 24 * time.Hour
	default:
		return 0
	}
}

// members are those of a JSON object by their keys in lower case without blanks around them, since the provider spells one key in
// several ways. Nil members are none.
type members map[string]json.RawMessage

func parseObject(data []byte) (members, bool) {
	var raw map[string]json.RawMessage
	if json.Unmarshal(data, &raw) != nil || raw == nil {
		return nil, false
	}
	o := make(members, len(raw))
	for k, v := range raw {
		k = strings.ToLower(strings.TrimSpace(k))
		if had, ok := o[k]; !ok || bytes.Equal(had, []byte("null")) {
			o[k] = v
		}
	}
	return o, true
}

// text is a string or a number member as a string; empty for anything else.
func (o members) text(name string) string {
	raw := o[name]
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var n json.Number
	if json.Unmarshal(raw, &n) == nil {
		return n.String()
	}
	return ""
}

// number is a member that is a whole number, quoted or not; nil where it is neither.
func (o members) number(name string) *int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(o.text(name)), 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// object is a member that is an object, or a string that holds one; nil for anything else.
func (o members) object(name string) members {
	raw := o[name]
	var s string
	if json.Unmarshal(raw, &s) == nil {
		raw = json.RawMessage(s)
	}
	inner, _ := parseObject(raw)
	return inner
}

// objects are the objects in a member that is an array; whatever else is in it is left out.
func (o members) objects(name string) []members {
	var rows []json.RawMessage
	if json.Unmarshal(o[name], &rows) != nil {
		return nil
	}
	list := make([]members, 0, len(rows))
	for _, row := range rows {
		if inner, ok := parseObject(row); ok {
			list = append(list, inner)
		}
	}
	return list
}
