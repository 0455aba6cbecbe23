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
	if key, ok = c.Key(); !ok {
		return nil, nil, false
	}
	return key, c.Value(), true
}

// Key is the next member's key; the cursor is then at its value, which is for Value or Enter to take. Where there is no
// more member, the cursor moves behind the object: where it was entered, its parent's members go on.
func (c *Cursor) Key() (key []byte, ok bool) {
	start := c.i
	if start >= len(c.b) || c.b[0] != '{' {
		return nil, false
	}
	if c.b[start] != '"' {
		c.next(start + 1)
		return nil, false
	}
	end, escaped := skipString(c.b, start+1)
	key = c.b[start+1 : end]
	if escaped {
		key = AppendText(nil, c.b[start:end+1])
	}
	c.i = space(c.b, space(c.b, end+1)+1)
	return key, true
}

// Value takes the value whose key Key has found.
func (c *Cursor) Value() []byte {
	start := c.i
	end := skip(c.b, start)
	c.next(end)
	return c.b[start:end:end]
}

// Enter steps into the value whose key Key has found, if it is an object, so that Key finds its members next. That is
// cheaper than to walk a Value, for which it must be looked through first.
func (c *Cursor) Enter() bool {
	if c.b[c.i] != '{' {
		return false
	}
	c.i = space(c.b, c.i+1)
	return true
}

// Element is the next element of an array.
func (c *Cursor) Element() (val []byte, ok bool) {
	if c.i >= len(c.b) || c.b[c.i] == ']' || c.b[c.i] == '}' {
		return nil, false
	}
	return c.Value(), true
}

// next moves to what stands behind a value that ends at i, and the comma.
func (c *Cursor) next(i int) {
	i = space(c.b, i)
	if i < len(c.b) && c.b[i] == ',' {
		i = space(c.b, i+1)
	}
	c.i = i
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
		i, _ = skipString(b, i+1)
		return i + 1
	case '{', '[':
		return skipNested(b, i)
	default:
		for i < len(b) && !closing[b[i]] {
			i++
		}
		return i
	}
}

// closing are the bytes that end a number or a word.
var closing = [256]bool{',': true, '}': true, ']': true, ' ': true, '\n': true, '\t': true, '\r': true}

// skipString finds the closing quote of a checked string whose opening quote is behind i, and whether it holds escapes.
func skipString(b []byte, i int) (end int, escaped bool) {
	for {
		i, _ = plain(b, i)
		if b[i] == '"' {
			return i, escaped
		}
		escaped = true
		i += 2
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
