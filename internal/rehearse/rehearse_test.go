package rehearse

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"confgate/internal/fanout/fanouttest"
	"confgate/internal/oracle/oracletest"
	"confgate/internal/proctest"
	"confgate/internal/simulator"
	"confgate/internal/simulator/simulatortest"
)

// script is how long and how large a rehearsal is.
type script struct {
	sockets, streams int
	conferences      int
	rate             float64       // frames a second and conference
	preStop          time.Duration // between the end of an endpoint and SIGTERM
	drain            time.Duration
	pause            time.Duration // between two steps
}

var (
	short = script{sockets: 24, streams: 6, conferences: 3, rate: 30, preStop: 300 * time.Millisecond, drain: 3 * time.Second, pause: 300 * time.Millisecond}
	long  = script{sockets: 270, streams: 30, conferences: 6, rate: 15, preStop: 5 * time.Second, drain: 15 * time.Second, pause: 5 * time.Second}
)

// mostSilence is how long a client may hear nothing while workers come and go.
const mostSilence = time.Second

// stage is everything on it.
type stage struct {
	script
	provider *simulator.Provider
	balancer *balancer
	flags    []string
	workers  []*worker // that live, the oldest first
	used     int       // places
	sockets  []*socketClient
	streams  []*streamClient
	nudge    chan struct{}
}

type worker struct {
	place
	*proctest.Process
}

// open starts Redis, the provider and HAProxy, three workers and the clients, and waits until all is live.
func open(t *testing.T, s script) *stage {
	t.Helper()
	st := &stage{script: s, nudge: make(chan struct{}, 1)}
	redis, _ := fanouttest.StartRedis(t)
	provider, origin := simulatortest.Start(t, simulator.Config{
		Conferences: s.conferences, Participants: 20, Rate: s.rate, Seed: 9,
	})
	st.provider = provider
	secret := oracletest.SecretFile(t)
	st.flags = []string{
		"serve", "--redis-url", redis, "--provider-url", origin, "--provider-rate", "10000/s", "--auth-hmac-secret-file", secret,
		"--seal-key-file", oracletest.SealKeyFile(t), "--drain-timeout", s.drain.String(),
	}
	for _, c := range provider.Conferences() {
		st.flags = append(st.flags, "--conference", c.ID+"="+c.Password.Reveal())
	}
	st.balancer = startBalancer(t, 8)
	for range 3 {
		st.launch(t)
	}
	conferences := provider.Conferences()
	for i := range s.sockets {
		st.sockets = append(st.sockets, startSocket(t, fmt.Sprintf("socket %d", i), st.balancer.url, conferences[i%len(conferences)].ID, secret, st.nudge))
	}
	for i := range s.streams {
		st.streams = append(st.streams, startStream(t, fmt.Sprintf("stream %d", i), st.balancer.url, conferences[i%len(conferences)].ID, secret))
	}
	st.settle(t)
	return st
}

// launch starts a worker, and waits until it is ready and HAProxy knows it.
func (st *stage) launch(t *testing.T) {
	t.Helper()
	p := st.balancer.places[st.used]
	st.used++
	w := &worker{p, proctest.Start(t, p.name, binary, nil, append(slices.Clone(st.flags),
		"--listen", p.listen, "--admin-listen", p.admin, "--worker-id", p.name)...)}
	st.workers = append(st.workers, w)
	proctest.Until(t, p.name+" gets ready", func() error { return st.balancer.up(p) })
}

// retire ends the oldest worker.
func (st *stage) retire(t *testing.T) {
	t.Helper()
	w := st.workers[0]
	st.workers = st.workers[1:]
	st.balancer.takeOut(t, w.place)
	pass(st.preStop)
	w.Signal(t, syscall.SIGTERM)
	if status := w.Exit(t); status != 0 {
		t.Errorf("%s ended with status %d, want 0", w.name, status)
	}
}

// pass lets time go by, in which the world moves.
func pass(d time.Duration) { <-time.After(d) }

