package edge

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// In these tests time is a bubble's, and a client takes only what it reads.

func TestHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t, nil)
		c, sub := w.follow()
		for range 5 {
			last := time.Now()
			msg := c.next()
			if quiet := time.Since(last); quiet > 25*time.Second || quiet < 20*time.Second {
				t.Errorf("heartbeat after %v of silence, want it within 25 s and not much earlier", quiet)
			}
			if want := fmt.Sprintf(`{"type":"heartbeat","time":%d}`, time.Now().UnixMilli()); msg != want {
				t.Errorf("message = %s, want %s", msg, want)
			}
		}
		// Where something else is sent often enough, there is none.
		for range 10 {
			<-time.After(20 * time.Second)
			sub.put(text("delta", `{"seq":1}`))
			c.want(`{"seq":1}`)
		}
	})
}

func TestTokenExpires(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		life  time.Duration   // of the first token, from now
		renew []time.Duration // lives of the next ones, each sent 1 s before the one before expires
		end   time.Duration   // when the connection is closed, from now
	}{
		{"at its time", time.Minute, nil, time.Minute},
		{"renewed", time.Minute, []time.Duration{time.Hour}, time.Minute - time.Second + time.Hour},
		{"renewed twice", time.Minute, []time.Duration{time.Minute, time.Minute}, 3*time.Minute - 2*time.Second},
		{"renewed by a shorter one", time.Hour, []time.Duration{time.Minute}, time.Hour - time.Second + time.Minute},
		{"admitted by the leeway", -10 * time.Second, nil, 20 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := bubble(t, nil)
				start := time.Now()
				mint := func(life time.Duration) string {
					return token(t, Claims{Scopes: ScopeRead, Expires: time.Now().Add(life)})
				}
				c := w.dial(nil, subprotocol, bearerPrefix+mint(tt.life))
				c.greet()
				var closed atomic.Int64
				go func() {
					for {
						if _, err := c.read(); err != nil {
							if websocket.CloseStatus(err) == codeUnauthorized {
								closed.Store(int64(time.Since(start)))
							}
							return
						}
					}
				}()
				at := tt.life
				for _, life := range tt.renew {
					<-time.After(time.Until(start.Add(at - time.Second)))
					c.send(`{"type":"auth","token":"` + mint(life) + `"}`)
					at += life - time.Second
				}
				<-time.After(time.Until(start.Add(tt.end + 2*time.Second)))
				synctest.Wait()
				if got := time.Duration(closed.Load()); got < tt.end || got > tt.end+time.Second {
					t.Errorf("closed with 4401 after %v, want %v", got, tt.end)
				}
			})
		})
	}
}

// The server looks at a connection when its token expires, or it needs a heartbeat: also at one whose token was replaced by
// another that expires before either.
func TestRenewedTokenExpiresEarlier(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t, nil)
		c := w.connect(ScopeRead)
		<-time.After(2 * maxTick) // the server has looked, and knows the old token's time
		c.send(`{"type":"auth","token":"` + token(t, Claims{Scopes: ScopeRead, Expires: time.Now().Add(3 * time.Second)}) + `"}`)
		c.next()
		start := time.Now()
		c.wantClosed(codeUnauthorized)
		if lived := time.Since(start); lived < 3*time.Second || lived > 3*time.Second+maxTick {
			t.Errorf("closed after %v, want 3 s", lived)
		}
	})
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t, nil)
		c := w.connect(ScopeRead)
		answers := make(chan string, 1000)
		closed := make(chan error, 1)
		go func() {
			for {
				msg, err := c.read()
				if err != nil {
					closed <- err
					return
				}
				if !strings.Contains(msg, "heartbeat") {
					answers <- msg
				}
			}
		}()
		count := func(n int) (pongs, refused int) {
			for i := range n {
				c.send(fmt.Sprintf(`{"type":"ping","id":"%d"}`, i))
			}
			for range n {
				switch msg := <-answers; {
				case strings.Contains(msg, `"pong"`):
					pongs++
				case strings.Contains(msg, `"code":"rate_limited"`) && strings.Contains(msg, `"id":`):
					refused++
				}
			}
			return pongs, refused
		}
		expect := func(when string, n, wantPongs, wantRefused int) {
			if pongs, refused := count(n); pongs != wantPongs || refused != wantRefused {
				t.Errorf("%s: %d pongs, %d refused; want %d, %d", when, pongs, refused, wantPongs, wantRefused)
			}
		}
		expect("burst", 110, 100, 10)
		<-time.After(time.Second)
		expect("a second later", 60, 50, 10)
		for range 60 { // as much as is allowed, for a minute
			<-time.After(time.Second)
			expect("at the rate", 50, 50, 0)
		}
		<-time.After(time.Minute)
		expect("just tolerable", 200, 100, 100)
		<-time.After(10 * time.Second) // back at the rate, with ten refusals forgiven
		expect("a little is forgiven", 110, 100, 10)
		c.send(`broken`) // whatever it is, it counts
		if err := <-closed; websocket.CloseStatus(err) != codeTooMany {
			t.Errorf("beyond that: %v, want close code 4429", err)
		}
	})
}

