package ownership

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"
)

// MemoryStore is a Store of one process, for a worker without Redis. It behaves as a RedisStore does, so that the one way
// of holding conferences serves both; the suite of store_test.go runs over both.
type MemoryStore struct {
	fleet  string
	shared bool // several workers use it: tests of many workers in one process

	mu       sync.Mutex // held over map accesses only
	version  uint64
	changed  map[string]uint64 // conference to the version at which it last changed
	confs    map[string]*memoryRecord
	workers  map[string]memoryWorker
	closesAt time.Time
	closes   int64
}

var _ Store = (*MemoryStore)(nil)

type memoryRecord struct {
	record
	wanted time.Time // until when it is in demand
}

type memoryWorker struct {
	info info
	over time.Time // when its lease is
}

// NewMemoryStore makes an empty store for one worker.
func NewMemoryStore() *MemoryStore {
	return &MemoryStore{
		fleet: newName(), changed: map[string]uint64{}, confs: map[string]*memoryRecord{}, workers: map[string]memoryWorker{},
	}
}

func (s *MemoryStore) alone() bool { return !s.shared }

// alive, like at, bump, named and read, is called with mu held.
func (s *MemoryStore) alive(worker string) bool { return time.Now().Before(s.workers[worker].over) }

func (s *MemoryStore) at(conf string) *memoryRecord {
	r := s.confs[conf]
	if r == nil {
		r = &memoryRecord{record: record{conf: conf}}
		s.confs[conf] = r
	}
	return r
}

func (s *MemoryStore) bump(conf string) {
	s.version++
	s.changed[conf] = s.version
}

func (s *MemoryStore) named(conf string) bool {
	r := s.confs[conf]
	return r != nil && slices.ContainsFunc(r.namers, s.alive)
}

func (s *MemoryStore) read(conf, me string) record {
	r := s.confs[conf]
	if r == nil {
		return record{conf: conf}
	}
	out := r.record
	out.namers = slices.Clone(r.namers)
	if out.to != me {
		out.offer = nil
	}
	out.demand = max(time.Until(r.wanted), 0)
	return out
}

func (s *MemoryStore) poll(_ context.Context, q query) (view, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	v := view{fleet: s.fleet, version: s.version, closes: !s.closesAt.IsZero() && now.Sub(s.closesAt) < 24*time.Hour}
	switch {
	case q.mode == renewing && !s.alive(q.me):
		v.lost = true
	case q.mode != looking:
		s.workers[q.me] = memoryWorker{q.info, now.Add(q.ttl)}
	}
	for name, w := range s.workers {
		if !s.alive(name) {
			delete(s.workers, name)
			continue
		}
		v.workers = append(v.workers, peer{name, w.info, w.over.Sub(now)})
	}
	v.whole = q.fleet != s.fleet || q.version > s.version
	for conf, at := range s.changed {
		if v.whole || at > q.version {
			v.records = append(v.records, s.read(conf, q.me))
		}
		if !s.shared && s.confs[conf] == nil {
			delete(s.changed, conf) // its only reader knows now
		}
	}
	return v, nil
}

func (s *MemoryStore) name(_ context.Context, me string, confs []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conf := range confs {
		r := s.at(conf)
		r.namers = slices.DeleteFunc(r.namers, func(w string) bool { return w == me || !s.alive(w) })
		r.namers = append(r.namers, me)
		s.bump(conf)
	}
	return nil
}

func (s *MemoryStore) claim(_ context.Context, me, previous string, confs []string) ([]claimed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.alive(me) {
		return nil, errLost
	}
	out := make([]claimed, len(confs))
	for i, conf := range confs {
		r := s.at(conf)
		var reason Reason
		switch {
		case r.owner == me:
			out[i] = claimed{true, r.term, reasonAgain}
			continue
		case r.owner == "":
			reason = ReasonStart
		case r.owner == previous:
			reason = reasonAgain
		case !s.alive(r.owner):
			reason = ReasonDeath
		case r.to == me && r.phase == offered:
			reason = ReasonHandover
		default:
			continue
		}
		r.term++
		r.owner = me
		r.endHandover()
		s.bump(conf)
		out[i] = claimed{true, r.term, reason}
	}
	return out, nil
}

func (r *memoryRecord) endHandover() { r.to, r.phase, r.offer = "", "", nil }

func (s *MemoryStore) release(_ context.Context, me string, confs []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conf := range confs {
		if r := s.confs[conf]; r != nil && r.owner == me {
			r.owner = ""
			r.endHandover()
			s.bump(conf)
		}
	}
	return nil
}

func (s *MemoryStore) forget(_ context.Context, confs []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conf := range confs {
		if r := s.confs[conf]; r != nil && !r.stored && !s.named(conf) && !s.alive(r.owner) {
			delete(s.confs, conf)
			s.bump(conf)
		}
	}
	return nil
}

func (s *MemoryStore) advance(_ context.Context, me string, steps []step) ([]bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	done := make([]bool, len(steps))
	for i, st := range steps {
		r := s.at(st.conf)
		if done[i] = r.advance(me, st, r.owner == me && s.alive(me), s.alive(st.to)); done[i] {
			s.bump(st.conf)
		}
	}
	return done, nil
}

func (r *memoryRecord) advance(me string, st step, mine, live bool) bool {
	switch {
	case st.action == propose && mine && r.to == "" && live:
		r.to, r.phase = st.to, st.phase
	case st.action == accept && r.to == me && (r.phase == proposed || r.phase == breaking):
		r.phase = ready
	case st.action == makeOffer && mine && r.to == st.to && r.phase == ready:
		r.phase, r.offer = offered, bytes.Clone(st.offer)
	case st.action == withdraw && mine, st.action == decline && r.to == me:
		r.endHandover()
	default:
		return false
	}
	return true
}

func (s *MemoryStore) want(_ context.Context, span time.Duration, confs []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, conf := range confs {
		r := s.at(conf)
		if !now.Before(r.wanted) {
			s.bump(conf)
		}
		if until := now.Add(span); until.After(r.wanted) {
			r.wanted = until
		}
	}
	return nil
}

func (s *MemoryStore) look(_ context.Context, me string, confs []string) ([]record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]record, len(confs))
	for i, conf := range confs {
		out[i] = s.read(conf, me)
	}
	return out, nil
}

func (s *MemoryStore) put(_ context.Context, conf string, password []byte) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.at(conf)
	created := !r.stored && !s.named(conf)
	r.stored, r.sealed = true, bytes.Clone(password)
	s.bump(conf)
	return created, nil
}

func (s *MemoryStore) restore(_ context.Context, puts []record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range puts {
		if r := s.at(p.conf); !r.stored {
			r.stored, r.sealed = true, bytes.Clone(p.sealed)
			s.bump(p.conf)
		}
	}
	return nil
}

func (s *MemoryStore) remove(_ context.Context, conf string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.confs[conf]
	switch {
	case s.named(conf):
		return ErrNamedByFlags
	case r == nil || !r.stored:
		return ErrNotFound
	}
	r.stored, r.sealed, r.wanted = false, nil, time.Time{}
	s.bump(conf)
	return nil
}

func (s *MemoryStore) closesOlder(context.Context) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closesAt = time.Now()
	s.closes++
	return s.closes, nil
}

func (s *MemoryStore) leave(_ context.Context, me string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.workers, me)
	return nil
}

func (s *MemoryStore) password(r record) ([]byte, error) {
	if !r.stored {
		return nil, nil
	}
	return r.sealed, nil
}
