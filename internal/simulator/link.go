package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"confgate/internal/confctl"

	"github.com/coder/websocket"
)

const (
	writeTimeout    = 10 * time.Second // a client that takes nothing for so long is gone
	maxRequestBytes = 1 << 20
	// closeTime is how long a link has to answer a close frame.
	closeTime = time.Second
)

// ending says how a link is to be closed.
type ending struct {
	code   websocket.StatusCode
	reason string
	abrupt bool // without a close frame
}

// due is something that a link will send: a full frame made at that moment, or an answer.
type due struct {
	at     time.Time
	kind   confctl.Kind
	answer []byte // nil: the full frame of kind
}

// link is one WebSocket for one conference. Its reader is the handler's goroutine, its writer the only one that sends.
type link struct {
	// immutable
	room    *room
	conn    *websocket.Conn
	session *session
	wsURL   string
	dialled time.Time
	wake    chan struct{} // holds one: there is something for the writer
	cancel  context.CancelFunc

	// guarded by room.mu
	kinds   uint32 // subscribed, by 1<<Kind
	pending [][]byte
	bytes   int
	due     []due  // by time
	held    []byte // an increment that waits for the next frame to change places with
	ending  *ending
	beat    time.Time // of the last heartbeat, at first of the dialling
	cutAt   float64   // this link's share of FaultPlan.Cut
	abrupt  bool      // how it is cut
	mutes   [3]bool   // which of silent, half-open and deaf have been counted
	healed  chan struct{}
}

func (l *link) subscribed(k confctl.Kind) bool { return l.kinds&(1<<k) != 0 }

// old reports whether a fault of long-lived links has come over l, and counts it once. Healing the plan undoes it.
func (l *link) old(f fault, after time.Duration, now time.Time) bool {
	if after <= 0 || now.Sub(l.dialled) < after {
		return false
	}
	if i := f - faultSilent; !l.mutes[i] {
		l.mutes[i] = true
		l.room.fired.add(f)
	}
	return true
}

// mute says whether l sends nothing now.
func (l *link) mute(now time.Time) bool {
	silent := l.old(faultSilent, l.room.plan.Silent, now)
	return l.frozen(now) || silent
}

// frozen says whether l neither reads nor sends now.
func (l *link) frozen(now time.Time) bool { return l.old(faultHalfOpen, l.room.plan.HalfOpen, now) }

// pongs says whether l answers pings now.
func (l *link) pongs() bool {
	l.room.mu.Lock()
	defer l.room.mu.Unlock()
	return !l.deaf(time.Now())
}

// deaf says whether l answers nothing now.
func (l *link) deaf(now time.Time) bool {
	deaf := l.old(faultDeaf, l.room.plan.Deaf, now)
	return l.mute(now) || deaf
}

// push queues a frame. A link whose client leaves too much unread is cut off.
func (l *link) push(frame []byte) {
	if l.ending != nil {
		return
	}
	l.pending = append(l.pending, frame)
	l.bytes += len(frame)
	if l.bytes > l.room.cfg.QueueBytes {
		l.pending, l.bytes = nil, 0
		l.ending = &ending{abrupt: true}
		l.cancel()
	}
	l.signal()
}

// pass queues a frame, and behind it the one that was to change places with it.
func (l *link) pass(frame []byte) {
	l.push(frame)
	if l.held != nil {
		l.room.fired.add(faultSwap)
		l.release()
	}
}

func (l *link) release() {
	if held := l.held; held != nil {
		l.held = nil
		l.push(held)
	}
}

func (l *link) later(d due) {
	i, _ := slices.BinarySearchFunc(l.due, d, func(a, b due) int {
		if a.at.After(b.at) {
			return 1
		}
		return -1 // behind what is due at the same time
	})
	l.due = slices.Insert(l.due, i, d)
}

func (l *link) closing(e ending) {
	if l.ending == nil {
		l.release()
		l.ending = &e
		l.signal()
	}
}

