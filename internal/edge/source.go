package edge

import (
	"context"
	"errors"
	"time"

	"confgate/internal/conference"
)

// Source is where the edge gets conferences from: the feeds of this worker, joined to it by the composition root.
type Source interface {
	// Subscribe attaches a reader to a conference's feed. It may wait until the feed has a document, and where resume is
	// ahead of the feed until that has caught up; after 2 s it gives up with ErrUnavailable. ErrNotFound: nobody here
	// knows the conference.
	Subscribe(ctx context.Context, req Request) (Subscription, error)
	// Document is a conference's present state. It waits as Subscribe does, with the same errors; the newest of req.Have is
	// waited for likewise.
	Document(ctx context.Context, req DocumentRequest) (Document, error)
	// List sums up the conferences that are known here and that may says yes to, ordered by id. One of which nothing can be
	// told in time has its id only.
	List(ctx context.Context, may func(conf string) bool) ([]Summary, error)
}

// Errors of a Source.
var (
	ErrNotFound    = errors.New("edge: conference not found")
	ErrUnavailable = errors.New("edge: conference not available now")
)

// Request is what a client asks of a conference.
type Request struct {
	Conference string
	Topics     conference.Topics // as granted, with link
	Profile    conference.Profile
	Resume     *conference.Position // nil: from a snapshot; the edge has checked the view
	// NotBefore is how far the client has been with another view, nil: nothing is known of that. The snapshot isn't older.
	NotBefore *conference.Position
	// Wake is called, at most once for each Next that had nothing, when there is something again. It doesn't block and may
	// be called from any goroutine, also before Subscribe has returned.
	Wake Waker
}

// Waker is told that Next may have something. It is an alias, so that the composition root can hand it on between packages
// that don't know each other, and an interface, since that leads straight to who sleeps: a func would stand in between.
type Waker = interface{ Wake() }

// DocumentRequest asks for a conference's state once.
type DocumentRequest struct {
	Conference string
	Topics     conference.Topics // as granted, with link
	Profile    conference.Profile
	Have       []conference.Position // positions of which the client has the document already
}

// Document is a conference's state at a position. It is shared and must not be changed.
type Document struct {
	conference.Position
	JSON  []byte // nil where the position is one that the client has
	Fresh bool   // this worker vouches for it
}

// Summary is what a list says of a conference, all of it for every reader.
type Summary struct {
	Conference string
	Known      bool   // what follows could be told
	Worker     string // that holds it; empty: not known
	Clients    int    // subscriptions and event streams on this worker
	Fresh      bool   // this worker vouches for it
	conference.Position
	conference.Summary
}

// Subscription is one client's place in a feed. Its methods are called by one goroutine at a time.
type Subscription interface {
	// Recovered says whether the resume was granted: then no snapshot comes first.
	Recovered() bool
	// Next is the next frame to write, without waiting; false: nothing now, and Wake will be called. A reader that fell
	// too far behind gets a snapshot as its next frame.
	Next() (Frame, bool)
	// Renew has the first snapshot made anew when Next asks for it, since the client got more of the conference meanwhile. It
	// is called before Next, and changes nothing for a reader that resumed.
	Renew()
	// Close detaches the reader. Wake may still be on its way.
	Close()
}

// Frame is one WebSocket message as the feed encoded it, shared by all its readers, who must not change it.
type Frame struct {
	Bytes    []byte         // the message
	Wire     []byte         // the whole frame, header included, of which Bytes is the end; nil: not made
	Messages []MessageCount // what is inside, for the metrics
	Snapshot string         // why a snapshot is inside: "subscribe", "resume", "lag", "epoch"; else empty
	Received time.Time      // when the feed got the change from the log; zero for what no change caused
	// Released marks a subscription's end instead of a message: nobody holds the conference any more. Bytes is empty, and
	// Next isn't called again.
	Released bool
}

// MessageCount is how many messages of one type a frame holds. It is an alias, so that the composition root can hand a list
// on between packages that don't know each other, for every frame and every client, without copying it.
type MessageCount = struct {
	Type string
	N    int
}
