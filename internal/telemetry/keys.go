package telemetry

import (
	"time"

	"go.uber.org/zap"
)

// Log keys. One spelling each, so that a query finds every line.
const (
	KeyConference = "conf"
	KeyLink       = "link"
	KeyClient     = "client"
	KeyWorker     = "worker"
	KeyEpoch      = "epoch"
	KeySeq        = "seq"
	KeyReason     = "reason"
	KeyState      = "state"
	KeyCode       = "code"
	KeyDelay      = "delay"
)

// Conference names the conference that a line is about.
func Conference(id string) zap.Field { return zap.String(KeyConference, id) }

// Client names the client connection that a line is about, by its session id.
func Client(session string) zap.Field { return zap.String(KeyClient, session) }

// Epoch and Seq give a position.
func Epoch(epoch string) zap.Field { return zap.String(KeyEpoch, epoch) }

// Seq is a position's sequence number.
func Seq(seq uint64) zap.Field { return zap.Uint64(KeySeq, seq) }

// Reason says why, as one word from a closed list.
func Reason(reason string) zap.Field { return zap.String(KeyReason, reason) }

// State is a link state.
func State(state string) zap.Field { return zap.String(KeyState, state) }

// Code is the provider's error code.
func Code(code string) zap.Field { return zap.String(KeyCode, code) }

// Delay is how long until the next try.
func Delay(d time.Duration) zap.Field { return zap.Duration(KeyDelay, d) }
