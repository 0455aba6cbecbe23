package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"confgate/internal/confctl"
	"confgate/internal/conference"
	"confgate/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const conf = "900487914"

var errAway = errors.New("log is away")

// fakeLog is a log of one conference in memory that can be away, lose answers, lose its epoch and be claimed by others. It
// keeps a replica, as a follower would.
type fakeLog struct {
	mu      sync.Mutex
	claim   conference.Claim
	pos     conference.Position
	prev    [conference.NumTopics]uint64
	doc     *conference.Doc
	memory  []byte
	changes []conference.Stamped
	done    conference.Position // the after of the last append of this claim
	did     bool

	away        bool // calls fail and do nothing
	loseAnswers int  // so many appends are done and fail all the same
	secretless  bool // Load leaves the members of scope secrets out
	misplaced   int  // so many appends are answered with ErrPosition

	calls   []string
	epochs  int
	appends [][]byte // every Append call as it came
	stored  []conference.Checkpoint
	broken  error           // a call that no session may make
	waiters []chan struct{} // closed by the next call
}

func newFakeLog() *fakeLog { return &fakeLog{doc: conference.NewDoc()} }

func (l *fakeLog) enter(call string) (func(), error) {
	l.mu.Lock()
	l.calls = append(l.calls, call)
	if l.away {
		l.mu.Unlock()
		return nil, errAway
	}
	return func() {
		for _, w := range l.waiters {
			close(w)
		}
		l.waiters = nil
		l.mu.Unlock()
	}, nil
}

func (l *fakeLog) Claim(context.Context, string) (conference.Claim, conference.Position, error) {
	leave, err := l.enter("claim")
	if err != nil {
		return conference.Claim{}, conference.Position{}, err
	}
	defer leave()
	l.claim, l.did = conference.Claim{Term: l.claim.Term + 1, Nonce: "n"}, false
	return l.claim, l.pos, nil
}

func (l *fakeLog) Load(context.Context, string) (conference.Checkpoint, error) {
	leave, err := l.enter("load")
	if err != nil {
		return conference.Checkpoint{}, err
	}
	defer leave()
	doc := l.doc.Clone()
	if l.secretless {
		doc = withoutSecrets(doc)
	}
	return conference.Checkpoint{Position: l.pos, Prev: l.prev, Doc: doc, Memory: l.memory, Secretless: l.secretless}, nil
}

func withoutSecrets(doc *conference.Doc) *conference.Doc {
	open, err := conference.ParseDoc(doc.AppendJSON(nil, conference.StateTopics, conference.PII))
	if err != nil {
		panic(err)
	}
	return open
}

func (l *fakeLog) Begin(_ context.Context, _ string, c conference.Claim, cp conference.Checkpoint) (conference.Position, error) {
	leave, err := l.enter("begin")
	if err != nil {
		return conference.Position{}, err
	}
	defer leave()
	if c != l.claim {
		return conference.Position{}, conference.ErrFenced
	}
	l.epochs++
	l.pos, l.prev = conference.Position{Epoch: fmt.Sprintf("e%d", l.epochs)}, [conference.NumTopics]uint64{}
	l.doc, l.memory, l.changes = cp.Doc.Clone(), cp.Memory, nil
	return l.pos, nil
}

func (l *fakeLog) Append(
	_ context.Context, id string, c conference.Claim, after conference.Position, changes []conference.Change,
) (conference.Position, error) {
	leave, err := l.enter("append")
	if err != nil {
		return conference.Position{}, err
	}
	defer leave()
	call, err := json.Marshal([]any{id, c, after, changes})
	if err != nil {
		return conference.Position{}, err
	}
	l.appends = append(l.appends, call)
	switch {
	case c != l.claim:
		return conference.Position{}, conference.ErrFenced
	case l.misplaced > 0:
		l.misplaced--
		return conference.Position{}, conference.ErrPosition
	case l.did && after == l.done:
		return l.pos, nil
	case l.pos.Epoch == "":
		return conference.Position{}, conference.ErrEpoch
	case after != l.pos:
		return conference.Position{}, conference.ErrPosition
	case len(changes) == 0:
		return l.pos, nil
	}
	for _, ch := range changes {
		l.pos.Seq++
		l.changes = append(l.changes, conference.Stamped{Change: ch, Seq: l.pos.Seq, Prev: l.prev[ch.Topic]})
		l.prev[ch.Topic] = l.pos.Seq
		if err := l.doc.Patch(ch); err != nil {
			l.broken = errors.Join(l.broken, fmt.Errorf("patch %s %s: %w", ch.Topic, ch.Body, err))
		}
	}
	l.did, l.done = true, after
	if l.loseAnswers > 0 {
		l.loseAnswers--
		return conference.Position{}, errAway
	}
	return l.pos, nil
}

