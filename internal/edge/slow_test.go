package edge

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

func TestSlowReaderThatTakesNothing(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		resumes time.Duration // when it reads again; 0: never
		closed  bool          // with 4408
	}{
		{"never reads again", 0, false},
		{"reads again in time", 29 * time.Second, false},
		{"reads again too late", 33 * time.Second, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := bubble(t, nil)
				c, sub := w.follow()
				big := text("snapshot", `"`+strings.Repeat("x", 1<<20)+`"`)
				sub.put(big, text("delta", `{"seq":2}`))
				if tt.resumes == 0 {
					<-sub.done // it was let go
					synctest.Wait()
					if got := w.metric("downstream_closed_total", "reason", "too_slow"); got != 1 {
						t.Errorf("closed{too_slow} = %v, want 1", got)
					}
					if n := w.logs.FilterMessage("client closed").Len(); n != 1 {
						t.Errorf("log lines = %d, want 1", n)
					}
					return
				}
				<-time.After(tt.resumes)
				c.want(string(big.Bytes)) // whole
				if tt.closed {
					c.wantClosed(4408)
					return
				}
				c.want(`{"seq":2}`)
				c.alive()
			})
		})
	}
}

func TestSlowReaderThatTakesALittle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t, nil)
		c, sub := w.follow()
		// The client reads what its library reads at once, 4 KiB, every 25 s: the message takes it more than an hour.
		msg := `"` + strings.Repeat("x", 1<<20) + `"`
		sub.put(text("snapshot", msg), text("delta", `{"seq":2}`))
		start := time.Now()
		_, r, err := c.ws.Reader(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for buf := make([]byte, 4096); got < len(msg); {
			n, err := r.Read(buf)
			if err != nil {
				t.Fatalf("after %d bytes and %v: %v", got, time.Since(start), err)
			}
			got += n
			<-time.After(25*time.Second + 7*time.Millisecond) // never just when a heartbeat is due
		}
		if took := time.Since(start); took < time.Hour {
			t.Fatalf("the client took it all in %v, want it slower than an hour", took)
		}
		if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Fatalf("after the message: %d bytes, %v; want its end", n, err)
		}
		c.want(`{"seq":2}`)
		c.alive()
	})
}

// The feed wakes readers in its own loop: one whose client is stuck must cost it nothing.
func TestWakeDoesNotBlock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t, nil)
		c, sub := w.follow()
		sub.put(text("delta", `{"seq":1}`)) // nobody reads it: the writer is stuck
		synctest.Wait()
		start := time.Now()
		for range 1000 {
			sub.wakeAnyway()
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("1000 wakes of a stuck reader took %v, want no time", took)
		}
		c.want(`{"seq":1}`)
		c.alive()
	})
}

// A client that asks without reading is held up, not buffered for.
func TestReaderWaitsForWriter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t, func(c *Config) { c.MessageRate = -1 })
		c := w.connect(ScopeRead)
		const all = 5 * maxQueue
		var sent atomic.Int64
		go func() {
			for i := range all {
				if err := c.ws.Write(context.Background(), websocket.MessageText, fmt.Appendf(nil, `{"type":"ping","id":"%d"}`, i)); err != nil {
					return
				}
				sent.Add(1)
			}
		}()
		synctest.Wait()
		if n := sent.Load(); n < maxQueue || n > 2*maxQueue+300 { // what lies in buffers on the way comes on top
			t.Errorf("the server took %d messages from a client that doesn't read, want about %d", n, maxQueue)
		}
		for i := range all {
			c.want(fmt.Sprintf(`{"type":"pong","id":"%d"}`, i))
		}
	})
}

// A reader that is held up goes on when its client is given up, though nobody takes what it waits for: else the connection
// would stay for ever.
func TestHeldUpReaderIsLetGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newConn(New(Config{Source: newFakeSource(), Auth: Anyone{}}), Identity{})
		nc, peer := net.Pipe()
		defer func() { _ = peer.Close() }()
		c.nc = nc
		c.queue = make([]item, maxQueue)
		held := make(chan struct{})
		go func() {
			c.waitForWriter()
			close(held)
		}()
		synctest.Wait()
		c.written(errStalled, opText, time.Now())
		<-held
	})
}
