package conference

import (
	"fmt"
	"slices"

	"confgate/internal/rawjson"
)

// full is the profile from which nothing is hidden.
const full = PII | Secrets

// rule says who may see a value. What no rule lists needs Secrets: a field that the provider adds tomorrow is hidden until
// somebody has looked at it.
type rule struct {
	need Profile          // scopes beyond "read" that a reader needs
	leaf bool             // shown whole; else only as far as kids and each go
	kids map[string]*rule // members by name
	each *rule            // members that are keyed by identifiers, and elements of arrays
}

// sees says whether a reader with profile p may see what r is about, as far as r says; a nil rule is "not listed".
func (r *rule) sees(p Profile) bool {
	if r == nil {
		return p&Secrets != 0
	}
	return r.need&^p == 0
}

// under is the rule for a member of what r is about.
func (r *rule) under(key string) *rule {
	if r == nil {
		return nil
	}
	if kid, ok := r.kids[key]; ok {
		return kid
	}
	return r.each
}

// whole says whether a reader with profile p sees everything below.
func (r *rule) whole(p Profile) bool { return p == full || r == nil || r.leaf }

// appendValue appends what a reader who sees v sees of it.
func (r *rule) appendValue(dst []byte, v value, p Profile) []byte {
	switch {
	case r.whole(p):
		return v.append(dst)
	case v.obj == nil:
		return r.appendRaw(dst, v.raw, p)
	}
	dst = append(dst, '{')
	start := len(dst)
	for i := range v.obj.members {
		m := &v.obj.members[i]
		if kid := r.under(m.key); kid.sees(p) {
			dst = appendKey(dst, start, m.key)
			dst = kid.appendValue(dst, m.val, p)
		}
	}
	return append(dst, '}')
}

// appendRaw does the same for checked text: an array, a patch, or an event.
func (r *rule) appendRaw(dst, v []byte, p Profile) []byte {
	switch {
	case r.whole(p) || rawjson.Null(v):
		return append(dst, v...)
	case rawjson.IsObject(v):
		dst = append(dst, '{')
		start := len(dst)
		c := rawjson.Walk(v)
		for key, val, ok := c.Member(); ok; key, val, ok = c.Member() {
			if kid := r.underRaw(key); kid.sees(p) {
				dst = appendRawKey(dst, start, key)
				dst = kid.appendRaw(dst, val, p)
			}
		}
		return append(dst, '}')
	case rawjson.IsArray(v):
		dst = append(dst, '[')
		start := len(dst)
		c := rawjson.Walk(v)
		for val, ok := c.Element(); ok; val, ok = c.Element() {
			if !r.each.sees(p) {
				continue
			}
			if len(dst) > start {
				dst = append(dst, ',')
			}
			dst = r.each.appendRaw(dst, val, p)
		}
		return append(dst, ']')
	case p&Secrets != 0:
		return append(dst, v...)
	default:
		return append(dst, "{}"...) // a scalar where the rules know an object is as a member that they don't know: hide it
	}
}

// underRaw is under without a string, for a rule that isn't nil.
func (r *rule) underRaw(key []byte) *rule {
	if r.kids != nil { // what is keyed by identifiers has none
		if kid, ok := r.kids[string(key)]; ok {
			return kid
		}
	}
	return r.each
}

func appendRawKey(dst []byte, start int, key []byte) []byte {
	if len(dst) > start {
		dst = append(dst, ',')
	}
	dst = rawjson.AppendString(dst, key)
	return append(dst, ':')
}

// Redact is c.Body as a reader with profile p may see it; it may share c.Body. A topic of which the reader sees nothing
// yields `{}`. Redaction commutes with patching: patching a redacted document with redacted changes gives the redacted
// result (TestRedactionCommutes). That is so since it only removes members, and elements of lists, which patches replace
// whole. It wouldn't be so where an object becomes a scalar, which State makes of nothing.
func Redact(c Change, p Profile) []byte {
	_, body := RedactInto(nil, c, p)
	return body
}

// RedactInto is Redact in the room that there is, or else in its own, which it gives back for the next.
func RedactInto(room []byte, c Change, p Profile) (used, body []byte) {
	switch {
	case p&full == full:
		return room, c.Body
	case !p.VisibleTopics().Has(c.Topic):
		return room, []byte("{}")
	default:
		room = rules[c.Topic].appendRaw(slices.Grow(room[:0], len(c.Body)), c.Body, p)
		return room, room
	}
}

// SplitSecrets parts a change into what may lie in the open and what needs Secrets; JoinSecrets undoes it. open is nil
// where the whole change needs Secrets, secret where nothing does.
func SplitSecrets(c Change) (open, secret []byte) {
	if !PII.VisibleTopics().Has(c.Topic) {
		return nil, c.Body
	}
	r := rules[c.Topic]
	if !r.hides(c.Body) {
		return c.Body, nil
	}
	secret, _ = r.appendSecret(make([]byte, 0, 64), c.Body)
	return Redact(c, PII), secret
}

