package ownership

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed scripts/*.lua
var scriptFiles embed.FS

// How long keys stay after the last worker touched them.
const (
	// fleetTTL is for who holds what: after it, a fleet that comes back starts as a new one.
	fleetTTL = 24 * time.Hour
	// conferencesTTL is for what PUT stored: it outlives a fleet that is down for a holiday.
	conferencesTTL = 30 * 24 * time.Hour
)

// nameBatch is how many conferences one script call takes, so that it holds Redis up for a few milliseconds at most.
const nameBatch = 256

// Sealer seals what must not lie in Redis in the clear. The same associated data opens it.
type Sealer interface {
	Seal(dst, plain, associated []byte) []byte
	Open(sealed, associated []byte) ([]byte, error)
}

// RedisStore is a Store in Redis, alone, behind Sentinel or as a cluster. It has no state of its own and is safe for
// concurrent use.
type RedisStore struct {
	client  redis.UniversalClient
	sealer  Sealer
	keys    []string
	scripts map[string]*redis.Script
}

var _ Store = (*RedisStore)(nil)

// NewRedisStore makes a store over a client, which stays the caller's and outlives it, and must not read from replicas.
// Without a sealer (nil) no password can be stored.
func NewRedisStore(client redis.UniversalClient, sealer Sealer) *RedisStore {
	s := &RedisStore{client: client, sealer: sealer, scripts: map[string]*redis.Script{}}
	for _, part := range []string{
		"meta", "workers", "infos", "conferences", "named", "owners", "terms", "handovers", "offers", "changes", "demand",
	} {
		s.keys = append(s.keys, fleetKey(part))
	}
	prelude := script("prelude")
	for _, name := range []string{
		"poll", "name", "claim", "release", "forget", "advance", "want", "look", "put", "restore", "remove", "closes", "leave",
	} {
		s.scripts[name] = redis.NewScript(prelude + script(name))
	}
	return s
}

func fleetKey(part string) string { return "confgate:{fleet}:" + part }

func script(name string) string {
	source, err := scriptFiles.ReadFile("scripts/" + name + ".lua")
	if err != nil {
		panic("ownership: " + err.Error()) // embedded: can't happen
	}
	return string(source)
}

func (s *RedisStore) run(ctx context.Context, name string, args ...any) ([]any, error) {
	answer, err := s.scripts[name].Run(ctx, s.client, s.keys, args...).Slice()
	if err != nil {
		return nil, fmt.Errorf("ownership: %s: %w", name, err)
	}
	return answer, nil
}

// inBatches calls fn with at most nameBatch conferences at a time.
func inBatches(confs []string, fn func([]string) error) error {
	for len(confs) > 0 {
		n := min(len(confs), nameBatch)
		if err := fn(confs[:n]); err != nil {
			return err
		}
		confs = confs[n:]
	}
	return nil
}

func anys(first []any, rest []string) []any {
	for _, r := range rest {
		first = append(first, r)
	}
	return first
}

func (s *RedisStore) alone() bool { return false }

func (s *RedisStore) poll(ctx context.Context, q query) (view, error) {
	about, err := json.Marshal(q.info)
	if err != nil {
		return view{}, fmt.Errorf("ownership: poll: %w", err)
	}
	answer, err := s.run(ctx, "poll", q.me, string(q.mode), about, q.ttl.Milliseconds(), q.fleet, q.version, newName(),
		int64(fleetTTL/time.Second), int64(conferencesTTL/time.Second))
	if err != nil {
		return view{}, err
	}
	v, err := readView(answer)
	if err != nil {
		return view{}, fmt.Errorf("ownership: poll: %w", err)
	}
	return v, nil
}

// errAnswer: a script answered what this version doesn't know.
var errAnswer = errors.New("unknown answer of a script")

func readView(answer []any) (view, error) {
	if len(answer) != 7 {
		return view{}, errAnswer
	}
	head := texts(answer[:5])
	peers, ok1 := answer[5].([]any)
	records, ok2 := answer[6].([]any)
	version, err := strconv.ParseUint(head[2], 10, 64)
	if !ok1 || !ok2 || err != nil {
		return view{}, errAnswer
	}
	v := view{lost: head[0] == "1", fleet: head[1], version: version, whole: head[3] == "1", closes: head[4] == "1"}
	for _, p := range peers {
		fields, _ := p.([]any)
		if len(fields) != 3 {
			return view{}, errAnswer
		}
		f := texts(fields)
		w := peer{incarnation: f[0], left: milliseconds(f[1])}
		if err := json.Unmarshal([]byte(f[2]), &w.info); err != nil {
			return view{}, fmt.Errorf("info of a worker: %w", err)
		}
		v.workers = append(v.workers, w)
	}
	v.records, err = readRecords(records)
	return v, err
}

func readRecords(answer []any) ([]record, error) {
	records := make([]record, 0, len(answer))
	for _, a := range answer {
		fields, _ := a.([]any)
		if len(fields) != 10 {
			return nil, errAnswer
		}
		f := texts(fields)
		term, err := strconv.ParseUint(f[5], 10, 64)
		if err != nil {
			return nil, errAnswer
		}
		records = append(records, record{
			conf: f[0], stored: f[1] == "1", sealed: []byte(f[2]), namers: strings.Fields(f[3]), owner: f[4], term: term,
			to: f[6], phase: phase(f[7]), offer: []byte(f[8]), demand: milliseconds(f[9]),
		})
	}
	return records, nil
}

// texts are the values of an answer as texts; what isn't one is empty.
func texts(answer []any) []string {
	out := make([]string, len(answer))
	for i, a := range answer {
		out[i], _ = a.(string)
	}
	return out
}

func milliseconds(s string) time.Duration {
	n, _ := strconv.ParseInt(s, 10, 64) // a script made it
	return time.Duration(n) * time.Millisecond
}

func (s *RedisStore) name(ctx context.Context, me string, confs []string) error {
	return inBatches(confs, func(batch []string) error {
		_, err := s.run(ctx, "name", anys([]any{me}, batch)...)
		return err
	})
}

func (s *RedisStore) claim(ctx context.Context, me, previous string, confs []string) ([]claimed, error) {
	answer, err := s.run(ctx, "claim", anys([]any{me, previous}, confs)...)
	if err != nil {
		return nil, err
	}
	f := texts(answer)
	if len(f) == 1 && f[0] == "lost" {
		return nil, errLost
	}
	if len(f) != 2*len(confs) {
		return nil, fmt.Errorf("ownership: claim: %w", errAnswer)
	}
	out := make([]claimed, len(confs))
	for i := range out {
		if f[2*i] == "" {
			continue
		}
		term, err := strconv.ParseUint(f[2*i], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("ownership: claim: %w", errAnswer)
		}
		out[i] = claimed{ok: true, term: term, reason: Reason(f[2*i+1])}
	}
	return out, nil
}

func (s *RedisStore) release(ctx context.Context, me string, confs []string) error {
	return inBatches(confs, func(batch []string) error {
		_, err := s.run(ctx, "release", anys([]any{me}, batch)...)
		return err
	})
}

func (s *RedisStore) forget(ctx context.Context, confs []string) error {
	return inBatches(confs, func(batch []string) error {
		_, err := s.run(ctx, "forget", anys(nil, batch)...)
		return err
	})
}

func (s *RedisStore) advance(ctx context.Context, me string, steps []step) ([]bool, error) {
	args := []any{me}
	for _, st := range steps {
		args = append(args, st.conf, string(st.action), st.to, string(st.phase), st.offer)
	}
	answer, err := s.run(ctx, "advance", args...)
	if err != nil {
		return nil, err
	}
	if len(answer) != len(steps) {
		return nil, fmt.Errorf("ownership: advance: %w", errAnswer)
	}
	done := make([]bool, len(steps))
	for i, f := range texts(answer) {
		done[i] = f == "1"
	}
	return done, nil
}

func (s *RedisStore) want(ctx context.Context, span time.Duration, confs []string) error {
	return inBatches(confs, func(batch []string) error {
		_, err := s.run(ctx, "want", anys([]any{span.Milliseconds()}, batch)...)
		return err
	})
}

func (s *RedisStore) look(ctx context.Context, me string, confs []string) ([]record, error) {
	answer, err := s.run(ctx, "look", anys([]any{me}, confs)...)
	if err != nil {
		return nil, err
	}
	records, err := readRecords(answer)
	if err != nil {
		return nil, fmt.Errorf("ownership: look: %w", err)
	}
	return records, nil
}

// passwordFor is the associated data of a conference's password.
func passwordFor(conf string) []byte { return []byte("confgate chair password\x00" + conf) }

func (s *RedisStore) put(ctx context.Context, conf string, password []byte) (bool, error) {
	if s.sealer == nil {
		return false, ErrNoSealKey
	}
	sealed := s.sealer.Seal(nil, password, passwordFor(conf))
	answer, err := s.run(ctx, "put", conf, sealed, int64(conferencesTTL/time.Second))
	if err != nil {
		return false, err
	}
	return len(answer) == 1 && texts(answer)[0] == "1", nil
}

func (s *RedisStore) restore(ctx context.Context, puts []record) error {
	for batch := range slices.Chunk(puts, nameBatch) {
		args := []any{int64(conferencesTTL / time.Second)}
		for _, r := range batch {
			args = append(args, r.conf, r.sealed)
		}
		if _, err := s.run(ctx, "restore", args...); err != nil {
			return err
		}
	}
	return nil
}

func (s *RedisStore) remove(ctx context.Context, conf string) error {
	answer, err := s.run(ctx, "remove", conf)
	if err != nil {
		return err
	}
	switch f := texts(answer); {
	case len(f) == 1 && f[0] == "ok":
		return nil
	case len(f) == 1 && f[0] == "none":
		return ErrNotFound
	case len(f) == 1 && f[0] == "named":
		return ErrNamedByFlags
	default:
		return fmt.Errorf("ownership: remove: %w", errAnswer)
	}
}

func (s *RedisStore) closesOlder(ctx context.Context) (int64, error) {
	answer, err := s.run(ctx, "closes")
	if err != nil {
		return 0, err
	}
	if len(answer) != 1 {
		return 0, fmt.Errorf("ownership: closes: %w", errAnswer)
	}
	n, _ := strconv.ParseInt(texts(answer)[0], 10, 64) // a script made it
	return n, nil
}

func (s *RedisStore) leave(ctx context.Context, me string) error {
	_, err := s.run(ctx, "leave", me)
	return err
}

func (s *RedisStore) password(r record) ([]byte, error) {
	if !r.stored {
		return nil, nil
	}
	if s.sealer == nil {
		return nil, ErrNoSealKey
	}
	plain, err := s.sealer.Open(r.sealed, passwordFor(r.conf))
	if err != nil {
		return nil, fmt.Errorf("ownership: password of %s: %w", r.conf, err)
	}
	return plain, nil
}
