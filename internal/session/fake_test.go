package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"confgate/internal/conference"
)

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

	asked   int // AppendSoon calls
	calls   []string
	epochs  int
	appends [][]byte              // every Append call as it came
	stored  []conference.Position // of checkpoints
	broken  error                 // a call that no session may make
	waiters []chan struct{}       // closed by the next call
	holds   map[*func()]bool
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
	return conference.Checkpoint{
		Position: l.pos, Prev: l.prev, Doc: doc, Memory: l.memory, Since: l.since(), Secretless: l.secretless,
	}, nil
}

// since is what moves the memory on from the last checkpoint.
func (l *fakeLog) since() []conference.Stamped {
	var at uint64
	if n := len(l.stored); n > 0 {
		at = l.stored[n-1].Seq
	}
	var since []conference.Stamped
	for _, c := range l.changes {
		if c.Seq > at && conference.MemoryTopics.Has(c.Topic) {
			since = append(since, c)
		}
	}
	return since
}

func withoutSecrets(doc *conference.Doc) *conference.Doc {
	open, err := conference.ParseDoc(doc.AppendJSON(nil, conference.StateTopics, conference.PII))
	if err != nil {
		panic(err)
	}
	return open
}

func (l *fakeLog) Begin(_ context.Context, _ string, c conference.Claim, cp conference.Stored) (conference.Position, error) {
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
	l.doc, l.memory, l.changes = cp.Image.Doc(), cp.Memory, nil
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

// AppendSoon takes every other append, so that each test has both ways.
func (l *fakeLog) AppendSoon(
	id string, c conference.Claim, after conference.Position, changes []conference.Change, answer func(conference.Position, error),
) bool {
	var taken bool
	l.with(func() {
		l.asked++
		taken = l.asked%2 == 1
	})
	if taken {
		go func() { answer(l.Append(context.Background(), id, c, after, changes)) }()
	}
	return taken
}

func (l *fakeLog) Checkpoint(_ context.Context, _ string, c conference.Claim, cp conference.Stored) error {
	leave, err := l.enter("checkpoint")
	if err != nil {
		return err
	}
	defer leave()
	if c != l.claim {
		return conference.ErrFenced
	}
	if cp.Position == l.pos {
		got, want := cp.Image.Doc().AppendJSON(nil, conference.StateTopics, conference.Secrets|conference.PII), l.json(conference.Secrets|conference.PII)
		if string(got) != want {
			l.broken = errors.Join(l.broken, fmt.Errorf("checkpoint at %v holds %s, the log %s", cp.Position, got, want))
		}
		if cp.Prev != l.prev {
			l.broken = errors.Join(l.broken, fmt.Errorf("checkpoint at %v has prev %v, the log %v", cp.Position, cp.Prev, l.prev))
		}
	}
	l.stored, l.memory = append(l.stored, cp.Position), cp.Memory
	return nil
}

func (l *fakeLog) Hold(_ string, doubt func()) (letGo func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holds == nil {
		l.holds = make(map[*func()]bool)
	}
	l.holds[&doubt] = true
	return func() { l.with(func() { delete(l.holds, &doubt) }) }
}

// raise tells all who hold the conference that the log may have lost something.
func (l *fakeLog) raise() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for doubt := range l.holds {
		(*doubt)()
	}
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
	late := time.After(time.Minute)
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

// AppendSoon never takes one.
func (l *hangingLog) AppendSoon(
	string, conference.Claim, conference.Position, []conference.Change, func(conference.Position, error),
) bool {
	return false
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