// hides says whether checked text has a part that needs Secrets.
func (r *rule) hides(v []byte) bool {
	switch {
	case !r.sees(PII):
		return true
	case r.leaf:
		return false
	case rawjson.IsArray(v):
		c := rawjson.Walk(v)
		for val, ok := c.Element(); ok; val, ok = c.Element() {
			if r.each.hides(val) {
				return true
			}
		}
		return false
	case rawjson.IsObject(v):
		c := rawjson.Walk(v)
		return r.hidesMember(&c)
	default:
		return !rawjson.Null(v) // a scalar where the rules know an object
	}
}

// hidesMember says the same of the members that c has still to find.
func (r *rule) hidesMember(c *rawjson.Cursor) bool {
	for key, ok := c.Key(); ok; key, ok = c.Key() {
		switch kid := r.underRaw(key); {
		case !kid.sees(PII):
			return true
		case kid.leaf:
			c.Value()
		case c.Enter():
			if kid.hidesMember(c) {
				return true
			}
		case kid.hides(c.Value()):
			return true
		}
	}
	return false
}

// appendSecret appends the part of checked text that needs Secrets; false, and nothing appended, where there is none.
// Arrays are replaced whole by patches, so one with a secret inside goes whole.
func (r *rule) appendSecret(dst, v []byte) ([]byte, bool) {
	switch {
	case !r.sees(PII):
		return append(dst, v...), true
	case r.leaf || !rawjson.IsObject(v):
		if r.hides(v) {
			return append(dst, v...), true
		}
		return dst, false
	}
	undo := len(dst)
	dst = append(dst, '{')
	start, found := len(dst), false
	c := rawjson.Walk(v)
	for key, val, ok := c.Member(); ok; key, val, ok = c.Member() {
		kid := r.underRaw(key)
		if kid.sees(PII) && kid.leaf {
			continue // most members: a quick no
		}
		before, some := len(dst), false
		if dst, some = kid.appendSecret(appendRawKey(dst, start, key), val); !some {
			dst = dst[:before]
			continue
		}
		found = true
	}
	if !found {
		return dst[:undo], false
	}
	return append(dst, '}'), true
}

// split is Redact for PII and appendSecret in one walk, for a value of which a reader with PII sees something.
func (r *rule) split(open, secret []byte, v value) (opened, hidden []byte, found bool) {
	switch {
	case r.leaf:
		return v.append(open), secret, false
	case v.obj == nil && r.hides(v.raw):
		return r.appendRaw(open, v.raw, PII), append(secret, v.raw...), true
	case v.obj == nil:
		return append(open, v.raw...), secret, false
	}
	undo := len(secret)
	open, secret = append(open, '{'), append(secret, '{')
	startOpen, startSecret := len(open), len(secret)
	for i := range v.obj.members {
		m := &v.obj.members[i]
		kid := r.under(m.key)
		if !kid.sees(PII) {
			secret, found = m.val.append(appendKey(secret, startSecret, m.key)), true
			continue
		}
		open = appendKey(open, startOpen, m.key)
		if kid.leaf {
			open = m.val.append(open)
			continue
		}
		before, some := len(secret), false
		if open, secret, some = kid.split(open, appendKey(secret, startSecret, m.key), m.val); !some {
			secret = secret[:before]
		}
		found = found || some
	}
	if !found {
		return append(open, '}'), secret[:undo], false
	}
	return append(open, '}'), append(secret, '}'), true
}

// JoinSecrets puts together what SplitSecrets parted.
func JoinSecrets(t Topic, open, secret []byte) ([]byte, error) {
	switch {
	case secret == nil:
		return open, nil
	case open == nil:
		return secret, nil
	}
	a, err := rawjson.Check(open)
	if err != nil {
		return nil, fmt.Errorf("conference: open part of %s: %w", t, err)
	}
	b, err := rawjson.Check(secret)
	if err != nil {
		return nil, fmt.Errorf("conference: secret part of %s: %w", t, err)
	}
	return appendUnion(make([]byte, 0, len(a)+len(b)), a, b), nil
}

// appendUnion appends two patches that change different members as one; where both have a member that isn't an object in
// both, b's is the whole one.
func appendUnion(dst, a, b []byte) []byte {
	if !rawjson.IsObject(a) || !rawjson.IsObject(b) {
		return append(dst, b...)
	}
	rest := make(map[string][]byte)
	c := rawjson.Walk(b)
	for key, val, ok := c.Member(); ok; key, val, ok = c.Member() {
		rest[string(key)] = val
	}
	dst = append(dst, '{')
	start := len(dst)
	c = rawjson.Walk(a)
	for key, val, ok := c.Member(); ok; key, val, ok = c.Member() {
		dst = appendRawKey(dst, start, key)
		other, both := rest[string(key)]
		if !both {
			dst = append(dst, val...)
			continue
		}
		delete(rest, string(key))
		dst = appendUnion(dst, val, other)
	}
	c = rawjson.Walk(b) // in b's order, which a map hasn't
	for key, val, ok := c.Member(); ok; key, val, ok = c.Member() {
		if _, left := rest[string(key)]; left {
			dst = appendRawKey(dst, start, key)
			dst = append(dst, val...)
		}
	}
	return append(dst, '}')
}
