package edge

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t, nil)
		const clients = 4
		closed := make(chan time.Time, clients)
		for range clients {
			c := w.connect(ScopeRead)
			c.send(`{"type":"subscribe","conference":"900","topics":[]}`)
			c.next()
			go func() {
				c.wantClosed(1001)
				closed <- time.Now()
			}()
		}
		start := time.Now()
		drained := make(chan error, 1)
		go func() { drained <- w.srv.Drain(context.Background(), 8*time.Second) }()
		synctest.Wait()
		late := w.dial(nil, subprotocol, bearerPrefix+token(t, Claims{}))
		late.wantClosed(1001)
		if err := <-drained; err != nil {
			t.Errorf("Drain = %v, want nil", err)
		}
		for i := range clients {
			if at := (<-closed).Sub(start); at != time.Duration(i)*2*time.Second {
				t.Errorf("client %d closed after %v, want %v: evenly spread", i, at, time.Duration(i)*2*time.Second)
			}
		}
		if got := w.metric("downstream_closed_total", "reason", "leaving"); got != clients+1 {
			t.Errorf("closed{leaving} = %v, want %d", got, clients+1)
		}
	})
}

// Draining ends when its time is over, with clients that don't go cut off.
func TestDrainTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t, nil)
		for range 3 {
			w.connect(ScopeRead) // none of them reads on
		}
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		start := time.Now()
		if err := w.srv.Drain(ctx, time.Hour); err == nil || time.Since(start) != 3*time.Second {
			t.Errorf("Drain = %v after %v, want an error after 3s", err, time.Since(start))
		}
		if got := w.metric("downstream_connections"); got != 0 {
			t.Errorf("connections = %v, want 0", got)
		}
	})
}

// Refused clients that keep coming don't keep a draining worker.
func TestDrainDoesNotWaitForRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t, nil)
		lingering := w.dial(nil, subprotocol) // without a token, and it doesn't answer its close frame
		synctest.Wait()
		start := time.Now()
		if err := w.srv.Drain(context.Background(), 0); err != nil || time.Since(start) != 0 {
			t.Errorf("Drain = %v after %v, want nil at once", err, time.Since(start))
		}
		lingering.wantClosed(4401)
	})
}
