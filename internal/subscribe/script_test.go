package subscribe

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"confgate/internal/confctl"
)

// letters name kinds in scripts; another word is an undocumented action.
var letters = map[string]confctl.Kind{
	"B": confctl.ConfBasicInfo, "D": confctl.ConfDynamicInfo, "P": confctl.Participants, "A": confctl.Attendees,
	"S": confctl.SpeakerChange, "N": confctl.NetCondition, "I": confctl.InviteResult, "T": confctl.RealTimeSubtitle,
	"W": confctl.WaitingList, "G": confctl.InterpreterGroup,
}

// start is when scripts and models begin.
var start = time.Unix(1_700_000_000, 0)

// script plays a conversation with a Tracker, one command a line, each with the outcome that it must have:
//
//	up P N          a new link with these kinds
//	down            the link ends
//	full P 100      a full frame created at 100 ms; applied if the tracker says so, and changes the document
//	same P 100      likewise, and changes nothing
//	fail P 100      likewise, and can't be applied
//	inc P 5 101     increment 5, created at 101; a fifth word is its message id
//	sent            the Subscribe was sent
//	wait 1s         time passes
//	next            the action that is due, and in how long to ask again
//	doubt           the kinds in doubt
//	live, stale, filling, numbering
type script struct {
	tracker *Tracker
	now     time.Time
	ids     int
}

// clause is a case: a script, and how its tracker is set up.
type clause struct {
	name      string
	numbering Numbering // empty: ByKind
	refresh   time.Duration
	memory    string // what the tracker has from earlier links
	script    string
}

// play plays each case as a test of its own.
func play(t *testing.T, clauses []clause) {
	t.Helper()
	for _, c := range clauses {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := &script{tracker: New(Config{Numbering: cmp.Or(c.numbering, ByKind), Refresh: c.refresh}), now: start}
			if err := s.tracker.Restore([]byte(c.memory)); err != nil {
				t.Fatal(err)
			}
			s.play(t, c.script)
		})
	}
}

func (s *script) play(t *testing.T, text string) {
	t.Helper()
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		if line == "" {
			continue
		}
		command, want, expects := strings.Cut(line, "=")
		got := s.do(t, strings.Fields(command))
		if expects && got != strings.TrimSpace(want) {
			t.Fatalf("line %d: %s= %s, want %s", i+1, command, got, strings.TrimSpace(want))
		}
	}
}

func (s *script) do(t *testing.T, words []string) string {
	t.Helper()
	switch words[0] {
	case "up":
		var kinds []confctl.Kind
		for _, w := range words[1:] {
			kinds = append(kinds, letters[w])
		}
		s.tracker.LinkUp(s.now, kinds)
	case "down":
		s.tracker.LinkDown(s.now)
	case "full", "same", "fail":
		return s.frame(t, words[0], confctl.Full, words[1], words[2:], 0)
	case "inc":
		return s.frame(t, "full", confctl.Increment, words[1], words[3:], number(t, words[2]))
	case "sent":
		s.tracker.Sent(s.now)
	case "wait":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			t.Fatal(err)
		}
		s.now = s.now.Add(d)
	case "next":
		action, wake := s.tracker.Next(s.now)
		if wake.IsZero() {
			return action.String()
		}
		return fmt.Sprintf("%s %s", action, wake.Sub(s.now))
	case "doubt":
		return s.doubted()
	case "live":
		return strconv.FormatBool(s.tracker.Live(s.now))
	case "stale":
		return strconv.FormatBool(s.tracker.Stale(s.now))
	case "filling":
		return strconv.FormatBool(s.tracker.Filling(s.now))
	case "numbering":
		return string(s.tracker.evidence.Verdict)
	default:
		t.Fatalf("unknown command %q", words[0])
	}
	return ""
}

func (s *script) frame(t *testing.T, how string, mode confctl.Mode, kind string, rest []string, version int64) string {
	t.Helper()
	f := &confctl.Frame{Kind: letters[kind], Action: kind, Mode: mode, Version: version, CreateTime: number(t, rest[0])}
	if len(rest) > 1 {
		f.MsgID = strings.Trim(rest[1], "-")
	} else {
		s.ids++
		f.MsgID = "id" + strconv.Itoa(s.ids)
	}
	v := s.tracker.Observe(f, s.now)
	switch {
	case !v.Apply:
	case how == "fail":
		s.tracker.Failed(f, s.now)
	default:
		s.tracker.Applied(f, how == "full", s.now)
	}
	return describe(v)
}

func (s *script) doubted() string {
	names := ""
	for _, l := range "BDPASNWG" {
		if s.tracker.doubted.has(letters[string(l)]) {
			names += string(l)
		}
	}
	return names
}

func describe(v Verdict) string {
	var words []string
	for _, w := range []struct {
		set  bool
		word string
	}{
		{v.Apply, "apply"}, {v.Gap, "gap"}, {v.Repeat, "repeat"}, {v.Late, "late"}, {v.Restarted, "restarted"}, {v.Old, "old"},
	} {
		if w.set {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, " ")
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
