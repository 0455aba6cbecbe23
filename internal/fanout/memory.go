package fanout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"confgate/internal/conference"
)

// MemoryLog is a Log for one process. It loses everything with the process, and nothing before: epochs only begin anew
// where an owner says so. Secrets are kept, since nothing leaves the process.
type MemoryLog struct {
	opts LogOptions // immutable

	mu    sync.Mutex
	confs map[string]*memoryConf
}

var _ Log = (*MemoryLog)(nil)

// memoryConf is one conference.
type memoryConf struct {
	mu      sync.Mutex
	claim   conference.Claim
	head    conference.Checkpoint // at the log's head; its Memory is the last checkpoint's
	after   uint64                // what the last append of this claim continued
	done    bool                  // whether there was one
	entries backlog[[]conference.Stamped]
	tails   map[*memoryTail]struct{}

	users   atomic.Int32 // followers, and who holds it
	touched atomic.Int64 // when somebody asked for it last, Unix nanoseconds
}

// NewMemoryLog makes an empty log.
func NewMemoryLog(opts LogOptions) *MemoryLog {
	opts = opts.withDefaults()
	opts.Metrics.FanoutUp(true)
	return &MemoryLog{opts: opts, confs: make(map[string]*memoryConf)}
}

// conf finds a conference, or makes it; then those that nobody has touched for KeyTTL are forgotten.
func (l *MemoryLog) conf(id string) *memoryConf {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if c, ok := l.confs[id]; ok {
		c.touched.Store(now.UnixNano())
		return c
	}
	for old, c := range l.confs {
		if c.users.Load() == 0 && now.UnixNano()-c.touched.Load() > int64(l.opts.KeyTTL) {
			delete(l.confs, old)
		}
	}
	c := &memoryConf{tails: make(map[*memoryTail]struct{})}
	c.touched.Store(now.UnixNano())
	c.entries.age, c.entries.limit = l.opts.ResumeWindow, l.opts.WindowBytes
	c.head.Doc = conference.NewDoc()
	l.confs[id] = c
	return c
}

// Claim implements Log.
func (l *MemoryLog) Claim(ctx context.Context, conf string) (conference.Claim, conference.Position, error) {
	if err := ctx.Err(); err != nil {
		return conference.Claim{}, conference.Position{}, fmt.Errorf("fanout: claim: %w", err)
	}
	c := l.conf(conf)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.claim = conference.Claim{Term: c.claim.Term + 1, Nonce: newNonce()}
	c.done = false
	return c.claim, c.head.Position, nil
}

// Load implements Log.
func (l *MemoryLog) Load(ctx context.Context, conf string) (conference.Checkpoint, error) {
	if err := ctx.Err(); err != nil {
		return conference.Checkpoint{}, fmt.Errorf("fanout: load: %w", err)
	}
	c := l.conf(conf)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.copy(), nil
}

// copy is the head, with a document of its own. The caller holds mu.
func (c *memoryConf) copy() conference.Checkpoint {
	cp := c.head
	cp.Doc = cp.Doc.Clone()
	cp.Since = slices.Clone(cp.Since)
	return cp
}

// Begin implements Log.
func (l *MemoryLog) Begin(
	ctx context.Context, conf string, claim conference.Claim, cp conference.Stored,
) (conference.Position, error) {
	if err := ctx.Err(); err != nil {
		return conference.Position{}, fmt.Errorf("fanout: begin: %w", err)
	}
	c := l.conf(conf)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.claim != claim {
		return conference.Position{}, fmt.Errorf("fanout: begin: %w", conference.ErrFenced)
	}
	c.head = conference.Checkpoint{
		Position: conference.Position{Epoch: newEpoch()},
		Doc:      cp.Image.Doc(),
		Memory:   slices.Clone(cp.Memory),
	}
	c.done = false
	c.entries.clear()
	c.news()
	return c.head.Position, nil
}

// news wakes the followers. The caller holds mu.
func (c *memoryConf) news() {
	for t := range c.tails {
		poke(t.kick)
	}
}

// Append implements Log.
func (l *MemoryLog) Append(
	ctx context.Context, conf string, claim conference.Claim, after conference.Position, changes []conference.Change,
) (conference.Position, error) {
	if err := ctx.Err(); err != nil {
		return conference.Position{}, fmt.Errorf("fanout: append: %w", err)
	}
	for _, ch := range changes {
		if !json.Valid(ch.Body) {
			return conference.Position{}, fmt.Errorf("fanout: append: a change of %s isn't JSON", ch.Topic)
		}
	}
	pos, err := l.conf(conf).append(claim, after, changes)
	if err != nil {
		if errors.Is(err, conference.ErrFenced) {
			l.opts.Metrics.Fenced()
		}
		return conference.Position{}, fmt.Errorf("fanout: append: %w", err)
	}
	published(l.opts.Metrics, changes)
	return pos, nil
}

