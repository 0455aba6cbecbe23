package confctl

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// provider answers every call with one status, body and header, and remembers the last request.
type provider struct {
	*httptest.Server
	last atomic.Pointer[http.Request]
}

func newProvider(t *testing.T, status int, body string, header http.Header) (*provider, *API, *[]Call) {
	t.Helper()
	p := &provider{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.last.Store(r)
		maps.Copy(w.Header(), header)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(p.Close)
	base, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	calls := &[]Call{}
	return p, &API{Base: base, HTTP: p.Client(), Observe: func(c Call) { *calls = append(*calls, c) }}, calls
}

func TestToken(t *testing.T) {
	t.Parallel()
	const sample = `{"data":{"token":"stb15","tmpWsToken":"x","wsURL":"wss://119.3.200.83:443","role":1,` +
		`"expireTime":1576651143250,"confTokenExpireTime":1800,"vmrCurrentConfID":"914083901"},"addressToken":"stb"}`
	date := http.Header{"Date": {"Wed, 18 Dec 2019 06:19:03 GMT"}} // 1576649943
	tests := []struct {
		name, body string
		header     http.Header
		token      string
		want       Token
	}{
		{"sample", sample, nil, "stb15", Token{WSURL: "wss://119.3.200.83:443", Life: 30 * time.Minute, CurrentConfID: "914083901"}},
		{"bare", `{"token":"t","wsURL":"wss://h","confTokenExpireTime":"6"}`, nil, "t", Token{WSURL: "wss://h", Life: 6 * time.Second}},
		{"other spelling", `{"Data ":{"TOKEN":"t","wsUrl ":"wss://h","confTokenExpireTime":60.0}}`, nil, "t", Token{WSURL: "wss://h", Life: DefaultTokenLife}},
		{"with a return code", `{"returnCode":0,"returnDesc":"SUCCESS","data":{"data":{"token":"t","confTokenExpireTime":7}}}`, nil, "t", Token{Life: 7 * time.Second}},
		{"data is a string", `{"returnCode":"0","data":"{\"token\":\"t\",\"confTokenExpireTime\":7}"}`, nil, "t", Token{Life: 7 * time.Second}},
		{"instant only", `{"token":"t","expireTime":1576651143250}`, date, "t", Token{Life: 1200*time.Second + 250*time.Millisecond}},
		{"instant in the past", `{"token":"t","expireTime":1}`, date, "t", Token{Life: DefaultTokenLife}},
		{"absurd life", `{"token":"t","confTokenExpireTime":9223372036854775807}`, nil, "t", Token{Life: maxTokenLife}},
		{"negative life", `{"token":"t","confTokenExpireTime":-1}`, nil, "t", Token{Life: DefaultTokenLife}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, api, calls := newProvider(t, 200, tt.body, tt.header)
			got, err := api.Token(t.Context(), "9/14 x", NewSecret("pw"))
			if err != nil {
				t.Fatalf("Token() error = %v", err)
			}
			if got.Token.Reveal() != tt.token {
				t.Errorf("Token().Token = %q, want %q", got.Token.Reveal(), tt.token)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(Token{}, "Token")); diff != "" {
				t.Errorf("Token() (-want +got):\n%s", diff)
			}
			r := p.last.Load()
			if r.URL.Path != "/v1/mmc/control/conferences/token" || r.URL.Query().Get("conferenceID") != "9/14 x" ||
				r.Header.Get("X-Password") != "pw" || r.Header.Get("X-Login-Type") != "1" || r.Header.Get("X-Conference-Authorization") != "" {
				t.Errorf("request = %s %v, want the token call with the password alone", r.URL, r.Header)
			}
			if diff := cmp.Diff([]Call{{API: "token", Code: "200"}}, *calls); diff != "" {
				t.Errorf("observed calls (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, body, want string }{
		{"same token again", `{"data":{"token":"old","confTokenExpireTime":6}}`, "old"},
		{"another token", `{"data":{"token":"new","confTokenExpireTime":6}}`, "new"},
		{"no token named", `{"data":{"confTokenExpireTime":6}}`, "old"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, api, _ := newProvider(t, 200, tt.body, nil)
			got, err := api.Refresh(t.Context(), "900", NewSecret("old"))
			if err != nil || got.Token.Reveal() != tt.want || got.Life != 6*time.Second {
				t.Errorf("Refresh() = %q, %v, %v; want %q, 6s, nil", got.Token.Reveal(), got.Life, err, tt.want)
			}
			r := p.last.Load()
			if _, sent := r.Header["X-Password"]; sent || r.Header.Get("X-Conference-Authorization") != "old" {
				t.Errorf("request headers = %v, want the control token and no password", r.Header)
			}
		})
	}
}

func TestWSToken(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"webSocketToken":"one-use"}`, `{"websocketToken":"one-use"}`,
		`{"returnCode":0,"data":{"webSocketToken":"one-use"}}`,
	} {
		p, api, _ := newProvider(t, 200, body, nil)
		got, err := api.WSToken(t.Context(), "900", NewSecret("ctl"))
		if err != nil || got.Reveal() != "one-use" {
			t.Errorf("WSToken() for %s = %q, %v; want one-use", body, got.Reveal(), err)
		}
		if r := p.last.Load(); r.Header.Get("X-Conference-Authorization") != "ctl" || r.URL.Path != "/v1/mmc/control/conferences/wsToken" {
			t.Errorf("request = %s %v, want wsToken with the control token", r.URL, r.Header)
		}
	}
}

func TestRealTimeInfo(t *testing.T) {
	t.Parallel()
	const body = `{"attendees":[{"accountID":"u1","name":"U","phone":"+99"},7],
		"participants":[{"pid":"a6","name":"U","phone":"+99","state":0,"video":"1","mute":1,"hand":0},{"pid":"e4"}],
		"conflInfo":{"chairID":"a6","coHosts":["e4"]}}`
	_, api, _ := newProvider(t, 200, body, nil)
	got, err := api.RealTimeInfo(t.Context(), "900", NewSecret("ctl"))
	if err != nil {
		t.Fatal(err)
	}
	zero, one := int64(0), int64(1)
	want := &RealTimeInfo{
		Participants: []RealTimeParticipant{{PID: "a6", Name: "U", Phone: "+99", State: &zero, Video: &one, Mute: &one, Hand: &zero}, {PID: "e4"}},
		Attendees:    []RealTimeAttendee{{AccountID: "u1", Name: "U", Phone: "+99"}},
		ChairID:      "a6", CoHosts: []string{"e4"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("RealTimeInfo() (-want +got):\n%s", diff)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		status int
		body   string
		header http.Header
		want   Error
	}{
		{
			"wrong password", 400, `{"error_code":"MMC.111072065","error_msg":"pw is wrong"}`, nil,
			Error{Code: "MMC.111072065", Class: ClassCredentials},
		},
		{"locked", 423, `{"error_code":"MMC.111072064"}`, nil, Error{Code: "MMC.111072064", Class: ClassLocked}},
		{"return code in a 200", 200, `{"returnCode":111072005,"returnDesc":"x"}`, nil, Error{Code: "MMC.111072005", Class: ClassWait}},
		{"return code inside data", 200, `{"data":{"returnCode":"111072006"}}`, nil, Error{Code: "MMC.111072006", Class: ClassEnd}},
		{
			"throttled", 429, `{"error_code":"APIG.0308"}`,
			http.Header{"Retry-After": {"7"}},
			Error{Code: "APIG.0308", Class: ClassLimit, RetryAfter: 7 * time.Second},
		},
		{"no body", 502, ``, nil, Error{}},
		{"not JSON", 200, `<html>pw</html>`, nil, Error{Code: "unreadable"}},
		{"no token", 200, `{"data":{}}`, nil, Error{Code: "no-token"}},
		{"secret in the code", 400, `{"error_code":"pw"}`, nil, Error{Code: "unreadable"}},
		{"redirect", 302, ``, http.Header{"Location": {"http://127.0.0.1:1/elsewhere"}}, Error{Code: "redirect"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, api, calls := newProvider(t, tt.status, tt.body, tt.header)
			_, err := api.Token(t.Context(), "900", NewSecret("pw"))
			got, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("Token() error = %v, want a *Error", err)
			}
			want := tt.want
			want.API, want.HTTPStatus = "token", tt.status
			if diff := cmp.Diff(want, *got); diff != "" {
				t.Errorf("Token() error (-want +got):\n%s", diff)
			}
			if strings.Contains(err.Error(), "pw") {
				t.Errorf("error text %q holds the password", err)
			}
			if len(*calls) != 1 || (*calls)[0].Code != got.Label() && tt.name != "no token" {
				t.Errorf("observed %v, want one call with code %s", *calls, got.Label())
			}
		})
	}
}

func TestAnswerTooLarge(t *testing.T) {
	t.Parallel()
	big := fmt.Sprintf(`{"data":{"token":"t","x":%q}}`, strings.Repeat("a", answerLimit))
	_, api, _ := newProvider(t, 200, big, nil)
	if _, err := api.Token(t.Context(), "900", NewSecret("pw")); err == nil || !strings.Contains(err.Error(), "larger than 1048576 bytes") {
		t.Errorf("Token() error = %v, want one that names the limit", err)
	}
	_, api, _ = newProvider(t, 200, `{"participants":[{"pid":"p"}],"x":"`+strings.Repeat("a", answerLimit)+`"}`, nil)
	if info, err := api.RealTimeInfo(t.Context(), "900", NewSecret("ctl")); err != nil || len(info.Participants) != 1 {
		t.Errorf("RealTimeInfo() of 1 MiB = %v, %v; want it read", info, err)
	}
}

func TestTransportErrorsHideTheURL(t *testing.T) {
	t.Parallel()
	p, api, calls := newProvider(t, 200, "", nil)
	p.Close()
	_, err := api.WSToken(t.Context(), "900487914", NewSecret("hidden"))
	if err == nil || strings.Contains(err.Error(), "900487914") || strings.Contains(err.Error(), "hidden") {
		t.Errorf("WSToken() error = %v, want a network error without the URL", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := api.Token(ctx, "900", NewSecret("pw")); !errors.Is(err, context.Canceled) {
		t.Errorf("Token() error = %v, want context.Canceled", err)
	}
	if diff := cmp.Diff([]Call{{API: "wsToken", Code: "network"}, {API: "token", Code: "canceled"}}, *calls); diff != "" {
		t.Errorf("observed calls (-want +got):\n%s", diff)
	}
}

// The transport quotes what it can't read in its error: a middlebox that repeated the request would put the password into the
// log.
func TestTransportErrorsQuoteNothing(t *testing.T) {
	t.Parallel()
	for name, format := range map[string]string{
		"status line":  "HTTP/1.1 %s\r\n\r\n",
		"no HTTP":      "you sent %s\r\n\r\n",
		"header":       "HTTP/1.1 200 OK\r\nno colon %s\r\n\r\n",
		"length":       "HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
		"trailer":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nno colon %s\r\n\r\n",
		"cut short":    "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n%s",
		"closed early": "%.0s",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = fmt.Fprintf(conn, format, r.Header.Get("X-Password"))
				_ = conn.Close()
			}))
			defer s.Close()
			base, err := url.Parse(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			api := &API{Base: base, HTTP: s.Client()}
			if _, err = api.Token(t.Context(), "900", NewSecret("hidden")); err == nil || strings.Contains(err.Error(), "hidden") {
				t.Errorf("Token() error = %v, want one without what the peer sent", err)
			}
		})
	}
}

func TestParseRate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, header string
		want         Rate
	}{
		{"reference", "remain:99,limit:100,time:1 minute", Rate{Limit: 100, Remaining: 99, Per: time.Minute}},
		{"plural, blanks", " Remain: 0, limit: 5 ,time: 10 seconds", Rate{Limit: 5, Per: 10 * time.Second}},
		{"hour", "limit:7,time:1 hour", Rate{Limit: 7, Per: time.Hour}},
		{"absent", "", Rate{}},
		{"no time", "limit:100", Rate{}},
		{"no limit", "remain:9,time:1 minute", Rate{}},
		{"unknown unit", "limit:1,time:1 fortnight", Rate{}},
		{"absurd", "limit:1,time:99999999999 minutes", Rate{}},
		{"garbage", ":,:,,x", Rate{}},
	}
	for _, tt := range tests {
		if got := ParseRate(http.Header{"X-Apig-Ratelimit-Api": {tt.header}}); got != tt.want {
			t.Errorf("%s: ParseRate(%q) = %+v, want %+v", tt.name, tt.header, got, tt.want)
		}
	}
	_, api, calls := newProvider(t, 200, `{"token":"t"}`, http.Header{"X-Apig-Ratelimit-Api": {"remain:99,limit:100,time:1 minute"}})
	if _, err := api.Token(t.Context(), "900", NewSecret("pw")); err != nil || len(*calls) != 1 || (*calls)[0].Rate.Limit != 100 {
		t.Errorf("observed %v (error %v), want one call with limit 100", *calls, err)
	}
}
