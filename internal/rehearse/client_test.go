package rehearse

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"confgate/internal/gateway"
	"confgate/internal/oracle"
	"confgate/internal/oracle/oracletest"
	"confgate/internal/watch"
)

// silence is the longest time in which nothing was applied.
type silence struct {
	mu   sync.Mutex
	last time.Time // zero: not measuring
	most time.Duration
}

func (s *silence) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.most = time.Now(), 0
}

// heard is called for everything that was applied.
func (s *silence) heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); !s.last.IsZero() {
		s.most, s.last = max(s.most, now.Sub(s.last)), now
	}
}

// end stops measuring and gives the longest silence, the one that still lasts included.
func (s *silence) end() time.Duration {
	s.heard()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = time.Time{}
	return s.most
}

// token is one for one client.
func token(t *testing.T, secret, subject string) string {
	t.Helper()
	text, err := gateway.MintToken(gateway.TokenRequest{
		SecretFile: secret, Scopes: []string{"read", "pii", "secrets"}, Conferences: []string{"*"}, TTL: time.Hour, Subject: subject,
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// socketClient is a client by WebSocket, with the back-off that clients have by default.
type socketClient struct {
	*oracletest.Reader
	silence silence
}

func startSocket(t *testing.T, name, url, conference, secret string, nudge chan<- struct{}) *socketClient {
	t.Helper()
	c := &socketClient{}
	text := token(t, secret, name)
	transport := &http.Transport{}
	client, err := watch.NewClient(watch.Config{
		URL: url, Conference: conference, HTTPClient: &http.Client{Transport: transport},
		Token: func(context.Context) (string, error) { return text, nil },
		OnUpdate: func(m *watch.Message) {
			if m.Type != "status" {
				c.silence.heard()
			}
			select {
			case nudge <- struct{}{}:
			default:
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Reader = &oracletest.Reader{Client: client, Name: name, Conference: conference, Scopes: oracle.Scopes{PII: true, Secrets: true}}
	run(t, name, client.Run)
	t.Cleanup(transport.CloseIdleConnections)
	return c
}

// run runs a client until the test ends.
func run(t *testing.T, name string, client func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- client(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
}

// streamClient is a client by server-sent events, as a browser's EventSource is one.
type streamClient struct {
	name, url, token, conference string

	silence silence
	last    string // id of the last event; the client's goroutine's

	mu       sync.Mutex
	replica  *watch.Replica
	connects int
	refused  int // answers other than 200
}

func startStream(t *testing.T, name, url, conference, secret string) *streamClient {
	t.Helper()
	c := &streamClient{
		name: name, url: url + "/v1/conferences/" + conference + "/events", conference: conference, token: token(t, secret, name),
		replica: watch.NewReplica(),
	}
	run(t, name, c.run)
	return c
}

// streamPause bounds the random time before a client connects anew.
const streamPause = 200 * time.Millisecond

// run connects again and again until ctx is done.
func (c *streamClient) run(ctx context.Context) error {
	for {
		err := c.connection(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-time.After(rand.N(streamPause)):
		case <-ctx.Done():
			return nil
		}
	}
}

// connection follows one answer to its end. An error is one of the stream's content; it ends the client.
func (c *streamClient) connection(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if c.last != "" {
		req.Header.Set("Last-Event-ID", c.last)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return nil // one that can't be made is tried again
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.refused++
		return nil
	}
	c.mu.Lock()
	c.connects++
	c.mu.Unlock()
	return c.events(resp.Body)
}

// events reads events until the body ends, which is no error.
func (c *streamClient) events(body io.Reader) error {
	lines := bufio.NewReader(body)
	var id, data string
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return nil //nolint:nilerr // however it ended, the client comes back
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "id":
			id = value
		case "data":
			data = value
		case "":
			if data == "" {
				continue
			}
			if err := c.take([]byte(data)); err != nil {
				return err
			}
			if id != "" {
				c.last = id
			}
			id, data = "", ""
		}
	}
}

// take applies a message.
func (c *streamClient) take(data []byte) error {
	var m watch.Message
	if err := json.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("event isn't a message: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	switch m.Type {
	case "subscribed":
		c.replica.Subscribed(&m)
	case "snapshot":
		_, err = c.replica.Snapshot(&m)
		c.silence.heard()
	case "delta", "event":
		var outcome watch.Outcome
		outcome, err = c.replica.Change(&m)
		if outcome == watch.Lost {
			err = errors.Join(err, fmt.Errorf("something before %d of %s was lost", m.Seq, m.Topic))
		}
		c.silence.heard()
	}
	return err
}

// report is what the client knows now.
func (c *streamClient) report() (document string, counts watch.Counts, violations []string, connects, refused int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.replica.AppendDocument(nil)), c.replica.Counts(), c.replica.Violations(), c.connects, c.refused
}
