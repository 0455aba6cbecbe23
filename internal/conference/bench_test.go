package conference

import (
	"fmt"
	"testing"
)

// patches say what comes often, each with what undoes it.
var patches = []struct{ name, there, back string }{
	{"flag", `{"p25":{"handRaised":true,"muted":false}}`, `{"p25":{"handRaised":false,"muted":true}}`},
	{"join", `{"p99":` + rosterRow(99) + `}`, `{"p99":null}`},
}

func rosterRow(n int) string {
	return fmt.Sprintf(`{"account":"zhangsan%d","anonymous":false,"camera":true,"capabilities":[1,3],"client":"desktop","cohost":false,`+
		`"extra":{"ALLOW_CLIENT_REC":"0","LOCKED_VIEW":"0","RTC_USER_ID":"uzr571a9brwu11cvcibvru5a7r7r%04d"},"handRaised":false,`+
		`"joinedAt":1611988486336,"muted":true,"name":"张三%d","phone":"+8657129967649%04d","role":"chair","state":"joined","video":true}`, n, n, n, n)
}

// BenchmarkPatch takes a change and its opposite through what an append and a replica do with them.
func BenchmarkPatch(b *testing.B) {
	doc := NewDoc()
	for i := range 50 {
		if err := doc.Patch(Change{Participants, 0, fmt.Appendf(nil, `{"p%d":%s}`, i, rosterRow(i))}); err != nil {
			b.Fatal(err)
		}
	}
	for _, p := range patches {
		there, back := Change{Participants, 0, []byte(p.there)}, Change{Participants, 0, []byte(p.back)}
		b.Run("patch/"+p.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if doc.Patch(there) != nil || doc.Patch(back) != nil {
					b.Fatal("a patch doesn't fit")
				}
			}
		})
		b.Run("split/"+p.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				SplitSecrets(there)
				SplitSecrets(back)
			}
		})
	}
	text := doc.AppendJSON(nil, AllTopics, full)
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParseDoc(text); err != nil {
				b.Fatal(err)
			}
		}
	})
}
