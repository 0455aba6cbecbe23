package edge

import (
	"bytes"
	"compress/flate"
	"fmt"
	"math/rand/v2"
	"testing"

	"confgate/internal/conference"
)

// BenchmarkDeflate is what permessage-deflate would cost and save: the figures behind not offering it, in
// docs/performance.md. "ratio" is the compressed size in that of the message.
func BenchmarkDeflate(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 2))
	person := func(dst []byte) []byte {
		return fmt.Appendf(dst, `"%016x%016x":{"name":"Person %d","role":"guest","state":"joined","muted":%t,"video":true,"joinedAt":%d}`,
			rnd.Uint64(), rnd.Uint64(), rnd.IntN(1000), rnd.IntN(2) == 0, 1611993595000+rnd.IntN(1e6))
	}
	state := []byte(`{"participants":{`)
	for i := range 500 {
		if i > 0 {
			state = append(state, ',')
		}
		state = person(state)
	}
	state = append(state, "}}"...)
	var enc Encoder
	messages := map[string][]byte{
		"snapshot": enc.Snapshot(nil, "900487914", conference.Position{Epoch: "c5k2", Seq: 41}, state, nil),
		"delta": enc.Delta(nil, "900487914", conference.Stamped{
			Change: conference.Change{Topic: conference.Participants, Time: 1611993595058}, Seq: 44, Prev: 39,
		}, append(person([]byte{'{'}), '}')),
	}
	for name, msg := range messages {
		b.Run(name, func(b *testing.B) {
			var out bytes.Buffer
			w, err := flate.NewWriter(&out, flate.BestSpeed)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(msg)))
			for b.Loop() {
				out.Reset()
				w.Reset(&out) // no context taken over: the bytes are to be shared
				if _, err := w.Write(msg); err != nil {
					b.Fatal(err)
				}
				if err := w.Flush(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(out.Len())/float64(len(msg)), "ratio")
		})
	}
}
