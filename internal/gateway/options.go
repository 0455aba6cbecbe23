package gateway

import (
	"cmp"
	"crypto/rand"
	"encoding/base32"
	"io"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode"

	"confgate/internal/confctl"
	"confgate/internal/edge"
	"confgate/internal/ownership"
)

// Defaults of the options.
const (
	DefaultListen      = ":8080"
	DefaultAdminListen = ":9090"
	// DefaultProviderURL is the provider's public API origin.
	DefaultProviderURL = "https://api.meeting.huaweicloud.com"
	// DefaultProviderRate stays below the 100 calls a minute that the provider's rate headers allow.
	DefaultProviderRate = "90/m"
	// DefaultHeartbeatInterval is the shortest that clients in the field use; the provider drops a link after 180 s.
	DefaultHeartbeatInterval = 20 * time.Second
	// DefaultRefreshInterval bounds how long a loss that shows no gap can go unseen.
	DefaultRefreshInterval = 5 * time.Minute
	// DefaultResumeWindow covers a reload, a change of network and a restart of a worker.
	DefaultResumeWindow = time.Minute
	// DefaultMaxConferences keeps one worker's links within what one process reads at a busy hour.
	DefaultMaxConferences = 2000
	// DefaultDrainTimeout is the time that Kubernetes gives by default between SIGTERM and SIGKILL.
	DefaultDrainTimeout = 30 * time.Second
	DefaultNumbering    = "auto"
	DefaultAuth         = AuthJWT
	// DefaultMaxPending lets the clients of a worker that has gone come all at once, for a hundred megabytes at the most.
	DefaultMaxPending = 10_000
	// DefaultHandshakeTimeout is ample for a request's header on a bad line, and short for whoever only holds a socket.
	DefaultHandshakeTimeout = 5 * time.Second
	// DefaultMaxHeaderBytes holds the largest token twice over, which no proxy in front passes on.
	DefaultMaxHeaderBytes = 32 << 10
	DefaultLogLevel       = "info"
	DefaultLogFormat      = "json"
)

// Ways to know clients.
const (
	AuthJWT  = "jwt"
	AuthNone = "none" // development only
)

// Options is what a worker is built from. Unless said otherwise, zero means the default.
type Options struct {
	Listen      string // HOST:PORT for clients; port 0 picks a free one
	AdminListen string // HOST:PORT for operators
	Pprof       bool   // serve /debug/pprof on the admin listener

	RedisURL    confctl.Secret // empty: the in-process log
	SealKeyFile string         // empty: secrets aren't put into Redis

	ProviderURL        string
	ProviderWSURL      string // empty: what the provider's token answer names
	ProviderCAFile     string // empty: the system's roots
	ProviderServerName string // empty: the wsURL's host, or ProviderURL's where that is an IP address
	ProviderRate       string // calls per API, as in "90/m"
	ProviderNumbering  string
	Topics             []string // empty: all known
	Conferences        []Conference

	HeartbeatInterval time.Duration
	RefreshInterval   time.Duration // negative: off
	ResumeWindow      time.Duration
	LeaseTTL          time.Duration
	OnDemand          bool // hold conferences only while they have clients
	Linger            time.Duration
	MaxConferences    int
	DrainTimeout      time.Duration

	Auth               string
	AuthNoneAnywhere   bool
	AuthHMACSecretFile string
	AuthJWKSURL        string // empty: no keys
	AuthIssuer         string // empty: any
	AuthAudience       string // empty: any
	AllowedOrigins     []string

	// Of the limits, a negative value means none.
	MaxConnections           int
	MaxConnectionsPerSubject int // zero: none
	MaxSubscriptions         int // a client
	MessageRate              int // messages a second a client
	MaxMessageBytes          int // of a client
	RequestRate              int // REST requests a second a token subject
	HandshakeRate            int // connections a second
	MaxPending               int // sockets without a request under way
	HandshakeTimeout         time.Duration
	MaxHeaderBytes           int

	WorkerID  string
	LogLevel  string
	LogFormat string

	// Not flags.

	LogOutput io.Writer // nil: standard error
	Version   Version   // zero: what the toolchain noted in the binary
	Warnings  []string  // to be logged at the start
}

