package confctl

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// ErrorClass says what to do about an error of the provider.
type ErrorClass uint8

// The classes. The zero value is a plain retry, since that harms nothing.
const (
	// ClassRetry: the provider or the way to it is at fault, or the error is unknown; back off and try again.
	ClassRetry ErrorClass = iota
	// ClassEnd: the conference is over.
	ClassEnd
	// ClassWait: the conference hasn't started.
	ClassWait
	// ClassCredentials: the password was refused. Sending it again locks the conference's control.
	ClassCredentials
	// ClassLocked: control is locked after too many refusals; wait for minutes.
	ClassLocked
	// ClassLimit: too many calls.
	ClassLimit
	// ClassToken: the control token was refused, which says nothing about the password: fetch another one.
	ClassToken
)

var classNames = [...]string{"retry", "end", "wait", "credentials", "locked", "limit", "token"}

// String is the class in one word.
func (c ErrorClass) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

// Error is a refusal by the provider. Of its text only the code is kept, since the rest may repeat what was asked.
type Error struct {
	API        string // "token", "refresh", "wsToken", "realTimeInfo", "dial" or "subscribe"
	HTTPStatus int    // 0 where the refusal didn't come by HTTP
	Code       string // as "MMC.111072005"; empty where there is none
	Class      ErrorClass
	RetryAfter time.Duration // the provider's wish, 0 where it has none
}

// Error names the API, the code or the HTTP status, and the class.
func (e *Error) Error() string {
	return fmt.Sprintf("confctl: %s: %s (%s)", e.API, e.Label(), e.Class)
}

// Label is the code, else the HTTP status, as metrics and logs name the answer.
func (e *Error) Label() string {
	switch {
	case e.Code != "":
		return e.Code
	case e.HTTPStatus != 0:
		return strconv.Itoa(e.HTTPStatus)
	default:
		return "refused"
	}
}

// codeClasses is what the provider's codes ask for (reference, chapter 22), by the number after the last dot. Codes that
// aren't here go by the HTTP status.
var codeClasses = map[string]ErrorClass{
	"111072006": ClassEnd, // conference ended
	"111071072": ClassEnd, // conference already ended
	"111072014": ClassEnd,
	"111072003": ClassEnd, // just ending

	"111072004": ClassWait,
	"111072005": ClassWait, // not started
	"111072015": ClassWait,
	"111071058": ClassWait, // not started, guests must wait

	"111072065": ClassCredentials, // conference id unknown or password wrong
	"111081006": ClassCredentials, // authentication failed
	"118000000": ClassCredentials, // user authentication failed
	"111070009": ClassCredentials, // password missing

	"111072064": ClassLocked, // too many failed logins
	"118000002": ClassLocked, // account locked
	"111071052": ClassLocked, // anonymous login locked
	"111071053": ClassLocked, // link login locked

	"111070111": ClassToken, // request token is empty
	"118000001": ClassToken, // session timed out

	"111072049": ClassRetry, // no answer in time
}

// throttled are the codes with which the provider's API gateway refuses a call too many.
var throttled = map[string]bool{"APIG.0308": true, "APIGW.0308": true}

// Classify finds the class of a refusal by the provider's code and the HTTP status (0: none). Only a request that sent the
// password can learn that the password is wrong; elsewhere a refused credential is the control token.
func Classify(code string, httpStatus int, sentPassword bool) ErrorClass {
	class, known := codeClasses[code[strings.LastIndexByte(code, '.')+1:]]
	switch {
	case known:
	case throttled[code], httpStatus == http.StatusTooManyRequests:
		class = ClassLimit
	case httpStatus == http.StatusLocked:
		class = ClassLocked
	case httpStatus == http.StatusUnauthorized, httpStatus == http.StatusForbidden:
		class = ClassCredentials
	default:
		class = ClassRetry
	}
	switch {
	case class == ClassCredentials && !sentPassword:
		return ClassToken
	case class == ClassToken && sentPassword:
		return ClassRetry
	default:
		return class
	}
}

// SubscribeError is the refusal that the answer to a Subscribe means; nil where the answer says yes.
func SubscribeError(answer *Frame) *Error {
	if answer.ReturnCode == 0 {
		return nil
	}
	code := CleanCode(answer.ErrorCode)
	if code == "" {
		code = CleanCode(strconv.FormatInt(answer.ReturnCode, 10))
	}
	return &Error{API: "subscribe", Code: code, Class: Classify(code, 0, false)}
}

var (
	codeForm   = regexp.MustCompile(`^[A-Z]{2,6}\.[0-9]{1,12}$`)
	numberForm = regexp.MustCompile(`^-?[0-9]{1,12}$`)
)

// CleanCode makes a code fit to be shown: the form of the reference ("MMC.111072005"), a bare nine-digit number with the
// prefix added, another number as it is, anything else as "unreadable".
func CleanCode(raw string) string {
	raw = strings.TrimSpace(raw)
	switch {
	case raw == "" || codeForm.MatchString(raw):
		return raw
	case !numberForm.MatchString(raw):
		return "unreadable"
	case len(raw) == len("111072005") && raw[0] == '1':
		return "MMC." + raw
	default:
		return raw
	}
}
