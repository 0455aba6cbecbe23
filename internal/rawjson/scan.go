package rawjson

import (
	"encoding/binary"
	"math/bits"
)

// Texts are looked at eight bytes at a time: a step costs about as much as it does for one, and branches only where there
// is something to find. A mark is the high bit of a byte of such a word.
const (
	ones  = 0x0101010101010101
	marks = 0x80 * ones
)

// word is the eight bytes at i; behind the end of b they are 0, which stands nowhere in a checked text.
func word(b []byte, i int) uint64 {
	if len(b)-i >= 8 {
		return binary.LittleEndian.Uint64(b[i:])
	}
	if n := len(b); n >= 8 {
		return binary.LittleEndian.Uint64(b[n-8:]) >> (8 * (8 - n + i) & 63)
	}
	var w uint64
	for at, c := range b[i:] {
		w |= uint64(c) << (8 * at & 63)
	}
	return w
}

// equal marks the bytes of w that are c, which is ASCII.
func equal(w uint64, c byte) uint64 {
	return (marks - (w&^marks ^ uint64(c)*ones)) &^ w & marks
}

// plain finds the first byte at or behind i that a string doesn't hold as it is: a quote, a backslash or a control
// character; len(b) where there is none. ascii says that all before it is ASCII; it may be false by what follows it.
func plain(b []byte, i int) (end int, ascii bool) {
	seen := uint64(0)
	for ; len(b)-i >= 8; i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		seen |= w
		if m := special(w); m != 0 {
			return i + bits.TrailingZeros64(m)>>3, seen&marks == 0
		}
	}
	for ; i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\'; i++ {
		seen |= uint64(b[i])
	}
	return i, seen&marks == 0
}

// special marks what plain looks for.
func special(w uint64) uint64 {
	low := w &^ marks
	quote, slash, shown := marks-(low^'"'*ones), marks-(low^'\\'*ones), low+(0x80-' ')*ones
	return (quote | slash | ^shown) &^ w & marks
}

// skipNested finds the end of the checked object or array that begins at i. It follows no string to its end: a word's
// brackets count where no string is.
func skipNested(b []byte, i int) int {
	depth, within := 0, uint64(0) // within: all marks where the word begins inside of a string
	for i < len(b) {
		w, next := word(b, i), i+8
		quotes := equal(w, '"')
		for slashes := equal(w, '\\'); slashes != 0; slashes &= slashes - 1 {
			escaped := (slashes & -slashes) << 8
			if escaped == 0 {
				next++ // it is the next word's first byte
			}
			quotes &^= escaped
			slashes &^= escaped
		}
		inside := quotes // then, for each byte, whether the number of quotes up to it is odd
		inside ^= inside << 8
		inside ^= inside << 16
		inside ^= inside << 32
		inside ^= within
		// Without three of their bits the four brackets are the same; what else is so stands in strings only.
		for m := equal(w|0x26*ones, 0x7f) &^ inside; m != 0; m &= m - 1 {
			at := i + bits.TrailingZeros64(m)>>3
			if b[at]&2 != 0 {
				depth++
			} else if depth--; depth == 0 {
				return at + 1
			}
		}
		i, within = next, uint64(int64(inside)>>63)&marks
	}
	panic("rawjson: walking what Check hasn't seen")
}
