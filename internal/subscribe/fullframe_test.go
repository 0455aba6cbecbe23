package subscribe

import "testing"

// TestFullFrames has one case for each clause of the rules for full frames, beside increments and among themselves.
func TestFullFrames(t *testing.T) {
	t.Parallel()
	play(t, []clause{
		// Increments and full frames.
		{name: "an increment created before its kind's full frame advances the run only", numbering: ByKind, script: `
			up P
			inc P 4 90 = apply
			full P 100 = apply
			inc P 5 95 = old
			inc P 6 101 = apply
			doubt =`},
		{name: "its gap is in the full frame", numbering: ByKind, script: `
			up P
			inc P 4 90 = apply
			full P 100 = apply
			inc P 6 96 = gap old
			inc P 7 101 = apply
			doubt =`},
		{name: "an increment of the full frame's millisecond is applied", numbering: ByKind, script: `
			up P
			full P 100
			inc P 4 100 = apply`},
		{name: "events aren't state, so a full frame never has them", numbering: ByKind, script: `
			up I
			full I 100 = apply
			inc I 5 95 = apply
			full I 90 = apply`},

		// Full frames among themselves.
		{name: "a kind's first full frame on a new link is taken, however old", numbering: ByKind, script: `
			up P
			full P 100 = apply
			down
			up P
			full P 50 = apply`},
		{name: "later ones only if newer", numbering: ByKind, script: `
			up P N
			full P 100 = apply
			full N 90 = apply
			full P 100 = old
			full P 99 = old
			full P 101 = apply`},
		{name: "the first one takes back increments that are newer, which asks for another", numbering: ByKind, script: `
			up P
			inc P 5 105 = apply
			full P 101 = apply
			doubt = P
			full P 106 = apply
			doubt =`},
		{name: "a later one that would take back increments is dropped where nothing is missing", numbering: ByKind, script: `
			up P
			full P 100 = apply
			inc P 5 105 = apply
			full P 104 = old
			doubt =
			full P 105 = apply`},
		{name: "and taken where something is missing, which asks for another", numbering: ByKind, script: `
			up P
			full P 100
			inc P 1 101
			inc P 3 103 = apply gap
			inc P 4 110 = apply
			full P 105 = apply
			doubt = P
			full P 111 = apply
			doubt =`},
		{name: "a frame that couldn't be applied is a loss", numbering: ByKind, script: `
			up P
			full P 100
			inc P 1 101
			fail P 102 = apply
			doubt = P
			full P 103 = apply
			doubt =`},
		{name: "a full frame without a time is taken", numbering: ByKind, script: `
			up P
			full P 100
			inc P 1 105
			inc P 3 107 = apply gap
			full P 0 = apply
			doubt =`},

		// Ahead of any link.
		{name: "nothing is applied without a link", numbering: Auto, script: `
			inc P 1 101 =
			full P 100 =
			next = none
			up P
			full P 100 = apply
			down
			full P 101 =
			next = none`},
	})
}
