package subscribe

import "testing"

// TestClauses has one case for each clause of the rules for increments, and for each consequence that took thought.
func TestClauses(t *testing.T) {
	t.Parallel()
	play(t, []clause{
		// Runs.
		{name: "a link's first increment sets the base, of each kind", numbering: ByKind, script: `
			up P N
			full P 100 = apply
			full N 101 = apply
			inc P 39 102 = apply
			inc N 7 103 = apply
			inc P 40 104 = apply
			inc N 8 105 = apply
			doubt =`},
		{name: "a link's first increment sets the base of the conference", numbering: ByConference, script: `
			up P N
			full P 100
			full N 101
			inc P 39 102 = apply
			inc N 40 103 = apply
			inc P 41 104 = apply
			doubt =`},
		{name: "runs survive full frames", numbering: ByKind, script: `
			up P
			full P 100
			inc P 5 101 = apply
			full P 102 = apply
			inc P 6 103 = apply
			full P 104 = apply
			inc P 8 105 = apply gap`},
		{name: "runs belong to a link", numbering: ByConference, script: `
			up P
			full P 100
			inc P 5 101 = apply
			down
			up P
			full P 200 = apply
			inc P 90 201 = apply
			doubt =`},
		{name: "runs belong to a link: a lower number on the next one is no restart", numbering: ByKind, script: `
			up P
			full P 100
			inc P 50 101
			down
			up P
			full P 200
			inc P 3 201 = apply
			doubt =`},
		{name: "an increment is never compared with a full frame's version", numbering: ByKind, script: `
			up N
			full N 1611993595058 = apply
			inc N 39 1611993596126 = apply
			full N 1611993597000 = apply
			inc N 40 1611993597001 = apply
			doubt =`},

		// Gaps, kind numbering.
		{name: "a gap is applied and doubted in its kind alone", numbering: ByKind, script: `
			up P N
			full P 100
			full N 100
			inc P 1 101
			inc N 1 101
			inc P 3 103 = apply gap
			doubt = P
			inc N 2 104 = apply
			inc P 4 105 = apply
			doubt = P`},
		{name: "a full frame as old as the frame that showed the gap heals it", numbering: ByKind, script: `
			up P
			full P 100
			inc P 1 101
			inc P 3 103 = apply gap
			full P 103 = apply
			doubt =`},
		{name: "an older full frame doesn't heal it", numbering: ByKind, script: `
			up P
			full P 100
			inc P 1 101
			inc P 3 103 = apply gap
			full P 102 = apply
			doubt = P
			full P 104 = apply
			doubt =`},
		{name: "a full frame of another kind doesn't heal it", numbering: ByKind, script: `
			up P N
			full P 100
			full N 100
			inc P 1 101
			inc P 3 103 = apply gap
			full N 110 = apply
			doubt = P`},
		{name: "gaps in event kinds are counted only", numbering: ByKind, script: `
			up P I T
			full P 100
			inc T 1 101 = apply
			inc T 9 102 = apply gap
			inc I 1 103
			inc I 4 104 = apply gap
			inc FooNotify 1 105 = apply
			inc FooNotify 3 106 = apply gap
			doubt =`},
		{name: "undocumented kinds have runs of their own", numbering: ByKind, script: `
			up P
			full P 100
			inc FooNotify 1 101 = apply
			inc BarNotify 8 102 = apply
			inc FooNotify 2 103 = apply
			inc BarNotify 9 104 = apply`},

		// Gaps, conference numbering.
		{name: "a gap in a conference run may have been of any kind", numbering: ByConference, script: `
			up P N
			full P 100
			full N 100
			inc P 1 101
			inc N 2 102
			inc P 4 104 = apply gap
			doubt = PN
			full P 105
			doubt = N
			full N 106
			doubt =`},
		{name: "also one that an event shows", numbering: ByConference, script: `
			up P T
			full P 100
			inc P 1 101
			inc T 3 103 = apply gap
			doubt = P`},
		{name: "also one that an undocumented kind shows; it counts in the run", numbering: ByConference, script: `
			up P
			full P 100
			inc P 1 101
			inc FooNotify 2 102 = apply
			inc P 3 103 = apply
			doubt =
			inc FooNotify 5 105 = apply gap
			doubt = P`},
		{name: "a full frame between two gaps heals the first", numbering: ByConference, script: `
			up P N
			full P 100
			full N 100
			inc P 1 101
			inc P 3 103 = apply gap
			inc P 5 105 = apply gap
			full N 104 = apply
			doubt = PN
			full N 105 = apply
			doubt = P`},
		{name: "what a newer full frame has was not lost", numbering: ByConference, script: `
			up P N
			full P 100
			full N 110
			inc P 1 101
			inc P 3 103 = apply gap
			doubt = P`},
		{name: "but one of the same millisecond may have been made before the loss", numbering: ByConference, script: `
			up P N
			full P 100
			full N 103
			inc P 1 101
			inc P 3 103 = apply gap
			doubt = PN`},

		// Repeats and restarts.
		{name: "a repeat is dropped", numbering: ByKind, script: `
			up P
			full P 100
			inc P 1 101 a = apply
			inc P 2 102 b = apply
			inc P 1 101 a = repeat
			inc P 2 102 b = repeat
			inc P 3 103 c = apply
			doubt =`},
		{name: "a repeat is dropped by its message id alone", numbering: Off, script: `
			up P T
			full P 100
			inc P 1 101 a = apply
			inc T 1 101 b = apply
			inc P 1 101 a = repeat
			inc T 1 101 b = repeat
			full T 101 c = apply
			full T 101 c = repeat`},
		{name: "message ids are remembered from link to link, as two may overlap", numbering: ByKind, script: `
			up P
			full P 100
			inc P 1 101 a = apply
			down
			up P
			inc P 1 101 a = repeat
			full P 99 = apply
			inc P 2 102 b = apply`},
		{name: "the last increment again, without a message id", numbering: ByKind, script: `
			up P
			full P 100
			inc P 1 101 -
			inc P 2 102 -
			inc P 2 102 - = repeat
			doubt =`},
		{name: "a lower number that is newer is a restarted counter", numbering: ByKind, script: `
			up P N
			full P 100
			full N 100
			inc N 4 101
			inc P 50 101
			inc P 1 102 = apply restarted
			doubt = PN
			inc P 2 103 = apply
			inc P 4 104 = apply gap`},
		{name: "the same number that is newer is a restarted counter", numbering: ByKind, script: `
			up P
			full P 100
			inc P 1 101
			inc P 1 102 = apply restarted
			doubt = P`},
		{name: "an event's restarted counter is counted only", numbering: ByKind, script: `
			up P T
			full P 100
			inc T 50 101
			inc T 1 102 = apply restarted
			doubt =`},
		{name: "a conference's restarted counter", numbering: ByConference, script: `
			up P N
			full P 100
			full N 100
			inc P 50 101
			inc N 51 102
			inc P 1 103 = apply restarted
			doubt = PN
			inc N 2 104 = apply
			inc P 3 105 = apply
			inc N 5 106 = apply gap`},
		{name: "a conference's counter restarted, which only its kind's time shows", numbering: ByConference, script: `
			up P N
			full P 100
			full N 100
			inc P 50 101
			inc N 51 110
			inc P 1 105 = apply restarted
			inc P 3 111 = apply gap`},
		{name: "a conference's counter restarted with a kind that has no number yet", numbering: ByConference, script: `
			up P N
			full P 100
			full N 100
			inc P 50 101
			inc N 1 1102 = apply restarted
			doubt = PN`},
		{name: "an increment without a creation time can't be newer", numbering: ByKind, script: `
			up P
			full P 100
			inc P 2 0 = apply
			inc P 1 0 = repeat
			doubt = P`},

		// Swapped increments.
		{name: "swapped neighbours: the gap has asked for a full frame, which has both", numbering: ByKind, script: `
			up P
			full P 100
			inc P 1 101
			inc P 3 103 = apply gap
			inc P 2 102 = repeat
			doubt = P
			full P 103 = apply
			doubt =`},
		{name: "swapped neighbours, and the full frame came between them", numbering: ByKind, script: `
			up P
			full P 100
			inc P 1 101
			inc P 3 103 = apply gap
			full P 110 = apply
			inc P 2 102 = repeat
			doubt =`},
		{name: "swapped neighbours at the base show no gap, so the lower one must", numbering: ByKind, script: `
			up P
			full P 100
			inc P 6 106 = apply
			inc P 5 105 = repeat
			doubt = P
			full P 106 = apply
			doubt =`},
		{name: "swapped neighbours of one kind at the base of a conference run", numbering: ByConference, script: `
			up P N
			full P 100
			full N 100
			inc P 6 106 = apply
			inc P 5 105 = repeat
			doubt = P`},
		{name: "swapped events are both told", numbering: ByKind, script: `
			up P T
			full P 100
			inc T 1 101 = apply
			inc T 3 103 = apply gap
			inc T 2 102 x = apply late
			inc T 2 102 x = repeat`},
		{name: "an event overtaken without a message id may have been told already", numbering: ByKind, script: `
			up P T
			full P 100
			inc T 3 103 - = apply
			inc T 2 102 - = repeat
			doubt =`},
		{name: "late: above its kind's last but below the conference's", numbering: ByConference, script: `
			up P N
			full P 100
			full N 100
			inc P 1 101
			inc N 3 103 = apply gap
			inc P 2 102 = apply late
			doubt = PN
			inc N 4 104 = apply
			inc P 5 105 = apply`},
		{name: "late, and its kind's first", numbering: ByConference, script: `
			up P N
			full P 100
			full N 100
			inc P 2 102
			inc N 1 101 = apply late
			doubt =`},
		{name: "late, and made by a clock that is ahead", numbering: ByConference, script: `
			up P N
			full P 100
			full N 100
			inc P 2 102
			inc N 1 1102 = apply late
			inc P 3 103 = apply
			doubt =`},
		{name: "late, but its kind was overtaken too", numbering: ByConference, script: `
			up P N
			full P 100
			full N 100
			inc P 1 101
			inc P 3 103 = apply gap
			inc P 2 102 = repeat
			doubt = PN`},
	})
}
