package rawjson

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// AppendText appends what a checked string stands for. A half of a surrogate pair without its other half becomes U+FFFD.
func AppendText(dst, v []byte) []byte {
	b := v[1 : len(v)-1]
	for i := 0; i < len(b); {
		if b[i] != '\\' {
			n := bytes.IndexByte(b[i:], '\\')
			if n < 0 {
				return append(dst, b[i:]...)
			}
			dst = append(dst, b[i:i+n]...)
			i += n
			continue
		}
		switch c := b[i+1]; c {
		case 'u':
			r, _ := hex4(b, i+2)
			i += 6
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if i+1 < len(b) && b[i] == '\\' && b[i+1] == 'u' {
					if low, ok := hex4(b, i+2); ok {
						pair = utf16.DecodeRune(r, low)
					}
				}
				if pair != utf8.RuneError {
					i += 6
				}
				r = pair
			}
			dst = utf8.AppendRune(dst, r)
			continue
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		default:
			dst = append(dst, c)
		}
		i += 2
	}
	return dst
}

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string. s should be UTF-8; bytes that aren't become U+FFFD.
func AppendString[T ~string | ~[]byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	start := len(dst)
	dst = append(append(dst, s...), '"')
	end, ascii := plain(dst, start)
	if end == len(dst)-1 && (ascii || utf8.Valid(dst[start:end])) {
		return dst
	}
	return appendEscaped(dst[:start], s)
}

// appendEscaped appends a string and the closing quote, byte by byte.
func appendEscaped[T ~string | ~[]byte](dst []byte, s T) []byte {
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		n := min(utf8.UTFMax, len(s)-i)
		r, size := utf8.DecodeRuneInString(string(s[i : i+n]))
		if r == utf8.RuneError && size == 1 {
			dst = append(dst, s[start:i]...)
			dst = utf8.AppendRune(dst, utf8.RuneError)
			i++
			start = i
			continue
		}
		i += size
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// AppendCompact appends a checked value without space between its tokens and without members whose value is null, at any
// depth. Text that needs no change is copied in one piece.
func AppendCompact(dst, v []byte) []byte {
	switch {
	case IsObject(v):
		dst = append(dst, '{')
		c := Walk(v)
		first := true
		for key, val, ok := c.Member(); ok; key, val, ok = c.Member() {
			if Null(val) {
				continue
			}
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = AppendString(dst, key)
			dst = append(dst, ':')
			dst = AppendCompact(dst, val)
		}
		return append(dst, '}')
	case IsArray(v):
		dst = append(dst, '[')
		c := Walk(v)
		first := true
		for val, ok := c.Element(); ok; val, ok = c.Element() {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = AppendCompact(dst, val)
		}
		return append(dst, ']')
	default:
		return append(dst, v...)
	}
}
