package heartbeat

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.UnixMilli(1_611_993_655_770)

// TestMonitor plays conversations, one command a line, each with the outcome that it must have: wait, next (the action,
// and in how long to ask again), sent and answer (of the beat that a word names), stale.
func TestMonitor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		interval time.Duration
		script   string
	}{
		{"nothing before the start", 20 * time.Second, `
			next = none
			stale = false`},
		{"the first beat is due after one interval", 20 * time.Second, `
			start
			next = none 20s
			wait 19s
			next = none 1s
			wait 1s
			next = beat 10s
			next = beat 10s
			sent a
			next = none 10s`},
		{"an answer, and the next beat an interval after the one before", 20 * time.Second, `
			start
			wait 20s
			next = beat 10s
			sent a
			wait 300ms
			answer a = 300ms
			stale = false
			next = none 19.7s
			wait 19.7s
			next = beat 10s`},
		{"one missed answer is stale", 20 * time.Second, `
			start
			wait 20s
			next = beat 10s
			sent a
			wait 9999ms
			next = none 1ms
			stale = false
			wait 1ms
			next = none 10s
			stale = true`},
		{"two in a row are dead, and stay so", 20 * time.Second, `
			start
			wait 20s
			next = beat 10s
			sent a
			wait 10s
			next = none 10s
			wait 10s
			next = beat 10s
			sent b
			wait 9999ms
			next = none 1ms
			wait 1ms
			next = dead
			next = dead
			answer b = unknown
			wait 1h
			next = dead
			stale = true
			start
			stale = false
			next = none 20s`},
		{"two that aren't in a row are not", 20 * time.Second, `
			start
			wait 20s
			next = beat 10s
			sent a
			wait 10s
			next = none 10s
			wait 10s
			next = beat 10s
			sent b
			answer b = 0s
			stale = false
			wait 20s
			next = beat 10s
			sent c
			wait 10s
			next = none 10s
			stale = true`},
		{"a late answer clears the suspicion", 20 * time.Second, `
			start
			wait 20s
			next = beat 10s
			sent a
			wait 12s
			next = none 8s
			stale = true
			answer a = 12s
			stale = false
			next = none 8s`},
		{"also one that is later than the next beat, which still wants its own", 20 * time.Second, `
			start
			wait 20s
			next = beat 10s
			sent a
			wait 10s
			next = none 10s
			wait 10s
			next = beat 10s
			sent b
			wait 5s
			answer a = 25s
			stale = false
			next = none 5s
			wait 5s
			next = none 10s
			stale = true`},
		{"an answer counts once", 20 * time.Second, `
			start
			wait 20s
			next = beat 10s
			sent a
			answer a = 0s
			answer a = unknown
			answer z = unknown`},
		{"a beat that can't be sent is missed", 20 * time.Second, `
			start
			wait 20s
			next = beat 10s
			wait 10s
			next = none 10s
			stale = true
			wait 10s
			next = beat 10s
			wait 10s
			next = dead`},
		{"a process that slept is owed a beat, not a verdict", 20 * time.Second, `
			start
			wait 10m
			next = beat 10s
			stale = false
			sent a
			wait 10m
			next = beat 10s      # its answer may lie unread
			stale = true
			answer a = 10m0s
			stale = false`},
		{"the next connection begins anew", 20 * time.Second, `
			start
			wait 20s
			next = beat 10s
			sent a
			wait 10s
			next = none 10s
			stale = true
			start
			stale = false
			answer a = unknown
			next = none 20s`},
		{"by default every 20 s", 0, `
			start
			next = none 20s`},
		{"off", -1, `
			start
			next = none
			wait 1h
			next = none
			stale = false`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, now := New(tt.interval), start
			for i, line := range strings.Split(strings.TrimSpace(tt.script), "\n") {
				line, _, _ = strings.Cut(line, "#")
				command, want, expects := strings.Cut(line, "=")
				got := do(t, m, &now, strings.Fields(command))
				if expects && got != strings.TrimSpace(want) {
					t.Fatalf("line %d: %s = %s, want %s", i+1, strings.TrimSpace(command), got, strings.TrimSpace(want))
				}
			}
		})
	}
}

