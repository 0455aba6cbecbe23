package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"time"
)

// Limits of Attach.
const (
	MaxClients  = 60_000 // what one address has ports for
	MaxDuration = time.Hour
	// settleWait is how long a client may be behind at the end.
	settleWait = 10 * time.Second
)

// Load is a load on a gateway that runs already.
type Load struct {
	URL         string // http or ws; without a path, /v1/ws is meant
	Token       string // empty: none
	Conferences []string
	Clients     int
	Duration    time.Duration
	PID         int       // of the server, for its CPU time and memory; 0: it isn't on this machine
	Anywhere    bool      // also where the URL isn't this machine
	Log         io.Writer // progress; must be there
}

// ErrElsewhere: a gateway on another machine is only put under load when that was asked for.
var ErrElsewhere = errors.New("bench: the URL isn't a loopback address")

// Validate checks what came from outside.
func (l Load) Validate() error {
	_, err := l.config()
	return err
}

func (l Load) config() (Config, error) {
	u, err := url.Parse(l.URL)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "ws":
		return Config{}, errors.New("bench: the URL must be http://HOST:PORT or ws://HOST:PORT, without a user")
	case l.Clients < 1 || l.Clients > MaxClients:
		return Config{}, fmt.Errorf("bench: clients must be 1 to %d", MaxClients)
	case l.Duration <= 0 || l.Duration > MaxDuration:
		return Config{}, fmt.Errorf("bench: the duration must be above 0 and at most %v", MaxDuration)
	case len(l.Conferences) == 0 || len(l.Conferences) > l.Clients:
		return Config{}, errors.New("bench: there must be a conference, and a client for each")
	}
	addr, err := netip.ParseAddr(u.Hostname())
	if !l.Anywhere && (err != nil || !addr.IsLoopback()) && u.Hostname() != "localhost" {
		return Config{}, ErrElsewhere
	}
	path := u.Path
	if path == "" || path == "/" {
		path = "/v1/ws"
	}
	return Config{
		Addr: net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80")), Path: path, Token: l.Token,
		Conferences: l.Conferences, Clients: l.Clients,
		Progress: func(n int) { _, _ = fmt.Fprintf(l.Log, "%d of %d clients connected\n", n, l.Clients) },
	}, nil
}

// Attach puts the load on, watches for the duration, and checks that no client lost a message or was left behind. What is in
// the documents it can't judge: only a scenario knows the provider's.
func Attach(ctx context.Context, l Load) (*Result, error) {
	cfg, err := l.config()
	if err != nil {
		return nil, err
	}
	r := &Result{Scenario: "load", Clients: l.Clients, Groups: len(l.Conferences)}
	before := int64(0)
	if l.PID != 0 {
		if before, err = resident(l.PID); err != nil {
			return nil, err
		}
	}
	crowd := NewCrowd(cfg)
	defer crowd.Close()
	if err := crowd.Connect(ctx); err != nil {
		return r, err
	}
	if l.PID != 0 {
		after, err := resident(l.PID)
		if err != nil {
			return r, err
		}
		r.add("resident memory per connection, at once", "bytes", 0, float64(after-before)/float64(l.Clients))
	}
	end := time.Now().Add(l.Duration)
	for i := 0; time.Now().Before(end) && ctx.Err() == nil; i++ {
		w, err := observe(crowd, l.PID, func() error {
			wait(ctx, min(10*time.Second, time.Until(end)))
			return nil
		})
		if err != nil {
			return r, err
		}
		r.Windows = append(r.Windows, w)
		_, _ = l.Log.Write(appendWindow(nil, "window", i, w))
	}
	settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleWait) // also where the run was cut short
	defer cancel()
	l.judge(settling, r, crowd)
	if len(r.Faults) > 0 {
		return r, errors.New("bench: the run failed: " + r.Faults[0])
	}
	return r, nil
}

// judge adds up, when the clients have had the time to come to the newest message that one of their conference has.
func (l Load) judge(ctx context.Context, r *Result, crowd *Crowd) {
	newest := crowd.Newest()
	if poll(ctx, "the last messages", func() bool { return crowd.Behind(newest) == 0 }) != nil {
		r.fault("%d clients were left behind the others of their conference", crowd.Behind(newest))
	}
	t := crowd.Totals()
	for _, w := range r.Windows {
		r.add("deliveries a second", "", 0, float64(w.Deliveries)/w.Seconds)
		r.add("latency p50", "ms", 0, ms(w.Latency.P50))
		r.add("latency p99", "ms", 0, ms(w.Latency.P99))
		r.add("latency max", "ms", 0, ms(w.Latency.Max))
		if l.PID != 0 {
			r.add("server CPU per million deliveries", "s", 0, w.CPUPerMillion)
		}
	}
	if t.Lost > 0 {
		r.fault("%d messages lost", t.Lost)
	}
	if t.Failed > 0 {
		r.fault("%d connections failed", t.Failed)
	}
}