func (c *memoryConf) append(
	claim conference.Claim, after conference.Position, changes []conference.Change,
) (conference.Position, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.claim.Term == 0:
		return conference.Position{}, conference.ErrEpoch
	case c.claim != claim:
		return conference.Position{}, conference.ErrFenced
	case c.head.Epoch == "" || c.head.Epoch != after.Epoch:
		return conference.Position{}, conference.ErrEpoch
	case c.head.Seq == after.Seq:
	case c.done && c.after == after.Seq:
		return c.head.Position, nil
	default:
		return conference.Position{}, conference.ErrPosition
	}
	if len(changes) == 0 {
		return c.head.Position, nil
	}
	for _, ch := range changes {
		if err := c.head.Doc.Patch(ch); err != nil {
			return conference.Position{}, err
		}
	}
	entry := stamp(changes, after.Seq, &c.head.Prev)
	for _, ch := range entry {
		c.head.Since = remembered(c.head.Since, ch)
	}
	c.head.Seq = last(entry)
	c.after, c.done = after.Seq, true
	now := time.Now()
	c.entries.push(now, entry, weigh(entry))
	c.entries.trim(now, nil)
	c.news()
	return c.head.Position, nil
}

// Checkpoint implements Log. The document is at hand anyway, so only the memory is news.
func (l *MemoryLog) Checkpoint(
	ctx context.Context, conf string, claim conference.Claim, cp conference.Stored,
) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("fanout: checkpoint: %w", err)
	}
	c := l.conf(conf)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.claim.Term == 0:
		return fmt.Errorf("fanout: checkpoint: %w", conference.ErrEpoch)
	case c.claim != claim:
		return fmt.Errorf("fanout: checkpoint: %w", conference.ErrFenced)
	case c.head.Epoch != cp.Epoch || c.head.Seq < cp.Seq:
		return fmt.Errorf("fanout: checkpoint: %w", conference.ErrEpoch)
	}
	c.head.Memory = slices.Clone(cp.Memory)
	c.head.Since = slices.DeleteFunc(c.head.Since, func(ch conference.Stamped) bool { return ch.Seq <= cp.Seq })
	return nil
}

// Hold implements Log. Nothing is lost, so nobody is ever told; what is held isn't forgotten.
func (l *MemoryLog) Hold(conf string, _ func()) (letGo func()) {
	c := l.conf(conf)
	c.users.Add(1)
	return sync.OnceFunc(func() {
		c.touched.Store(time.Now().UnixNano()) // the KeyTTL begins now
		c.users.Add(-1)
	})
}

// memoryTail is a Tail of a MemoryLog.
type memoryTail struct {
	conf *memoryConf
	pos  conference.Position
	kick chan<- struct{}
}

// Follow implements Log.
func (l *MemoryLog) Follow(conf string, from conference.Position, kick chan<- struct{}) Tail {
	c := l.conf(conf)
	c.users.Add(1)
	t := &memoryTail{conf: c, pos: from, kick: kick}
	c.mu.Lock()
	c.tails[t] = struct{}{}
	c.mu.Unlock()
	poke(kick)
	return t
}

// Close implements Tail.
func (t *memoryTail) Close() {
	t.conf.mu.Lock()
	delete(t.conf.tails, t)
	t.conf.mu.Unlock()
	t.conf.users.Add(-1)
}

// Step implements Tail.
func (t *memoryTail) Step(_ context.Context, deliver func(Delivery)) {
	snapshot, entries := t.conf.behind(t.pos)
	now := time.Now()
	if snapshot != nil {
		t.pos = snapshot.Position
		deliver(Delivery{Snapshot: snapshot, Received: now})
	}
	for _, e := range entries {
		t.pos.Seq = last(e)
		deliver(Delivery{Entry: e, Received: now})
	}
}

// behind is what a follower at a position has to be given.
func (c *memoryConf) behind(from conference.Position) (*Snapshot, [][]conference.Stamped) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.head.Epoch == "" || from == c.head.Position {
		return nil, nil
	}
	kept := c.entries.kept
	i := sort.Search(len(kept), func(i int) bool { return last(kept[i].value) > from.Seq })
	if from.Epoch == c.head.Epoch && i < len(kept) && kept[i].value[0].Seq <= from.Seq+1 {
		entries := make([][]conference.Stamped, 0, len(kept)-i)
		for _, k := range kept[i:] {
			entries = append(entries, since(k.value, from.Seq))
		}
		return nil, entries
	}
	if from.Epoch == c.head.Epoch && from.Seq > c.head.Seq {
		return nil, nil // the caller is ahead; it isn't shown an older state of the same epoch
	}
	s := &Snapshot{Checkpoint: c.copy()}
	for _, k := range kept {
		s.History = append(s.History, k.value)
	}
	return s, nil
}
