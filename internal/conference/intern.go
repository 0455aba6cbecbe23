package conference

import (
	"bytes"
	"maps"

	"confgate/internal/rawjson"
)

// Documents are full of the same few names and texts. All documents of a worker share one copy of each: it is in the
// processor's cache when the next conference is looked at, and the collector has nothing to look at.

// internedTexts are such values.
var internedTexts = func() map[string][]byte {
	m := make(map[string][]byte)
	for _, text := range []string{
		"true", "false", "0", "1", "2", `""`, `"0"`, `"1"`, `"2"`, `"good"`, `"poor"`, `"guest"`, `"chair"`, `"audience"`, `"joined"`,
		`"calling"`, `"joining"`, `"desktop"`, `"mobile"`, `"pad"`, `"other"`, `"unspecified"`, `"layout"`, `"participant"`,
		`"normal"`, `"terminal"`, `"outside"`, `"anonymous"`, `"AACLD"`, `"H264HP"`, "[]", "[1]", "[1,3]",
	} {
		m[text] = []byte(text)
	}
	return m
}()

// internedText is the shared copy of a text; nil where there is none.
func internedText(text []byte) []byte {
	const longest = 16 // of those that are worth looking up, in bytes
	if len(text) > longest {
		return nil
	}
	return internedTexts[string(text)]
}

// internedNames are the names of members that the rules know.
var internedNames = func() map[string]string {
	m := map[string]string{extraKey: extraKey}
	for _, r := range rules {
		r.addNames(m)
	}
	return m
}()

func (r *rule) addNames(m map[string]string) {
	if r == nil {
		return
	}
	for name, kid := range maps.All(r.kids) {
		m[name] = name
		kid.addNames(m)
	}
	r.each.addNames(m)
}

// nameText is key as a string.
func nameText(key []byte) string {
	if n, ok := internedNames[string(key)]; ok {
		return n
	}
	return string(key)
}

// keepText is a copy of a text in one spelling.
func keepText(raw []byte) []byte {
	if text := internedText(raw); text != nil {
		return text
	}
	return bytes.Clone(raw)
}

// compactText is checked text in one spelling.
func compactText(v []byte) []byte {
	if text := internedText(v); text != nil {
		return text
	}
	return rawjson.AppendCompact(make([]byte, 0, len(v)), v)
}