// A source that doesn't come back is given up on; what it gives later is closed.
func TestSubscribeTakesTooLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t, nil)
		w.src.answer("900", func(ctx context.Context, _ Request) (*fakeSub, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		c := w.connect(ScopeRead)
		start := time.Now()
		c.send(`{"type":"subscribe","id":"1","conference":"900"}`)
		c.wantError("1", errUnavailable)
		if took := time.Since(start); took != subscribeWait {
			t.Errorf("unavailable after %v, want %v", took, subscribeWait)
		}
		c.alive()
	})
}

func TestPings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t, nil)
		c, sub := w.follow()
		// The client pings, and reads nothing for 20 s: longer than a library waits to write a pong.
		pinged := make(chan error, 1)
		go func() { pinged <- c.ws.Ping(context.Background()) }()
		sub.put(text("snapshot", `"`+strings.Repeat("x", 1<<16)+`"`))
		<-time.After(20 * time.Second)
		c.next()
		sub.put(text("delta", `{"seq":2}`))
		c.want(`{"seq":2}`)
		if err := <-pinged; err != nil {
			t.Errorf("Ping = %v, want nil", err)
		}
	})
}

func TestPingFlood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t, nil)
		c := w.connect(ScopeRead)
		closed := make(chan error, 1)
		go func() {
			_, err := c.read()
			closed <- err
		}()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		for i := range 200 {
			if err := c.ws.Ping(ctx); err != nil {
				t.Fatalf("ping %d: %v", i, err)
			}
		}
		_ = c.ws.Ping(ctx)
		if err := <-closed; websocket.CloseStatus(err) != codeTooMany {
			t.Errorf("after 201 pings at once: %v, want close code 4429", err)
		}
	})
}

// What a subscribe brought when the connection was breaking is let go.
func TestLeavesWithSubscribeInTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t, nil)
		c := w.connect(ScopeRead)
		c.send(`{"type":"ping"}`) // its answer isn't read: the writer is stuck
		synctest.Wait()
		c.send(`{"type":"subscribe","conference":"900"}`)
		sub := <-w.src.subs
		synctest.Wait()
		if got := w.metric("downstream_subscriptions"); got != 0 {
			t.Errorf("subscriptions = %v, want 0: the writer has not come to it", got)
		}
		_ = c.ws.CloseNow()
		<-sub.done
	})
}

// The same where the writer has come to its end already: what is left in the queue is let go, and no more is taken.
func TestFinishLetsGoOfTheQueue(t *testing.T) {
	t.Parallel()
	c := newConn(New(Config{}), Identity{})
	c.setCause(causeLost)
	c.state.Store(writerRunning) // as it is between its last look and finish
	attach := func() (item, *fakeSub) {
		sub := &fakeSub{done: make(chan struct{})}
		return item{kind: itemAttach, conf: "900", live: &live{conf: "900", sub: sub}}, sub
	}
	it, sub := attach()
	if !c.enqueue(it) {
		t.Fatal("enqueue before the end = false, want true")
	}
	c.finish()
	select {
	case <-sub.done:
	default:
		t.Error("the subscription in the queue was left open")
	}
	if it, _ := attach(); c.enqueue(it) {
		t.Error("enqueue after the end = true, want false: nobody would close it")
	}
}

// A connection isn't over before what it has asked of the source has come back: nothing of it outlives Run.
func TestEndWaitsForTheSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t, nil)
		goOn := make(chan struct{})
		w.src.answer("900", func(context.Context, Request) (*fakeSub, error) {
			<-goOn
			return nil, ErrUnavailable
		})
		c := w.connect(ScopeRead)
		c.send(`{"type":"subscribe","conference":"900"}`)
		<-w.src.requests
		_ = c.ws.CloseNow()
		synctest.Wait()
		if got := w.metric("downstream_connections"); got != 1 {
			t.Errorf("connections while the source is still at it = %v, want 1", got)
		}
		close(goOn)
		synctest.Wait()
		if got := w.metric("downstream_connections"); got != 0 {
			t.Errorf("connections afterwards = %v, want 0", got)
		}
	})
}

// A client that doesn't answer the close frame is not waited for much longer.
func TestCloseIsNotAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := bubble(t, nil)
		c := w.connect(ScopeRead)
		start := time.Now()
		w.srv.connections()[0].shut(causeLeaving)
		<-time.After(closeWait / 2)
		// Its messages are ignored now, and taken.
		go func() { _ = c.ws.Write(context.Background(), websocket.MessageText, []byte(`{"type":"ping"}`)) }()
		waitFor(t, w, func() bool { return w.metric("downstream_closed_total", "reason", "leaving") == 1 })
		if took := time.Since(start); took < closeWait || took > 3*closeWait {
			t.Errorf("connection ended after %v, want %v to %v", took, closeWait, 3*closeWait)
		}
	})
}
