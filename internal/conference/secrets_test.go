package conference

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"confgate/internal/rawjson"
)

// shaped draws JSON of about the shape that a rule knows, with members that it doesn't know and values of other kinds.
func shaped(rt *rapid.T, r *rule, depth int) string {
	kind := rapid.IntRange(0, 9).Draw(rt, "kind")
	switch {
	case depth > 6 || kind == 0:
		return rapid.SampledFrom([]string{"null", "1", `"x"`, `"{\"new\":1}"`, "{}", "[]"}).Draw(rt, "scalar")
	case kind == 1:
		var each *rule
		if r != nil {
			each = r.each
		}
		var parts []string
		for range rapid.IntRange(0, 2).Draw(rt, "elements") {
			parts = append(parts, shaped(rt, each, depth+1))
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	names := []string{"a1"}
	if r != nil && r.kids != nil {
		names = slices.Sorted(maps.Keys(r.kids))
	}
	if rapid.IntRange(0, 3).Draw(rt, "strange") == 0 {
		names = append(names, "new")
	}
	var parts []string
	for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, min(3, len(names)), rapid.ID[string]).Draw(rt, "names") {
		parts = append(parts, fmt.Sprintf("%q:%s", n, shaped(rt, r.under(n), depth+1)))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// secretInside is what hides means.
func secretInside(r *rule, v []byte) bool {
	switch {
	case r == nil || r.need&Secrets != 0:
		return true
	case r.leaf:
		return false
	}
	inside := false
	c := rawjson.Walk(v)
	if rawjson.IsArray(v) {
		for val, ok := c.Element(); ok; val, ok = c.Element() {
			inside = inside || secretInside(r.each, val)
		}
		return inside
	}
	if !rawjson.IsObject(v) && !rawjson.Null(v) {
		return true // no rule lists what such a value would be
	}
	for key, val, ok := c.Member(); ok; key, val, ok = c.Member() {
		inside = inside || secretInside(r.under(string(key)), val)
	}
	return inside
}

func TestHidesWhatSplitsOff(t *testing.T) {
	t.Parallel()
	verdicts := map[bool]int{}
	rapid.Check(t, func(rt *rapid.T) {
		topic := Topic(rapid.IntRange(0, NumTopics-1).Draw(rt, "topic"))
		r := rules[topic]
		text := shaped(rt, r, 0)
		v, err := rawjson.Check([]byte(text))
		if err != nil {
			rt.Fatalf("%s: %v", text, err)
		}
		want := secretInside(r, v)
		verdicts[want]++
		if got := r.hides(v); got != want {
			rt.Errorf("%s: hides(%s) = %v, want %v", topic, text, got, want)
		}
		if part, got := r.appendSecret(nil, v); got != want || (len(part) > 0) != want {
			rt.Errorf("%s: appendSecret(%s) = %s, %v, want %v", topic, text, part, got, want)
		}
	})
	if verdicts[true] == 0 || verdicts[false] == 0 {
		t.Errorf("verdicts %v, want both", verdicts)
	}
}

// A list or a scalar where the rules know an object is nothing that they list.
func TestStrangeShapesAreHidden(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"extra":["unlisted"]}`, `{"extra":"unlisted"}`, `{"owner":[["unlisted"]]}`, `{"extra":{"basic":["unlisted"]}}`} {
		c := Change{Topic: Info, Body: []byte(body)}
		for _, p := range []Profile{0, PII} {
			if got := Redact(c, p); strings.Contains(string(got), "unlisted") {
				t.Errorf("Redact(%s, %d) = %s", body, p, got)
			}
		}
		if got := Redact(c, Secrets); string(got) != body {
			t.Errorf("Redact(%s, Secrets) = %s", body, got)
		}
		open, secret := SplitSecrets(c)
		if strings.Contains(string(open), "unlisted") {
			t.Errorf("open part of %s = %s", body, open)
		}
		if whole, err := JoinSecrets(Info, open, secret); err != nil || string(whole) != body {
			t.Errorf("parted and joined %s = %s, %v", body, whole, err)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	tests := []struct{ text, want string }{
		{`{}`, `{}`},
		{`{"a":1,"b":{"x":true},"c":[1, null]}`, `{"a":1,"b":{"x":true},"c":[1,null]}`},
		{`{"c":1,"a":2,"b":3,"d":4}`, `{"a":2,"b":3,"c":1,"d":4}`},
		{`{"b":{"y":1,"x":{"k":1,"j":2}},"a":{}}`, `{"a":{},"b":{"x":{"j":2,"k":1},"y":1}}`},
		{`{"a":1,"b":2,"a":3}`, `{"a":3,"b":2}`},
		{`{"a":1,"b":null,"a":null,"c":null}`, `{}`},
		{`{"a":{"x":1},"a":{"y":2}}`, `{"a":{"y":2}}`},
		{`"x"`, `"x"`},
	}
	for _, tt := range tests {
		v := parse([]byte(tt.text))
		if got := string(v.append(nil)); got != tt.want {
			t.Errorf("parse(%s) = %s, want %s", tt.text, got, tt.want)
		}
		if v.obj != nil && len(v.obj.members) != cap(v.obj.members) {
			t.Errorf("parse(%s) has room for %d members, holds %d", tt.text, cap(v.obj.members), len(v.obj.members))
		}
	}
}
