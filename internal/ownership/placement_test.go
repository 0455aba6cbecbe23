package ownership

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func workers(names ...string) []candidate {
	var out []candidate
	for _, n := range names {
		out = append(out, candidate{incarnation: n + "/1", worker: n, max: DefaultMaxConferences})
	}
	return out
}

func items(n int) []item {
	out := make([]item, n)
	for i := range out {
		out[i] = item{conf: fmt.Sprintf("c%d", i)}
	}
	return out
}

func TestSpreadAndMoves(t *testing.T) {
	t.Parallel()
	const names = 200
	for i := range names {
		three := workers(fmt.Sprintf("gw-%d-a", i), fmt.Sprintf("gw-%d-b", i), fmt.Sprintf("gw-%d-c", i))
		four := append(workers(fmt.Sprintf("gw-%d-d", i)), three...)
		before, after := place(items(300), three), place(items(300), four)
		for _, tt := range []struct {
			placed map[string]string
			mean   int
		}{{before, 100}, {after, 75}} {
			load := map[string]int{}
			for _, w := range tt.placed {
				load[w]++
			}
			for w, n := range load {
				if n*10 > tt.mean*12 || n*10 < tt.mean*7 {
					t.Errorf("load of %s = %d, want %d within a fifth (a bit more below)", w, n, tt.mean)
				}
			}
		}
		moved := 0
		for conf, w := range before {
			if after[conf] != w {
				moved++
			}
		}
		if moved < 50 || moved > 115 {
			t.Errorf("conferences moved for a fourth worker = %d of 300, want about a quarter", moved)
		}
	}
}

func TestPlacementProperties(t *testing.T) {
	t.Parallel()
	full, crowded := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(rt, "workers")
		var candidates []candidate
		room := 0
		for i := range n {
			limit := rapid.IntRange(0, 40).Draw(rt, "max")
			candidates = append(candidates, candidate{fmt.Sprintf("w%d/x", i), fmt.Sprintf("w%d", i), limit})
			room += limit
		}
		list := items(rapid.IntRange(0, 120).Draw(rt, "conferences"))
		for i := range list {
			if rapid.IntRange(0, 9).Draw(rt, "bound") == 0 {
				list[i].only = []string{candidates[rapid.IntRange(0, n-1).Draw(rt, "to")].incarnation}
			}
		}
		placed := place(list, candidates)
		load := map[string]int{}
		for _, it := range list {
			w, ok := placed[it.conf]
			if ok {
				load[w]++
			}
			if ok && it.only != nil && it.only[0] != w {
				rt.Fatalf("%s is on %s, which can't hold it", it.conf, w)
			}
			if !ok && it.only == nil && len(placed) < room {
				for _, c := range candidates {
					count := 0
					for _, at := range placed {
						if at == c.incarnation {
							count++
						}
					}
					if count < c.max {
						rt.Fatalf("%s is nowhere, though %s has room", it.conf, c.incarnation)
					}
				}
			}
		}
		for _, c := range candidates {
			if load[c.incarnation] > c.max {
				rt.Fatalf("load of %s = %d, want %d at most", c.incarnation, load[c.incarnation], c.max)
			}
			if load[c.incarnation] == c.max {
				full++
			}
		}
		if len(placed) < len(list) {
			crowded++
		}
		// All workers must come to the same, in whatever order they know things.
		mixed := rapid.Permutation(list).Draw(rt, "mixed")
		if diff := cmp.Diff(placed, place(mixed, rapid.Permutation(candidates).Draw(rt, "candidates"))); diff != "" {
			rt.Fatalf("placement depends on the order: %s", diff)
		}
	})
	if full == 0 || crowded == 0 {
		t.Errorf("full workers %d, placements without room %d: want some of both", full, crowded)
	}
}
