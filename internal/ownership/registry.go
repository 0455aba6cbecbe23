package ownership

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Conference is a conference that the fleet knows.
type Conference struct {
	ID string
	// Worker is the name of the worker that holds it; empty: nobody live does.
	Worker string
	// Flags says that a running worker's flags name it; Stored, that it was put. Either or both hold.
	Flags, Stored bool
}

// Registry is the fleet's set of conferences, as any worker sees it.
type Registry interface {
	// Put has the fleet hold a conference with this chair password, or, where it does, gives it the password anew. It says
	// whether the conference is new. ErrNoSealKey, ErrFull.
	Put(ctx context.Context, id string, password []byte) (created bool, err error)
	// Delete lets go of a conference that was put. ErrNotFound, ErrNamedByFlags.
	Delete(ctx context.Context, id string) error
	// List is all conferences, by id.
	List(ctx context.Context) ([]Conference, error)
	// Get is one of them. ErrNotFound.
	Get(ctx context.Context, id string) (Conference, error)
}

var _ Registry = (*Worker)(nil)

// listing is what was known when the store was last looked at. It is immutable.
type listing struct {
	byID map[string]Conference
	room int // that is left on all workers together

	generation uint64
}

// entry is a conference as callers see it; false: it isn't the fleet's any more.
func (a *actor) entry(id string, c *conf) (Conference, bool) {
	named := slices.ContainsFunc(c.rec.namers, a.alive)
	if !named && !c.rec.stored {
		return Conference{}, false
	}
	return Conference{ID: id, Worker: a.workers[c.rec.owner].info.Worker, Flags: named, Stored: c.rec.stored}, true
}

// publishListing makes what is known visible to callers, and tells those who waited for it.
func (a *actor) publishListing(now time.Time) {
	room := 0
	for _, p := range a.workers {
		if !p.info.Draining {
			room += p.info.Max
		}
	}
	old := a.w.listing.Load()
	listed, same := 0, old.byID != nil
	for id, c := range a.confs {
		entry, ok := a.entry(id, c)
		if !ok {
			continue
		}
		listed++
		same = same && old.byID[id] == entry
		if !a.cfg.OnDemand || now.Before(c.demandUntil) {
			room--
		}
	}
	if !same || listed != len(old.byID) || room != old.room {
		l := &listing{byID: make(map[string]Conference, listed), room: room, generation: old.generation + 1}
		for id, c := range a.confs {
			if entry, ok := a.entry(id, c); ok {
				l.byID[id] = entry
			}
		}
		a.w.listing.Store(l)
	}
	for _, w := range a.answered {
		close(w)
	}
	a.answered = nil
	owned, unowned := 0, 0
	for _, c := range a.confs {
		switch {
		case c.rec.owner == a.me:
			owned++
		case !a.alive(c.rec.owner) && a.member(c, now):
			unowned++
		}
	}
	a.cfg.Metrics.Owned(owned)
	a.cfg.Metrics.Unowned(unowned)
}

// refresh has the store looked at, and waits for that, so that a caller sees what it did itself. A store that is away
// doesn't hold it up for longer than ctx.
func (w *Worker) refresh(ctx context.Context) error {
	looked := make(chan struct{})
	err := w.send(ctx, func(_ context.Context, a *actor, now time.Time) {
		a.waiters = append(a.waiters, looked)
		a.lookBy(now)
	})
	if err != nil {
		return err
	}
	select {
	case <-looked:
		return nil
	case <-w.stopped:
		return ErrStopped
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// refreshTimeout bounds the look after a change: the change itself was made.
const refreshTimeout = time.Second

func (w *Worker) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	_ = w.refresh(ctx) // then the list is behind for a moment
}

// Put implements Registry.
func (w *Worker) Put(ctx context.Context, id string, password []byte) (bool, error) {
	if len(password) == 0 {
		return false, fmt.Errorf("ownership: put %s: no password", id)
	}
	l := w.listing.Load()
	if _, known := l.byID[id]; !known && !w.cfg.OnDemand && l.room <= 0 && l.byID != nil {
		return false, ErrFull
	}
	created, err := w.cfg.Store.put(ctx, id, password)
	if err != nil {
		return false, err
	}
	w.settle(ctx)
	return created, nil
}

// Delete implements Registry.
func (w *Worker) Delete(ctx context.Context, id string) error {
	if err := w.cfg.Store.remove(ctx, id); err != nil {
		return err
	}
	w.settle(ctx)
	return nil
}

// List implements Registry, from what this worker knew when it last looked at the store: not older than a third of the
// lease, unless the store is away.
func (w *Worker) List(context.Context) ([]Conference, error) {
	l := w.listing.Load()
	out := make([]Conference, 0, len(l.byID))
	for _, c := range l.byID {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Conference) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

// Generation is another number whenever an answer of Get or List has changed.
func (w *Worker) Generation() uint64 { return w.listing.Load().generation }

// Get implements Registry, from the same picture as List.
func (w *Worker) Get(_ context.Context, id string) (Conference, error) {
	c, ok := w.listing.Load().byID[id]
	if !ok {
		return Conference{}, ErrNotFound
	}
	return c, nil
}

// Want says that this worker has clients for a conference, or none any more. It matters on demand only.
func (w *Worker) Want(ctx context.Context, id string, wanted bool) error {
	return w.send(ctx, func(_ context.Context, a *actor, now time.Time) {
		switch {
		case !a.cfg.OnDemand || a.wanted[id] == wanted:
		case wanted:
			a.wanted[id] = true
			a.tell = append(a.tell, id)
			if a.wantAt.IsZero() {
				a.wantAt = now.Add(a.cfg.Linger / 3)
			}
		default:
			// Once more, so that linger begins now.
			delete(a.wanted, id)
			a.tell = append(a.tell, id)
		}
	})
}
