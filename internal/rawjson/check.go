package rawjson

import (
	"bytes"
	"errors"
	"unicode/utf8"
)

// MaxDepth is how deeply objects and arrays may nest: the provider's frames need 6.
const MaxDepth = 64

// Errors of Check. They carry nothing of the text.
var (
	ErrSyntax = errors.New("rawjson: not JSON")
	ErrDepth  = errors.New("rawjson: nested too deeply")
)

// Check makes sure that data is one JSON value, and returns it without the space around it. Bytes that aren't UTF-8 are
// replaced by U+FFFD, in a copy.
func Check(data []byte) ([]byte, error) {
	if !utf8.Valid(data) {
		data = bytes.ToValidUTF8(data, []byte("\uFFFD"))
	}
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	i := space(data, 0)
	end, err := check(data, i, MaxDepth)
	if err != nil {
		return nil, err
	}
	if space(data, end) != len(data) {
		return nil, ErrSyntax
	}
	return data[i:end:end], nil
}

func space(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// check verifies the value that begins at i and returns the index behind it.
func check(b []byte, i, depth int) (int, error) {
	if i >= len(b) {
		return i, ErrSyntax
	}
	switch b[i] {
	case '{':
		return checkObject(b, i+1, depth-1)
	case '[':
		return checkArray(b, i+1, depth-1)
	case '"':
		return checkString(b, i+1)
	case 't':
		return checkWord(b, i, "true")
	case 'f':
		return checkWord(b, i, "false")
	case 'n':
		return checkWord(b, i, "null")
	default:
		return checkNumber(b, i)
	}
}

func checkObject(b []byte, i, depth int) (int, error) {
	if depth < 0 {
		return i, ErrDepth
	}
	i = space(b, i)
	if i < len(b) && b[i] == '}' {
		return i + 1, nil
	}
	for {
		if i >= len(b) || b[i] != '"' {
			return i, ErrSyntax
		}
		var err error
		if i, err = checkString(b, i+1); err != nil {
			return i, err
		}
		if i = space(b, i); i >= len(b) || b[i] != ':' {
			return i, ErrSyntax
		}
		if i, err = check(b, space(b, i+1), depth); err != nil {
			return i, err
		}
		i = space(b, i)
		switch {
		case i >= len(b):
			return i, ErrSyntax
		case b[i] == '}':
			return i + 1, nil
		case b[i] != ',':
			return i, ErrSyntax
		}
		i = space(b, i+1)
	}
}

func checkArray(b []byte, i, depth int) (int, error) {
	if depth < 0 {
		return i, ErrDepth
	}
	i = space(b, i)
	if i < len(b) && b[i] == ']' {
		return i + 1, nil
	}
	for {
		var err error
		if i, err = check(b, i, depth); err != nil {
			return i, err
		}
		i = space(b, i)
		switch {
		case i >= len(b):
			return i, ErrSyntax
		case b[i] == ']':
			return i + 1, nil
		case b[i] != ',':
			return i, ErrSyntax
		}
		i = space(b, i+1)
	}
}

// checkString verifies a string whose opening quote is behind i.
func checkString(b []byte, i int) (int, error) {
	for {
		i, _ = plain(b, i)
		switch {
		case i >= len(b):
			return i, ErrSyntax
		case b[i] == '"':
			return i + 1, nil
		case b[i] != '\\' || i+1 >= len(b):
			return i, ErrSyntax
		}
		switch b[i+1] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			i += 2
		case 'u':
			if _, ok := hex4(b, i+2); !ok {
				return i, ErrSyntax
			}
			i += 6
		default:
			return i, ErrSyntax
		}
	}
}

func checkWord(b []byte, i int, word string) (int, error) {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return i, ErrSyntax
	}
	return i + len(word), nil
}

func checkNumber(b []byte, i int) (int, error) {
	if i < len(b) && b[i] == '-' {
		i++
	}
	switch {
	case i >= len(b):
		return i, ErrSyntax
	case b[i] == '0':
		i++
	default:
		end := digits(b, i)
		if end == i {
			return i, ErrSyntax
		}
		i = end
	}
	if i < len(b) && b[i] == '.' {
		end := digits(b, i+1)
		if end == i+1 {
			return i, ErrSyntax
		}
		i = end
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		end := digits(b, i)
		if end == i {
			return i, ErrSyntax
		}
		i = end
	}
	return i, nil
}

func digits(b []byte, i int) int {
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}

// hex4 reads the four digits of a \u escape.
func hex4(b []byte, i int) (rune, bool) {
	if len(b)-i < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[i : i+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return r, true
}
