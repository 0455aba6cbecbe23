package rawjson

import "bytes"

// Cursor walks the members of an object or the elements of an array. It is a value: copy it to walk twice.
type Cursor struct {
	b []byte
	i int // at the next key or element, or at the closing bracket
}

// Walk begins at the first member or element of a checked object or array; of anything else it finds none.
func Walk(v []byte) Cursor {
	if len(v) < 2 || (v[0] != '{' && v[0] != '[') {
		return Cursor{}
	}
	return Cursor{v, space(v, 1)}
}

// Member is the next member of an object: its key without quotes and its value. The key is a part of the text unless it
// holds escapes. An array has no members.
func (c *Cursor) Member() (key, val []byte, ok bool) {
	if c.i >= len(c.b) || c.b[0] != '{' || c.b[c.i] != '"' {
		return nil, nil, false
	}
	start := c.i
	end := skipString(c.b, start+1)
	key = c.b[start+1 : end-1]
	if bytes.IndexByte(key, '\\') >= 0 {
		key = AppendText(nil, c.b[start:end])
	}
	return key, c.value(space(c.b, space(c.b, end)+1)), true
}

// Element is the next element of an array.
func (c *Cursor) Element() (val []byte, ok bool) {
	if c.i >= len(c.b) || c.b[c.i] == ']' || c.b[c.i] == '}' {
		return nil, false
	}
	return c.value(c.i), true
}

// value takes the value at i and moves behind it and the comma.
func (c *Cursor) value(i int) []byte {
	end := skip(c.b, i)
	v := c.b[i:end:end]
	c.i = space(c.b, end)
	if c.i < len(c.b) && c.b[c.i] == ',' {
		c.i = space(c.b, c.i+1)
	}
	return v
}

// Empty says whether an object or array has nothing inside.
func Empty(v []byte) bool {
	c := Walk(v)
	_, ok := c.Element()
	return !ok
}

// skip finds the end of the checked value that begins at i.
func skip(b []byte, i int) int {
	switch b[i] {
	case '"':
		return skipString(b, i+1)
	case '{', '[':
		depth := 0
		for {
			switch b[i] {
			case '"':
				i = skipString(b, i+1)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
	default:
		for i < len(b) {
			switch b[i] {
			case ',', '}', ']', ' ', '\n', '\t', '\r':
				return i
			}
			i++
		}
		return i
	}
}

// skipString finds the end of a checked string whose opening quote is behind i.
func skipString(b []byte, i int) int {
	for {
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
		i++
	}
}

// Text is the content of a checked scalar: of a string what it stands for, else the literal itself. It is a part of the
// text unless it holds escapes. An object, an array or null has none.
func Text(v []byte) (text []byte, ok bool) {
	if len(v) == 0 {
		return nil, false
	}
	switch v[0] {
	case '{', '[', 'n':
		return nil, false
	case '"':
		if bytes.IndexByte(v, '\\') >= 0 {
			return AppendText(nil, v), true
		}
		return v[1 : len(v)-1], true
	default:
		return v, true
	}
}

// Null says whether v is missing or null.
func Null(v []byte) bool { return len(v) == 0 || v[0] == 'n' }

// IsObject says whether v is an object.
func IsObject(v []byte) bool { return len(v) > 0 && v[0] == '{' }

// IsArray says whether v is an array.
func IsArray(v []byte) bool { return len(v) > 0 && v[0] == '[' }

// IsString says whether v is a string.
func IsString(v []byte) bool { return len(v) > 0 && v[0] == '"' }
