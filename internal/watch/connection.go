package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/coder/websocket"
)

const (
	protocol = "confgate.v1"
	// maxMessage is the largest frame that the protocol allows a server, in bytes.
	maxMessage = 16 << 20
	// connectTimeout bounds the handshake, and the wait for "welcome" after it.
	connectTimeout = 10 * time.Second
	// writeTimeout bounds one small message to the server.
	writeTimeout = 10 * time.Second
	// goodbyeTime is how long the closing handshake may take.
	goodbyeTime = 500 * time.Millisecond
	// defaultHeartbeat is assumed where "welcome" doesn't say.
	defaultHeartbeat = 25 * time.Second
)

var (
	errSilence = errors.New("watch: the server fell silent")
	errWelcome = errors.New("watch: the server did not greet")
)

// dialError keeps of an error what is safe to show: a status, or the network's own words.
func dialError(status int, err error) error {
	if status != 0 {
		return fmt.Errorf("watch: handshake: HTTP %d", status)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Errorf("watch: dial: %w", op)
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Errorf("watch: dial: %w", dns)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("watch: dial: timed out")
	}
	return errors.New("watch: dial: handshake failed")
}

// session is one connection's state, owned by Run.
type session struct {
	c         *Client
	conn      *websocket.Conn
	silence   *time.Timer // since the last frame
	limit     time.Duration
	retry     *time.Timer // to subscribe again
	renew     *time.Timer // to renew the token
	patience  *backoff.ExponentialBackOff
	request   string // the id of the subscribe that wasn't answered yet
	resumed   bool   // it asked to resume
	authID    string
	connected bool
}

// stopped is a timer that doesn't run.
func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// connection dials and serves one connection until it ends.
func (c *Client) connection(ctx context.Context) (verdict, error) {
	c.connect = time.Time{}
	conn, v, err := c.dial(ctx)
	if err != nil {
		return v, err
	}
	s := &session{
		c: c, conn: conn, silence: time.NewTimer(connectTimeout), limit: connectTimeout, retry: stopped(), renew: stopped(),
		patience: newBackoff(c.cfg.MinBackoff, c.cfg.MaxBackoff),
	}
	frames := make(chan []byte)
	// Reading has a context of its own: one that ends breaks the connection, and ctx must leave time for a goodbye.
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	var reader sync.WaitGroup
	var readErr error
	reader.Go(func() {
		defer close(frames)
		readErr = read(reading, conn, frames)
	})
	c.setConn(conn)
	v, err = s.serve(ctx, frames)
	c.setConn(nil)
	c.update(func(r *Report) { r.Connected = false })
	if ctx.Err() != nil || v.end != nil {
		s.goodbye(frames)
	}
	stop()
	_ = conn.CloseNow()
	for range frames { // what the reader was about to hand over
	}
	reader.Wait()
	for _, t := range []*time.Timer{s.silence, s.retry, s.renew} {
		t.Stop()
	}
	if v.end == nil && err == nil { // the reader's end is the connection's
		code := websocket.CloseStatus(readErr)
		return judge(code), closed(code)
	}
	return v, err
}

// closed says how a connection ended; reasons that a server gives are left out, since codes say it all.
func closed(code websocket.StatusCode) error {
	if code == -1 {
		return errors.New("watch: connection broke")
	}
	return fmt.Errorf("watch: closed with %d", code)
}

