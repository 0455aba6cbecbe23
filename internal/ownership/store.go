package ownership

import (
	"context"
	"errors"
	"time"
)

// Errors of a Store and of a Registry.
var (
	// ErrNotFound: the fleet doesn't know the conference.
	ErrNotFound = errors.New("ownership: no such conference")
	// ErrNamedByFlags: the flags of a running worker name the conference, so it can't be deleted.
	ErrNamedByFlags = errors.New("ownership: a worker's flags name the conference")
	// ErrNoSealKey: a password must not lie in Redis in the clear, and there is no key to seal it with.
	ErrNoSealKey = errors.New("ownership: passwords can't be stored without a seal key (--seal-key-file)")
	// ErrFull: the workers together hold as many conferences as they may (--max-conferences).
	ErrFull = errors.New("ownership: no worker has room for another conference")
	// ErrStopped: the worker doesn't run any more.
	ErrStopped = errors.New("ownership: worker has stopped")

	// errLost: this incarnation's lease is over by the store's clock.
	errLost = errors.New("ownership: lease is over")
)

// Store is what the fleet shares about who holds what: a RedisStore, or a MemoryStore for one process. All of its times
// are spans by the store's own clock; no worker's clock is ever compared with another's.
type Store interface {
	// poll renews or joins, or only looks; it answers with what changed since the caller last looked.
	poll(ctx context.Context, q query) (view, error)
	// name says which conferences the flags of a worker name; they stay its own until its lease is over.
	name(ctx context.Context, me string, confs []string) error
	// claim takes conferences that nobody live holds, that previous (an earlier incarnation of the same worker) holds, or
	// that are offered to me, and raises their terms. The answers are in the order asked. errLost where me isn't live.
	claim(ctx context.Context, me, previous string, confs []string) ([]claimed, error)
	// release gives up what me holds.
	release(ctx context.Context, me string, confs []string) error
	// forget removes what is left of conferences that nobody live names, stores or holds.
	forget(ctx context.Context, confs []string) error
	// advance takes steps of handovers, and says which applied: each is checked against the state it expects.
	advance(ctx context.Context, me string, steps []step) ([]bool, error)
	// want keeps conferences in demand for a span from now.
	want(ctx context.Context, span time.Duration, confs []string) error
	// look reads records again; what has no record is left out.
	look(ctx context.Context, me string, confs []string) ([]record, error)
	// put stores a conference with its password, and says whether it is new.
	put(ctx context.Context, conf string, password []byte) (created bool, err error)
	// restore stores again what was put before the store was emptied, where nobody has put it since. Of the records it takes the
	// conference and its password as the store kept it.
	restore(ctx context.Context, puts []record) error
	// remove undoes put; ErrNotFound, ErrNamedByFlags.
	remove(ctx context.Context, conf string) error
	// closesOlder remembers for a day that the provider closes the older of two links; it counts how often that was seen.
	closesOlder(ctx context.Context) (seen int64, err error)
	// leave ends a worker's membership.
	leave(ctx context.Context, me string) error
	// password opens a record's password; nil where it has none.
	password(r record) ([]byte, error)
	// alone says that no other worker can ever share this store, so that nobody needs to be waited for.
	alone() bool
}

// mode is what a poll does beside looking.
type mode string

const (
	joining  mode = "join"
	renewing mode = "renew"
	looking  mode = "look"
)

// query is a poll.
type query struct {
	me      string
	mode    mode
	info    info
	ttl     time.Duration // the lease's, from now by the store's clock
	fleet   string        // what the caller knows: the store's identity and version; empty: nothing
	version uint64
}

// info is what a worker tells the others about itself.
type info struct {
	Worker   string `json:"worker"` // stable over incarnations
	Max      int    `json:"max"`    // conferences that it may hold
	Draining bool   `json:"draining,omitempty"`
}

// view is what a poll found.
type view struct {
	lost    bool   // the caller's lease is over
	fleet   string // another one: the store was emptied
	version uint64
	whole   bool // records are all that there are, not only what changed
	closes  bool // the provider is known to close the older of two links
	workers []peer
	records []record
}

// peer is a live worker.
type peer struct {
	incarnation string
	info        info
	left        time.Duration // of its lease, when the store answered
}

// record is all that the store knows of a conference.
type record struct {
	conf   string
	stored bool          // by put
	sealed []byte        // password, as the store keeps it
	namers []string      // incarnations whose flags name it; some may be dead
	owner  string        // incarnation; empty: nobody
	term   uint64        // of the last claim
	to     string        // incarnation that it is being handed to; empty: none
	phase  phase         // of the handover
	offer  []byte        // the owner's, only where to is the caller
	demand time.Duration // that it stays in demand, when the store answered
}

// phase is how far a handover is.
type phase string

const (
	proposed phase = "proposed" // by the owner: the successor is to dial
	breaking phase = "breaking" // by the owner, which will let go of its link before the successor dials
	ready    phase = "ready"    // by the successor: its link is live, or it doesn't need one yet
	offered  phase = "offered"  // by the owner: it appends no more, and the offer says how far it came
)

// step is one move in a handover.
type step struct {
	conf   string
	action action
	to     string // the successor
	phase  phase  // of propose: proposed or breaking
	offer  []byte // of offer
}

type action string

const (
	propose   action = "propose"  // owner: where no handover is under way
	accept    action = "accept"   // successor: proposed or breaking to ready
	makeOffer action = "offer"    // owner: ready to offered
	withdraw  action = "withdraw" // owner: ends it
	decline   action = "decline"  // successor: ends it
)

// claimed is the answer to one claim.
type claimed struct {
	ok     bool
	term   uint64
	reason Reason
}

// Reason is why a worker came to hold a conference.
type Reason string

// Reasons of a takeover.
const (
	ReasonStart    Reason = "start"    // nobody held it
	ReasonDeath    Reason = "death"    // its owner's lease was over
	ReasonHandover Reason = "handover" // its owner offered it
	reasonAgain    Reason = "again"    // it was this worker's already
)
