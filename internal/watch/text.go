package watch

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// printable replaces what could control a terminal or change the order of what stands around it: control characters,
// bidirectional overrides, invisible format characters, and bytes that aren't UTF-8.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.Is(unicode.C, r) || r == '\u2028' || r == '\u2029' {
			return '\uFFFD'
		}
		return r
	}, s)
}

// columns is how many cells of a terminal a character takes.
func columns(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	if kind := width.LookupRune(r).Kind(); kind == width.EastAsianWide || kind == width.EastAsianFullwidth {
		return 2
	}
	return 1
}

// fit makes a printable text exactly n cells wide: cut with an ellipsis, or filled with blanks.
func fit(s string, n int) string {
	s = printable(s)
	var b strings.Builder
	used := 0
	for i, r := range s {
		w := columns(r)
		rest := s[i+utf8.RuneLen(r):]
		if used+w > n || used+w == n && visible(rest) {
			if used < n {
				b.WriteRune('…')
				used++
			}
			break
		}
		b.WriteRune(r)
		used += w
	}
	if used < n {
		b.WriteString(strings.Repeat(" ", n-used))
	}
	return b.String()
}

func visible(s string) bool {
	for _, r := range s {
		if columns(r) > 0 {
			return true
		}
	}
	return false
}
