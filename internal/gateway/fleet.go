package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"confgate/internal/edge"
	"confgate/internal/ownership"
)

// newFleet makes this worker's part in the fleet.
func (w *Worker) newFleet(h holder) (*ownership.Worker, error) {
	var named []string
	for _, c := range w.opts.Conferences {
		named = append(named, c.ID)
	}
	fleet, err := ownership.New(ownership.Config{
		Store: w.store.fleet, Holder: h, Worker: w.opts.WorkerID, Conferences: named,
		LeaseTTL: w.opts.LeaseTTL, OnDemand: w.opts.OnDemand, Linger: w.opts.Linger, MaxConferences: w.opts.MaxConferences,
		Logger: w.log, Metrics: w.metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return fleet, nil
}

// named says whether this worker's own flags name a conference: then it is known before the fleet was first looked at.
func (w *Worker) named(conf string) bool {
	return slices.ContainsFunc(w.opts.Conferences, func(c Conference) bool { return c.ID == conf })
}

// known says whether a conference is one that the fleet holds, or would on demand.
func (w *Worker) known(conf string) bool {
	if w.named(conf) {
		return true
	}
	_, err := w.fleet.Get(context.Background(), conf)
	return err == nil
}

// conferenceIDs are the conferences that are known here.
func (w *Worker) conferenceIDs() []string {
	list, _ := w.fleet.List(context.Background()) // from memory: it doesn't fail
	ids := make([]string, 0, len(list))
	for _, c := range list {
		ids = append(ids, c.ID)
	}
	for _, c := range w.opts.Conferences {
		if !slices.Contains(ids, c.ID) {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// held says whether some worker holds a conference. One of this worker's own flags that the fleet doesn't know isn't missed:
// the fleet hasn't been looked at yet.
func (w *Worker) held(conf string) bool {
	c, err := w.fleet.Get(context.Background(), conf)
	if err != nil {
		return w.named(conf)
	}
	return c.Worker != ""
}

// put says whether a conference is one that somebody put, and nobody deleted.
func (w *Worker) put(conf string) bool {
	c, _ := w.fleet.Get(context.Background(), conf) // unknown: not
	return c.Stored
}

// owner is the worker that holds a conference; empty: none does, as far as is known here.
func (w *Worker) owner(conf string) string {
	c, _ := w.fleet.Get(context.Background(), conf) // unknown: empty
	return c.Worker
}

// drain hands over links and moves clients away, both within the drain's time. Where nobody else could hold the links,
// clients go first, so that they see no conference go stale on a worker that leaves.
func (w *Worker) drain() {
	w.health.SetReady(false)
	ctx, cancel := context.WithTimeout(context.Background(), w.opts.DrainTimeout)
	defer cancel()
	links := func() {
		// What is left for the end is for what nobody took over, and for goodbyes.
		ctx, cancel := context.WithTimeout(ctx, w.opts.DrainTimeout*5/6)
		defer cancel()
		if err := w.fleet.Drain(ctx); err != nil {
			w.log.Warn("links were let go of, --drain-timeout is over", zap.Error(err))
		}
	}
	var handing sync.WaitGroup
	if !w.opts.RedisURL.Empty() {
		handing.Go(links)
	}
	// A third for the closes, the rest for slow clients and for the links.
	if err := w.edge.Drain(ctx, w.opts.DrainTimeout/3); err != nil {
		w.log.Warn("clients were cut off, --drain-timeout is over", zap.Error(err))
	}
	handing.Wait()
	if w.opts.RedisURL.Empty() {
		links()
	}
}

// registry makes the fleet's set of conferences what the edge wants.
type registry struct{ fleet ownership.Registry }

// Put implements edge.Registry.
func (r registry) Put(ctx context.Context, conf string, password []byte) (bool, error) {
	created, err := r.fleet.Put(ctx, conf, password)
	return created, registryError(err)
}

// Delete implements edge.Registry.
func (r registry) Delete(ctx context.Context, conf string) error {
	return registryError(r.fleet.Delete(ctx, conf))
}

// registryError makes an error of the fleet one that the edge knows.
func registryError(err error) error {
	for _, pair := range [][2]error{
		{ownership.ErrNotFound, edge.ErrNotFound},
		{ownership.ErrNamedByFlags, edge.ErrNamedByFlags},
		{ownership.ErrNoSealKey, edge.ErrNoSealKey},
		{ownership.ErrFull, edge.ErrFull},
	} {
		if errors.Is(err, pair[0]) {
			return pair[1]
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", edge.ErrUnavailable, err) // the store is away
	}
	return nil
}

// demand tells the fleet which conferences have clients here.
type demand struct {
	want func(ctx context.Context, conf string, wanted bool) error
	log  *zap.Logger

	mu      sync.Mutex // held over map accesses only
	clients map[string]int
	told    chan struct{} // of capacity 1: one word at a time goes out, so that the last one holds
}

func newDemand(fleet *ownership.Worker, log *zap.Logger) *demand {
	return &demand{want: fleet.Want, log: log, clients: map[string]int{}, told: make(chan struct{}, 1)}
}

// demandTimeout bounds a word to the fleet, which answers from memory.
const demandTimeout = 5 * time.Second

// add counts a client in or out.
func (d *demand) add(conf string, n int) {
	d.mu.Lock()
	before := d.clients[conf]
	d.clients[conf] = before + n
	if before+n == 0 {
		delete(d.clients, conf)
	}
	d.mu.Unlock()
	if before > 0 && before+n > 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), demandTimeout)
	defer cancel()
	d.told <- struct{}{}
	defer func() { <-d.told }()
	d.mu.Lock()
	wanted := d.clients[conf] > 0
	d.mu.Unlock()
	if err := d.want(ctx, conf, wanted); err != nil && !errors.Is(err, ownership.ErrStopped) {
		d.log.Warn("demand for a conference isn't known to the fleet", zap.Error(err))
	}
}

// demanded is a source that counts its subscribers.
type demanded struct {
	source
	demand *demand
}

// Subscribe implements edge.Source.
func (s demanded) Subscribe(ctx context.Context, req edge.Request) (edge.Subscription, error) {
	if !s.known(req.Conference) {
		return nil, edge.ErrNotFound
	}
	s.demand.add(req.Conference, 1)
	sub, err := s.source.Subscribe(ctx, req)
	if err != nil {
		s.demand.add(req.Conference, -1)
		return nil, err
	}
	return &counted{Subscription: sub, leave: sync.OnceFunc(func() { s.demand.add(req.Conference, -1) })}, nil
}

// counted is a subscription that is counted out when it is closed.
type counted struct {
	edge.Subscription
	leave func()
}

// Close implements edge.Subscription.
func (c *counted) Close() {
	c.Subscription.Close()
	c.leave()
}