func read(ctx context.Context, conn *websocket.Conn, frames chan<- []byte) error {
	for {
		_, data, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		select {
		case frames <- data:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *Client) setConn(conn *websocket.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = conn
}

// goodbye closes the connection in order, but not at the price of a wait.
func (s *session) goodbye(frames <-chan []byte) {
	var closing sync.WaitGroup
	closing.Go(func() {
		late := time.AfterFunc(goodbyeTime, func() { _ = s.conn.CloseNow() })
		_ = s.conn.Close(websocket.StatusNormalClosure, "")
		late.Stop()
	})
	for range frames {
	}
	closing.Wait()
}

// serve is the connection's loop. No verdict and no error mean that the reader has ended.
func (s *session) serve(ctx context.Context, frames <-chan []byte) (verdict, error) {
	for {
		select {
		case <-ctx.Done():
			return verdict{}, context.Cause(ctx)
		case frame, ok := <-frames:
			if !ok {
				return verdict{}, nil
			}
			if v, err := s.frame(ctx, frame); err != nil {
				return v, err
			}
			s.silence.Reset(s.limit) // the time that hooks took doesn't count
		case <-s.silence.C:
			if !s.connected {
				return verdict{}, errWelcome
			}
			return verdict{}, errSilence
		case <-s.retry.C:
			if err := s.subscribe(ctx); err != nil {
				return verdict{}, err
			}
		case <-s.renew.C:
			if err := s.renewToken(ctx); err != nil {
				return verdict{}, err
			}
		}
	}
}

func (s *session) frame(ctx context.Context, frame []byte) (verdict, error) {
	list, err := split(frame)
	if err != nil {
		return verdict{}, err
	}
	for _, raw := range list {
		if s.c.cfg.OnMessage != nil {
			s.c.cfg.OnMessage(raw)
		}
		m, err := decode(raw)
		if err != nil {
			return verdict{}, err
		}
		s.c.update(func(r *Report) { r.Messages++ })
		if v, err := s.message(ctx, m); err != nil {
			return v, err
		}
	}
	return verdict{}, nil
}

func (s *session) message(ctx context.Context, m *Message) (verdict, error) {
	switch m.Type {
	case "welcome":
		return verdict{}, s.welcome(ctx, m)
	case "error":
		return s.refusal(m)
	}
	if m.Conference != s.c.cfg.Conference {
		return verdict{}, nil
	}
	switch m.Type {
	case "subscribed":
		s.subscribed(m)
	case "unsubscribed":
		if m.Reason == "released" {
			return verdict{end: ErrReleased}, ErrReleased
		}
	case "status":
		s.c.update(func(r *Report) { r.Fresh, r.Stale, r.StaleSince = m.Fresh, m.Reason, m.Since })
		s.tell(m)
	case "snapshot":
		return verdict{}, s.snapshot(m)
	case "delta", "event":
		return verdict{}, s.change(ctx, m)
	}
	return verdict{}, nil // a type of a newer protocol
}

func (s *session) welcome(ctx context.Context, m *Message) error {
	heartbeat := defaultHeartbeat
	if m.HeartbeatMs > 0 {
		heartbeat = time.Duration(m.HeartbeatMs) * time.Millisecond
	}
	s.limit = 2 * heartbeat
	s.silence.Reset(s.limit)
	s.c.update(func(r *Report) { r.Worker = m.Worker })
	s.renew.Stop()
	if m.Expires > 0 {
		left := time.Until(time.UnixMilli(m.Expires))
		s.renew.Reset(max(left-min(left/3, time.Minute), 0))
	}
	if s.connected && (s.authID == "" || m.ID != s.authID) {
		return nil
	}
	// At first, and after a renewed token, whose scopes may be others: the view decides whether that can be resumed.
	if !s.connected {
		s.c.connect = time.Now()
		s.c.update(func(r *Report) { r.Connects++ })
	}
	s.connected, s.authID = true, ""
	return s.subscribe(ctx)
}

func (s *session) subscribe(ctx context.Context) error {
	s.retry.Stop()
	s.request = s.nextID()
	s.c.mu.Lock()
	resume := s.c.replica.Resume()
	s.c.mu.Unlock()
	s.resumed = resume != nil
	return s.send(ctx, subscribeMessage{"subscribe", s.request, s.c.cfg.Conference, s.c.cfg.Topics, resume})
}

// subscribed takes the answer to the newest subscribe; older ones don't count any more.
func (s *session) subscribed(m *Message) {
	if m.ID != s.request {
		return
	}
	s.request = ""
	s.patience.Reset()
	s.c.mu.Lock()
	s.c.replica.Subscribed(m)
	st := &s.c.state
	st.Connected, st.Fresh, st.Stale, st.StaleSince = true, true, "", 0 // a status follows where it isn't fresh
	switch {
	case m.Recovered:
		st.Recovered++
	case s.resumed:
		st.Refused++
	}
	s.c.mu.Unlock()
	s.c.notice(Notice{State: Subscribed})
}

func (s *session) snapshot(m *Message) error {
	s.c.mu.Lock()
	news, err := s.c.replica.Snapshot(m)
	s.c.mu.Unlock()
	if err != nil {
		return err
	}
	for i := range news {
		s.tell(&news[i])
	}
	s.tell(m)
	return nil
}

func (s *session) change(ctx context.Context, m *Message) error {
	s.c.mu.Lock()
	outcome, err := s.c.replica.Change(m)
	s.c.mu.Unlock()
	switch {
	case err != nil:
		return err
	case outcome == Lost:
		return s.subscribe(ctx)
	case outcome == Applied:
		s.tell(m)
	}
	return nil
}

// refusal takes an error message; one that answers neither the subscribe nor the auth under way is of no concern.
func (s *session) refusal(m *Message) (verdict, error) {
	switch {
	case m.ID != "" && m.ID == s.request:
		v := judgeError(m.Code, m.Text)
		if v.end != nil {
			return v, v.end
		}
		s.request = ""
		d := s.c.lengthen(s.patience.NextBackOff(), v.busy)
		s.retry.Reset(d)
		s.c.notice(Notice{State: Waiting, Err: fmt.Errorf("watch: subscribe: %s", clean(m.Code)), Wait: d})
	case m.ID != "" && m.ID == s.authID:
		s.authID = "" // the old token still holds, for a while
	}
	return verdict{}, nil
}

func (s *session) renewToken(ctx context.Context) error {
	token, err := s.c.cfg.Token(ctx)
	if err != nil || token == s.c.token || !tokenShape.MatchString(token) {
		return nil //nolint:nilerr // nothing better to offer: the server will say when the token has ended
	}
	s.c.token = token
	s.authID = s.nextID()
	return s.send(ctx, authMessage{"auth", s.authID, token})
}

func (s *session) tell(m *Message) {
	if s.c.cfg.OnUpdate != nil {
		s.c.cfg.OnUpdate(m)
	}
}

func (s *session) nextID() string {
	s.c.lastID++
	return strconv.Itoa(s.c.lastID)
}

func (s *session) send(ctx context.Context, message any) error {
	data, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("watch: encode: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	_ = s.conn.Write(ctx, websocket.MessageText, data) // where it fails the connection is gone, and the reader knows why
	return nil
}

// clean makes a server's text harmless to a terminal and short.
func clean(text string) string {
	const most = 200
	text = printable(text)
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