// settle waits until every conference is held once and every client has its live document.
func (st *stage) settle(t *testing.T) {
	t.Helper()
	live := func(document string) bool { return strings.Contains(document, `"state":"live"`) }
	proctest.Until(t, "all is live", func() error {
		held := 0.0
		for _, w := range st.workers {
			text, err := oracletest.Get(t.Context(), "http://"+w.admin+"/metrics", "")
			if err != nil {
				return err
			}
			n, _ := oracletest.Metric(t, text, "confgate_ownership_conferences")
			held += n
		}
		if int(held) != st.conferences {
			return fmt.Errorf("workers hold %v conferences, want %d", held, st.conferences)
		}
		for _, c := range st.sockets {
			if r := c.Report(); !r.Connected || !r.Fresh || !r.Whole || !live(string(r.Document)) {
				return fmt.Errorf("%s isn't live", c.Name)
			}
		}
		for _, c := range st.streams {
			if document, _, _, _, _ := c.report(); !live(document) {
				return fmt.Errorf("%s isn't live", c.name)
			}
		}
		return nil
	})
	pass(st.pause)
}

// measure does something, and says what clients noticed of it.
func (st *stage) measure(t *testing.T, what string, do func()) {
	t.Helper()
	for _, c := range st.sockets {
		c.silence.begin()
	}
	for _, c := range st.streams {
		c.silence.begin()
	}
	began := time.Now()
	do()
	st.settle(t)
	var socket, stream time.Duration
	for _, c := range st.sockets {
		socket = max(socket, c.silence.end())
	}
	for _, c := range st.streams {
		stream = max(stream, c.silence.end())
	}
	t.Logf("%-30s %5.1f s; longest silence: %4d ms by WebSocket, %4d ms by event stream", what, time.Since(began).Seconds(),
		socket.Milliseconds(), stream.Milliseconds())
	if most := max(socket, stream); most > mostSilence {
		t.Errorf("%s: a client heard nothing for %v, want %v at the most", what, most, mostSilence)
	}
}

// finish lets the world stand still and checks every client.
func (st *stage) finish(t *testing.T) {
	t.Helper()
	st.provider.Pause()
	readers := make([]*oracletest.Reader, len(st.sockets))
	for i, c := range st.sockets {
		readers[i] = c.Reader
	}
	oracletest.AwaitTruth(t, st.provider, readers, st.nudge)
	oracletest.CheckHistory(t, readers)
	connects, resets, losses, refused := 0, 0, 0, 0
	for _, c := range st.sockets {
		r := c.Report()
		moved(t, c.Name, r.Connects)
		connects += r.Connects
		resets += r.Counts.Resets
		losses += r.Counts.Gaps + len(r.Violations)
	}
	for _, c := range st.streams {
		// A socket's document of the same conference is the truth already.
		i := slices.IndexFunc(st.sockets, func(s *socketClient) bool { return s.Conference == c.conference })
		proctest.Until(t, c.name+" has the truth", func() error {
			if got, _, _, _, _ := c.report(); got != string(st.sockets[i].Report().Document) {
				return fmt.Errorf("document is %s", oracletest.Tail(got, 500))
			}
			return nil
		})
		_, counts, violations, n, no := c.report()
		if counts.Snapshots != 1 || counts.Resets != 0 || counts.Gaps != 0 || len(violations) > 0 {
			t.Errorf("%s: %d snapshots, %d resets, %d gaps, %q; want 1, 0, 0, none", c.name, counts.Snapshots, counts.Resets, counts.Gaps, violations)
		}
		moved(t, c.name, n)
		connects, resets, refused = connects+n, resets+counts.Resets, refused+no
		losses += counts.Gaps + len(violations)
	}
	clients := len(st.sockets) + len(st.streams)
	t.Logf("%d clients: %d reconnects, %d resets, %d losses, %d refusals", clients, connects-clients, resets, losses, refused)
}

// moved checks that a client went to another worker: none of the first ones is left.
func moved(t *testing.T, name string, connects int) {
	t.Helper()
	if connects < 2 {
		t.Errorf("%s connected %d times, want more: nothing was rehearsed", name, connects)
	}
}

// TestRehearsal replaces three workers one by one, then scales down to two and up to four.
func TestRehearsal(t *testing.T) {
	t.Parallel()
	s := short
	if *full {
		s = long
	}
	st := open(t, s)
	st.measure(t, "nothing", func() { pass(st.pause) })
	for i := range 3 {
		st.measure(t, fmt.Sprintf("rolling update, worker %d of 3", i+1), func() {
			st.launch(t)
			st.retire(t)
		})
	}
	st.measure(t, "scale-down to two", func() { st.retire(t) })
	st.measure(t, "scale-up to four", func() {
		st.launch(t)
		st.launch(t)
	})
	st.finish(t)
}
