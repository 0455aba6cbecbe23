package watch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Config is what a Client needs to know.
type Config struct {
	// URL of the gateway: http, https, ws or wss; without a path, /v1/ws is meant.
	URL string
	// Endpoint, where given, is asked for the URL of each connection in place of URL: what follows a fleet resumes at
	// another worker. Run's goroutine calls it.
	Endpoint func() string
	// Token gives the token for the next connection, or for renewing the present one; nil or "" sends none. A token that
	// was refused is asked for again once, and the same one again is ErrUnauthorized.
	Token      func(ctx context.Context) (string, error)
	Conference string
	Topics     []string // empty: all that the token may see
	// HTTPClient makes the handshake; nil: one like http.DefaultClient. Redirects are never followed.
	HTTPClient *http.Client

	// The hooks are called by Run's goroutine, one at a time, and in order. While one runs, nothing is read: a hook that
	// blocks makes a slow reader.

	// OnMessage gets every message of the server, as it came, before it is applied. raw is valid during the call.
	OnMessage func(raw []byte)
	// OnUpdate gets what was applied: snapshots, deltas, events (those inside snapshots too), status.
	OnUpdate func(m *Message)
	// OnNotice gets what happens to the connection.
	OnNotice func(Notice)

	// MinBackoff and MaxBackoff replace 200 ms and 30 s.
	MinBackoff, MaxBackoff time.Duration
}

// Notice is a step in a connection's life.
type Notice struct {
	State NoticeState
	Err   error         // why; with Waiting
	Wait  time.Duration // how long; with Waiting
}

// NoticeState is a state of the connection.
type NoticeState string

const (
	Connecting NoticeState = "connecting"
	Subscribed NoticeState = "subscribed"
	Waiting    NoticeState = "waiting" // for the next try, to connect or to subscribe
)

// Client keeps a Replica of one conference at a gateway. Make it with NewClient, let Run work; the other methods may be
// called by anybody at any time.
type Client struct {
	// immutable
	cfg Config
	url string // empty with Config.Endpoint

	// owned by Run
	token   string
	lastID  int
	connect time.Time // when the present connection was greeted

	// guarded by mu, which is held over nothing but copying
	mu      sync.Mutex
	replica *Replica
	state   Report // the fields that aren't the replica's
	conn    *websocket.Conn
	dropped bool
}

var conferenceID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func checkConference(id string) error {
	if !conferenceID.MatchString(id) {
		return fmt.Errorf("watch: CONFERENCE %q: want 1 to 64 of A-Z a-z 0-9 _ -", id)
	}
	return nil
}

// NewClient checks the configuration. It starts nothing.
func NewClient(cfg Config) (*Client, error) {
	var u string
	if cfg.Endpoint == nil {
		var err error
		if u, err = endpoint(cfg.URL); err != nil {
			return nil, err
		}
	}
	if err := checkConference(cfg.Conference); err != nil {
		return nil, err
	}
	if cfg.Token == nil {
		cfg.Token = func(context.Context) (string, error) { return "", nil }
	}
	if cfg.MinBackoff <= 0 {
		cfg.MinBackoff = minBackoff
	}
	if cfg.MaxBackoff <= 0 {
		cfg.MaxBackoff = maxBackoff
	}
	// A redirect would carry the token to wherever it points.
	httpClient := http.Client{}
	if cfg.HTTPClient != nil {
		httpClient = *cfg.HTTPClient
	}
	httpClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	cfg.HTTPClient = &httpClient
	return &Client{cfg: cfg, url: u, replica: NewReplica(), state: Report{Fresh: true}}, nil
}

