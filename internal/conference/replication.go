package conference

import "errors"

// This file is the vocabulary in which owners, the replicated log and replicas speak; the packages that use it don't
// import each other.

// Change is one step of a conference: a merge patch of one topic, or an event. It is immutable.
type Change struct {
	Topic Topic
	// Time is when the provider created the frame behind the change, in Unix milliseconds; the gateway's clock for changes
	// of its own.
	Time int64
	// Body is JSON. For a state topic it is a JSON Merge Patch (RFC 7396) on the topic's member of the document, for an
	// event topic the event's data.
	Body []byte
}

// Stamped is a Change with its place in the conference's log.
type Stamped struct {
	Change
	Seq  uint64
	Prev uint64 // the Seq of the change before it on the same topic, 0: none
}

// Position is a place in a conference's history. Epoch names one unbroken run of Seq.
type Position struct {
	Epoch string
	Seq   uint64
}

// Claim is the right to append to a conference's log, until somebody claims it anew.
type Claim struct {
	Term  uint64 // grows with each claim of a conference
	Nonce string // tells two claims of one term apart, after the log was lost
}

// Checkpoint is a conference's whole state at a position: with the changes after it, everything a successor needs.
type Checkpoint struct {
	Position
	// Prev is the last Seq of each topic at Position.
	Prev [NumTopics]uint64
	Doc  *Doc
	// Memory is what the reducer knows beside the document, opaque to the log (State.Memory).
	Memory []byte
	// Since is the changes up to Position that Memory may not know of yet, of the topics that AdvanceMemory reads.
	Since []Stamped
	// Secretless says that members of scope Secrets were left out, since the log had no key to seal them with.
	Secretless bool
}

// Stored is a checkpoint as a log is given it.
type Stored struct {
	Position
	Prev   [NumTopics]uint64
	Image  *Image // of the document
	Memory []byte
}

// Errors of a log, for owners to branch on.
var (
	// ErrFenced: another claim was made since; this owner must stop.
	ErrFenced = errors.New("conference: fenced by a newer claim")
	// ErrPosition: the log isn't where the append continues; claim again.
	ErrPosition = errors.New("conference: log is not at this position")
	// ErrEpoch: the log's continuity was lost (emptied, or failed over); claim again, then begin a new epoch.
	ErrEpoch = errors.New("conference: log has lost its epoch")
)
