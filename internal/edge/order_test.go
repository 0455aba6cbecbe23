package edge

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// However subscribes, replacements, failures, unsubscribes and releases of several conferences fall together: a client
// sees frames of exactly the subscription that was last confirmed, from its first frame on, without a gap, and nothing
// once it has ended.
func TestOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			const requests, confs = 400, 3
			w := loopback(t, func(c *Config) { c.MessageRate = -1 })
			f := &feeder{rnd: rand.New(rand.NewPCG(seed, 1)), round: make(chan struct{}, 1)}
			for i := range confs {
				w.src.answer(fmt.Sprintf("c%d", i), f.subscribe)
			}
			c := w.connect(ScopeRead)
			stop, window := make(chan struct{}), make(chan struct{}, 6) // so many requests are under way at the most
			var others sync.WaitGroup
			others.Go(func() { f.feed(w.src.subs, stop) })
			others.Go(func() {
				rnd := rand.New(rand.NewPCG(seed, 2))
				for i := range requests {
					window <- struct{}{}
					typ := "subscribe"
					if rnd.IntN(3) == 0 {
						typ = "unsubscribe"
					}
					c.send(fmt.Sprintf(`{"type":"%s","id":"%d","conference":"c%d","topics":[]}`, typ, i, rnd.IntN(confs)))
				}
			})
			m := orderModel{t: t, confs: make(map[string]place), seen: make(map[string]int)}
			for answers := 0; answers < requests; {
				if m.message(c.next()) {
					answers++
					<-window
				}
				select {
				case f.round <- struct{}{}:
				default:
				}
			}
			close(stop)
			others.Wait()
			for _, kind := range []string{"subscribed", "asked", "released", "error", "delta"} {
				if m.seen[kind] == 0 {
					t.Errorf("no %q came: the test didn't try what it should", kind)
				}
			}
		})
	}
}

// feeder makes subscriptions with numbered frames, and goes on putting frames into them, ended or not.
type feeder struct {
	round chan struct{} // one more round

	mu  sync.Mutex
	rnd *rand.Rand
	n   int
}

func (f *feeder) subscribe(_ context.Context, req Request) (*fakeSub, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rnd.IntN(4) == 0 {
		return nil, ErrUnavailable
	}
	f.n++
	s := &fakeSub{conf: req.Conference, n: f.n}
	for range f.rnd.IntN(3) {
		s.frames = append(s.frames, s.numbered())
	}
	return s, nil
}

func (s *fakeSub) numbered() Frame {
	s.seq++
	return text("delta", fmt.Sprintf(`{"type":"delta","conference":"%s","sub":%d,"seq":%d}`, s.conf, s.n, s.seq))
}

func (f *feeder) feed(made <-chan *fakeSub, stop <-chan struct{}) {
	var subs []*fakeSub
	for {
		select {
		case <-stop:
			return
		case s := <-made:
			subs = append(subs, s)
		case <-f.round:
		}
		for i, s := range subs {
			f.mu.Lock()
			last := f.rnd.IntN(20) == 0
			f.mu.Unlock()
			if last {
				s.put(Frame{Released: true})
				subs[i] = subs[len(subs)-1]
				subs = subs[:len(subs)-1]
				break
			}
			s.put(s.numbered())
		}
	}
}

// place is where a client is in a conference: in which subscription (0: not known yet) and at which frame.
type place struct {
	live     bool
	sub, seq int
	last     int // the newest subscription that it has seen
}

type orderModel struct {
	t     *testing.T
	confs map[string]place
	seen  map[string]int
}

// message checks a message; true: it answers a request.
func (m *orderModel) message(raw string) (answer bool) {
	m.t.Helper()
	var msg struct {
		Type, Conference, Reason string
		Sub, Seq                 int
	}
	if err := json.Unmarshal([]byte(raw), &msg); err != nil {
		m.t.Fatalf("message %s: %v", raw, err)
	}
	p := m.confs[msg.Conference]
	kind := msg.Type
	switch msg.Type {
	case "subscribed":
		answer = true
		p = place{live: true, last: p.last}
	case "error":
		answer = true
	case "unsubscribed":
		if !p.live {
			m.t.Fatalf("%s, without a subscription", raw)
		}
		kind = msg.Reason
		answer = kind == "asked"
		p.live = false
	case "delta":
		if p.sub == 0 {
			p.sub = msg.Sub
			if p.sub <= p.last {
				m.t.Fatalf("%s, of an old subscription: %+v", raw, p)
			}
			p.last = p.sub
		}
		if p.seq++; !p.live || msg.Sub != p.sub || msg.Seq != p.seq {
			m.t.Fatalf("%s, want a live subscription and frame %d of %d: %+v", raw, p.seq, p.sub, p)
		}
	}
	m.seen[kind]++
	if msg.Conference != "" {
		m.confs[msg.Conference] = p
	}
	return answer
}