func do(t *testing.T, m *Monitor, now *time.Time, words []string) string {
	t.Helper()
	switch words[0] {
	case "start":
		m.Start(*now)
	case "wait":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			t.Fatal(err)
		}
		*now = now.Add(d)
	case "next":
		action, wake := m.Next(*now)
		if wake.IsZero() {
			return action.String()
		}
		return fmt.Sprintf("%s %s", action, wake.Sub(*now))
	case "sent":
		m.Sent(words[1], *now)
	case "answer":
		rtt, ok := m.Answered(words[1], *now)
		if !ok {
			return "unknown"
		}
		return rtt.String()
	case "stale":
		return fmt.Sprint(m.Stale())
	default:
		t.Fatalf("unknown command %q", words[0])
	}
	return ""
}

func TestSequence(t *testing.T) {
	t.Parallel()
	m := New(time.Second)
	for _, tt := range []struct {
		now  time.Time
		want string
	}{
		{start, "000000000000000001611993655770"},
		{start, "000000000000000001611993655771"},
		{start.Add(time.Millisecond), "000000000000000001611993655772"},
		{start.Add(-time.Hour), "000000000000000001611993655773"},
		{start.Add(time.Second), "000000000000000001611993656770"},
	} {
		if got := m.Sequence(tt.now); got != tt.want {
			t.Errorf("Sequence(%v) = %s, want %s", tt.now, got, tt.want)
		}
	}
}

// TestSilenceIsDeath is the promise of the package: a peer that falls silent at any time is found stale and then dead,
// within two and a half intervals of its last answer, whether writes still go through or block; one that answers each
// beat in time is never even stale.
func TestSilenceIsDeath(t *testing.T) {
	t.Parallel()
	died := map[bool]int{}
	rapid.Check(t, func(rt *rapid.T) {
		interval := time.Duration(rapid.Int64Range(2, int64(time.Hour)).Draw(rt, "interval"))
		blocks := rapid.Bool().Draw(rt, "writes block")
		m, now := New(interval), start
		m.Start(now)
		last := start // sign of life
		for range rapid.IntRange(0, 8).Draw(rt, "answers") {
			action, wake := m.Next(now)
			if action != None || m.Stale() {
				rt.Fatalf("Next after %v = %v, stale %v, want none and false", now.Sub(start), action, m.Stale())
			}
			now = wake
			if action, _ := m.Next(now); action != Beat {
				rt.Fatalf("Next after %v = %v, want a beat", now.Sub(start), action)
			}
			sequence := m.Sequence(now)
			m.Sent(sequence, now)
			want := time.Duration(rapid.Int64Range(0, int64(interval/2)-1).Draw(rt, "rtt"))
			now = now.Add(want)
			if got, ok := m.Answered(sequence, now); got != want || !ok {
				rt.Fatalf("Answered = %v, %v, want %v", got, ok, want)
			}
			last = now
		}
		stale := false
		for {
			action, wake := m.Next(now)
			if action == Dead {
				break
			}
			if stale = stale || m.Stale(); action == Beat && !blocks {
				m.Sent(m.Sequence(now), now)
				continue
			}
			if !wake.After(now) {
				rt.Fatalf("Next after %v = %v, and ask again after %v", now.Sub(start), action, wake.Sub(start))
			}
			now = wake
		}
		died[blocks]++
		// Half an interval is rounded down once for each of the two beats.
		if silent := now.Sub(last); silent > interval*5/2+2 {
			rt.Fatalf("dead after %v of silence, want at most %v", silent, interval*5/2)
		}
		if !stale {
			rt.Fatal("dead without having been stale")
		}
	})
	if died[true] == 0 || died[false] == 0 {
		t.Errorf("died with writes blocking %d times, without %d times, want both", died[true], died[false])
	}
}
