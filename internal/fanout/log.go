package fanout

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"confgate/internal/conference"
	"confgate/internal/telemetry"
)

// Log is the replicated log of conferences. All methods may be called from many goroutines, and may block until ctx is
// done. Positions are of conference.Position; the errors to branch on are conference.ErrFenced, ErrPosition and ErrEpoch.
type Log interface {
	// Claim raises the fence: appends under any older claim are refused from now on. An empty Epoch in the position means
	// that continuity was lost, or never was: the claimer must Begin.
	Claim(ctx context.Context, conf string) (conference.Claim, conference.Position, error)
	// Load reads the state at the log's head; Memory is the last checkpoint's, and Since what moves it on. The caller owns the
	// document. The zero Position and an empty document where there is none. After a lost epoch it gives what is left of the
	// old one.
	Load(ctx context.Context, conf string) (conference.Checkpoint, error)
	// Begin starts a new epoch, at seq 0, with cp's document and memory as its first state. cp stays the caller's, who may free
	// its image afterwards.
	Begin(ctx context.Context, conf string, claim conference.Claim, cp conference.Stored) (conference.Position, error)
	// Append adds changes, in order, where the log is at position after, and answers with the position reached. The same
	// claim and after already done are answered as done. Without changes it only checks claim and position.
	Append(
		ctx context.Context, conf string, claim conference.Claim, after conference.Position, changes []conference.Change,
	) (conference.Position, error)
	// Checkpoint stores the state at cp.Position, and trims what lies before it and before the resume window. cp stays the
	// caller's, who may free its image afterwards.
	Checkpoint(ctx context.Context, conf string, claim conference.Claim, cp conference.Stored) error
	// Hold keeps what there is of a conference from expiring, for the owner that has claimed it, until letGo is called.
	// doubt is called, by a goroutine that it must not hold up, when the log may have lost something; the owner's next
	// Append, which may be without changes, tells. Nothing else rests on it. That another has claimed isn't looked for.
	Hold(conf string, doubt func()) (letGo func())
	// Follow begins to follow a conference. From is where the caller is already; anything but a position that the log still
	// continues brings a snapshot first. Where the conference has no state yet, nothing is delivered until it has. kick is
	// given a value, unless it is full, when there may be something for the tail's Step to deliver, also before Follow has
	// returned. The caller closes the tail.
	Follow(conf string, from conference.Position, kick chan<- struct{}) Tail
}

// Tail is a follower's place in a log. It belongs to one goroutine, which calls Step after each kick.
type Tail interface {
	// Step delivers, in order, what has come since the last one; it may be called at any time. It doesn't wait for the log:
	// what has to be asked for is delivered by a later Step, if ctx isn't done by then.
	Step(ctx context.Context, deliver func(Delivery))
	// Close ends it. It waits for what a Step has begun, so the Step's ctx should be done.
	Close()
}

// Delivery is one step of a follower. Exactly one of Snapshot, Entry and Status is set.
type Delivery struct {
	// Snapshot replaces everything before it.
	Snapshot *Snapshot
	// Entry is one append, or the part of it that is new: changes whose Seq continue what came before without a hole. An
	// event whose body is nil is withheld from this process, for want of a key; it only takes its place.
	Entry []conference.Stamped
	// Status says that the log can't vouch for the state any more, or that it can again and nothing is missing. A follower
	// starts as fresh.
	Status *Status
	// Received is when this process got what is delivered.
	Received time.Time
}

// Snapshot is a conference's state at a position, with the entries that lead there as far as they are still kept.
type Snapshot struct {
	conference.Checkpoint // its document belongs to the receiver
	// History is contiguous, and ends with the change at Position; empty where nothing is kept.
	History [][]conference.Stamped
}

// Status is whether a follower's state is known to be the log's.
type Status struct {
	Fresh  bool
	Reason string // ReasonLog or ReasonOwner, empty when fresh
	Since  int64  // Unix milliseconds by this process's clock
}

// Reasons of a Status that isn't fresh.
const (
	// ReasonLog: the log is away, or has lost what it had.
	ReasonLog = "log"
	// ReasonOwner: no worker holds the conference. It is a feed's word, not a log's.
	ReasonOwner = "owner"
)

