package simulator

import (
	"errors"
	"fmt"
	"math"
	"time"

	"confgate/internal/confctl"

	"go.uber.org/zap"
)

// How a provider numbers its increments; the reference doesn't say which it is.
const (
	NumberPerKind       = "kind"       // each notify type of a conference counts on its own
	NumberPerConference = "conference" // one count for all increments of a conference
)

// Defaults of Config.
const (
	DefaultConferences  = 3
	DefaultParticipants = 20
	DefaultRate         = 5.0
	DefaultTokenLife    = 30 * time.Minute  // chapter 5.2.1
	DefaultWSTokenLife  = time.Minute       // chapter 5.2.29
	DefaultSilenceLimit = 180 * time.Second // chapter 6.1.3.1
	DefaultLockAfter    = 3                 // guess: the reference gives no number
	DefaultLockFor      = 5 * time.Minute   // guess
	DefaultQueueBytes   = 32 << 20          // a few hundred full frames of a large conference
)

// Config says what to simulate. The zero value is three conferences of 20 people without faults.
type Config struct {
	Conferences  int     // 0: DefaultConferences
	Participants int     // people per conference that the world keeps near to; 0: DefaultParticipants
	Rate         float64 // frames per second and conference that the world makes; 0: DefaultRate, negative: none
	Seed         uint64  // the same seed and number of steps make the same world, times apart
	Numbering    string  // NumberPerKind (also "") or NumberPerConference

	TokenLife    time.Duration // of a control token; 0: DefaultTokenLife
	WSTokenLife  time.Duration // of a connection token; 0: DefaultWSTokenLife
	SilenceLimit time.Duration // a link without a heartbeat for so long is closed; 0: DefaultSilenceLimit

	LockAfter int           // wrong passwords before a conference's control is locked; 0: DefaultLockAfter
	LockFor   time.Duration // how long it stays locked; 0: DefaultLockFor
	Quota     int           // REST calls a minute and API, told in X-APIG-Ratelimit-Api; 0: no limit, no header

	RotateTokens       bool // keep-alive answers with a new control token; the old one is void at once
	WrapWSToken        bool // wsToken answers {"returnCode":0,"data":{…}}
	RefuseUnknownTypes bool // a Subscribe that names a type outside the documented ten is refused as a whole
	ClosesOlderLink    bool // a newer link for a conference closes the older one
	NotStarted         int  // so many conferences, from the last, haven't started until StartConference
	QueueBytes         int  // frames that a link's client may leave unread before it is closed; 0: DefaultQueueBytes
	// Cycle, where positive: the last conference ends after so long, and begins anew after a quarter of it.
	Cycle time.Duration

	Lively bool // human pace and names to look at, rather than an even mix of every change there is
	Canary Canary
	Faults FaultPlan
	Log    *zap.Logger // optional
}

// Canary is values to plant in the first conference's frames and tokens, for tests that search for them elsewhere. Empty
// members plant nothing.
type Canary struct {
	Password confctl.Secret // the chair password, and pwds
	Token    confctl.Secret // every control and connection token begins with it
	JoinLink confctl.Secret // guestJoinUri
	AuthInfo confctl.Secret // aiDigitalInfo.localAuthInfo of an interpreter
	Phone    string         // TEL of a participant who never leaves, phone of an attendee, callNumber of an invitation
	Email    string         // of the same attendee
	Account  string         // of the same participant and attendee
}

// Credential is what somebody needs to hold a conference.
type Credential struct {
	ID       string
	Password confctl.Secret // the chair password
}

// Validate lists everything that is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	bad := func(name string, value any, allowed string) {
		errs = append(errs, fmt.Errorf("simulator: %s is %v, allowed is %s", name, value, allowed))
	}
	if c.Conferences < 0 || c.Conferences > 10_000 {
		bad("conferences", c.Conferences, "1 to 10000")
	}
	if c.Participants < 0 || c.Participants > 10_000 {
		bad("participants", c.Participants, "1 to 10000")
	}
	if math.IsNaN(c.Rate) || c.Rate > 10_000 {
		bad("rate", c.Rate, "at most 10000 a second")
	}
	switch c.Numbering {
	case "", NumberPerKind, NumberPerConference:
	default:
		bad("numbering", c.Numbering, NumberPerKind+" or "+NumberPerConference)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"token life", c.TokenLife},
		{"connection token life", c.WSTokenLife},
		{"silence limit", c.SilenceLimit},
		{"lock time", c.LockFor},
		{"cycle", c.Cycle},
	} {
		if d.value < 0 {
			bad(d.name, d.value, "a positive duration")
		}
	}
	if c.LockAfter < 0 || c.Quota < 0 || c.NotStarted < 0 || c.QueueBytes < 0 {
		bad("a limit", "negative", "0 or more")
	}
	if err := c.Faults.validate(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	c.Conferences = or(c.Conferences, DefaultConferences)
	c.Participants = or(c.Participants, DefaultParticipants)
	c.Rate = or(c.Rate, DefaultRate)
	c.Numbering = or(c.Numbering, NumberPerKind)
	c.TokenLife = or(c.TokenLife, DefaultTokenLife)
	c.WSTokenLife = or(c.WSTokenLife, DefaultWSTokenLife)
	c.SilenceLimit = or(c.SilenceLimit, DefaultSilenceLimit)
	c.LockAfter = or(c.LockAfter, DefaultLockAfter)
	c.LockFor = or(c.LockFor, DefaultLockFor)
	c.QueueBytes = or(c.QueueBytes, DefaultQueueBytes)
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return c
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}
