package bench

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"confgate/internal/simulator"
)

// Limits of a Load.
const (
	MaxClients  = 60_000 // what one address has ports for
	MaxDuration = time.Hour
	MaxRuns     = 1000
)

// Load is a load on a gateway that runs already.
type Load struct {
	URL         string // http, https, ws or wss
	CAFile      string // whom to trust; empty: the system's roots
	Token       string // empty: none
	Conferences []string
	Clients     int
	Runs        int           // measurements
	Window      time.Duration // of each
	PID         int           // of the server, for its CPU time and memory; 0: it isn't on this machine
	Anywhere    bool          // also where a URL isn't this machine

	// Simulator is the URL of the control API of the provider that the gateway has. It makes Rate changes a second, over the
	// conferences in turn, and knows the truth. Without Conferences, those that it runs are meant.
	Simulator string
	Rate      float64
	// Quiet wants connections only: nothing is driven, and no delivery is missed.
	Quiet bool

	// Floor measures a floor in turn with the server: a process of Binary, pinned to Core.
	Floor        bool
	Binary, Core string

	Log io.Writer // progress; must be there
}

// Errors of Load.
var (
	// ErrElsewhere: another machine is only put under load when that was asked for.
	ErrElsewhere = errors.New("bench: the URL isn't a loopback address (--anywhere allows others)")

	errURL = errors.New("bench: the URL must be http://HOST:PORT, or begin with https, ws or wss; without a user or query")
)

// Validate checks what came from outside. It asks nobody.
func (l Load) Validate() error {
	_, err := l.config()
	if err != nil {
		return err
	}
	if err := l.checkWindows(); err != nil {
		return err
	}
	switch {
	case l.Simulator == "" && len(l.Conferences) == 0:
		return errors.New("bench: there must be a conference (--conference, or those of --simulator)")
	case l.Simulator == "" && l.Rate != 0:
		return errors.New("bench: a rate goes with --simulator, which makes the changes")
	case l.Simulator != "" && !l.Quiet && (l.Rate <= 0 || l.Rate > simulator.MaxDriveRate):
		return fmt.Errorf("bench: the rate must be above 0 and at most %d changes a second, or 0 for connections only", simulator.MaxDriveRate)
	case l.Floor && l.PID == 0:
		return errors.New("bench: a floor is compared with the CPU time of the server: say which process it is (--pid)")
	case !l.Floor && l.Core != "":
		return errors.New("bench: a core is what the floor is pinned to: it goes with --floor")
	}
	_, err = l.remote()
	return err
}

func (l Load) checkWindows() error {
	switch {
	case l.Runs < 1 || l.Runs > MaxRuns:
		return fmt.Errorf("bench: runs must be 1 to %d", MaxRuns)
	case l.Window <= 0 || l.Window > MaxDuration || time.Duration(l.Runs)*l.Window > MaxDuration:
		return fmt.Errorf("bench: the windows must be longer than 0, and %v at most all together", MaxDuration)
	}
	return nil
}

// remote is the simulator; nil: there is none.
func (l Load) remote() (*simulator.Remote, error) {
	if l.Simulator == "" {
		return nil, nil
	}
	r, err := simulator.NewRemote(l.Simulator)
	if err != nil {
		return nil, fmt.Errorf("bench: --simulator: %w", err)
	}
	if !l.Anywhere && !loopback(r.Host()) {
		return nil, ErrElsewhere
	}
	return r, nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback() || host == "localhost"
}

// config is the crowd's, whose conferences may not be known yet.
func (l Load) config() (Config, error) {
	u, err := url.Parse(l.URL)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" {
		return Config{}, errURL
	}
	if !l.Anywhere && !loopback(u.Hostname()) {
		return Config{}, ErrElsewhere
	}
	if l.Clients < 1 || l.Clients > MaxClients {
		return Config{}, fmt.Errorf("bench: clients must be 1 to %d", MaxClients)
	}
	if len(l.Conferences) > l.Clients {
		return Config{}, fmt.Errorf("bench: %d conferences need as many clients", len(l.Conferences))
	}
	path := u.Path
	if !strings.HasSuffix(path, "/v1/ws") {
		path = strings.TrimSuffix(path, "/") + "/v1/ws"
	}
	cfg := Config{
		Path: path, Token: l.Token, Conferences: l.Conferences, Clients: l.Clients,
		Progress: func(n int) { l.say("%d of %d clients connected", n, l.Clients) },
	}
	port := u.Port()
	switch u.Scheme {
	case "http", "ws":
		if l.CAFile != "" {
			return Config{}, errors.New("bench: --ca-file goes with an https or wss URL")
		}
		if port == "" {
			port = "80"
		}
	case "https", "wss":
		if port == "" {
			port = "443"
		}
		cfg.TLS = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
		if cfg.TLS.RootCAs, err = roots(l.CAFile); err != nil {
			return Config{}, err
		}
	default:
		return Config{}, errURL
	}
	cfg.Addr = net.JoinHostPort(u.Hostname(), port)
	return cfg, nil
}

// roots reads whom to trust; nil: the system's.
func roots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("bench: --ca-file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, errors.New("bench: --ca-file: there is no PEM certificate in it")
	}
	return pool, nil
}

func (l Load) say(format string, args ...any) {
	_, _ = fmt.Fprintf(l.Log, "load: "+format+"\n", args...)
}
