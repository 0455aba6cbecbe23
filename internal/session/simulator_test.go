package session

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"confgate/internal/confctl"
	"confgate/internal/conference"
	"confgate/internal/simulator"
	"confgate/internal/subscribe"
)

// simulated is a simulated provider on a loopback port.
type simulated struct {
	*simulator.Provider
	base *url.URL
	http *httptest.Server
	cred simulator.Credential
}

func simulate(t *testing.T, cfg simulator.Config) *simulated {
	t.Helper()
	cfg.Conferences = 1
	s := &simulated{Provider: simulator.New(cfg)}
	s.http = httptest.NewServer(s.Handler())
	t.Cleanup(s.http.Close)
	t.Cleanup(s.Close)
	base, err := url.Parse(s.http.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.base, s.cred = base, s.Conferences()[0]
	if cfg.Rate > 0 {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("simulator: %v", err)
			}
		})
	}
	return s
}

// session starts a session against the simulator; it is stopped at the end of the test.
func (s *simulated) session(t *testing.T, log *fakeLog, opts ...option) *rig {
	t.Helper()
	opts = append([]option{func(c *Config) {
		c.Conference, c.Password = s.cred.ID, s.cred.Password
		c.API = &confctl.API{Base: s.base, HTTP: s.http.Client()}
		c.Limiter = NewLimiter(Rate{Calls: 10_000, Per: time.Second})
	}}, opts...)
	r := newRig(t, log, nil, opts...).start(context.Background())
	t.Cleanup(func() { r.stop(t) })
	return r
}

func (l *fakeLog) awaitLink(t *testing.T, want string) {
	t.Helper()
	l.await(t, "link "+want, func() bool { return l.link() == want })
}

// comparable is the replica without what one session may call otherwise than another: times of the link, and the names that
// attendees got.
func (l *fakeLog) comparable(t *testing.T) map[string]any {
	t.Helper()
	var doc map[string]any
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := json.Unmarshal([]byte(l.json(conference.Secrets|conference.PII)), &doc); err != nil {
		t.Fatal(err)
	}
	delete(doc, "link")
	if people, ok := doc["attendees"].(map[string]any); ok {
		var list []string
		for _, who := range people {
			list = append(list, fmt.Sprint(who))
		}
		slices.Sort(list)
		doc["attendees"] = list
	}
	return doc
}

func TestSimulatedConference(t *testing.T) {
	t.Parallel()
	s := simulate(t, simulator.Config{Participants: 30, Rate: -1, Seed: 7, WrapWSToken: true})
	log := newFakeLog()
	s.session(t, log)
	log.awaitLink(t, "live")
	s.Step(s.cred.ID, 400)
	truth := s.Truth(s.cred.ID)
	log.await(t, "the participants of the simulator", func() bool {
		var people map[string]struct{ Name string }
		if json.Unmarshal([]byte(log.topic(conference.Participants)), &people) != nil || len(people) != len(truth.Participants) {
			return false
		}
		for pid, p := range truth.Participants {
			if people[pid].Name != p.Name {
				return false
			}
		}
		return true
	})
	if got, want := s.Requests()["dial"], 1; got != want {
		t.Errorf("dials = %d, want %d", got, want)
	}
	s.EndConference(s.cred.ID)
	log.awaitLink(t, "ended")
	if got := log.topic(conference.Participants); !strings.Contains(got, "name") {
		t.Errorf("participants after the end = %q, want the last state", got)
	}
}

func TestSimulatedWrongPassword(t *testing.T) {
	t.Parallel()
	s := simulate(t, simulator.Config{Rate: -1})
	log := newFakeLog()
	r := s.session(t, log, func(c *Config) { c.Password = confctl.NewSecret("canary-wrong") })
	log.awaitLink(t, "unavailable/credentials")
	if err := r.set("canary-wrong"); err != nil {
		t.Fatal(err)
	}
	if got := s.Requests()["token"]; got != 1 {
		t.Errorf("token requests = %d, want 1", got)
	}
	if err := r.set(s.cred.Password.Reveal()); err != nil {
		t.Fatal(err)
	}
	log.awaitLink(t, "live")
	for _, e := range r.lines.All() {
		if text := fmt.Sprint(e.Message, e.ContextMap()); strings.Contains(text, "canary") || strings.Contains(text, s.cred.Password.Reveal()) {
			t.Errorf("line %s holds a password", text)
		}
	}
}