func (l *link) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// collect is what the writer has to do now: write a batch, then perhaps close; and when to come again unasked.
func (l *link) collect() (batch [][]byte, end *ending, wait time.Duration) {
	r := l.room
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	mute := l.mute(now)
	deaf := l.deaf(now)
	for len(l.due) > 0 && !l.due[0].at.After(now) {
		d := l.due[0]
		l.due = slices.Delete(l.due, 0, 1)
		switch {
		case d.answer != nil && !deaf:
			l.push(d.answer)
		case d.answer == nil && !deaf:
			l.sendFull(d.kind)
		}
	}
	if mute {
		l.pending, l.bytes, l.held = nil, 0, nil
	}
	wait = l.deadlines(now)
	if l.ending != nil && mute {
		l.ending.abrupt = true // nothing is sent, a close frame neither
	}
	batch, l.pending, l.bytes = l.pending, nil, 0
	return batch, l.ending, wait
}

func (l *link) sendFull(k confctl.Kind) {
	r := l.room
	if r.phase != Running {
		return
	}
	if body, ok := r.world.full(nil, k); ok {
		l.pass(r.seal(k, k.String(), confctl.Full, body))
	}
}

// deadlines closes l where one of its times is up, and returns how long the next one is away.
func (l *link) deadlines(now time.Time) time.Duration {
	r := l.room
	wait := time.Hour
	by := func(at time.Time, up func()) {
		if left := at.Sub(now); left > 0 {
			wait = min(wait, left)
		} else {
			up()
		}
	}
	if len(l.due) > 0 {
		by(l.due[0].at, func() {})
	}
	by(l.beat.Add(r.cfg.SilenceLimit), func() {
		l.closing(ending{code: websocket.StatusPolicyViolation, reason: "no heartbeat"})
	})
	if r.plan.Cut > 0 {
		by(l.dialled.Add(time.Duration(l.cutAt*float64(r.plan.Cut))), func() {
			if l.ending == nil {
				r.fired.add(faultCut)
			}
			l.closing(ending{code: websocket.StatusGoingAway, reason: "cut", abrupt: l.abrupt})
		})
	}
	for _, age := range []time.Duration{r.plan.Silent, r.plan.HalfOpen, r.plan.Deaf} {
		if age > 0 {
			by(l.dialled.Add(age), func() {})
		}
	}
	by(l.session.expiry(), func() {
		if l.session.early() {
			r.fired.add(faultExpire)
		}
		l.closing(ending{code: websocket.StatusPolicyViolation, reason: "control token expired"})
	})
	return wait
}

