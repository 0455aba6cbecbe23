package ownership

import (
	"cmp"
	"hash/fnv"
	"slices"
)

// candidate is a worker that conferences may be placed on.
type candidate struct {
	incarnation string
	worker      string
	max         int
}

// item is a conference to be placed. Where only is not nil, no other incarnation can hold it.
type item struct {
	conf string
	only []string
}

// fits says whether a worker could hold the conference if it had room.
func (it item) fits(c candidate) bool {
	return it.only == nil || slices.Contains(it.only, c.incarnation)
}

// weight is how much a worker is wanted for a conference: rendezvous hashing takes the worker with the highest. It goes by
// the worker's lasting name, so that a worker which comes back gets its conferences back.
func weight(worker, conf string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(worker)) // never fails
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(conf))
	// FNV's last bytes move the low bits only; this spreads them (the finaliser of SplitMix64).
	x := h.Sum64()
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// order is the candidates for a conference, the most wanted first.
func order(it item, candidates []candidate) []candidate {
	type weighed struct {
		candidate
		weight uint64
	}
	list := make([]weighed, 0, len(candidates))
	for _, c := range candidates {
		if it.fits(c) {
			list = append(list, weighed{c, weight(c.worker, it.conf)})
		}
	}
	slices.SortFunc(list, func(a, b weighed) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.incarnation, b.incarnation))
	})
	out := make([]candidate, len(list))
	for i, l := range list {
		out[i] = l.candidate
	}
	return out
}

// share is the least and the most that one of n workers is given of so many conferences: about a seventh off the mean. Chance
// alone would leave one of three workers more than a fifth off now and then; a narrower band would move more conferences
// whenever a worker comes or goes.
func share(conferences, n int) (least, most int) {
	return conferences * 17 / (20 * n), (conferences*23 + 20*n - 1) / (20 * n)
}

// placement is a placing under way.
type placement struct {
	candidates []candidate
	placed     map[string]string
	load       map[string]int
}

// place gives each conference to the first worker in its order that has room, and is the same on all workers that see the
// same. What finds no room anywhere is left out. A conference whose first choice has its share passes to the next; where
// all of them have, room alone counts. A worker that comes out with too little takes from the others.
func place(items []item, candidates []candidate) map[string]string {
	p := placement{candidates: candidates, placed: make(map[string]string, len(items)), load: make(map[string]int, len(candidates))}
	if len(candidates) == 0 {
		return p.placed
	}
	least, most := share(len(items), len(candidates))
	// The order in which conferences choose has to be the same everywhere, and not that of their names.
	list := sortedFor("", items)
	var rest []item
	for _, it := range list {
		if !p.take(it, func(c candidate) int { return min(c.max, most) }) {
			rest = append(rest, it)
		}
	}
	for _, it := range rest {
		p.take(it, func(c candidate) int { return c.max })
	}
	p.level(items, least)
	return p.placed
}

// sortedFor is the conferences by how much they want a worker, the least first; by that of no worker they are just mixed.
func sortedFor(worker string, items []item) []item {
	type ranked struct {
		item
		priority uint64
	}
	list := make([]ranked, len(items))
	for i, it := range items {
		list[i] = ranked{it, weight(worker, it.conf)}
	}
	slices.SortFunc(list, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.conf, b.conf))
	})
	out := make([]item, len(list))
	for i, l := range list {
		out[i] = l.item
	}
	return out
}

// take gives a conference to the first worker in its order that has less than its limit.
func (p *placement) take(it item, limit func(candidate) int) bool {
	for _, c := range order(it, p.candidates) {
		if p.load[c.incarnation] < limit(c) {
			p.load[c.incarnation]++
			p.placed[it.conf] = c.incarnation
			return true
		}
	}
	return false
}

// level gives workers that have less than their share, and room, the conferences that want them most, of those that others
// can spare.
func (p *placement) level(items []item, least int) {
	poor := slices.DeleteFunc(slices.Clone(p.candidates), func(c candidate) bool {
		return p.load[c.incarnation] >= min(c.max, least)
	})
	slices.SortFunc(poor, func(a, b candidate) int { return cmp.Compare(a.incarnation, b.incarnation) })
	for _, c := range poor {
		for _, it := range slices.Backward(sortedFor(c.worker, items)) {
			if p.load[c.incarnation] >= min(c.max, least) {
				break
			}
			if from, ok := p.placed[it.conf]; ok && it.fits(c) && from != c.incarnation && p.load[from] > least {
				p.load[from]--
				p.load[c.incarnation]++
				p.placed[it.conf] = c.incarnation
			}
		}
	}
}