func TestSimulatedNotStarted(t *testing.T) {
	t.Parallel()
	s := simulate(t, simulator.Config{Rate: -1, NotStarted: 1})
	log := newFakeLog()
	s.session(t, log, func(c *Config) { c.Poll = 20 * time.Millisecond })
	log.awaitLink(t, "waiting/not_started")
	s.StartConference(s.cred.ID)
	log.awaitLink(t, "live")
}

func TestSimulatedTokenLife(t *testing.T) {
	t.Parallel()
	// Whole seconds are all that a token answer can say; a third of two leaves a busy machine the time to ask.
	s := simulate(t, simulator.Config{Rate: 20, TokenLife: 2 * time.Second, RotateTokens: true})
	log := newFakeLog()
	r := s.session(t, log, func(c *Config) { c.Refresh = time.Second })
	log.awaitLink(t, "live")
	// Longer than a life; the conference's changes are the log's calls, at which it is looked again.
	const refreshes = 3
	log.await(t, "three refreshes", func() bool { return s.Requests()["refresh"] >= refreshes })
	if got := s.Requests(); got["refresh"] < refreshes || got["token"] != 1 || got["dial"] != 1 {
		t.Errorf("requests = %v, want at least %d refreshes, one token, one dial", got, refreshes)
	}
	if got := log.link(); got != "live" {
		t.Errorf("link = %s, want live", got)
	}
	if got := r.lines.FilterMessage("link was lost").Len(); got != 0 {
		t.Errorf("lines about a lost link = %d, want none", got)
	}
}

func TestSimulatedFaults(t *testing.T) {
	t.Parallel()
	for _, numbering := range []string{simulator.NumberPerKind, simulator.NumberPerConference} {
		t.Run(numbering, func(t *testing.T) {
			t.Parallel()
			s := simulate(t, simulator.Config{
				Participants: 40, Rate: 300, Seed: 3, Numbering: numbering,
				Faults: simulator.FaultPlan{
					Drop: .02, Repeat: .02, Swap: .02, Garbage: .01, Unknown: .01, Cut: 200 * time.Millisecond, Refuse: 2, Seed: 5,
				},
			})
			log := newFakeLog()
			s.session(t, log, func(c *Config) {
				c.Refresh, c.Numbering, c.Settled = time.Second, subscribe.Auto, time.Millisecond
			})
			log.await(t, "every fault, and some life", func() bool {
				f := s.Fired()
				for _, name := range []string{"drop", "repeat", "swap", "garbage", "unknown", "cut", "refuse"} {
					if f[name] == 0 {
						return false
					}
				}
				return f["cut"] >= 3
			})
			// No faults any more, and enough life for a last loss to show in the numbers.
			s.Heal()
			healed := s.Requests()["subscribe"]
			log.await(t, "a Subscribe after the faults", func() bool { return s.Requests()["subscribe"] > healed })
			s.Pause()
			fresh := newFakeLog()
			s.session(t, fresh)
			fresh.awaitLink(t, "live")
			want := fresh.comparable(t)
			defer func() {
				if diff := cmp.Diff(want, log.comparable(t)); diff != "" {
					t.Errorf("document of a session that lived through faults (-new session +this):\n%s", diff)
				}
			}()
			log.await(t, "the state that a new session sees", func() bool { return cmp.Equal(log.comparable(t), want) })
			for _, body := range log.bodies(conference.Participants) {
				if body == "null" {
					t.Error("participants were removed as a whole")
				}
			}
		})
	}
}
