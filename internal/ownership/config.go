package ownership

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"confgate/internal/telemetry"
)

// Defaults of Config.
const (
	// DefaultLeaseTTL is short enough that clients hardly notice a death, and long enough for a worker's garbage collector
	// and a Redis that forks.
	DefaultLeaseTTL = 3 * time.Second
	// DefaultLinger spares a link that is wanted again after a page was reloaded.
	DefaultLinger = time.Minute
	// DefaultMaxConferences keeps one worker's links within what one process reads at a busy hour.
	DefaultMaxConferences = 2000
)

// Holder makes what holds a conference: a link to the provider and what becomes of it. It is the composition root's.
type Holder interface {
	// Open makes one run for a conference; Session.Run starts it.
	Open(h *Hold) (Session, error)
}

// Session is one run of holding one conference. The other methods are called while Run runs, each in a goroutine of its
// own, one at a time.
type Session interface {
	// Run holds the conference until ctx is done (then it returns nil) or it can't go on. It must not append before
	// Hold.Gate has let it, nor later than it last did without asking again.
	Run(ctx context.Context) error
	// Prepare says that a successor dials now: a link that is lost isn't dialled again.
	Prepare(ctx context.Context) error
	// Offer stops appending and answers with how far it came, for the successor's session to read.
	Offer(ctx context.Context) ([]byte, error)
	// Resume undoes Prepare and Offer: the handover came to nothing.
	Resume(ctx context.Context) error
	// SetPassword gives another chair password.
	SetPassword(ctx context.Context, password []byte) error
}

// Config is what a Worker needs. A zero duration or number means its default.
type Config struct {
	Store  Store
	Holder Holder
	// Worker is this worker's lasting name, without spaces. It should be no other's.
	Worker string
	// Conferences are those that this worker's flags name: it can hold them without a stored password.
	Conferences []string

	LeaseTTL       time.Duration // a dead worker's conferences stay unowned for this long
	OnDemand       bool          // hold a conference only while some worker has clients for it; the same on all workers
	Linger         time.Duration // and this long after
	MaxConferences int           // that this worker holds

	Logger  *zap.Logger        // nil: none
	Metrics *telemetry.Metrics // nil: none
}

func (c Config) withDefaults() Config {
	if c.LeaseTTL == 0 {
		c.LeaseTTL = DefaultLeaseTTL
	}
	if c.Linger == 0 {
		c.Linger = DefaultLinger
	}
	if c.MaxConferences == 0 {
		c.MaxConferences = DefaultMaxConferences
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

// validate joins everything that is wrong; c has its defaults.
func (c Config) validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("ownership: "+format, args...))
		}
	}
	check(c.Store != nil, "no store")
	check(c.Holder != nil, "no holder")
	check(c.Worker != "" && !strings.ContainsAny(c.Worker, " \t\r\n"), "worker name %q: want one word", c.Worker)
	check(c.LeaseTTL >= minLeaseTTL, "lease TTL %v: want at least %v", c.LeaseTTL, minLeaseTTL)
	check(c.Linger > 0, "linger %v: want more than 0", c.Linger)
	check(c.MaxConferences > 0, "max conferences %d: want more than 0", c.MaxConferences)
	return errors.Join(errs...)
}

// minLeaseTTL leaves a renewal a third of it to come back in.
const minLeaseTTL = 150 * time.Millisecond

// newName is a random word.
func newName() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))
}
