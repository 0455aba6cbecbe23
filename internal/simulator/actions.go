package simulator

// action is one kind of change and how often it is chosen, by weight.
type action struct {
	name   string
	weight int
	do     func(*world) // emits nothing where it is impossible now
}

// actionTable is every change there is: in an even mix that reaches all of them soon, or in the lively one of a meeting in
// which people mostly talk. The second result is the sum of all weights.
func actionTable(lively bool) ([]action, int) {
	table := []struct {
		name        string
		mix, lively int
		do          func(*world)
	}{
		{"mute", 180, 80, (*world).toggleMute},
		{"hand", 80, 50, (*world).toggleHand},
		{"camera", 100, 40, (*world).toggleCamera},
		{"share", 40, 10, (*world).share},
		{"rename", 20, 2, (*world).rename},
		{"role", 20, 2, (*world).switchRole},
		{"chair", 10, 1, (*world).passChair},
		{"cohost", 20, 4, (*world).toggleCohost},
		{"localrec", 15, 3, (*world).toggleLocalRec},
		{"view", 30, 10, (*world).view},
		{"join", 60, 15, (*world).join},
		{"leave", 55, 12, (*world).leave},
		{"wait", 25, 8, (*world).waiterArrives},
		{"admit", 40, 14, (*world).waiterMoves},
		{"invite", 20, 6, (*world).invite},
		{"answer", 40, 20, (*world).answer},
		{"attendee", 20, 3, (*world).changeAttendee},
		{"uninvite", 18, 4, (*world).dropAttendee},
		{"speak", 110, 360, (*world).speak},
		{"network", 150, 180, (*world).networks},
		{"subtitle", 60, 160, (*world).subtitle},
		{"interpret", 8, 2, (*world).interpret},
		{"setting", 20, 3, (*world).setting},
		{"record", 6, 2, (*world).record},
		{"restrict", 5, 2, (*world).restrict},
		{"muteall", 6, 1, (*world).muteAll},
		{"broadcast", 12, 2, (*world).broadcast},
		{"rollcall", 10, 1, (*world).rollCall},
		{"layout", 12, 3, (*world).arrange},
		{"extend", 4, 1, (*world).extend},
		{"title", 4, 0, (*world).retitle},
	}
	actions, sum := make([]action, 0, len(table)), 0
	for _, t := range table {
		weight := t.mix
		if lively {
			weight = t.lively
		}
		actions = append(actions, action{name: t.name, weight: weight, do: t.do})
		sum += weight
	}
	return actions, sum
}
