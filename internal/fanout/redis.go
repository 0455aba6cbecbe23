package fanout

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"confgate/internal/conference"
)

//go:embed scripts/claim.lua
var claimSource string

//go:embed scripts/begin.lua
var beginSource string

//go:embed scripts/append.lua
var appendSource string

//go:embed scripts/checkpoint.lua
var checkpointSource string

// RedisLog is a Log in Redis, alone, behind Sentinel or as a cluster. Reads go to masters: the client must not be one that
// reads from replicas. Run must run for followers to be given anything.
type RedisLog struct {
	client redis.UniversalClient
	keys   *Keyring
	opts   LogOptions
	hub    *hub

	claim, begin, checkpoint *redis.Script
	append                   *batcher
	publish                  string // PUBLISH, or SPUBLISH on a cluster
	ttl                      int64  // of keys, in seconds
}

var _ Log = (*RedisLog)(nil)

// NewRedisLog makes a log over a client, which stays the caller's and outlives it. Keys seal what must not lie in Redis in
// the clear; nil leaves that out.
func NewRedisLog(client redis.UniversalClient, keys *Keyring, opts LogOptions) *RedisLog {
	l := &RedisLog{
		client: client, keys: keys, opts: opts.withDefaults(), publish: "PUBLISH",
		claim: redis.NewScript(claimSource), begin: redis.NewScript(beginSource),
		append: newBatcher(client, redis.NewScript(appendSource)), checkpoint: redis.NewScript(checkpointSource),
	}
	l.ttl = int64(max(l.opts.KeyTTL/time.Second, 1))
	if _, ok := client.(*redis.ClusterClient); ok {
		l.publish = "SPUBLISH"
	}
	l.hub = newHub(client, l.opts)
	return l
}

// Run keeps the subscriptions of all followers, until ctx is done. It is called once.
func (l *RedisLog) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { l.append.sends(ctx) })
	return l.hub.run(ctx)
}

// The keys of a conference share its hash tag, so that one script may touch them all on a cluster.
func keyOf(conf, part string) string { return keyStart + conf + keyEnd + part }

const (
	keyStart = "confgate:{"
	keyEnd   = "}:"
)

// parts are those of a conference: its keys, in the order in which scripts take them, and its channel.
var parts = [4]string{"meta", "log", "ckpt", "pub"}

func metaKey(conf string) string   { return keyOf(conf, parts[0]) }
func streamKey(conf string) string { return keyOf(conf, parts[1]) }
func ckptKey(conf string) string   { return keyOf(conf, parts[2]) }
func channelOf(conf string) string { return keyOf(conf, parts[3]) }

func keysOf(conf string) []string { return []string{metaKey(conf), streamKey(conf), ckptKey(conf)} }

// namesOf are the names of all parts, in one piece of memory.
func namesOf(conf string) (names [len(parts)]string) {
	var b strings.Builder
	b.Grow(len(parts) * (len(keyStart) + len(conf) + len(keyEnd) + len(parts[0])))
	for i, part := range parts {
		begin := b.Len()
		b.WriteString(keyStart)
		b.WriteString(conf)
		b.WriteString(keyEnd)
		b.WriteString(part)
		names[i] = b.String()[begin:]
	}
	return names
}

// Claim implements Log.
func (l *RedisLog) Claim(ctx context.Context, conf string) (conference.Claim, conference.Position, error) {
	nonce := newNonce()
	answer, err := l.claim.Run(ctx, l.client, keysOf(conf), nonce, l.ttl).StringSlice()
	if err != nil {
		return conference.Claim{}, conference.Position{}, fmt.Errorf("fanout: claim: %w", err)
	}
	if len(answer) != 3 {
		return conference.Claim{}, conference.Position{}, fmt.Errorf("fanout: claim: %d answers", len(answer))
	}
	term, err1 := strconv.ParseUint(answer[0], 10, 64)
	seq, err2 := strconv.ParseUint(answer[2], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return conference.Claim{}, conference.Position{}, fmt.Errorf("fanout: claim: %w", err)
	}
	return conference.Claim{Term: term, Nonce: nonce}, conference.Position{Epoch: answer[1], Seq: seq}, nil
}

// Begin implements Log.
func (l *RedisLog) Begin(
	ctx context.Context, conf string, claim conference.Claim, cp conference.Stored,
) (conference.Position, error) {
	pos := conference.Position{Epoch: newEpoch()}
	p := checkpointRooms.borrow()
	defer checkpointRooms.giveBack(p)
	body := packCheckpoint(p, l.keys, conf, pos, cp.Image)
	answer := l.begin.Run(ctx, l.client, keysOf(conf),
		claim.Term, claim.Nonce, pos.Epoch, body, cp.Memory, l.ttl, l.publish, channelOf(conf))
	if _, err := l.outcome(answer); err != nil {
		return conference.Position{}, fmt.Errorf("fanout: begin: %w", err)
	}
	return pos, nil
}

