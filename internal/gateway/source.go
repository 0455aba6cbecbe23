package gateway

import (
	"context"
	"errors"
	"fmt"

	"confgate/internal/edge"
	"confgate/internal/fanout"
)

// source makes the feeds what the edge wants. The two don't know each other.
type source struct{ feeds *fanout.Feeds }

// Subscribe implements edge.Source.
func (s source) Subscribe(ctx context.Context, req edge.Request) (edge.Subscription, error) {
	r, err := s.feeds.Subscribe(ctx, fanout.Request(req))
	switch {
	case err == nil:
		return subscription{r}, nil
	case errors.Is(err, fanout.ErrNotFound):
		return nil, edge.ErrNotFound
	case errors.Is(err, fanout.ErrUnavailable):
		return nil, edge.ErrUnavailable
	}
	return nil, fmt.Errorf("gateway: %w", err)
}

// subscription makes a feed's reader an edge.Subscription.
type subscription struct{ *fanout.Reader }

// Next implements edge.Subscription.
func (s subscription) Next() (edge.Frame, bool) {
	f, ok := s.Reader.Next()
	if !ok {
		return edge.Frame{}, false
	}
	return edge.Frame{Bytes: f.Bytes, Messages: f.Messages, Snapshot: f.Snapshot, Received: f.Received}, true
}
