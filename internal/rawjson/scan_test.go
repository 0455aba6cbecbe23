package rawjson

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// plainByBytes is what plain means.
func plainByBytes(b []byte, i int) (int, bool) {
	ascii := true
	for ; i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\'; i++ {
		ascii = ascii && b[i] < 0x80
	}
	return i, ascii
}

// skipByBytes is what skipNested means.
func skipByBytes(b []byte, i int) int {
	depth, inside := 0, false
	for ; ; i++ {
		switch c := b[i]; {
		case inside && c == '\\':
			i++
		case c == '"':
			inside = !inside
		case inside:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
}

// Each byte at each place of a word, among neighbours whose bits differ from it in the ways that carries and borrows mind.
func TestEveryByteInEveryPlace(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		for _, around := range []byte{0, 1, ' ', '!', '"', '#', '[', '\\', ']', 'a', 0x7f, 0x80, 0xa2, 0xdc, 0xff} {
			for at := range 19 {
				b := bytes.Repeat([]byte{around}, 19)
				b[at] = byte(c)
				for i := range 9 {
					checkPlain(t, b, i)
				}
				w := word(b, at&^7)
				for _, want := range []byte{'"', '\\', 0x7f} {
					if marked := equal(w, want)>>(8*(at&7)+7)&1 != 0; marked != (byte(c) == want) {
						t.Errorf("%#x at %d among %#x: equal to %#x = %v", c, at, around, want, marked)
					}
				}
			}
		}
	}
}

func checkPlain(tb testing.TB, b []byte, i int) {
	tb.Helper()
	end, ascii := plain(b, i)
	wantEnd, wantASCII := plainByBytes(b, i)
	// What follows the end may make plain doubt, not the other way round.
	if end != wantEnd || (ascii && !wantASCII) || (end == len(b) && ascii != wantASCII) {
		tb.Errorf("plain(%q, %d) = %d, %v, want %d, %v", b, i, end, ascii, wantEnd, wantASCII)
	}
}

// nested makes an object or array of up to a few hundred bytes, whose strings are full of what ends strings and values.
func nested(r *rand.Rand, depth int) string {
	str := func() string {
		var b strings.Builder
		for range r.IntN(12) {
			b.WriteString([]string{`\"`, `\\`, `\u005c`, "{", "}", "[", "]", ",", ":", "y", "Y", "_", "\u007f", "plain text", "ü", "张", "\U0001f600"}[r.IntN(17)])
		}
		return `"` + b.String() + `"`
	}
	value := func() string {
		switch n := r.IntN(6); {
		case n < 2 && depth < 5:
			return nested(r, depth+1)
		case n < 4:
			return str()
		default:
			return []string{"1", "-2.5e10", "true", "null"}[r.IntN(4)]
		}
	}
	space := func() string { return "   "[:max(0, r.IntN(8)-4)] }
	var parts []string
	for range r.IntN(5) {
		parts = append(parts, space()+str()+space()+":"+space()+value()+space())
	}
	if r.IntN(2) == 0 {
		return "{" + strings.Join(parts, ",") + "}"
	}
	for i := range parts {
		parts[i] = space() + value() + space()
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// Values are skipped as byte by byte, wherever in a word they begin and end.
func TestSkipIsByteByByte(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same texts each time
	for range 4_000 {
		before, behind := strings.Repeat("[", r.IntN(9)), strings.Repeat("]", r.IntN(9))
		text := []byte(before + nested(r, 0) + `,"\\",` + behind)
		if got, want := skip(text, len(before)), skipByBytes(text, len(before)); got != want {
			t.Fatalf("skip(%q, %d) = %d, want %d", text, len(before), got, want)
		}
		for i := range text {
			if text[i] == '{' || text[i] == '[' {
				continue
			}
			checkPlain(t, text, i)
		}
		v, err := Check(text[len(before):skip(text, len(before))])
		if err != nil {
			t.Fatalf("Check(%q) = %v", text, err)
		}
		if got, want := fmt.Sprint(decode(v, true)), fmt.Sprint(decode(v, false)); got != want {
			t.Fatalf("%q, entered: %s, want %s", v, got, want)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "muted", "uzr571a9brwu11cv", `a "b" \`, "张三", "line\nline", "\xff", "long enough for a word \xe5\xbc", "\x00\x1f\x7f"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		for i := range min(len(s)+1, 9) {
			checkPlain(t, s, i)
		}
		want := string(appendEscaped([]byte(`x"`), s))
		if got := string(AppendString([]byte("x"), s)); got != want {
			t.Errorf("AppendString(%q) = %s, want %s", s, got, want)
		}
		if got := string(AppendString([]byte("x"), string(s))); got != want {
			t.Errorf("AppendString(%q), a string, = %s, want %s", s, got, want)
		}
	})
}