// Run connects, and connects again, until ctx is done, which is no error, or one of the final errors comes. It may run
// once only.
func (c *Client) Run(ctx context.Context) error {
	pause := newBackoff(c.cfg.MinBackoff, c.cfg.MaxBackoff)
	refused := false
	for {
		c.notice(Notice{State: Connecting})
		v, err := c.connection(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // whatever the connection died of, its end was wanted
		}
		if !c.connect.IsZero() && time.Since(c.connect) > stableTime {
			pause.Reset()
		}
		if errors.Is(v.end, ErrUnauthorized) && !refused {
			refused = true
			if token, tokenErr := c.cfg.Token(ctx); tokenErr == nil && token != c.token {
				continue
			}
		}
		if v.end != nil {
			return v.end
		}
		if !c.connect.IsZero() {
			refused = false
		}
		if !c.wait(ctx, c.pause(pause.NextBackOff(), v.busy), err) {
			return nil
		}
	}
}

// pause is the time to the next connection: none after Disconnect.
func (c *Client) pause(d time.Duration, busy bool) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dropped {
		c.dropped = false
		return 0
	}
	return c.lengthen(d, busy)
}

// lengthen adds to a wait what a busy server is owed.
func (c *Client) lengthen(d time.Duration, busy bool) time.Duration {
	if busy {
		d += min(busyDelay, c.cfg.MaxBackoff)
	}
	return d
}

func (c *Client) wait(ctx context.Context, d time.Duration, why error) bool {
	c.notice(Notice{State: Waiting, Err: why, Wait: d})
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Report copies what is known now.
func (c *Client) Report() Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.replica.report()
	r.Connected, r.Connects, r.Recovered, r.Refused = c.state.Connected, c.state.Connects, c.state.Recovered, c.state.Refused
	r.Fresh, r.Stale, r.StaleSince = c.state.Fresh, c.state.Stale, c.state.StaleSince
	r.Worker, r.Messages = c.state.Worker, c.state.Messages
	return r
}

// Disconnect breaks the present connection, if there is one, as a network does: without a word. Run connects again at once
// and resumes.
func (c *Client) Disconnect() {
	c.mu.Lock()
	conn := c.conn
	c.dropped = conn != nil
	c.mu.Unlock()
	if conn != nil {
		_ = conn.CloseNow()
	}
}

func (c *Client) notice(n Notice) {
	if c.cfg.OnNotice != nil {
		c.cfg.OnNotice(n)
	}
}

// update changes the guarded state.
func (c *Client) update(change func(s *Report)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.state)
}

// dial opens a connection. Its errors name no URL and no header.
func (c *Client) dial(ctx context.Context) (*websocket.Conn, verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	token, err := c.cfg.Token(ctx)
	if err != nil {
		return nil, verdict{}, fmt.Errorf("watch: get a token: %w", err)
	}
	c.token = token
	protocols := []string{protocol}
	if token != "" {
		if !tokenShape.MatchString(token) {
			return nil, verdict{end: ErrUnauthorized}, ErrUnauthorized
		}
		protocols = append(protocols, "bearer."+token)
	}
	url := c.url
	if c.cfg.Endpoint != nil {
		if url, err = endpoint(c.cfg.Endpoint()); err != nil {
			return nil, verdict{end: err}, err
		}
	}
	conn, answer, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: protocols, HTTPClient: c.cfg.HTTPClient})
	if answer != nil && answer.Body != nil {
		_ = answer.Body.Close()
	}
	if err != nil {
		status := 0
		if answer != nil {
			status = answer.StatusCode
		}
		if status == http.StatusSwitchingProtocols { // a WebSocket, but not ours
			return nil, verdict{end: ErrProtocol}, ErrProtocol
		}
		return nil, judgeStatus(status), dialError(status, err)
	}
	if conn.Subprotocol() != protocol {
		_ = conn.CloseNow()
		return nil, verdict{end: ErrProtocol}, ErrProtocol
	}
	conn.SetReadLimit(maxMessage)
	return conn, verdict{}, nil
}

// tokenShape are the characters of a JWT, all of which a subprotocol may have.
var tokenShape = regexp.MustCompile(`^[A-Za-z0-9._~+/=-]+$`)
