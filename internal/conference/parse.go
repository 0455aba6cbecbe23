package conference

import (
	"slices"
	"sync"

	"confgate/internal/rawjson"
)

// parser holds the members of the objects that it is amid, each object's behind its parent's. Only when all are known does
// an object get its own, as many as there are: documents are kept, so they have no room to spare.
type parser struct{ members []member }

var parsers = sync.Pool{New: func() any { return new(parser) }}

// parse makes a value of checked JSON; null members are left out.
func parse(v []byte) value {
	if !rawjson.IsObject(v) {
		return value{raw: compactText(v)}
	}
	const most = 1024            // members of a parser that is worth keeping
	p := parsers.Get().(*parser) //nolint:forcetypeassert // the pool holds nothing else
	c := rawjson.Walk(v)
	o := p.object(&c)
	if cap(p.members) <= most {
		parsers.Put(p)
	}
	return value{obj: o}
}

// object makes an object of the members that c has still to find.
func (p *parser) object(c *rawjson.Cursor) *object {
	start := len(p.members)
	for key, ok := c.Key(); ok; key, ok = c.Key() {
		var v value
		if c.Enter() {
			v.obj = p.object(c)
		} else if raw := c.Value(); !rawjson.Null(raw) {
			v.raw = compactText(raw)
		}
		p.set(start, key, v)
	}
	o := &object{members: make([]member, len(p.members)-start)}
	copy(o.members, p.members[start:])
	clear(p.members[start:])
	p.members = p.members[:start]
	return o
}

// set sets a member of the object whose first is at start; what doesn't exist is removed.
func (p *parser) set(start int, key []byte, v value) {
	i, found := len(p.members), false
	if i > start && p.members[i-1].key >= string(key) { // seldom: documents and what is made of them are sorted
		i, found = search(p.members[start:], key)
		i += start
	}
	switch {
	case v.exists() && found:
		p.members[i].val = v
	case v.exists():
		p.members = slices.Insert(p.members, i, member{key: nameText(key), val: v})
	case found:
		p.members = slices.Delete(p.members, i, i+1)
	}
}