// Append implements Log.
func (l *RedisLog) Append(
	ctx context.Context, conf string, claim conference.Claim, after conference.Position, changes []conference.Change,
) (conference.Position, error) {
	return l.append.run(ctx, l.newAppendCall(conf, claim, after, changes))
}

// AppendSoon is Append for who needn't wait for the answer: answer is called with it within some seconds, by a goroutine
// that it must not hold up. False where appends don't wait for each other now, or never do: nothing is done then.
func (l *RedisLog) AppendSoon(
	conf string, claim conference.Claim, after conference.Position, changes []conference.Change,
	answer func(conference.Position, error),
) bool {
	if !l.append.waits() {
		return false
	}
	call := l.newAppendCall(conf, claim, after, changes)
	call.answer = answer
	l.append.add(call)
	return true
}

// appendCall is one append on its way to the script. What it is told lies here in one piece, and the arguments point to it.
// Who has read the answer frees it.
type appendCall struct {
	log     *RedisLog
	after   conference.Position
	changes []conference.Change

	names [4]string // of the keys, and of the channel
	claim conference.Claim
	room  [appendTopics + 2]any
	args  []any  // of EVALSHA
	body  []byte // among them, and nearly all of their bytes

	cmd    *redis.Cmd
	done   chan struct{}                    // closed when the call was answered, or has failed; cmd is readable then
	answer func(conference.Position, error) // instead of done
}

// Where in the arguments of EVALSHA the script's keys, its arguments, and of these the topics begin.
const (
	appendKeys   = 3
	appendArgs   = appendKeys + 3
	appendTopics = appendArgs + 9
)

func (l *RedisLog) newAppendCall(
	conf string, claim conference.Claim, after conference.Position, changes []conference.Change,
) *appendCall {
	c := appendCalls.Get().(*appendCall) //nolint:forcetypeassert // the pool holds nothing else
	c.log, c.after, c.changes, c.claim, c.names = l, after, changes, claim, namesOf(conf)
	p := pack(c.body, l.keys, place{conf, forEntry, conference.Position{Epoch: after.Epoch, Seq: after.Seq + 1}}, changes)
	c.body = p.body
	c.args = append(c.room[:0],
		"evalsha", l.append.sha, appendArgs-appendKeys, &c.names[0], &c.names[1], &c.names[2],
		&c.claim.Term, &c.claim.Nonce, &c.after.Epoch, &c.after.Seq, len(changes), p.body, &l.ttl, &l.publish, &c.names[3])
	for t, i := range p.topics {
		if i > 0 {
			c.args = append(c.args, t, i)
		}
	}
	return c
}

// appendCalls are those that nobody has.
var appendCalls = sync.Pool{New: func() any { return new(appendCall) }}

// keptBody bounds the bodies whose memory is used again, in bytes.
const keptBody = 16 << 10

// free gives the call back: nothing may refer to it any more.
func (c *appendCall) free() {
	body := c.body[:0]
	if cap(body) > keptBody {
		body = nil
	}
	*c = appendCall{body: body}
	appendCalls.Put(c)
}

// outcome is what came of the append.
func (c *appendCall) outcome(cmd *redis.Cmd) (conference.Position, error) {
	seq, err := c.log.outcome(cmd)
	if err != nil {
		return conference.Position{}, fmt.Errorf("fanout: append: %w", err)
	}
	published(c.log.opts.Metrics, c.changes)
	return conference.Position{Epoch: c.after.Epoch, Seq: seq}, nil
}

// Checkpoint implements Log.
func (l *RedisLog) Checkpoint(
	ctx context.Context, conf string, claim conference.Claim, cp conference.Stored,
) error {
	p := checkpointRooms.borrow()
	defer checkpointRooms.giveBack(p)
	body := packCheckpoint(p, l.keys, conf, cp.Position, cp.Image)
	answer := l.checkpoint.Run(ctx, l.client, keysOf(conf),
		claim.Term, claim.Nonce, cp.Epoch, cp.Seq, formatPrev(cp.Prev), body, cp.Memory, l.ttl,
		max(l.opts.ResumeWindow, 0).Milliseconds(), l.opts.WindowBytes)
	if _, err := l.outcome(answer); err != nil {
		return fmt.Errorf("fanout: checkpoint: %w", err)
	}
	return nil
}

// outcome reads what a script that changes the log answered.
func (l *RedisLog) outcome(cmd *redis.Cmd) (uint64, error) {
	answer, err := cmd.Result()
	if err != nil {
		return 0, err
	}
	switch a := answer.(type) {
	case int64:
		return uint64(a), nil
	case []any:
		if len(a) != 1 {
			break
		}
		switch a[0] {
		case "fenced":
			l.opts.Metrics.Fenced()
			return 0, conference.ErrFenced
		case "position":
			return 0, conference.ErrPosition
		case "epoch":
			return 0, conference.ErrEpoch
		}
	}
	return 0, fmt.Errorf("unknown answer of a script: %T", answer)
}

