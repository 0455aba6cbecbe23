package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// Libraries write to standard error by themselves, where nobody parses it: the Redis client several times a second while
// Redis is away, the HTTP client whatever follows an answer, which may be half of a token.
func TestLogHoldsNobodyElsesLines(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 100)
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"+`{},"token":"canary"}`)
	}))
	t.Cleanup(provider.Close)
	for name, tt := range map[string]struct {
		flag, value string
		seen        func(stderr *lines)
	}{
		"Redis is away": {"--redis-url", "redis://127.0.0.1:1", func(stderr *lines) { stderr.match(t, "store is away") }},
		"answer with a tail": {"--provider-url", provider.URL, func(stderr *lines) {
			stderr.match(t, "link can't be opened")
			<-asked
			<-asked
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stderr := newLines()
			serve := exec.CommandContext(t.Context(), os.Args[0], "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
				"--auth", "none", "--conference", "1=canary", tt.flag, tt.value)
			serve.Stderr = stderr
			if err := serve.Start(); err != nil {
				t.Fatal(err)
			}
			tt.seen(stderr)
			if err := serve.Process.Signal(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
			if err := serve.Wait(); err != nil {
				t.Errorf("serve ended with %v", err)
			}
			for line := range strings.Lines(stderr.String()) {
				if !json.Valid([]byte(line)) || strings.Contains(line, "canary") {
					t.Errorf("standard error holds %q, want lines of our own log only", line)
				}
			}
		})
	}
}
