package session

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"time"

	"go.uber.org/zap"

	"confgate/internal/confctl"
	"confgate/internal/subscribe"
	"confgate/internal/telemetry"
)

// Defaults of Config. Where the provider's own limits are the reason, provider means chapters 5.2 and 6.1 of its reference.
const (
	// DefaultHeartbeat is a ninth of the 180 s after which the provider drops a silent link.
	DefaultHeartbeat = 20 * time.Second
	// DefaultPoll is how often a conference that hasn't started is asked after: often enough for people who wait, and four
	// conferences together still stay below a fifth of the provider's calls a minute.
	DefaultPoll = 15 * time.Second
	// DefaultLocked is how long control stays locked after too many refusals, as far as is known: minutes.
	DefaultLocked = 5 * time.Minute
	// DefaultSamePassword is when a refused password may be tried again, where somebody gives it anew.
	DefaultSamePassword = 10 * time.Minute
	// DefaultRetain is how long the last state of a conference stays readable after its end (contract, section 4).
	DefaultRetain = 5 * time.Minute
	// DefaultSettled is how long a link must have been live for the next loss to start at the shortest delay again.
	DefaultSettled = time.Second
	// DefaultCallTimeout bounds one REST call or dial, and one try of a log call.
	DefaultCallTimeout = 10 * time.Second
	// DefaultCheckpoint is how long a change may wait for a checkpoint. A checkpoint encodes the whole conference, which is
	// most of what a quiet one costs, and only lets the log be trimmed, which keeps a resume window of a minute anyway.
	DefaultCheckpoint = time.Minute
	// DefaultCheckpointChanges is how many changes may: a successor replays at most so many, and a busy conference isn't
	// encoded whole more often than every few seconds.
	DefaultCheckpointChanges = 300
	// DefaultQueueBytes and DefaultQueueChanges bound what waits for the log: beyond, the difference to the log's state costs
	// less than the changes.
	DefaultQueueBytes   = 4 << 20
	DefaultQueueChanges = 10_000
)

// Config is what one session needs. A zero duration or number means its default.
type Config struct {
	Conference string         // id that it is held under
	Password   confctl.Secret // chair password; empty: unavailable until SetPassword

	Log     Log
	Limiter Limiter
	// Tenure says when the log may be touched; nil: always.
	Tenure Tenure
	// Successor says that another session still holds the conference and hands it over: the link comes first, and the log
	// when Tenure lets it. It needs a Tenure.
	Successor bool
	// API calls the provider; its Observe is called first, then the session counts the call itself.
	API *confctl.API
	// WSURL is dialled in place of what token answers name, unchecked; nil: none.
	WSURL *url.URL
	// TLS is for dials (TLSConfig); nil: the system's roots.
	TLS *tls.Config

	Types     []string            // notify types to subscribe to; none: the documented ten
	Numbering subscribe.Numbering // how increments are numbered; empty: find out
	Refresh   time.Duration       // how often a busy link is checked by fresh full frames; 0: subscribe's default, negative: never

	Heartbeat    time.Duration // between heartbeats
	Poll         time.Duration // between questions whether the conference has started, plus up to a fifth
	Locked       time.Duration // to wait while control is locked
	SamePassword time.Duration // before a refused password is tried again
	Retain       time.Duration // that the last state stays after the end
	Settled      time.Duration // live before a loss counts as the first
	CallTimeout  time.Duration // of one REST call, dial, or try of a log call

	Checkpoint        time.Duration // a change waits for a checkpoint at most
	CheckpointChanges int           // changes between checkpoints at most
	QueueBytes        int           // that wait for the log at most
	QueueChanges      int

	// RefusalKey keys the HMAC by which a refused password is remembered with the conference, so that no successor tries
	// it again. Without it the refusal isn't remembered beyond this process, since short passwords could be guessed from it.
	RefusalKey []byte
	// Tokens and Refusals are what the fleet knows of this conference beside the log; nil: this session is alone with what it
	// knows. Refusals needs a RefusalKey.
	Tokens   TokenStore
	Refusals RefusalStore

	Logger  *zap.Logger        // nil: none
	Metrics *telemetry.Metrics // nil: none
}

// withDefaults fills in what is zero.
func (c Config) withDefaults() Config {
	durations := []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.Heartbeat, DefaultHeartbeat},
		{&c.Poll, DefaultPoll},
		{&c.Locked, DefaultLocked},
		{&c.SamePassword, DefaultSamePassword},
		{&c.Retain, DefaultRetain},
		{&c.Settled, DefaultSettled},
		{&c.CallTimeout, DefaultCallTimeout},
		{&c.Checkpoint, DefaultCheckpoint},
	}
	for _, d := range durations {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	numbers := []struct {
		field *int
		value int
	}{
		{&c.CheckpointChanges, DefaultCheckpointChanges},
		{&c.QueueBytes, DefaultQueueBytes},
		{&c.QueueChanges, DefaultQueueChanges},
	}
	for _, n := range numbers {
		if *n.field == 0 {
			*n.field = n.value
		}
	}
	if c.TLS == nil {
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if len(c.Types) == 0 {
		c.Types = subscribe.Documented()
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	c.Logger = c.Logger.With(telemetry.Conference(c.Conference))
	return c
}

// validate joins everything that is wrong; c has its defaults.
func (c Config) validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("session: "+format, args...))
		}
	}
	check(c.Conference != "", "conference id is empty")
	check(c.Log != nil, "no log")
	check(c.Limiter != nil, "no limiter")
	check(c.Tenure != nil || !c.Successor, "a successor without tenure")
	check(c.Refusals == nil || len(c.RefusalKey) > 0, "refusals without a key")
	check(c.API != nil && c.API.Base != nil, "no provider API")
	for name, d := range map[string]time.Duration{
		"heartbeat": c.Heartbeat, "poll": c.Poll, "locked": c.Locked, "same password": c.SamePassword, "retain": c.Retain,
		"settled": c.Settled, "call timeout": c.CallTimeout, "checkpoint": c.Checkpoint,
	} {
		check(d > 0, "%s interval %v: want more than 0", name, d)
	}
	check(c.CheckpointChanges > 0 && c.QueueBytes > 0 && c.QueueChanges > 0, "a limit of changes or bytes is negative")
	return errors.Join(errs...)
}
