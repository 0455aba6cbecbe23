package session

import (
	"context"
	"time"

	"confgate/internal/conference"
)

// Log is what a session needs of the replicated log. Every call may block until ctx is done.
type Log interface {
	// Claim raises the fence: appends under any older claim are refused from now on. An empty Epoch in the position means
	// that continuity was lost (or never was): the claimer must Begin.
	Claim(ctx context.Context, conf string) (conference.Claim, conference.Position, error)
	// Load reads the state at the log's head, from the last checkpoint and what follows it. The zero Position and an empty
	// document where there is none. After a lost epoch it gives what is left of the old one, as far as it goes.
	Load(ctx context.Context, conf string) (conference.Checkpoint, error)
	// Begin starts a new epoch with cp's document and memory as its first state. Nothing of cp is kept.
	Begin(ctx context.Context, conf string, claim conference.Claim, cp conference.Stored) (conference.Position, error)
	// Append adds changes, in order, where the log is at position after. Without changes it only says whether it is there. It answers with the position reached. ErrFenced,
	// ErrPosition and ErrEpoch are final; after any other error it isn't known whether the append happened, and the same
	// call with the same arguments finds out: claim and after already done is answered as done.
	Append(ctx context.Context, conf string, claim conference.Claim, after conference.Position, changes []conference.Change) (conference.Position, error)
	// Checkpoint stores the state at cp.Position, so that the log before it can be trimmed. Nothing of cp is kept.
	Checkpoint(ctx context.Context, conf string, claim conference.Claim, cp conference.Stored) error
	// Hold says that this session has claimed the conference, until letGo is called: what the log has of it is kept from
	// expiring. doubt is called when the log may have lost something: an Append, without changes where there are none,
	// finds out. Nothing rests on it but how soon an idle owner notices.
	Hold(conf string, doubt func()) (letGo func())
}

// Tenure is what holding a conference depends on, where workers share conferences out.
type Tenure interface {
	// Gate blocks until this worker may touch the conference's log.
	Gate(ctx context.Context) error
	// Open says whether Gate would let pass at once.
	Open() bool
	// Live says that a successor's link is live, or that it needs none: the last owner may make its offer.
	Live()
	// Offered gives a successor the last owner's offer, once; nil where there won't be one.
	Offered() <-chan []byte
	// CaughtUp says that a successor is as far as the offer.
	CaughtUp()
	// LinkClosed says that the provider closed an owner's link while a successor's was coming.
	LinkClosed()
}

// Limiter is the fleet's limit on REST calls and dials, per API.
type Limiter interface {
	// Wait blocks until one more call of the API is allowed.
	Wait(ctx context.Context, api string) error
	// Learn lowers the rate to what the provider said in its headers.
	Learn(api string, limit int, per time.Duration)
}

// TokenStore keeps control tokens for the whole fleet, so that a takeover sends no password. What Store is given is secret:
// the store seals it.
type TokenStore interface {
	// Store keeps a token for what is left of its life.
	Store(ctx context.Context, conf string, token []byte, life time.Duration) error
	// Load is the token stored last, and what is left of its life; nil: there is none.
	Load(ctx context.Context, conf string) ([]byte, time.Duration, error)
	// Forget removes a token that is of no use any more.
	Forget(ctx context.Context, conf string) error
}

// RefusalStore remembers for the whole fleet which passwords the provider refused, by their HMAC, so that nobody sends one
// again and locks the conference's control.
type RefusalStore interface {
	// Refuse remembers a password for a span of time.
	Refuse(ctx context.Context, conf string, mac []byte, span time.Duration) error
	// Refused is what is left of that span; 0: the password wasn't refused.
	Refused(ctx context.Context, conf string, mac []byte) (time.Duration, error)
	// Allow forgets a refusal.
	Allow(ctx context.Context, conf string, mac []byte) error
}
