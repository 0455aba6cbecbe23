package subscribe

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseNumbering(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Numbering{
		"": Auto, "auto": Auto, "kind": ByKind, "conference": ByConference, "off": Off,
	} {
		if got, err := ParseNumbering(in); got != want || err != nil {
			t.Errorf("ParseNumbering(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	const want = `subscribe: unknown numbering "both"; allowed are auto, kind, conference, off`
	if got, err := ParseNumbering("both"); err == nil || err.Error() != want {
		t.Errorf("ParseNumbering(both) = %q, %v, want the error %s", got, err, want)
	}
}

// TestVerdict feeds two kinds' increments in turn, and tells the number of the one that brings the verdict. It brings a resync
// where a loss may have passed till then.
func TestVerdict(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		lines string // increments before
		line  func(i int64) string
		at    int64 // increments of line until the verdict
		want  Numbering
		lost  bool // a number was missing by it, and passed
	}{
		{
			name:  "kind",
			lines: "inc N 1 101\ninc P 100 102",
			line: func(i int64) string {
				return fmt.Sprintf("inc %c %d %d = apply", "PN"[i%2], (1-i%2)*99+i/2+i%2+1, 105+i)
			},
			at:   8,
			want: ByKind,
		},
		{
			name:  "conference",
			lines: "inc P 1 101",
			line: func(i int64) string {
				return fmt.Sprintf("inc %c %d %d = apply", "PN"[i%2], i+1, 105+i)
			},
			at:   8,
			want: ByConference,
		},
		{
			name: "kind, four times the three that continued the conference's alone",
			lines: `
				inc P 1 101
				inc N 2 102
				inc P 3 103
				inc N 4 104
				inc P 500 105`,
			line: func(i int64) string {
				return fmt.Sprintf("inc %c %d %d = apply", "PN"[i%2], (1-i%2)*496+i/2+i%2+4, 105+i)
			},
			at:   12,
			want: ByKind,
			lost: true,
		},
		{
			name:  "conference, after a loss that looked like the kind's next number",
			lines: "inc P 1 101\ninc N 3 103\ninc N 4 104",
			line: func(i int64) string {
				return fmt.Sprintf("inc %c %d %d = apply", "PN"[i%2], i+4, 105+i)
			},
			at:   9,
			want: ByConference,
			lost: true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &script{tracker: New(Config{}), now: start}
			s.play(t, "up P N\nfull P 100\nfull N 100\n"+tt.lines)
			s.play(t, "wait 1m\nfull P 105\nfull N 105\ndoubt =")
			for i := int64(1); i < tt.at; i++ {
				s.play(t, tt.line(i)+"\nnumbering =\ndoubt =")
			}
			s.play(t, tt.line(tt.at)+"\nnumbering = "+string(tt.want))
			if !tt.lost {
				s.play(t, "doubt =\nnext = none 4m0s") // the periodic check
				return
			}
			s.play(t, "doubt = PN\nnext = resync 1s\nwait 1ms\nsent")
			s.play(t, "full P 900 = apply\nfull N 900 = apply\ndoubt =\nnext = none")
		})
	}
}

// TestVerdictIsChecked turns a verdict by a provider that numbers otherwise now.
func TestVerdictIsChecked(t *testing.T) {
	t.Parallel()
	s := &script{tracker: New(Config{}), now: start}
	if err := s.tracker.Restore([]byte(`{"numbering":"kind","kind":64,"conference":0}`)); err != nil {
		t.Fatal(err)
	}
	s.play(t, "up P N\nfull P 100\nfull N 100")
	turned := 0
	for i := int64(1); i <= 400 && turned == 0; i++ {
		s.play(t, fmt.Sprintf("inc %c %d %d", "PN"[i%2], i, 100+i))
		if s.tracker.evidence.Verdict == ByConference {
			turned = int(i)
		}
	}
	if turned < 60 || turned > 160 {
		t.Errorf("the verdict turned at increment %d, want some 60 to 160", turned)
	}
	s.play(t, "doubt = PN")
}

func TestEvidence(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name             string
		kind, conference int // increments that continue only this run
		want             evidence
	}{
		{"seven are too few", 7, 0, evidence{"", 7, 0}},
		{"eight will do", 8, 0, evidence{ByKind, 8, 0}},
		{"eight of the other", 0, 8, evidence{ByConference, 0, 8}},
		{"eight against two", 2, 8, evidence{ByConference, 2, 8}},
		{"eight against three", 3, 8, evidence{"", 3, 8}},
		{"twelve against three", 3, 12, evidence{ByConference, 3, 12}},
		{"the counts are bounded", 65, 0, evidence{ByKind, 32, 0}},
		{"and keep their proportion", 30, 35, evidence{"", 15, 17}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var e evidence
			for range tt.kind {
				e.count(true, false)
			}
			// Without these eight kinds would be a verdict before the others come.
			if tt.kind > 0 && tt.conference > 0 {
				e.Verdict = ""
			}
			for range tt.conference {
				e.count(false, true)
			}
			for range 100 {
				e.count(true, true)
				e.count(false, false)
			}
			if tt.want.Verdict == "" && tt.kind >= verdictCount {
				tt.want.Verdict = e.Verdict
			}
			if diff := cmp.Diff(tt.want, e); diff != "" {
				t.Errorf("evidence (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMemory(t *testing.T) {
	t.Parallel()
	tracker := New(Config{})
	if got, want := string(tracker.Memory()), `{"kind":0,"conference":0}`; got != want {
		t.Errorf("Memory() = %s, want %s", got, want)
	}
	const memory = `{"numbering":"conference","kind":1,"conference":40}`
	if err := tracker.Restore([]byte(memory)); err != nil {
		t.Fatal(err)
	}
	if got := string(tracker.Memory()); got != memory {
		t.Errorf("Memory() = %s, want %s", got, memory)
	}
	for _, tt := range []struct{ name, memory, want string }{
		{"no JSON", `{`, "read memory: "},
		{"no object", `[1]`, "read memory: "},
		{"unknown word", `{"numbering":"both"}`, `no numbering is called "both"`},
		{"a setting that is no verdict", `{"numbering":"off"}`, `no numbering is called "off"`},
		{"negative", `{"kind":-1}`, "counts -1 and 0 out of range"},
		{"beyond what is kept", `{"kind":60,"conference":5}`, "counts 60 and 5 out of range"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tracker := New(Config{})
			if err := tracker.Restore([]byte(memory)); err != nil {
				t.Fatal(err)
			}
			err := tracker.Restore([]byte(tt.memory))
			if err == nil || !strings.HasPrefix(err.Error(), "subscribe: ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Restore(%s) = %v, want an error that says %q", tt.memory, err, tt.want)
			}
			if got := string(tracker.Memory()); got != memory {
				t.Errorf("after a refused Restore Memory() = %s, want %s", got, memory)
			}
		})
	}
}

// TestNumberings has one case for each setting, and for each clause of what auto makes of the numbers.
func TestNumberings(t *testing.T) {
	t.Parallel()
	play(t, []clause{
		// Settings.
		{name: "off: numbers mean nothing", numbering: Off, script: `
			up P
			full P 100
			inc P 1 101 = apply
			inc P 9 102 = apply
			inc P 3 103 = apply
			inc P 3 99 = old
			doubt =`},
		{name: "an increment without a number can't be placed", numbering: ByKind, script: `
			up P
			full P 100
			inc P 5 101
			inc P 0 102 = apply
			inc P 6 103 = apply
			doubt =`},

		// Auto before its verdict.
		{name: "without a verdict the conference's next number will do", numbering: Auto, script: `
			up P N
			full P 100
			full N 100
			inc P 1 101 = apply
			inc N 2 102 = apply
			inc P 3 103 = apply
			doubt =`},
		{name: "without a verdict the kind's next number will do", numbering: Auto, script: `
			up P N
			full P 100
			full N 100
			inc P 50 101 = apply
			inc N 7 102 = apply
			inc P 51 103 = apply
			inc N 8 104 = apply
			doubt =`},
		{name: "without a verdict late will do", numbering: Auto, script: `
			up P N
			full P 100
			full N 100
			inc P 1 101 = apply
			inc N 4 104 = apply
			inc P 3 103 = apply late
			doubt =`},
		{name: "without a verdict what continues neither is a gap, of any kind", numbering: Auto, script: `
			up P N
			full P 100
			full N 100
			inc P 50 101 = apply
			inc N 7 102 = apply
			inc N 9 104 = apply gap
			doubt = PN`},
		{name: "without a verdict an overtaken increment is doubted", numbering: Auto, script: `
			up P
			full P 100
			inc P 6 106 = apply
			inc P 5 105 = repeat
			doubt = P`},
		{name: "without a verdict a restarted counter", numbering: Auto, script: `
			up P N
			full P 100
			full N 100
			inc P 50 101 = apply
			inc P 1 102 = apply restarted
			inc P 2 103 = apply
			doubt = PN`},
		{name: "a remembered verdict holds at once", numbering: Auto, memory: `{"numbering":"kind","kind":9}`, script: `
			up P N
			full P 100
			full N 100
			inc P 1 101
			inc N 2 102
			inc P 3 103 = apply gap
			doubt = P`},
		{name: "a setting outweighs what is remembered", numbering: ByConference, memory: `{"numbering":"kind","kind":9}`, script: `
			up P N
			full P 100
			full N 100
			inc P 1 101
			inc N 2 102
			inc P 3 103 = apply
			doubt =`},
	})
}
