package rawjson

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// texts makes many texts of one kind. They differ, since the processor learns the turns of a text that comes again and
// again, and in a worker none does.
func texts(members int) [][]byte {
	names := strings.Fields("CAMERASTATE ORG_ID LOCKED_VIEW MUTE ACCOUNT_ID TEL ALLOW_CLIENT_REC STATE SHARE ANONYMOUS ADDTIME NAME " +
		"CLIENT_CAPABILITIES RTC_USER_ID CLIENT_LOGIN_TYPE T ACCOUNT handRaised muted broadcasting recordingLocally joinedAt")
	r := rand.New(rand.NewPCG(1, uint64(members))) //nolint:gosec // the same texts each time
	out := make([][]byte, 256)
	for i := range out {
		var b strings.Builder
		fmt.Fprintf(&b, `{"data":[{"pid":"uzr571a9brwu11cvcibvru5a7r%08d","mode":0,"pinfoMap":{`, r.IntN(1e8))
		for at, n := range r.Perm(len(names))[:members] {
			if at > 0 {
				b.WriteByte(',')
			}
			value := []string{`"0"`, `"1"`, "true", "false", `"Desktop"`, `"张三"`, `"44252"`, `1611993595058`, `"271682cfdb14fa9ae3a8b25f7502"`}[r.IntN(9)]
			fmt.Fprintf(&b, `%q:%s`, names[n], value)
		}
		b.WriteString(`}}],"action":"ParticipantsNotify"}`)
		out[i] = []byte(b.String())
	}
	return out
}

// BenchmarkWalk checks texts and walks all of them, as is done with frames and patches.
func BenchmarkWalk(b *testing.B) {
	for _, members := range []int{2, 20} {
		all := texts(members)
		n := 0
		b.Run(fmt.Sprintf("check/%d", members), func(b *testing.B) {
			for b.Loop() {
				if _, err := Check(all[n%len(all)]); err != nil {
					b.Fatal(err)
				}
				n++
			}
		})
		b.Run(fmt.Sprintf("walk/%d", members), func(b *testing.B) {
			for b.Loop() {
				visit(all[n%len(all)])
				n++
			}
		})
	}
}

// visit walks v and all inside.
func visit(v []byte) {
	c := Walk(v)
	switch {
	case IsObject(v):
		for _, val, ok := c.Member(); ok; _, val, ok = c.Member() {
			visit(val)
		}
	case IsArray(v):
		for val, ok := c.Element(); ok; val, ok = c.Element() {
			visit(val)
		}
	}
}

func BenchmarkAppendString(b *testing.B) {
	kinds := []struct {
		name  string
		words []string
	}{
		{"names", strings.Fields("muted handRaised broadcasting id role extra joinedAt uzr571a9brwu11cvcibvru5a7r00000001 state name")},
		{"others", strings.Fields("张三 Zoë Müller a\"b zhangsan 李四的会议")},
	}
	for _, kind := range kinds {
		r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same order each time
		var order [4096]string
		for i := range order {
			order[i] = kind.words[r.IntN(len(kind.words))]
		}
		b.Run(kind.name, func(b *testing.B) {
			buf, n := make([]byte, 0, 1024), 0
			for b.Loop() {
				buf = AppendString(buf[:16], order[n%len(order)])
				n++
			}
		})
	}
}