func (l *fakeLog) Checkpoint(_ context.Context, _ string, c conference.Claim, cp conference.Checkpoint) error {
	leave, err := l.enter("checkpoint")
	if err != nil {
		return err
	}
	defer leave()
	if c != l.claim {
		return conference.ErrFenced
	}
	if cp.Position == l.pos {
		got, want := cp.Doc.AppendJSON(nil, conference.StateTopics, conference.Secrets|conference.PII), l.json(conference.Secrets|conference.PII)
		if string(got) != want {
			l.broken = errors.Join(l.broken, fmt.Errorf("checkpoint at %v holds %s, the log %s", cp.Position, got, want))
		}
		if cp.Prev != l.prev {
			l.broken = errors.Join(l.broken, fmt.Errorf("checkpoint at %v has prev %v, the log %v", cp.Position, cp.Prev, l.prev))
		}
	}
	l.stored, l.memory = append(l.stored, cp), cp.Memory
	return nil
}

func (l *fakeLog) json(p conference.Profile) string {
	return string(l.doc.AppendJSON(nil, conference.StateTopics, p))
}

// with runs fn under the log's lock.
func (l *fakeLog) with(fn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fn()
}

// topic is one topic of the replica as JSON; empty where it is absent.
func (l *fakeLog) topic(t conference.Topic) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.doc.AppendTopic(nil, t, conference.Secrets|conference.PII)
	if !ok {
		return ""
	}
	return string(b)
}

// link is the topic link without its time: "live", "connecting/network".
func (l *fakeLog) link() string {
	var v struct{ State, Reason string }
	if t := l.topic(conference.Link); t == "" || json.Unmarshal([]byte(t), &v) != nil {
		return ""
	}
	return strings.TrimSuffix(v.State+"/"+v.Reason, "/")
}

func (l *fakeLog) count(call string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, c := range l.calls {
		if c == call {
			n++
		}
	}
	return n
}

// await waits, in real time, until ok holds, which is asked after every call of the log.
func (l *fakeLog) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		moved := make(chan struct{})
		l.with(func() { l.waiters = append(l.waiters, moved) })
		if ok() {
			return
		}
		select {
		case <-moved:
		case <-late:
			t.Fatalf("never came: %s; link is %s", what, l.link())
		}
	}
}

