package faults

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"confgate/internal/watch"
)

// silence is the longest time without anything applied, of one reader, and what became of its connection meanwhile.
type silence struct {
	mu    sync.Mutex
	on    bool
	last  time.Time
	notes []string // since last
	most  longest

	gone time.Time     // since when it isn't subscribed; zero: it is
	away time.Duration // the longest time without a subscription
}

// longest is a longest silence.
type longest struct {
	span  time.Duration
	until time.Time
	notes []string
}

const clockFormat = "15:04:05.000"

func (l longest) String() string {
	return fmt.Sprintf("%v until %s %v", l.span.Round(time.Millisecond), l.until.Format(clockFormat), l.notes)
}

// begin starts to measure.
func (s *silence) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on, s.last, s.notes, s.most, s.away = true, time.Now(), nil, longest{}, 0
}

// heard is called for everything that was applied.
func (s *silence) heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on {
		s.look(time.Now())
		s.last, s.notes = time.Now(), nil
	}
}

// look takes the silence that lasts into account; with mu held.
func (s *silence) look(now time.Time) {
	if span := now.Sub(s.last); span > s.most.span {
		s.most = longest{span, now, slices.Clone(s.notes)}
	}
}

// notice is called for what becomes of the connection.
func (s *silence) notice(n watch.Notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	switch {
	case n.State != watch.Subscribed && s.gone.IsZero():
		s.gone = now
	case n.State == watch.Subscribed && !s.gone.IsZero():
		s.away, s.gone = max(s.away, now.Sub(s.gone)), time.Time{}
	}
	note := now.Format(clockFormat) + " " + string(n.State)
	if n.Err != nil {
		note += ": " + n.Err.Error()
	}
	if len(s.notes) < 20 {
		s.notes = append(s.notes, note)
	}
}

// end stops measuring and gives the longest silence, the one that still lasts included, and the longest time away.
func (s *silence) end() (most longest, away time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on {
		s.look(time.Now())
	}
	s.on = false
	return s.most, s.away
}

// quiet is what readers noticed of a fault.
type quiet struct {
	there, elsewhere time.Duration // the longest silence of those at home at the worker, and of all others
	away             time.Duration // the longest time without a connection of those at home there
}

// silences ends the measuring: what readers at home at the given workers noticed, and all others.
func (f *fleet) silences(t *testing.T, workers ...*worker) quiet {
	t.Helper()
	var q quiet
	var worst longest
	var whose *reader
	for _, r := range f.readers {
		most, away := r.silence.end()
		if most.span > worst.span {
			worst, whose = most, r
		}
		if slices.Contains(workers, f.workers[r.home]) {
			q.there, q.away = max(q.there, most.span), max(q.away, away)
		} else {
			q.elsewhere = max(q.elsewhere, most.span)
		}
	}
	if whose != nil {
		t.Logf("the longest silence was that of %s of %s: %v", whose.Name, whose.Conference, worst)
	}
	return q
}
