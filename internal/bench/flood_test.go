package bench

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestFloodCounts(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		if n == 100 {
			cancel()
		}
		if n%2 == 0 {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		nc, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = nc.Write([]byte("HTTP/1.1 101 Switching Protocols\r\n\r\n"))
		_ = nc.Close()
	}))
	defer server.Close()
	var out bytes.Buffer
	if err := RunFlood(ctx, server.Listener.Addr().String(), &out); err != nil {
		t.Fatal(err)
	}
	var made, upgraded int64
	if _, err := fmt.Sscanf(out.String(), "flooding "+server.Listener.Addr().String()+"\n%d %d\n", &made, &upgraded); err != nil {
		t.Fatalf("%q: %v", out.String(), err)
	}
	// What is under way at the end may count or not.
	if made < 100-attackers || made > asked.Load() || upgraded == 0 || upgraded >= made {
		t.Errorf("%d handshakes, %d upgraded, of %d of which each other was", made, upgraded, asked.Load())
	}
}

func TestFloodsStayHere(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"192.0.2.1:80", "[2001:db8::1]:80", "localhost:80", ""} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if err := RunFlood(ctx, addr, new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), "bench: ") {
			t.Errorf("RunFlood(%q) = %v, want an error", addr, err)
		}
		cancel()
	}
}
