package simulator

import (
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// field is one key of an element on the wire.
type field struct {
	name string
	// raw values are JSON already (numbers, booleans, objects); the others are the text of a JSON string.
	raw bool
	// extra marks keys that the reference's tables don't describe.
	extra bool
}

// record is one element of the world in the form in which the wire knows it: a value for each key of its schema, "" for
// a key that it doesn't have. A key once present is changed but never taken away (only an increment without it would
// tell, and increments can't), except in frames that always come full.
type record struct {
	schema []field
	vals   []string
}

func newRecord(schema []field) record {
	return record{schema: schema, vals: make([]string, len(schema))}
}

// set gives key k a value and says whether that changed anything.
func (r *record) set(k int, v string) bool {
	if r.vals[k] == v {
		return false
	}
	r.vals[k] = v
	return true
}

func (r *record) setInt(k int, v int64) bool { return r.set(k, strconv.FormatInt(v, 10)) }

func (r *record) is(k int, v string) bool { return r.vals[k] == v }

// num is the value of a key that holds a number, quoted or not; 0 where it is absent.
func (r *record) num(k int) int64 {
	v := r.vals[k]
	if len(v) > 1 && v[0] == '"' {
		v = v[1 : len(v)-1]
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (r *record) flag(k int) bool { return r.vals[k] == "1" || r.vals[k] == "true" }

// extras are the present keys outside the reference's tables, verbatim.
func (r *record) extras() map[string]json.RawMessage {
	m := make(map[string]json.RawMessage)
	for i, f := range r.schema {
		if f.extra && r.vals[i] != "" {
			m[f.name] = json.RawMessage(f.appendValue(nil, r.vals[i]))
		}
	}
	return m
}

func (f *field) appendValue(dst []byte, v string) []byte {
	if f.raw {
		return append(dst, v...)
	}
	return appendString(dst, v)
}

// mask is a set of keys of one record.
type mask uint64

const allKeys = ^mask(0)

func keys(ks ...int) mask {
	var m mask
	for _, k := range ks {
		m |= 1 << k
	}
	return m
}

// appendMembers appends the present keys of m as members of an object, without its braces.
func (r *record) appendMembers(dst []byte, m mask) []byte {
	first := true
	for i := range r.schema {
		if m&(1<<i) == 0 || r.vals[i] == "" {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, '"')
		dst = append(dst, r.schema[i].name...)
		dst = append(dst, '"', ':')
		dst = r.schema[i].appendValue(dst, r.vals[i])
	}
	return dst
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string. Text beyond ASCII goes out as it is, like the provider's.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(append(dst, s[start:i]...), "\ufffd"...)
				start = i + 1
			}
			i += n
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		if c == '"' || c == '\\' {
			dst = append(dst, '\\', c)
		} else {
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

func appendKey(dst []byte, name string) []byte {
	return append(appendString(dst, name), ':')
}
