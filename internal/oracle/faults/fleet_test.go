package faults

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"confgate/internal/oracle"
	"confgate/internal/oracle/oracletest"
	"confgate/internal/proctest"
	"confgate/internal/simulator"
	"confgate/internal/simulator/simulatortest"
	"confgate/internal/watch"
)

// plan is what a test wants. Zero means three workers and conferences, a single Redis, 20 people, 40 frames a second and
// conference, and one reader of each conference at each worker.
type plan struct {
	workers, conferences int
	participants         int
	rate                 float64
	readers              int // of each conference at each worker
	seed                 uint64
	olderLink            bool // the provider closes the older of two links
	restless             bool // the fault comes while conferences are still being shared out
	store                func(*testing.T) *store
	flags                []string
	// Of worker 0: its binary, and whether it reaches Redis and the provider through cables.
	binary                    string
	redisCable, providerCable bool
}

// fleet is workers, what they need, and who reads from them.
type fleet struct {
	plan
	provider *simulator.Provider
	confs    []string
	*store
	redis, upstream *cable
	workers         []*worker
	readers         []*reader
	nudge           chan struct{}
	token           string
	audit           *audit
	links           *linkWatch

	goroutines int // of all workers together when all was quiet
}

// reader is a client, and the worker that it goes to when it can.
type reader struct {
	*oracletest.Reader
	home    int
	silence silence
}

