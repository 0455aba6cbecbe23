package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"confgate/internal/edge"
	"confgate/internal/fanout"
)

// listers is how many conferences of a list are looked at at a time: one that no client follows has to be loaded first.
const listers = 32

// source makes the feeds what the edge wants. The two don't know each other.
type source struct {
	feeds *fanout.Feeds
	known func(conf string) bool
	ids   func() []string          // of the conferences that are known
	owner func(conf string) string // the worker that holds a conference; empty: not known
}

// Subscribe implements edge.Source.
func (s source) Subscribe(ctx context.Context, req edge.Request) (edge.Subscription, error) {
	r, err := s.feeds.Subscribe(ctx, fanout.Request(req))
	if err != nil {
		return nil, sourceError(err)
	}
	return subscription{r}, nil
}

// Document implements edge.Source.
func (s source) Document(ctx context.Context, req edge.DocumentRequest) (edge.Document, error) {
	d, err := s.feeds.Document(ctx, req.Conference, req.Topics, req.Profile, req.Have)
	if err != nil {
		return edge.Document{}, sourceError(err)
	}
	return edge.Document(d), nil
}

// List implements edge.Source.
func (s source) List(ctx context.Context, may func(conf string) bool) ([]edge.Summary, error) {
	ids := slices.DeleteFunc(s.ids(), func(id string) bool { return !may(id) })
	slices.Sort(ids)
	list := make([]edge.Summary, len(ids))
	var looking errgroup.Group
	looking.SetLimit(listers)
	for i, id := range ids {
		looking.Go(func() error {
			list[i] = edge.Summary{Conference: id, Worker: s.owner(id)}
			o, err := s.feeds.Overview(ctx, id)
			switch {
			case err == nil:
				list[i].Known, list[i].Clients, list[i].Fresh = true, o.Readers, o.Fresh
				list[i].Position, list[i].Summary = o.Position, o.Summary
			case errors.Is(err, fanout.ErrNotFound): // released since
				list[i].Conference = ""
			}
			return nil
		})
	}
	_ = looking.Wait() // none of them fails
	return slices.DeleteFunc(list, func(sum edge.Summary) bool { return sum.Conference == "" }), nil
}

// sourceError makes an error of the feeds one that the edge knows.
func sourceError(err error) error {
	switch {
	case errors.Is(err, fanout.ErrNotFound):
		return edge.ErrNotFound
	case errors.Is(err, fanout.ErrUnavailable):
		return edge.ErrUnavailable
	}
	return fmt.Errorf("gateway: %w", err)
}

// subscription makes a feed's reader an edge.Subscription.
type subscription struct{ *fanout.Reader }

// Next implements edge.Subscription.
func (s subscription) Next() (edge.Frame, bool) {
	f, ok := s.Reader.Next()
	if !ok {
		return edge.Frame{}, false
	}
	return edge.Frame(f), true
}
