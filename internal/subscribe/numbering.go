package subscribe

import (
	"encoding/json"
	"fmt"
)

// Numbering is how the provider numbers increments.
type Numbering string

// The settings of --provider-numbering.
const (
	Auto         Numbering = "auto"       // find it out
	ByKind       Numbering = "kind"       // each notify type has a run of numbers of its own
	ByConference Numbering = "conference" // one run of numbers for all types
	Off          Numbering = "off"        // the numbers mean nothing: only the periodic check finds losses
)

// Numberings names the settings, the default first.
func Numberings() string { return fmt.Sprintf("%s, %s, %s, %s", Auto, ByKind, ByConference, Off) }

// ParseNumbering reads a setting; empty means Auto.
func ParseNumbering(s string) (Numbering, error) {
	switch n := Numbering(s); n {
	case "":
		return Auto, nil
	case Auto, ByKind, ByConference, Off:
		return n, nil
	}
	return "", fmt.Errorf("subscribe: unknown numbering %q; allowed are %s", s, Numberings())
}

const (
	// verdictCount increments that continue only one of the two runs, and verdictRatio times as many as continue only the
	// other, are enough to tell: losses and swaps make a few continue the wrong one.
	verdictCount = 8
	verdictRatio = 4
	// evidenceKept bounds the counts, both halved beyond it, so that a verdict can still be turned by a provider that has
	// changed since.
	evidenceKept = 64
)

// evidence is what the increments themselves said about the numbering. The verdict is empty until there is one.
type evidence struct {
	Verdict    Numbering `json:"numbering,omitempty"`
	Kind       int       `json:"kind"`
	Conference int       `json:"conference"`
}

// count takes one increment into account, by whether it continues the run of its kind and that of the conference. It
// reports whether the verdict is new or another one.
func (e *evidence) count(kind, conference bool) bool {
	if kind == conference {
		return false
	}
	if kind {
		e.Kind++
	} else {
		e.Conference++
	}
	if e.Kind+e.Conference > evidenceKept {
		e.Kind /= 2
		e.Conference /= 2
	}
	verdict := e.Verdict
	switch {
	case e.Kind >= verdictCount && e.Kind >= verdictRatio*e.Conference:
		verdict = ByKind
	case e.Conference >= verdictCount && e.Conference >= verdictRatio*e.Kind:
		verdict = ByConference
	}
	turned := verdict != e.Verdict
	e.Verdict = verdict
	return turned
}

func (e *evidence) parse(memory []byte) error {
	var got evidence
	if err := json.Unmarshal(memory, &got); err != nil {
		return fmt.Errorf("subscribe: read memory: %w", err)
	}
	if got.Verdict != "" && got.Verdict != ByKind && got.Verdict != ByConference {
		return fmt.Errorf("subscribe: read memory: no numbering is called %q", got.Verdict)
	}
	if got.Kind < 0 || got.Conference < 0 || got.Kind+got.Conference > evidenceKept {
		return fmt.Errorf("subscribe: read memory: counts %d and %d out of range", got.Kind, got.Conference)
	}
	*e = got
	return nil
}

// skipped says in which of the runs of a link numbers are missing. Until there is a verdict, or under a wrong one, that passes
// where the other run goes on.
type skipped struct{ kind, conference bool }

func (s *skipped) note(inKind, inConference step) {
	s.kind = s.kind || inKind == jumps
	s.conference = s.conference || inConference == jumps
}

// by says whether numbers are missing if that is how they are counted.
func (s *skipped) by(verdict Numbering) bool {
	if verdict == ByKind {
		return s.kind
	}
	return s.conference
}

// run is one run of increment numbers. The zero value hasn't begun.
type run struct {
	begun  bool
	last   int64 // the highest number
	newest int64 // the newest createTime among its increments, ms
}

// step is how an increment relates to a run.
type step uint8

const (
	opens     step = iota // the run's first
	continues             // the next number
	jumps                 // a higher one: something is missing
	behind                // not above the last, and not newer
	restarts              // not above the last, but newer: the counter began anew
)

func (r *run) judge(number, created int64) step {
	switch {
	case !r.begun:
		return opens
	case number > r.last:
		if number-r.last == 1 {
			return continues
		}
		return jumps
	case created > r.newest:
		return restarts
	default:
		return behind
	}
}

// move takes an increment into the run, as judged.
func (r *run) move(s step, number, created int64) {
	switch s {
	case opens, restarts:
		*r = run{begun: true, last: number, newest: created}
	case continues, jumps:
		r.last = number
		r.newest = max(r.newest, created)
	case behind:
	}
}