// startFleet starts everything, and waits until every reader has its live conference.
func startFleet(t *testing.T, p plan) *fleet {
	t.Helper()
	p.workers, p.conferences, p.readers = or(p.workers, 3), or(p.conferences, 3), or(p.readers, 1)
	p.participants, p.rate, p.seed = or(p.participants, 20), or(p.rate, 40), or(p.seed, 1)
	f := &fleet{plan: p, nudge: make(chan struct{}, 1), audit: newAudit()}
	if p.store == nil {
		p.store = single
	}
	f.store = p.store(t)
	for _, addr := range f.addrs {
		f.audit.watch(t, addr)
	}
	var origin string
	f.provider, origin = simulatortest.Start(t, simulator.Config{
		Conferences: p.conferences, Participants: p.participants, Rate: p.rate, Seed: p.seed, ClosesOlderLink: p.olderLink,
	})
	secret := oracletest.SecretFile(t)
	flags := append([]string{
		"--auth-hmac-secret-file", secret, "--seal-key-file", oracletest.SealKeyFile(t), "--provider-rate", "10000/s",
		"--lease-ttl", leaseOf.String(), "--drain-timeout", drainTimeout.String(), "--heartbeat-interval", "1s", "--refresh-interval", "5s",
		"--max-connections", "-1", "--handshake-rate", "-1", "--request-rate", "-1",
	}, p.flags...)
	for _, c := range f.provider.Conferences() {
		f.confs = append(f.confs, c.ID)
		flags = append(flags, "--conference", c.ID+"="+c.Password.Reveal())
	}
	f.token = oracletest.Token(t, secret, []string{"read", "admin"}, "*")
	for i := range p.workers {
		redisURL, providerURL, path := f.url, origin, binary
		if i == 0 {
			path = or(p.binary, binary)
			if p.redisCable {
				f.redis = startCable(t, f.addrs[0])
				redisURL = "redis://" + f.redis.addr()
			}
			if p.providerCable {
				f.upstream = startCable(t, strings.TrimPrefix(origin, "http://"))
				// The provider names the host by which it was called, so links take the same way.
				providerURL = "http://" + f.upstream.addr()
			}
		}
		f.workers = append(f.workers, &worker{name: fmt.Sprintf("gw-%d", i), path: path, flags: append([]string{
			"--redis-url", redisURL, "--provider-url", providerURL,
		}, flags...)})
	}
	t.Cleanup(func() { f.complain(t) })
	f.links = watchLinks(t, f.provider, f.confs)
	for _, w := range f.workers {
		w.start(t)
	}
	f.startReaders(t, secret)
	if !p.restless {
		f.rest(t)
	}
	f.settle(t)
	for _, w := range f.workers {
		f.goroutines += w.goroutines(t)
	}
	return f
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

func (f *fleet) startReaders(t *testing.T, secret string) {
	t.Helper()
	scopes := []oracle.Scopes{{PII: true, Secrets: true}, {}, {PII: true}}
	for i := range f.workers {
		for k := range f.plan.readers {
			for j, conf := range f.confs {
				r := &reader{home: i}
				// The race detector makes checking every message so dear that readers and provider, who share a process,
				// can't keep up; then links miss heartbeats, which makes more messages. Without it the same messages are checked.
				unchecked := k > 0 || raceEnabled
				r.Reader = &oracletest.Reader{
					Name: fmt.Sprintf("reader %d of gw-%d", j+k*len(f.confs), i), Conference: conf, Scopes: scopes[(i+j)%len(scopes)],
					Endpoint: f.endpoint(i), Secret: secret, Nudge: f.nudge, Unchecked: unchecked,
					Update: func(m *watch.Message) {
						if m.Type != "status" {
							r.silence.heard()
						}
					},
					Notice: r.silence.notice,
				}
				r.Start(t)
				f.readers = append(f.readers, r)
			}
		}
	}
}

// endpoint is how a balancer sends a reader: home, or to the next worker that is up.
func (f *fleet) endpoint(home int) func() string {
	return func() string {
		for k := range f.workers {
			if url, up := f.workers[(home+k)%len(f.workers)].endpoint(); up {
				return url
			}
		}
		url, _ := f.workers[home].endpoint()
		return url
	}
}

// settle waits until every conference has one link and one owner, and every reader a live document of it.
func (f *fleet) settle(t *testing.T) {
	t.Helper()
	proctest.Until(t, "the fleet settles", func() error {
		for _, c := range f.confs {
			if err := differ("links of "+c, f.provider.Links(c), 1); err != nil {
				return err
			}
		}
		for _, r := range f.readers {
			p := r.Report()
			if !p.Connected || !p.Fresh || !p.Whole || !strings.Contains(string(p.Document), `"state":"live"`) {
				return fmt.Errorf("%s: connected %v, fresh %v (%s), whole %v, or not live", r.Name, p.Connected, p.Fresh, p.Stale, p.Whole)
			}
		}
		return f.spread(t)
	})
}

// spread is an error until every conference has one owner, by the words of the workers that are up.
func (f *fleet) spread(t *testing.T) error {
	t.Helper()
	owners, err := f.owners(t)
	if err != nil {
		return err
	}
	return differ("number of conferences held", len(owners), len(f.confs))
}

// owners are the names of the workers that hold the conferences; it is an error where two say so of one.
func (f *fleet) owners(t *testing.T) (map[string]string, error) {
	t.Helper()
	owners := make(map[string]string)
	for _, w := range f.workers {
		if _, up := w.endpoint(); !up {
			continue
		}
		for _, c := range f.owned(t, w) {
			if owners[c] != "" {
				return nil, fmt.Errorf("%s is held by %s and %s", c, owners[c], w.name)
			}
			owners[c] = w.name
		}
	}
	return owners, nil
}

// rest waits until conferences stay where they are for a lease, in which every worker looks three times.
func (f *fleet) rest(t *testing.T) {
	t.Helper()
	var before map[string]string
	since := time.Now()
	proctest.Until(t, "conferences stay where they are", func() error {
		now, err := f.owners(t)
		switch {
		case err != nil:
			return err
		case !maps.Equal(now, before) || len(now) < len(f.confs):
			before, since = now, time.Now()
			return errMoving
		case time.Since(since) < *leaseOf:
			return errMoving
		}
		return nil
	})
}

var errMoving = errors.New("still moving")

// owner is a worker that holds conferences, the first if it does, and those.
func (f *fleet) owner(t *testing.T) (*worker, []string) {
	t.Helper()
	for _, w := range f.workers {
		if owned := f.owned(t, w); len(owned) > 0 {
			return w, owned
		}
	}
	t.Fatal("no worker holds anything")
	return nil, nil
}

// measure starts the measuring of silences.
func (f *fleet) measure() {
	f.listen()
	f.links.begin()
}

// listen is measure for what comes to readers and to the log alone.
func (f *fleet) listen() {
	for _, r := range f.readers {
		r.silence.begin()
	}
	f.audit.begin()
}

// outcome is what a fault may leave behind.
type outcome struct {
	resets int // new epochs at the most, each with one snapshot more for a reader
	// overlaps is how often a conference may have had two links, at the most; and never more than two at a time.
	overlaps int
}

// finish lets the world stand still, and checks everything that must hold after a fault.
func (f *fleet) finish(t *testing.T, o outcome) {
	t.Helper()
	f.provider.Pause()
	readers := make([]*oracletest.Reader, len(f.readers))
	for i, r := range f.readers {
		readers[i] = r.Reader
	}
	f.rest(t)
	oracletest.AwaitTruth(t, f.provider, readers, f.nudge)
	f.settle(t)
	snapshots, resumed := 0, 0
	for _, r := range readers {
		p := r.Report()
		snapshots, resumed = snapshots+p.Counts.Snapshots, resumed+p.Recovered
	}
	if o.resets > 0 {
		f.checkResets(t, o.resets)
	} else {
		oracletest.CheckHistory(t, readers)
	}
	claims, refused := f.audit.check(t, len(f.confs))
	seen := f.links.figures()
	if seen.most > 2 || seen.overlaps > o.overlaps {
		t.Errorf("a conference had %d links at once, %d times more than one; want 2 and %d at the most",
			seen.most, seen.overlaps, o.overlaps)
	}
	ids := make(map[string]bool)
	for _, c := range f.confs {
		ids[c] = true
	}
	f.checkKeys(t, ids)
	f.checkGoroutines(t)
	t.Logf("%d readers: %d snapshots, %d resumes; %d claims appended, %d late appends refused; %d overlaps of links",
		len(readers), snapshots, resumed, claims, refused, seen.overlaps)
}

// checkResets checks readers for whom the log was lost so often: one snapshot each time, and nothing worse.
func (f *fleet) checkResets(t *testing.T, most int) {
	t.Helper()
	resets := 0
	for _, r := range f.readers {
		for _, w := range r.Wrong() {
			t.Errorf("%s: %s", r.Name, w)
		}
		p := r.Report()
		resets += p.Counts.Resets
		if p.Counts.Resets > most || p.Counts.Snapshots != 1+p.Counts.Resets || p.Refused > p.Counts.Resets || p.Counts.Gaps != 0 {
			t.Errorf("%s: %d snapshots, %d resets, %d resumes refused, %d gaps; want at most %d resets, and a snapshot for each",
				r.Name, p.Counts.Snapshots, p.Counts.Resets, p.Refused, p.Counts.Gaps, most)
		}
	}
	t.Logf("%d readers: %d resets", len(f.readers), resets)
}

// goroutineSlack allows a worker those of HTTP requests and of connections in pools.
const goroutineSlack = 10

// checkGoroutines waits until the workers have no more goroutines than before the fault, and lets only slack pass.
func (f *fleet) checkGoroutines(t *testing.T) {
	t.Helper()
	proctest.Until(t, "goroutines end", func() error {
		sum := 0
		for _, w := range f.workers {
			sum += w.goroutines(t)
		}
		if sum > f.goroutines+goroutineSlack*len(f.workers) {
			return fmt.Errorf("%d, before the fault %d", sum, f.goroutines)
		}
		return nil
	})
}

// expectedError is the one that a worker may log: another took its conference while it couldn't know.
const expectedError = "fenced by a newer claim"

// complain shows logs where the test failed, and fails it where a worker panicked or logged an error.
func (f *fleet) complain(t *testing.T) {
	t.Helper()
	for _, w := range f.workers {
		if w.process() == nil {
			continue
		}
		log := w.log()
		for line := range strings.Lines(log) {
			for _, bad := range []string{"panic", "fatal error", `"level":"error"`} {
				if strings.Contains(line, bad) && !strings.Contains(line, expectedError) {
					t.Errorf("%s logged: %s", w.name, line)
				}
			}
		}
		if t.Failed() {
			t.Logf("%s (the end of its log):\n%s", w.name, oracletest.Tail(log, 6000))
		}
	}
}

// linkWatch looks at the number of links that conferences have at the provider, again and again.
type linkWatch struct {
	asks chan chan linkFigures
	anew chan struct{}
}

type linkFigures struct {
	most     int // links of one conference at once
	overlaps int // how often one began to have more than one
	unheld   time.Duration
	blind    time.Duration // the longest time between two looks: what the machine itself may have held up
}

// linkInterval is short beside a handover, and long beside what looking costs.
const linkInterval = 5 * time.Millisecond

func watchLinks(t *testing.T, provider *simulator.Provider, confs []string) *linkWatch {
	t.Helper()
	l := &linkWatch{asks: make(chan chan linkFigures), anew: make(chan struct{})}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(linkInterval)
		defer tick.Stop()
		var seen linkFigures
		looked := time.Now()
		before, held := make(map[string]int), make(map[string]time.Time)
		for {
			select {
			case <-tick.C:
				now := time.Now()
				seen.blind = max(seen.blind, now.Sub(looked))
				looked = now
				for _, c := range confs {
					n := provider.Links(c)
					seen.most = max(seen.most, n)
					if n > 1 && before[c] <= 1 {
						seen.overlaps++
					}
					if since, ok := held[c]; n == 0 && ok {
						seen.unheld = max(seen.unheld, now.Sub(since))
					} else {
						held[c] = now
					}
					before[c] = n
				}
			case answer := <-l.asks:
				answer <- seen
			case <-l.anew:
				seen, looked = linkFigures{}, time.Now()
				clear(held)
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
	})
	return l
}

// begin forgets what was seen so far.
func (l *linkWatch) begin() { l.anew <- struct{}{} }

func (l *linkWatch) figures() linkFigures {
	answer := make(chan linkFigures)
	l.asks <- answer
	return <-answer
}