// Conference is one to hold from the start: with its chair password, or with the file that has it.
type Conference struct {
	ID       string
	Password confctl.Secret
	File     string
}

var conferenceID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// parseConference reads ID=PASSWORD or ID=@FILE.
func parseConference(text string) (Conference, bool) {
	id, password, ok := strings.Cut(text, "=")
	if !ok || !sendable(password) || password == "@" || !conferenceID.MatchString(id) {
		return Conference{}, false
	}
	if file, isFile := strings.CutPrefix(password, "@"); isFile {
		return Conference{ID: id, File: file}, true
	}
	return Conference{ID: id, Password: confctl.NewSecret(password)}, true
}

// password is the conference's chair password, read from its file where that is how it was given.
func (c Conference) password() (confctl.Secret, error) {
	if c.File == "" {
		return c.Password, nil
	}
	data, err := os.ReadFile(c.File)
	secret := confctl.NewSecret(strings.TrimSpace(string(data)))
	if err != nil || !sendable(secret.Reveal()) {
		return confctl.Secret{}, &BadValue{
			Flag: "conference", Value: c.ID + "=@" + c.File, Want: "a readable file with the password on one line",
		}
	}
	return secret, nil
}

// sendable says whether a password can be sent to the provider: it goes there in a header.
func sendable(password string) bool {
	return password != "" && !strings.ContainsFunc(password, unicode.IsControl)
}

// withDefaults fills in what was left zero.
func (o Options) withDefaults() Options {
	o.Auth = cmp.Or(o.Auth, DefaultAuth)
	if o.Listen == "" {
		o.Listen = DefaultListen
	}
	o.AdminListen = cmp.Or(o.AdminListen, DefaultAdminListen)
	o.ProviderURL = cmp.Or(o.ProviderURL, DefaultProviderURL)
	o.ProviderRate = cmp.Or(o.ProviderRate, DefaultProviderRate)
	o.ProviderNumbering = cmp.Or(o.ProviderNumbering, DefaultNumbering)
	o.HeartbeatInterval = cmp.Or(o.HeartbeatInterval, DefaultHeartbeatInterval)
	o.RefreshInterval = cmp.Or(o.RefreshInterval, DefaultRefreshInterval)
	o.ResumeWindow = cmp.Or(o.ResumeWindow, DefaultResumeWindow)
	o.LeaseTTL = cmp.Or(o.LeaseTTL, ownership.DefaultLeaseTTL)
	o.Linger = cmp.Or(o.Linger, ownership.DefaultLinger)
	o.MaxConferences = cmp.Or(o.MaxConferences, DefaultMaxConferences)
	o.DrainTimeout = cmp.Or(o.DrainTimeout, DefaultDrainTimeout)
	o.MaxConnections = cmp.Or(o.MaxConnections, edge.DefaultMaxConnections)
	o.MaxSubscriptions = cmp.Or(o.MaxSubscriptions, edge.DefaultMaxSubscriptions)
	o.MessageRate = cmp.Or(o.MessageRate, edge.DefaultMessageRate)
	o.MaxMessageBytes = cmp.Or(o.MaxMessageBytes, edge.MaxMessage)
	o.RequestRate = cmp.Or(o.RequestRate, edge.DefaultRequestRate)
	o.HandshakeRate = cmp.Or(o.HandshakeRate, edge.DefaultHandshakeRate)
	o.MaxPending = cmp.Or(o.MaxPending, DefaultMaxPending)
	o.HandshakeTimeout = cmp.Or(o.HandshakeTimeout, DefaultHandshakeTimeout)
	o.MaxHeaderBytes = cmp.Or(o.MaxHeaderBytes, DefaultMaxHeaderBytes)
	o.LogLevel = cmp.Or(o.LogLevel, DefaultLogLevel)
	o.LogFormat = cmp.Or(o.LogFormat, DefaultLogFormat)
	if o.WorkerID == "" {
		o.WorkerID = newWorkerID()
	}
	if o.Version == (Version{}) {
		o.Version = NewVersion("", "")
	}
	if o.LogOutput == nil {
		o.LogOutput = os.Stderr
	}
	return o
}

// newWorkerID is the host's name and a random suffix, since two workers may share a host, and a restarted one is another.
func newWorkerID() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "gateway"
	}
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails
	return host + "-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))
}
