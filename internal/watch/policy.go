package watch

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/coder/websocket"
)

// Errors that end a Client; everything else is tried again.
var (
	ErrUnauthorized = errors.New("watch: token missing, wrong or expired (4401)")
	ErrForbidden    = errors.New("watch: not allowed")
	ErrNotFound     = errors.New("watch: nobody there knows this conference")
	ErrReleased     = errors.New("watch: conference was released")
	ErrRefused      = errors.New("watch: request refused")
	ErrProtocol     = errors.New("watch: the other side doesn't speak confgate.v1")
)

// Close codes of confgate.v1 that decide what comes next.
const (
	closeFull         = websocket.StatusTryAgainLater // 1013
	closeUnauthorized = websocket.StatusCode(4401)
	closeForbidden    = websocket.StatusCode(4403)
	closeProtocol     = websocket.StatusCode(4409)
	closeTooMany      = websocket.StatusCode(4429)
)

// Back-off between connections, and between two tries to subscribe.
const (
	minBackoff = 200 * time.Millisecond
	maxBackoff = 30 * time.Second
	busyDelay  = 2 * time.Second  // at least, before the jitter, where the server has too much to do
	stableTime = 10 * time.Second // a connection that lived so long starts the back-off anew
)

// verdict is what follows from the end of a connection.
type verdict struct {
	end  error // final; nil: connect again
	busy bool  // with more patience
}

// judge says what a close code asks for.
func judge(code websocket.StatusCode) verdict {
	switch code {
	case closeFull, closeTooMany:
		return verdict{busy: true}
	case closeUnauthorized:
		return verdict{end: ErrUnauthorized}
	case closeForbidden:
		return verdict{end: ErrForbidden}
	case closeProtocol:
		return verdict{end: ErrProtocol}
	default: // among them 1001 (worker leaving), 4408 (too slow), and connections that broke
		return verdict{}
	}
}

// judgeStatus says what the HTTP status of a refused handshake asks for.
func judgeStatus(status int) verdict {
	switch {
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		return verdict{busy: true}
	case status == http.StatusUnauthorized:
		return verdict{end: ErrUnauthorized}
	case status == http.StatusForbidden:
		return verdict{end: ErrForbidden}
	case status >= 500 || status == 0:
		return verdict{}
	}
	return verdict{end: fmt.Errorf("%w: HTTP %d", ErrProtocol, status)}
}

// judgeError says what an error message in answer to subscribe asks for.
func judgeError(code, text string) verdict {
	switch code {
	case "not_found":
		return verdict{end: ErrNotFound}
	case "forbidden":
		return verdict{end: ErrForbidden}
	case "unauthorized":
		return verdict{end: ErrUnauthorized}
	case "bad_request", "too_many_subscriptions":
		return verdict{end: fmt.Errorf("%w: %s: %s", ErrRefused, code, clean(text))}
	}
	return verdict{busy: code == "rate_limited"} // unavailable, internal, and words of a newer protocol
}

// newBackoff is exponential with full jitter: each wait is anything up to twice an interval that doubles.
func newBackoff(low, high time.Duration) *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{InitialInterval: low / 2, RandomizationFactor: 1, Multiplier: 2, MaxInterval: high / 2}
}

// endpoint makes the WebSocket address of a confgate URL: http and ws are the same, a URL without a path means the
// gateway's own. Errors don't quote the URL, which may hold what nobody should read.
func endpoint(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", errors.New("watch: the URL can't be parsed")
	}
	switch u.Scheme {
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	case "ws", "wss":
	default:
		return "", fmt.Errorf("watch: URL scheme %q: want http, https, ws or wss", u.Scheme)
	}
	if u.Host == "" {
		return "", errors.New("watch: the URL names no host")
	}
	if u.User != nil || u.RawQuery != "" {
		return "", errors.New("watch: the URL must not carry credentials or a query; tokens are given apart")
	}
	if !strings.HasSuffix(u.Path, "/v1/ws") {
		u.Path = strings.TrimSuffix(u.Path, "/") + "/v1/ws"
	}
	u.Fragment = ""
	return u.String(), nil
}