// Load implements Log.
func (l *RedisLog) Load(ctx context.Context, conf string) (conference.Checkpoint, error) {
	s, err := l.load(ctx, conf, false)
	if err != nil {
		return conference.Checkpoint{}, fmt.Errorf("fanout: load: %w", err)
	}
	return s.Checkpoint, nil
}

// pageSize is how many entries are read from a stream at once: a page is some hundred kilobytes, which holds Redis up for
// a millisecond.
const pageSize = 256

// errMoved: the log was trimmed, or began anew, while it was read.
var errMoved = errors.New("log changed while it was read")

// loaded is what lies in Redis of a conference.
type loaded struct {
	Snapshot
	whole   bool  // there is no hole between the checkpoint and the end of the stream
	opening error // why secrets are missing, if they are there
}

// load reads the checkpoint and what follows it, up to a hole that a second look doesn't close; with history, also the
// entries before it that are still kept.
func (l *RedisLog) load(ctx context.Context, conf string, history bool) (s *loaded, err error) {
	const tries = 5
	for range tries {
		s, err = l.loadOnce(ctx, conf, history)
		if err == nil && s.whole || err != nil && !errors.Is(err, errMoved) {
			break
		}
	}
	return s, err
}

func (l *RedisLog) loadOnce(ctx context.Context, conf string, history bool) (*loaded, error) {
	s, err := l.loadCheckpoint(ctx, conf)
	if err != nil || s.Epoch == "" {
		return s, err
	}
	from := s.Seq + 1
	if history {
		from = 1
	}
	read, err := l.readStream(ctx, conf, s.Epoch, from)
	if err != nil {
		return nil, err
	}
	entries := make([][]conference.Stamped, len(read))
	for i, e := range read {
		entries[i] = e.changes
		s.Secretless = s.Secretless || e.secretless
		s.opening = cmp.Or(s.opening, e.opening)
	}
	if err := replay(&s.Checkpoint, entries); err != nil {
		return nil, err
	}
	if n := len(entries); n > 0 && last(entries[n-1]) > s.Seq {
		s.whole = false
		return s, nil
	}
	s.History = leading(entries, s.Seq)
	return s, nil
}

// leading is the run without a hole that ends at seq.
func leading(entries [][]conference.Stamped, seq uint64) [][]conference.Stamped {
	for i, e := range slices.Backward(entries) {
		if last(e) != seq {
			return entries[i+1:]
		}
		seq = e[0].Seq - 1
	}
	return entries
}

func (l *RedisLog) loadCheckpoint(ctx context.Context, conf string) (*loaded, error) {
	s := &loaded{whole: true}
	fields, err := l.client.HGetAll(ctx, ckptKey(conf)).Result()
	if err != nil {
		return nil, err
	}
	if fields["epoch"] == "" {
		s.Doc = conference.NewDoc()
		return s, nil
	}
	s.Epoch = fields["epoch"]
	if s.Seq, err = strconv.ParseUint(fields["seq"], 10, 64); err != nil {
		return nil, fmt.Errorf("%w: bad seq", errEntry)
	}
	if s.Prev, err = parsePrev(fields["prev"]); err != nil {
		return nil, err
	}
	var u unpacked
	if s.Doc, u, err = unpackCheckpoint(l.keys, conf, s.Position, []byte(fields["body"])); err != nil {
		return nil, err
	}
	s.Secretless, s.opening = u.secretless, u.opening
	if memory := fields["memory"]; memory != "" {
		s.Memory = []byte(memory)
	}
	return s, nil
}

// readStream reads the entries with changes at or after seq from, page by page.
func (l *RedisLog) readStream(ctx context.Context, conf, epoch string, from uint64) ([]entry, error) {
	var entries []entry
	for {
		page, err := l.client.XRangeN(ctx, streamKey(conf), strconv.FormatUint(from, 10)+"-0", "+", pageSize).Result()
		if err != nil {
			return nil, err
		}
		for _, m := range page {
			msg, _ := m.Values["e"].(string)
			e, err := decodeEntry(l.keys, conf, msg)
			if err != nil {
				return nil, err
			}
			if e.epoch != epoch || len(e.changes) == 0 {
				return nil, errMoved
			}
			entries = append(entries, e)
			from = last(e.changes) + 1
		}
		if len(page) < pageSize {
			return entries, nil
		}
	}
}

// head reads where the log is; the zero position where there is nothing.
func (l *RedisLog) head(ctx context.Context, conf string) (conference.Position, error) {
	return parseHead(l.client.HMGet(ctx, metaKey(conf), "epoch", "seq"))
}

func parseHead(cmd *redis.SliceCmd) (conference.Position, error) {
	values, err := cmd.Result()
	if err != nil {
		return conference.Position{}, err
	}
	if len(values) != 2 {
		return conference.Position{}, errEntry
	}
	epoch, _ := values[0].(string)
	text, _ := values[1].(string)
	if epoch == "" {
		return conference.Position{}, nil
	}
	seq, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return conference.Position{}, errEntry
	}
	return conference.Position{Epoch: epoch, Seq: seq}, nil
}