// fakeProvider is a provider without a network, for bubbles.
type fakeProvider struct {
	mu       sync.Mutex
	password string
	life     time.Duration
	// token, refresh, wsToken and dial are asked first; an error of theirs is the answer.
	onToken, onRefresh, onWSToken, onDial func() error
	fulls                                 func() [][]byte // what a Subscribe brings
	refuse                                func(types []string) int64
	silent                                atomic.Bool // no answers to heartbeats
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

func (w *fakeWire) Read(ctx context.Context) ([]byte, error) {
	select {
	case f := <-w.in:
		return f, nil
	default:
	}
	select {
	case f := <-w.in:
		return f, nil
	case <-w.down:
		return nil, w.why
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (w *fakeWire) Write(_ context.Context, frame []byte) error {
	select {
	case <-w.down:
		return w.why
	default:
	}
	var req struct{ Action, Sequence, Data string }
	if err := json.Unmarshal(frame, &req); err != nil {
		return err
	}
	switch req.Action {
	case "HeartBeat":
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

var frameNumber atomic.Int64

// notify builds a frame; data is the value of "data", body further members.
func notify(action string, mode confctl.Mode, version int64, data, body string) []byte {
	if data != "" {
		body += `,"data":` + data
	}
	now := time.Now().UnixMilli()
	if mode == confctl.Full {
		version = now
	}
	return fmt.Appendf(nil, `{"action":%q,"version":%d,"createTime":%d,"msgID":"m%d","msgMode":%d,"confID":%q%s}`,
		action, version, now, frameNumber.Add(1), mode, conf, body)
}

// roster makes full ParticipantsNotify frames of people by pid, each as of when it is made.
func roster(pids ...string) func() []byte {
	rows := make([]string, 0, len(pids))
	for _, pid := range pids {
		rows = append(rows, row(pid, "name of "+pid))
	}
	return func() []byte {
		return notify("ParticipantsNotify", confctl.Full, 0, "["+strings.Join(rows, ",")+"]", "")
	}
}

func row(pid, name string) string {
	return fmt.Sprintf(`{"pid":%q,"mode":0,"pinfoMap":{"NAME":%q,"STATE":"0"}}`, pid, name)
}

// renamed is an increment that names one participant.
func renamed(number int64, pid, name string) []byte {
	return notify("ParticipantsNotify", confctl.Increment, number, "["+row(pid, name)+"]", "")
}

// dynamic is a full ConfDynamicInfoNotify.
func dynamic(state string) []byte {
	return notify("ConfDynamicInfoNotify", confctl.Full, 0, "", fmt.Sprintf(`,"state":%q`, state))
}

// subtitle is an event.
func subtitle(text string) []byte {
	return notify("RealTimeSubtitleNotify", confctl.Full, 0, fmt.Sprintf(`{"msgs":[{"translateText":%q,"id":"1"}],"participantID":"p1"}`, text), "")
}

// full is what every kind sends on a Subscribe, so that a link is live at once.
func full(makers ...func() []byte) func() [][]byte {
	return func() [][]byte {
		var frames, all [][]byte
		for _, mk := range makers {
			frames = append(frames, mk())
		}
		all = slices.Clone(frames)
		for k := confctl.KindOther + 1; int(k) < confctl.NumKinds; k++ {
			if k.Event() || slices.ContainsFunc(frames, func(f []byte) bool { return strings.Contains(string(f), `"`+k.String()+`"`) }) {
				continue
			}
			data := "[]"
			switch k {
			case confctl.ConfBasicInfo:
				data = ""
			case confctl.ConfDynamicInfo:
				all = append(all, dynamic("Created"))
				continue
			default:
			}
			all = append(all, notify(k.String(), confctl.Full, 0, data, ""))
		}
		return all
	}
}

// rig is a session at work over fakes.
type rig struct {
	*Session
	log      *fakeLog
	provider *fakeProvider
	lines    *observer.ObservedLogs
	metrics  *telemetry.Metrics
	cancel   context.CancelFunc
	result   chan error
	set      func(password string) error // SetPassword in the rig's own bubble
}

type option func(*Config)

func newRig(t *testing.T, log *fakeLog, p *fakeProvider, opts ...option) *rig {
	t.Helper()
	core, lines := observer.New(zap.DebugLevel)
	cfg := Config{
		Conference: conf, Password: confctl.NewSecret("right"), Log: log, Limiter: NewLimiter(DefaultRate),
		API: &confctl.API{Base: &url.URL{Scheme: "https", Host: "provider"}}, Logger: zap.New(core), Metrics: telemetry.NewMetrics("", "", ""),
	}
	for _, o := range opts {
		o(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if p != nil {
		s.provider = p
	}
	return &rig{
		Session: s, log: log, provider: p, lines: lines, metrics: cfg.Metrics, result: make(chan error, 1),
		set: func(password string) error { return s.SetPassword(t.Context(), confctl.NewSecret(password)) },
	}
}

// start runs the session; stop must be called before a bubble ends.
func (r *rig) start(ctx context.Context) *rig {
	ctx, r.cancel = context.WithCancel(ctx)
	go func() { r.result <- r.Run(ctx) }()
	return r
}

// stop ends the session, and checks that it ended as asked.
func (r *rig) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	if err := <-r.result; err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}
	r.log.with(func() {
		if r.log.broken != nil {
			t.Errorf("the log was given what can't be: %v", r.log.broken)
		}
	})
}

// run puts a session in a bubble, lets it settle, and hands it to fn, which may use t, but not end it.
func run(t *testing.T, log *fakeLog, p *fakeProvider, fn func(r *rig), opts ...option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, log, p, opts...).start(t.Context())
		// Not 0, so that frames of now are newer than those of the start.
		time.Sleep(time.Millisecond)
		synctest.Wait()
		fn(r)
		r.stop(t)
	})
}

// pass lets time pass in a bubble.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func wantLink(t *testing.T, l *fakeLog, want string) {
	t.Helper()
	if got := l.link(); got != want {
		t.Errorf("link = %s, want %s", got, want)
	}
}

// hangingLog can leave appends without an answer until their time is over.
type hangingLog struct {
	*fakeLog
	hangs atomic.Bool
}

func (l *hangingLog) Append(
	ctx context.Context, id string, c conference.Claim, after conference.Position, changes []conference.Change,
) (conference.Position, error) {
	if l.hangs.Load() {
		<-ctx.Done()
		return conference.Position{}, ctx.Err()
	}
	return l.fakeLog.Append(ctx, id, c, after, changes)
}
