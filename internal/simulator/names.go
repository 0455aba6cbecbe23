package simulator

import (
	"hash/crc32"
	"strconv"
)

// someName is a name for the next person: from a list to look at in a lively world, else numbered, and now and then one
// that tries the decoders and the pages behind.
func (w *world) someName() string {
	n := w.next()
	if w.lively {
		return livelyName(w.id, n)
	}
	switch w.rng.IntN(20) {
	case 0:
		return "张三" + strconv.Itoa(n)
	case 1:
		return `O"Neil \ ` + strconv.Itoa(n)
	case 2:
		return "<b>Zoë</b> & 🎧 " + strconv.Itoa(n)
	case 3:
		return "line\nbreak\t" + strconv.Itoa(n)
	}
	return "Person " + strconv.Itoa(n)
}

// livelyName is the n-th name of a world. None comes twice before all have come, so that nobody who looks on takes one
// person for another.
func livelyName(world string, n int) string {
	given, family := givenNames(), familyNames()
	const step = 367 // a prime, and no divisor of the number of names
	start := int(crc32.ChecksumIEEE([]byte(world)) % 10_000)
	i := (start + n*step) % (len(given) * len(family))
	return given[i%len(given)] + " " + family[i/len(given)]
}

func givenNames() []string {
	return []string{
		"Amina", "Bastien", "Chiara", "Daiki", "Elif", "Femi", "Greta", "Hugo", "Ingrid", "João", "Katarzyna", "Liam", "Mei",
		"Nikolai", "Olivia", "Priya", "Quentin", "Rosa", "Samuel", "Tomás", "Uma", "Viktor", "Wanjiru", "Xin", "Yusuf", "Zoë",
	}
}

func familyNames() []string {
	return []string{
		"Abe", "Bianchi", "Castillo", "Dubois", "Eriksen", "Fischer", "García", "Haddad", "Ivanova", "Jansen", "Kowalska",
		"Larsson", "Moreau", "Nguyen", "Okafor", "Petrov", "Quispe", "Rossi", "Schmidt", "Tanaka", "Usman", "Virtanen", "Wang",
		"Yılmaz", "Zimmer",
	}
}

// title is the title of the conference with this index.
func title(index int, lively bool) string {
	if lively {
		titles := []string{"Weekly product review", "城市规划研讨会", "Incident call: checkout latency", "Onboarding, spring class"}
		return titles[index%len(titles)]
	}
	return "Conference \"" + strconv.Itoa(index+1) + "\" 会议"
}

func sentences() []string {
	return []string{
		"Shall we begin with the numbers of last week?",
		"The new layout is live since this morning and nobody has complained so far.",
		"I can take that one, but not before Thursday.",
		"Could everybody who is not speaking mute the microphone please?",
		"实时 字幕 现在 已经 打开。",
		"Let us move this to the next meeting and keep the list short.",
		"We saw two reconnects, both under a second.",
		"\"Done\" means that somebody else has tried it.",
	}
}
