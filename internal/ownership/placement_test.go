package ownership

import (
	"fmt"
	"slices"
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

// What the contract says of 300 conferences on three workers, and of a fourth that joins: over many names of workers and of
// conferences, since those decide.
func TestSpreadAndMoves(t *testing.T) {
	t.Parallel()
	const names, confs = 1000, 300
	least, most, fewest, mostMoved, sum := confs, 0, confs, 0, 0
	for i := range names {
		three := workers(fmt.Sprintf("gw-%d-a", i), fmt.Sprintf("gw-%d-b", i), fmt.Sprintf("gw-%d-c", i))
		four := append(workers(fmt.Sprintf("gw-%d-d", i)), three...)
		list := items(confs)
		for j := range list {
			list[j].conf = fmt.Sprintf("c%d-%d", i, j)
		}
		before, after := place(list, three), place(list, four)
		for _, placed := range []map[string]string{before, after} {
			load := map[string]int{}
			for _, w := range placed {
				load[w]++
			}
			n := 3
			if len(load) > 3 {
				n = 4
			}
			for w, held := range load {
				off := held*n*100/confs - 100
				least, most = min(least, off), max(most, off)
				if off > 20 || off < -20 {
					t.Errorf("load of %s = %d, want %d within a fifth", w, held, confs/n)
				}
			}
		}
		moved := 0
		for conf, w := range before {
			if after[conf] != w {
				moved++
			}
		}
		fewest, mostMoved, sum = min(fewest, moved), max(mostMoved, moved), sum+moved
		if moved < confs/5 || moved > confs/3 {
			t.Errorf("conferences moved for a fourth worker = %d of %d, want about a quarter", moved, confs)
		}
	}
	t.Logf("loads %+d %% to %+d %% off the mean; a fourth worker moved %d to %d of %d conferences, %d in the mean",
		least, most, fewest, mostMoved, confs, sum/names)
}

func TestPlacementProperties(t *testing.T) {
	t.Parallel()
	full, crowded, level := 0, 0, 0
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
		least, most := share(len(list), n)
		free := room >= len(list) && !slices.ContainsFunc(list, func(it item) bool { return it.only != nil }) &&
			!slices.ContainsFunc(candidates, func(c candidate) bool { return c.max < most })
		for _, c := range candidates {
			if held := load[c.incarnation]; free && (held < least || held > most) {
				rt.Fatalf("load of %s = %d, want %d to %d", c.incarnation, held, least, most)
			} else if free {
				level++
			}
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
	if full == 0 || crowded == 0 || level == 0 {
		t.Errorf("full workers %d, placements without room %d, workers free to have their share %d: want some of each",
			full, crowded, level)
	}
}
