package watch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestClientTokens(t *testing.T) {
	t.Parallel()
	tokens := make(chan string, 4)
	for _, token := range []string{"a.b.c", "d.e.f", "g.h.i", "g.h.i"} {
		tokens <- token
	}
	refuse := func(want string) act {
		return func(s *stage) {
			if s.offered != "confgate.v1,bearer."+want {
				s.t.Errorf("offered subprotocols = %q, want the token %s", s.offered, want)
			}
			s.close(4401)
		}
	}
	url := play(t, refuse("a.b.c"), refuse("g.h.i"))
	// The first is refused, the second shows that there is another one, the third connects and is refused: that is final.
	err := run(t, Config{URL: url, Token: func(context.Context) (string, error) { return <-tokens, nil }}).end()
	if !errors.Is(err, ErrUnauthorized) {
		t.Errorf("Run = %v, want %v", err, ErrUnauthorized)
	}
	if strings.Contains(err.Error(), "g.h.i") {
		t.Errorf("Run = %q, which shows the token", err)
	}
}

func TestClientRenewsItsToken(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	url := play(t, func(s *stage) {
		s.send(fmt.Sprintf(`{"type":"welcome","worker":"gw-0","session":"s","time":1,"heartbeatMs":25000,"scopes":["read"],"expires":%d}`,
			time.Now().Add(30*time.Millisecond).UnixMilli()))
		s.subscribe = s.receive()
		s.grant(false)
		s.snapshot("e1", 1, `{}`)
		auth := s.receive()
		if auth["type"] != "auth" || auth["token"] != "token2" {
			s.t.Errorf("the client sent %v, want auth with token2", auth)
			return
		}
		s.send(fmt.Sprintf(`{"type":"welcome","id":%q,"worker":"gw-0","session":"s","time":1,"heartbeatMs":25000,"scopes":["read","pii"],"expires":%d}`,
			auth["id"], time.Now().Add(time.Hour).UnixMilli()))
		// Other scopes are another view: the client asks again, and the server decides.
		s.subscribe = s.receive()
		if s.resume() != "e1/v/1" {
			s.t.Errorf("after the renewal the client sent %v, want a subscribe with resume", s.subscribe)
		}
		s.grant(false)
		s.snapshot("e1", 1, `{"participants":{"p1":{"phone":"+1"}}}`)
		s.wait()
	})
	r := run(t, Config{URL: url, Token: func(context.Context) (string, error) { return fmt.Sprint("token", asked.Add(1)), nil }})
	if got := r.untilDocument(`{"participants":{"p1":{"phone":"+1"}}}`); got.Connects != 1 {
		t.Errorf("connects = %d, want 1", got.Connects)
	}
}

func TestClientHandshake(t *testing.T) {
	t.Parallel()
	const token = "secret.token.value"
	tests := []struct {
		name   string
		answer http.HandlerFunc
		want   error // nil: tried again
	}{
		{"401", status(401), ErrUnauthorized},
		{"403", status(403), ErrForbidden},
		{"404", status(404), ErrProtocol},
		{"200", status(200), ErrProtocol},
		{"429", status(429), nil},
		{"500", status(500), nil},
		{"503", status(503), nil},
		{"redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, ErrProtocol},
		{"another upgrade", hijack("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"), ErrProtocol},
		{"not HTTP", hijack("SSH-2.0-OpenSSH_9.2\r\n"), nil},
		{"no subprotocol", func(w http.ResponseWriter, r *http.Request) {
			if conn, err := websocket.Accept(w, r, nil); err == nil {
				_, _, _ = conn.Read(r.Context())
			}
		}, ErrProtocol},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var tries, elsewhere atomic.Int64
			again := make(chan struct{})
			mux := http.NewServeMux()
			mux.HandleFunc("/v1/ws", func(w http.ResponseWriter, r *http.Request) {
				if tries.Add(1) == 2 {
					close(again)
				}
				tt.answer(w, r)
			})
			mux.HandleFunc("/elsewhere", func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) })
			server := httptest.NewServer(mux)
			t.Cleanup(server.Close)
			var notes []string
			r := run(t, Config{
				URL: server.URL, Token: func(context.Context) (string, error) { return token, nil },
				OnNotice: func(n Notice) { notes = append(notes, fmt.Sprint(n.Err)) },
			})
			if tt.want == nil {
				select {
				case <-again:
				case <-time.After(patience):
					t.Error("the client didn't try again")
				}
				r.stop()
			}
			err := r.end()
			if !errors.Is(err, tt.want) {
				t.Errorf("Run = %v, want %v", err, tt.want)
			}
			if said := fmt.Sprint(err, notes); strings.Contains(said, token) {
				t.Errorf("the token is in an error: %s", said)
			}
			if elsewhere.Load() != 0 {
				t.Error("the client followed a redirect, with its token")
			}
		})
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// hijack answers with raw bytes and hangs up.
func hijack(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = conn.Write([]byte(answer))
		_ = conn.Close()
	}
}

func TestClientSaysGoodbye(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	url := play(t, func(s *stage) {
		s.greet()
		s.grant(false)
		s.snapshot("e1", 1, `{"participants":{}}`)
		_, _, err := s.conn.Read(s.ctx)
		ended <- err
	})
	r := run(t, Config{URL: url})
	r.untilDocument(`{"participants":{}}`)
	r.stop()
	if err := r.end(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if err := <-ended; !strings.Contains(fmt.Sprint(err), "StatusNormalClosure") {
		t.Errorf("the server saw %v, want a normal closure", err)
	}
}