// Defaults of LogOptions and FeedOptions.
const (
	// DefaultResumeWindow covers a phone that changes networks and a browser tab that is reloaded.
	DefaultResumeWindow = time.Minute
	// DefaultWindowBytes bounds the resume window of one conference.
	DefaultWindowBytes = 16 << 20
	// DefaultKeyTTL is longer than any conference is silent, and short enough that an abandoned one leaves nothing.
	DefaultKeyTTL = 24 * time.Hour
	// DefaultPollInterval keeps a replica at most a second behind, and lets it be known after a second that Redis is away,
	// for three commands a second of each worker to each server.
	DefaultPollInterval = time.Second
)

// LogOptions are what both logs take. The zero value is usable.
type LogOptions struct {
	// ResumeWindow is how long changes are kept after they could have been trimmed: zero is DefaultResumeWindow, negative
	// keeps none.
	ResumeWindow time.Duration
	// WindowBytes bounds what is kept: zero is DefaultWindowBytes.
	WindowBytes int
	// KeyTTL is how long a conference that nobody touches is remembered: zero is DefaultKeyTTL.
	KeyTTL time.Duration
	// PollInterval is how long a RedisLog lets a lost message at the end of a busy spell go unnoticed, a subscription that
	// delivers nothing, and Redis being away or another; it is also how long Redis may take to say where its logs are. Zero
	// is DefaultPollInterval.
	PollInterval time.Duration
	Metrics      *telemetry.Metrics // nil counts nothing
	Logger       *zap.Logger        // nil logs nothing
}

func (o LogOptions) withDefaults() LogOptions {
	if o.ResumeWindow == 0 {
		o.ResumeWindow = DefaultResumeWindow
	}
	if o.WindowBytes == 0 {
		o.WindowBytes = DefaultWindowBytes
	}
	if o.KeyTTL == 0 {
		o.KeyTTL = DefaultKeyTTL
	}
	if o.PollInterval == 0 {
		o.PollInterval = DefaultPollInterval
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return o
}

// perChange is what a change costs in memory beside its body, roughly, in bytes.
const perChange = 64

// weigh is what an entry costs in memory, in bytes.
func weigh(entry []conference.Stamped) int {
	n := 0
	for _, c := range entry {
		n += len(c.Body) + perChange
	}
	return n
}

// stamp makes an entry of changes that come after a seq, and moves prev, the last seq of each topic, along.
func stamp(changes []conference.Change, after uint64, prev *[conference.NumTopics]uint64) []conference.Stamped {
	entry := make([]conference.Stamped, len(changes))
	for i, c := range changes {
		entry[i].Change = c
	}
	number(entry, after, prev)
	return entry
}

// number does that to changes that are an entry's already. Withheld events don't count in prev.
func number(entry []conference.Stamped, after uint64, prev *[conference.NumTopics]uint64) {
	for i := range entry {
		c := &entry[i]
		after++
		c.Seq, c.Prev = after, prev[c.Topic]
		if c.Body != nil {
			prev[c.Topic] = after
		}
	}
}

// last is the seq of an entry's last change.
func last(entry []conference.Stamped) uint64 { return entry[len(entry)-1].Seq }

// since is the part of an entry after a seq.
func since(entry []conference.Stamped, seq uint64) []conference.Stamped {
	if first := entry[0].Seq; seq >= first {
		return entry[min(seq-first+1, uint64(len(entry))):]
	}
	return entry
}

// replay applies the entries after cp's position to it, and stops at a hole.
func replay(cp *conference.Checkpoint, entries [][]conference.Stamped) error {
	for _, e := range entries {
		e = since(e, cp.Seq)
		if len(e) == 0 {
			continue
		}
		if e[0].Seq != cp.Seq+1 {
			return nil
		}
		for _, c := range e {
			if err := cp.Doc.Patch(c.Change); err != nil {
				return fmt.Errorf("fanout: replay %s at seq %d: %w", c.Topic, c.Seq, err)
			}
			if c.Body != nil {
				cp.Prev[c.Topic] = c.Seq
				cp.Since = remembered(cp.Since, c)
			}
			cp.Seq = c.Seq
		}
	}
	return nil
}

// remembered adds a change that an owner's memory keeps to those since the last checkpoint.
func remembered(since []conference.Stamped, c conference.Stamped) []conference.Stamped {
	if conference.MemoryTopics.Has(c.Topic) {
		return append(since, c)
	}
	return since
}
