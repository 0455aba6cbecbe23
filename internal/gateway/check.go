package gateway

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"confgate/internal/edge"
	"confgate/internal/session"
	"confgate/internal/subscribe"
	"confgate/internal/telemetry"
)

var workerName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// validate says what is wrong with the options, every bad one on a line of its own.
func (o Options) validate() error {
	var errs []error
	for _, b := range o.check() {
		errs = append(errs, b)
	}
	return errors.Join(errs...)
}

// check lists the bad values. It opens nothing: files are judged when they are read.
func (o Options) check() []*BadValue {
	o = o.withDefaults()
	c := &checker{all: settings()}
	for _, a := range []struct{ flag, addr string }{{"listen", o.Listen}, {"admin-listen", o.AdminListen}} {
		c.that(a.flag, a.addr, hostPort(a.addr))
	}
	_, redisErr := parseRedisURL(o.RedisURL.Reveal())
	c.that("redis-url", maskURL(o.RedisURL.Reveal()), redisErr == nil)
	c.between("resume-window", o.ResumeWindow, time.Second, time.Hour)
	c.between("lease-ttl", o.LeaseTTL, 500*time.Millisecond, time.Minute)
	c.between("linger", o.Linger, time.Second, 24*time.Hour)
	c.that("max-conferences", strconv.Itoa(o.MaxConferences), o.MaxConferences >= 1 && o.MaxConferences <= 100_000)
	c.between("drain-timeout", o.DrainTimeout, time.Millisecond, time.Hour)
	c.that("worker-id", o.WorkerID, workerName.MatchString(o.WorkerID))
	c.that("log-level", o.LogLevel, slices.Contains(telemetry.Levels, o.LogLevel))
	c.that("log-format", o.LogFormat, slices.Contains(telemetry.Formats, o.LogFormat))
	o.checkProvider(c)
	o.checkConferences(c)
	o.checkClients(c)
	return c.bad
}

func (o Options) checkProvider(c *checker) {
	base, err := parseOrigin(o.ProviderURL, "https", "http")
	c.that("provider-url", maskURL(o.ProviderURL), err == nil)
	if o.ProviderWSURL != "" {
		schemes := []string{"wss"}
		if err == nil && base.Scheme == "http" {
			schemes = append(schemes, "ws")
		}
		_, err := parseOrigin(o.ProviderWSURL, schemes...)
		c.that("provider-ws-url", maskURL(o.ProviderWSURL), err == nil)
	}
	c.that("provider-server-name", o.ProviderServerName, !strings.ContainsAny(o.ProviderServerName, ":/ @"))
	_, err = session.ParseRate(o.ProviderRate)
	c.that("provider-rate", o.ProviderRate, err == nil)
	_, err = subscribe.ParseNumbering(o.ProviderNumbering)
	c.that("provider-numbering", o.ProviderNumbering, err == nil)
	_, err = subscribe.Types(o.Topics)
	c.that("topics", strings.Join(o.Topics, ","), err == nil)
	c.between("heartbeat-interval", o.HeartbeatInterval, 10*time.Millisecond, time.Minute)
	c.that("refresh-interval", o.RefreshInterval.String(), o.RefreshInterval < 0 || o.RefreshInterval >= 100*time.Millisecond)
}

func (o Options) checkConferences(c *checker) {
	seen := map[string]bool{}
	for _, conf := range o.Conferences {
		given := !conf.Password.Empty() || conf.File != ""
		c.that("conference", conf.ID+"=***", conferenceID.MatchString(conf.ID) && given && !seen[conf.ID])
		seen[conf.ID] = true
	}
	if n := len(o.Conferences); n > o.MaxConferences && o.MaxConferences > 0 {
		c.but("max-conferences", strconv.Itoa(o.MaxConferences), strconv.Itoa(n)+" at least, as that many --conference are given")
	}
}

