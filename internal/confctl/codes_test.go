package confctl

import (
	"net/http"
	"strings"
	"testing"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name         string
		code         string
		status       int
		sentPassword bool
		want         ErrorClass
	}{
		{"ended", "MMC.111072006", 400, true, ClassEnd},
		{"ended for a token too", "MMC.111071072", 400, false, ClassEnd},
		{"not started", "MMC.111072005", 400, true, ClassWait},
		{"bare number", "111072005", 200, true, ClassWait},
		{"wrong password", "MMC.111072065", 400, true, ClassCredentials},
		{"the same without a password", "MMC.111072065", 400, false, ClassToken},
		{"authentication failed", "MMC.111081006", 400, false, ClassToken},
		{"session timed out", "MMC.118000001", 400, false, ClassToken},
		{"session timed out, by password", "MMC.118000001", 400, true, ClassRetry},
		{"locked", "MMC.111072064", 423, true, ClassLocked},
		{"locked by status alone", "", 423, true, ClassLocked},
		{"no answer in time", "MMC.111072049", 400, false, ClassRetry},
		{"the code wins over the status", "MMC.111072005", 500, true, ClassWait},
		{"API gateway throttles", "APIG.0308", 429, true, ClassLimit},
		{"throttled by status alone", "", 429, false, ClassLimit},
		{"401 with a password", "", http.StatusUnauthorized, true, ClassCredentials},
		{"403 with a token", "", http.StatusForbidden, false, ClassToken},
		{"500", "", 500, true, ClassRetry},
		{"unknown code", "MMC.199999999", 400, true, ClassRetry},
		{"not a code", "...", 400, true, ClassRetry},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := Classify(tt.code, tt.status, tt.sentPassword); got != tt.want {
				t.Errorf("Classify(%q, %d, %v) = %v, want %v", tt.code, tt.status, tt.sentPassword, got, tt.want)
			}
		})
	}
}

func TestSubscribeError(t *testing.T) {
	t.Parallel()
	if err := SubscribeError(&Frame{}); err != nil {
		t.Errorf("SubscribeError() of a yes = %v, want nil", err)
	}
	tests := []struct {
		answer Frame
		want   string
		class  ErrorClass
	}{
		{Frame{ReturnCode: 111072006}, "MMC.111072006", ClassEnd},
		{Frame{ReturnCode: 111081006}, "MMC.111081006", ClassToken},
		{Frame{ReturnCode: -1, ErrorCode: "MMC.111081006"}, "MMC.111081006", ClassToken},
		{Frame{ReturnCode: -1, ErrorCode: "the token was hunter2"}, "unreadable", ClassRetry},
		{Frame{ReturnCode: 1}, "1", ClassRetry},
		{Frame{ReturnCode: -1}, "-1", ClassRetry},
	}
	for _, tt := range tests {
		err := SubscribeError(&tt.answer)
		if err == nil || err.Code != tt.want || err.Class != tt.class {
			t.Errorf("SubscribeError(%d, %q) = %v, want code %s, class %v", tt.answer.ReturnCode, tt.answer.ErrorCode, err, tt.want, tt.class)
		}
	}
}

func TestCleanCode(t *testing.T) {
	t.Parallel()
	tests := []struct{ raw, want string }{
		{"", ""},
		{" MMC.111072005 ", "MMC.111072005"},
		{"111072005", "MMC.111072005"},
		{"APIG.0308", "APIG.0308"},
		{"7", "7"},
		{"the password was hunter2", "unreadable"},
		{"MMC." + strings.Repeat("1", 100), "unreadable"},
		{"mmc.1", "unreadable"},
	}
	for _, tt := range tests {
		if got := CleanCode(tt.raw); got != tt.want {
			t.Errorf("CleanCode(%q) = %q, want %q", tt.raw, got, tt.want)
		}
	}
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		err  Error
		want string
	}{
		{Error{API: "token", HTTPStatus: 400, Code: "MMC.111072065", Class: ClassCredentials}, "confctl: token: MMC.111072065 (credentials)"},
		{Error{API: "dial", HTTPStatus: 503}, "confctl: dial: 503 (retry)"},
		{Error{API: "subscribe"}, "confctl: subscribe: refused (retry)"},
		{Error{API: "token", HTTPStatus: 423, Class: ErrorClass(99)}, "confctl: token: 423 (class(99))"},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("Error() = %q, want %q", got, tt.want)
		}
	}
}
