package session

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"confgate/internal/confctl"
)

// fakeProvider is a provider without a network, for bubbles.
type fakeProvider struct {
	mu       sync.Mutex
	password string
	life     time.Duration
	// token, refresh, wsToken and dial are asked first; an error of theirs is the answer.
	onToken, onRefresh, onWSToken, onDial func() error
	fulls                                 func() [][]byte // what a Subscribe brings
	refuse                                func(types []string) int64
	silent                                atomic.Bool  // no answers to heartbeats
	stuck                                 atomic.Bool  // no room for what is written
	beats                                 atomic.Int64 // heartbeats that came
	roster                                *confctl.RealTimeInfo

	calls  []string
	times  []time.Time
	wires  []*fakeWire
	tokens int
}

func newFakeProvider() *fakeProvider {
	return &fakeProvider{password: "right", life: 30 * time.Minute, fulls: func() [][]byte { return nil }}
}

func (p *fakeProvider) note(call string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls, p.times = append(p.calls, call), append(p.times, time.Now())
	hook := map[string]func() error{
		"token": p.onToken, "refresh": p.onRefresh, "wsToken": p.onWSToken, "dial": p.onDial,
	}[call]
	if hook != nil {
		return hook()
	}
	return nil
}

func (p *fakeProvider) with(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn()
}

func (p *fakeProvider) count(call string) int { return len(p.at(call)) }

// at are the times of a call.
func (p *fakeProvider) at(call string) []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	var times []time.Time
	for i, c := range p.calls {
		if c == call {
			times = append(times, p.times[i])
		}
	}
	return times
}

// wire is the newest socket.
func (p *fakeProvider) wire() *fakeWire {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wires[len(p.wires)-1]
}

func refusalOf(api, code string, sentPassword bool) error {
	return &confctl.Error{API: api, HTTPStatus: 400, Code: code, Class: confctl.Classify(code, 400, sentPassword)}
}

func (p *fakeProvider) answer() confctl.Token {
	p.tokens++
	return confctl.Token{Token: confctl.NewSecret(fmt.Sprintf("canary-token-%d", p.tokens)), WSURL: "wss://provider", Life: p.life}
}

func (p *fakeProvider) token(_ context.Context, _ string, password confctl.Secret) (confctl.Token, error) {
	if err := p.note("token"); err != nil {
		return confctl.Token{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if password.Reveal() != p.password {
		return confctl.Token{}, refusalOf("token", "MMC.111072065", true)
	}
	return p.answer(), nil
}

func (p *fakeProvider) refresh(context.Context, string, confctl.Secret) (confctl.Token, error) {
	if err := p.note("refresh"); err != nil {
		return confctl.Token{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answer(), nil
}

func (p *fakeProvider) wsToken(context.Context, string, confctl.Secret) (confctl.Secret, error) {
	return confctl.NewSecret("canary-ws"), p.note("wsToken")
}

func (p *fakeProvider) realTimeInfo(context.Context, string, confctl.Secret) (*confctl.RealTimeInfo, error) {
	if err := p.note("realTimeInfo"); err != nil || p.roster == nil {
		return nil, refusalOf("realTimeInfo", "MMC.111070003", false)
	}
	return p.roster, nil
}

func (p *fakeProvider) dial(context.Context, string, string, confctl.Secret) (wire, error) {
	if err := p.note("dial"); err != nil {
		return nil, err
	}
	w := &fakeWire{p: p, in: make(chan []byte, 4096), down: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wires = append(p.wires, w)
	return w, nil
}

// fakeWire is a socket whose other end is the fakeProvider.
type fakeWire struct {
	p      *fakeProvider
	in     chan []byte
	down   chan struct{}
	once   sync.Once
	why    error
	polite atomic.Bool // the session said goodbye
}

func (w *fakeWire) Read(into []byte) ([]byte, error) {
	select {
	case f := <-w.in:
		return append(into, f...), nil
	default:
	}
	select {
	case f := <-w.in:
		return append(into, f...), nil
	case <-w.down:
		return into, w.why
	}
}

func (w *fakeWire) Write(frame []byte) error {
	select {
	case <-w.down:
		return w.why
	default:
	}
	if w.p.stuck.Load() {
		<-w.down
		return w.why
	}
	var req struct{ Action, Sequence, Data string }
	if err := json.Unmarshal(frame, &req); err != nil {
		return err
	}
	switch req.Action {
	case "HeartBeat":
		w.p.beats.Add(1)
		if !w.p.silent.Load() {
			w.in <- fmt.Appendf(nil, `{"action":"HeartBeat","sequence":%q}`, req.Sequence)
		}
	case "Subscribe":
		_ = w.p.note("subscribe")
		var data struct{ SubscribeType []string }
		if err := json.Unmarshal([]byte(req.Data), &data); err != nil {
			return err
		}
		code := int64(0)
		w.p.with(func() {
			if w.p.refuse != nil {
				code = w.p.refuse(data.SubscribeType)
			}
		})
		if w.closed() {
			return nil
		}
		w.in <- fmt.Appendf(nil, `{"action":"Subscribe","sequence":%q,"data":{"returnCode":%d}}`, req.Sequence, code)
		if code == 0 {
			w.p.mu.Lock()
			fulls := w.p.fulls
			w.p.mu.Unlock()
			for _, f := range fulls() {
				w.in <- f
			}
		}
	}
	return nil
}

func (w *fakeWire) fail(err error) {
	w.once.Do(func() {
		w.why = err
		close(w.down)
	})
}

func (w *fakeWire) Close() {
	w.polite.Store(true)
	w.fail(io.EOF)
}

func (w *fakeWire) CloseNow() { w.fail(io.EOF) }

// closed says whether the socket is down.
func (w *fakeWire) closed() bool {
	select {
	case <-w.down:
		return true
	default:
		return false
	}
}