func (o Options) checkClients(c *checker) {
	switch o.Auth {
	case AuthJWT:
		if o.AuthHMACSecretFile == "" && o.AuthJWKSURL == "" {
			c.but("auth", o.Auth, "--auth-hmac-secret-file or --auth-jwks-url beside it, or --auth none for development")
		}
	case AuthNone:
		if _, err := o.clientAddress(); err != nil && hostPort(o.Listen) {
			c.but("listen", o.Listen, "a loopback address while --auth is none, or --auth-none-anywhere")
		}
	default:
		c.that("auth", o.Auth, false)
	}
	c.that("auth-jwks-url", maskURL(o.AuthJWKSURL), o.AuthJWKSURL == "" || edge.CheckKeyURL(o.AuthJWKSURL) == nil)
	for _, origin := range o.AllowedOrigins {
		c.that("allowed-origins", origin, edge.CheckOrigin(origin) == nil)
	}
	o.checkLimits(c)
}

func (o Options) checkLimits(c *checker) {
	for _, l := range []struct {
		flag string
		n    int
	}{
		{"max-connections", o.MaxConnections},
		{"max-subscriptions", o.MaxSubscriptions},
		{"message-rate", o.MessageRate},
		{"request-rate", o.RequestRate},
		{"handshake-rate", o.HandshakeRate},
		{"max-pending", o.MaxPending},
	} {
		c.that(l.flag, strconv.Itoa(l.n), l.n == -1 || l.n >= 1 && l.n <= 1_000_000)
	}
	n := o.MaxConnectionsPerSubject
	c.that("max-connections-per-subject", strconv.Itoa(n), n >= 0 && n <= 1_000_000)
	c.that("max-message-bytes", strconv.Itoa(o.MaxMessageBytes), o.MaxMessageBytes >= 4<<10 && o.MaxMessageBytes <= edge.MaxMessage)
	c.between("handshake-timeout", o.HandshakeTimeout, 100*time.Millisecond, time.Minute)
	c.that("max-header-bytes", strconv.Itoa(o.MaxHeaderBytes), o.MaxHeaderBytes >= 4<<10 && o.MaxHeaderBytes <= 1<<20)
}

// clientAddress is where to listen for clients: with --auth none an empty host means loopback, and any other host that
// isn't loopback is refused.
func (o Options) clientAddress() (string, error) {
	if o.Auth != AuthNone || o.AuthNoneAnywhere {
		return o.Listen, nil
	}
	host, port, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return "", err
	}
	if host == "" {
		return net.JoinHostPort("127.0.0.1", port), nil
	}
	if !loopback(host) {
		return "", errors.New("not a loopback address")
	}
	return o.Listen, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// checker gathers bad values.
type checker struct {
	all []setting
	bad []*BadValue
}

// that refuses the value of a flag unless ok.
func (c *checker) that(flag, value string, ok bool) {
	if ok {
		return
	}
	s, _ := findSetting(c.all, flag)
	c.but(flag, value, s.want)
}

func (c *checker) between(flag string, d, low, high time.Duration) {
	c.that(flag, d.String(), low <= d && d <= high)
}

// but refuses the value of a flag for a reason beyond its form.
func (c *checker) but(flag, value, want string) {
	c.bad = append(c.bad, &BadValue{Flag: flag, Value: value, Want: want})
}

func hostPort(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// parseOrigin reads SCHEME://HOST[:PORT], with nothing behind it but perhaps a slash.
func parseOrigin(text string, schemes ...string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("not a URL") // its own error quotes the text, userinfo included
	}
	switch {
	case !slices.Contains(schemes, u.Scheme):
		return nil, errors.New("scheme")
	case u.Hostname() == "" || u.User != nil:
		return nil, errors.New("host")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("more than an origin")
	}
	u.Path = ""
	return u, nil
}

// maskURL is a URL fit for an error message: without userinfo, or nothing of it where that can't be told apart.
func maskURL(text string) string {
	scheme, rest, ok := strings.Cut(text, "://")
	switch {
	case text == "":
		return ""
	case !ok:
		return "***"
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = "***@" + rest[i+1:]
	}
	// Parameters may hold passwords too.
	if before, _, has := strings.Cut(rest, "?"); has {
		rest = before + "?***"
	}
	return scheme + "://" + rest
}
