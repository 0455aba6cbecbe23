package subscribe

import "hash/maphash"

// windowSize is how many message ids are remembered: two seconds of a busy conference, many times what two links that
// overlap or a repeating provider put between a frame and its repeat. A repeat from further back is caught by its number.
const windowSize = 256

// window remembers the newest message ids, as hashes.
type window struct {
	seed   maphash.Seed
	hashes [windowSize]uint64 // 0: empty
	next   int
}

func newWindow() window { return window{seed: maphash.MakeSeed()} }

// seen says whether the id is remembered, and remembers it. A frame without an id is never seen.
func (w *window) seen(id string) bool {
	if id == "" {
		return false
	}
	h := max(maphash.String(w.seed, id), 1)
	for _, x := range &w.hashes {
		if x == h {
			return true
		}
	}
	w.hashes[w.next] = h
	w.next = (w.next + 1) % windowSize
	return false
}