// write sends until the link ends. It is the only one that writes to the connection.
func (l *link) write(ctx context.Context) {
	defer l.cancel()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		batch, end, wait := l.collect()
		if end != nil && end.abrupt {
			return // with what was still to be sent
		}
		for _, frame := range batch {
			if err := l.send(ctx, frame); err != nil {
				return
			}
		}
		if end != nil {
			l.goodbye(*end)
			return
		}
		timer.Reset(wait)
		select {
		case <-l.wake:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

func (l *link) send(ctx context.Context, frame []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return l.conn.Write(ctx, websocket.MessageText, frame)
}

// goodbye sends the close frame and gives the client a moment to answer it.
func (l *link) goodbye(e ending) {
	stop := time.AfterFunc(closeTime, l.cancel)
	defer stop.Stop()
	// The client may be gone already; then there is nobody to tell.
	_ = l.conn.Close(e.code, e.reason)
}

// reject closes a connection that never became a link.
func reject(ctx context.Context, conn *websocket.Conn, code websocket.StatusCode, reason string) {
	ctx, cancel := context.WithTimeout(ctx, closeTime)
	defer cancel()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = conn.Close(code, reason)
	}()
	for { // until the client has answered, or its time is up
		if _, _, err := conn.Read(ctx); err != nil {
			break
		}
	}
	<-closed
}

// read handles requests until the link ends.
func (l *link) read(ctx context.Context, p *Provider) {
	l.conn.SetReadLimit(maxRequestBytes)
	for {
		if err := l.thaw(ctx); err != nil {
			return
		}
		_, data, err := l.conn.Read(ctx)
		if err != nil {
			return
		}
		l.handle(p, data)
	}
}

// thaw waits while the half-open fault keeps l from reading. A read that is under way when the fault comes is the last one.
func (l *link) thaw(ctx context.Context) error {
	for {
		l.room.mu.Lock()
		frozen, healed := l.frozen(time.Now()), l.healed
		l.room.mu.Unlock()
		if !frozen {
			return nil
		}
		select {
		case <-healed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// request is any frame from a client.
type request struct {
	Action   string          `json:"action"`
	Sequence string          `json:"sequence"`
	Type     string          `json:"type"`
	Data     json.RawMessage `json:"data"`
}

// requestData is the payload of Subscribe and ConfControl: JSON, or a text that holds JSON.
type requestData struct {
	ConferenceID  string   `json:"conferenceID"`
	ConfToken     string   `json:"confToken"`
	SubscribeType []string `json:"subscribeType"`
	IsSubtitle    any      `json:"isSubtitle"`
}

func (r *request) payload() (requestData, error) {
	var d requestData
	data := r.Data
	if len(data) > 0 && data[0] == '"' {
		var text string
		if err := json.Unmarshal(data, &text); err != nil {
			return d, errBadRequest
		}
		data = []byte(text)
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return d, errBadRequest
	}
	return d, nil
}

var errBadRequest = errors.New("simulator: request can't be read")

// handle answers one request. What can't be read isn't answered: the reference knows no error frame.
func (l *link) handle(p *Provider, data []byte) {
	var req request
	if err := json.Unmarshal(data, &req); err != nil {
		return
	}
	switch req.Action {
	case "HeartBeat":
		l.room.heard(l, heartBeatAnswer(req.Sequence))
		p.requests.add(callHeartBeat)
	case "Subscribe":
		l.subscribe(p, &req)
		p.requests.add(callSubscribe)
	case "ConfControl":
		l.control(p, &req)
		p.requests.add(callControl)
	}
}

// Return codes of the answers to requests over the socket.
const (
	codeOK         = 0
	codeBadRequest = 111080001
	codeBadToken   = 111081006
)

func (l *link) subscribe(p *Provider, req *request) {
	refuse := func(code int, desc string) { l.room.answer(l, subscribeAnswer(req.Sequence, code, desc)) }
	d, err := req.payload()
	if err != nil || (d.ConferenceID != "" && d.ConferenceID != l.room.id) {
		refuse(codeBadRequest, "wrong request parameters")
		return
	}
	if s, ok := p.tokens.session(bareToken(d.ConfToken)); !ok || s.conf != l.room.id {
		refuse(codeBadToken, "authentication failed")
		return
	}
	var kinds []confctl.Kind
	for _, name := range d.SubscribeType {
		k := confctl.ParseKind(name)
		if k == confctl.KindOther && p.cfg.RefuseUnknownTypes {
			refuse(codeBadRequest, "unknown type")
			return
		}
		kinds = append(kinds, k)
	}
	l.room.subscribe(l, kinds, subscribeAnswer(req.Sequence, codeOK, "SUCCESS"))
}

// control answers ConfControl requests: REFRESHTOKEN, which keeps the control token alive, and REALTIMESUBTITLE.
func (l *link) control(p *Provider, req *request) {
	d, err := req.payload()
	if err != nil {
		l.room.answer(l, controlAnswer(req.Sequence, req.Type, result(codeBadRequest, "wrong request parameters")))
		return
	}
	token := bareToken(d.ConfToken)
	s, ok := p.tokens.session(token)
	if !ok || s.conf != l.room.id {
		l.room.answer(l, controlAnswer(req.Sequence, req.Type, result(codeBadToken, "authentication failed")))
		return
	}
	switch strings.ToUpper(req.Type) {
	case "REFRESHTOKEN":
		fresh, ok := p.tokens.refresh(token)
		if !ok {
			l.room.answer(l, controlAnswer(req.Sequence, req.Type, result(codeBadToken, "authentication failed")))
			return
		}
		data, err := json.Marshal(map[string]any{"data": map[string]any{
			"token": fresh, "wsURL": l.wsURL, "confTokenExpireTime": int(p.cfg.TokenLife / time.Second),
		}})
		if err != nil {
			return // strings and a number: can't happen
		}
		l.room.answer(l, controlAnswer(req.Sequence, req.Type, data))
	case "REALTIMESUBTITLE":
		l.room.setSubtitles(d.IsSubtitle == "1" || d.IsSubtitle == 1.0)
		l.room.answer(l, controlAnswer(req.Sequence, req.Type, result(codeOK, "SUCCESS")))
	default:
		l.room.answer(l, controlAnswer(req.Sequence, req.Type, result(codeBadRequest, "unknown type")))
	}
}
