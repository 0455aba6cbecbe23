package conference

import (
	"bytes"
	"slices"
	"strings"

	"confgate/internal/rawjson"
)

// value is a JSON value of the document: an object, or the text of anything else (scalars, arrays), which is replaced as
// a whole and never written to.
type value struct {
	obj *object
	raw []byte
}

// member is one member of an object.
type member struct {
	key string
	val value
}

// object keeps its members sorted by key, which makes its text canonical.
type object struct {
	members []member
	gen     uint32 // of a keyed topic's element: the last frame that named it; see edit.sweep
}

// find is the index of key, or where it belongs.
func (o *object) find(key string) (int, bool) { return search(o.members, key) }

// search is slices.BinarySearchFunc without its copy of each member that it looks at; its conversions allocate nothing.
func search[K string | []byte](members []member, key K) (int, bool) {
	low, high := 0, len(members)
	for low < high {
		middle := int(uint(low+high) >> 1)
		if members[middle].key < string(key) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < len(members) && members[low].key == string(key)
}

// at is the value of key; the zero value where there is none.
func (o *object) at(key string) value {
	if i, ok := o.find(key); ok {
		return o.members[i].val
	}
	return value{}
}

func (o *object) set(key string, v value) {
	i, ok := o.find(key)
	if ok {
		o.members[i].val = v
		return
	}
	o.insert(i, key, v)
}

func (o *object) remove(key string) bool {
	i, ok := o.find(key)
	if ok {
		o.members = slices.Delete(o.members, i, i+1)
	}
	return ok
}

// forgetFrames makes no member look as if the first full frame to come had named it already.
func (o *object) forgetFrames() {
	for i := range o.members {
		if element := o.members[i].val.obj; element != nil {
			element.gen = 0
		}
	}
}

// named says whether a frame has named the element.
func (v value) named(gen uint32) bool { return v.obj != nil && v.obj.gen == gen }

func (v value) exists() bool { return v.obj != nil || v.raw != nil }

// text is the content of a string or number; empty where there is none.
func (v value) text() string {
	t, _ := rawjson.Text(v.raw)
	return string(t)
}

func (v value) append(dst []byte) []byte {
	if v.obj == nil {
		return append(dst, v.raw...)
	}
	dst = append(dst, '{')
	for i := range v.obj.members {
		if i > 0 {
			dst = append(dst, ',')
		}
		m := &v.obj.members[i]
		dst = rawjson.AppendString(dst, m.key)
		dst = append(dst, ':')
		dst = m.val.append(dst)
	}
	return append(dst, '}')
}

func (v value) clone() value {
	if v.obj == nil {
		return v // texts are immutable
	}
	o := &object{members: slices.Clone(v.obj.members), gen: v.obj.gen}
	for i := range o.members {
		o.members[i].val = o.members[i].val.clone()
	}
	return value{obj: o}
}

// mergePatch is RFC 7396: the value that the checked patch makes of v. It may change v's object in place.
func mergePatch(v value, patch []byte) value {
	if v.obj == nil || !rawjson.IsObject(patch) {
		return parse(patch)
	}
	c := rawjson.Walk(patch)
	v.obj.merge(&c)
	return v
}

// merge applies the members of a patch that c has still to find.
func (o *object) merge(c *rawjson.Cursor) {
	for key, ok := c.Key(); ok; key, ok = c.Key() {
		i, found := o.findRaw(key)
		if found && o.members[i].val.obj != nil && c.Enter() {
			o.members[i].val.obj.merge(c)
			continue
		}
		switch val := c.Value(); {
		case !rawjson.Null(val) && found:
			o.members[i].val = parse(val)
		case !rawjson.Null(val):
			o.insert(i, nameText(key), parse(val))
		case found:
			o.removeAt(i)
		}
	}
}

// appendDiff appends the members of the merge patch that turns from into to, each led by a comma where something stands
// before it in its object. Nothing is appended where they are equal.
func appendDiff(dst []byte, from, to *object) []byte {
	start := len(dst)
	i, j := 0, 0
	for i < len(from.members) || j < len(to.members) {
		order := 0
		switch {
		case i == len(from.members):
			order = 1
		case j == len(to.members):
			order = -1
		default:
			order = strings.Compare(from.members[i].key, to.members[j].key)
		}
		switch {
		case order < 0:
			dst = appendKey(dst, start, from.members[i].key)
			dst = append(dst, "null"...)
			i++
		case order > 0:
			dst = appendKey(dst, start, to.members[j].key)
			dst = to.members[j].val.append(dst)
			j++
		default:
			dst = appendChange(dst, start, to.members[j].key, from.members[i].val, to.members[j].val)
			i++
			j++
		}
	}
	return dst
}

// appendChange appends the member key of a patch that turns from into to, if they differ.
func appendChange(dst []byte, start int, key string, from, to value) []byte {
	switch {
	case from.obj != nil && to.obj != nil:
		undo := len(dst)
		dst = append(appendKey(dst, start, key), '{')
		inner := len(dst)
		if dst = appendDiff(dst, from.obj, to.obj); len(dst) == inner {
			return dst[:undo]
		}
		return append(dst, '}')
	case from.obj != nil:
		return to.append(appendKey(dst, start, key))
	case to.obj != nil:
		return to.append(appendKey(dst, start, key)) // an object replaces what isn't one (RFC 7396)
	case bytes.Equal(from.raw, to.raw):
		return dst
	default:
		return to.append(appendKey(dst, start, key))
	}
}

// appendKey begins a member of an object whose first member began at start.
func appendKey(dst []byte, start int, key string) []byte {
	if len(dst) > start {
		dst = append(dst, ',')
	}
	dst = rawjson.AppendString(dst, key)
	return append(dst, ':')
}

func (o *object) insert(i int, key string, v value) {
	o.members = slices.Insert(o.members, i, member{key: key, val: v})
}

func (o *object) removeAt(i int) { o.members = slices.Delete(o.members, i, i+1) }

// findRaw is find for a key that isn't a string yet.
func (o *object) findRaw(key []byte) (int, bool) { return search(o.members, key) }
