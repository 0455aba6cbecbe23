package fanout

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"confgate/internal/conference"
)

// What a change costs a replica where the conference was quiet for so long that no cache holds anything of it: from the
// connection's goroutine into the list. Each conference has fifty people, and each change concerns one of them.
func BenchmarkColdFeeds(b *testing.B) {
	const feeds, people, epoch = 1000, 50, "c1"
	log := &RedisLog{hub: newHub(nil, LogOptions{})}
	all, tails := make([]*Feed, feeds), make([]Tail, feeds)
	opts := NewFeeds(FeedOptions{Encoder: quietEncoder{}, WriteRate: DefaultWriteRate}).opts
	for i := range all {
		conf := fmt.Sprint(900000000 + i)
		all[i] = newFeed(conf, &opts, true)
		tails[i] = log.Follow(conf, conference.Position{Epoch: epoch}, all[i].kick)
		doc := conference.NewDoc()
		for p := range people {
			row := fmt.Appendf(nil, `{"p%d":{"account":"zhangsan%d","anonymous":false,"camera":true,"client":"desktop","cohost":false,`+
				`"handRaised":false,"joinedAt":1611988486336,"muted":true,"name":"%d","role":"chair","state":"joined","video":true}}`, p, p, p)
			if err := doc.Patch(conference.Change{Topic: conference.Participants, Body: row}); err != nil {
				b.Fatal(err)
			}
		}
		if err := all[i].apply(Delivery{Snapshot: &Snapshot{Checkpoint: conference.Checkpoint{
			Position: conference.Position{Epoch: epoch}, Doc: doc,
		}}}); err != nil {
			b.Fatal(err)
		}
		all[i].readers, all[i].profiles[0] = 5, 5
	}
	deliver := make([]func(Delivery), feeds)
	for i, f := range all {
		deliver[i] = func(d Delivery) {
			if err := f.apply(d); err != nil {
				b.Fatal(err)
			}
		}
	}
	ctx := b.Context()
	caches := make([]byte, 64<<20)
	texts := make([]string, feeds)
	for b.Loop() {
		b.StopTimer()
		for i := range texts {
			seq := all[i].pos.Seq
			change := conference.Change{Topic: conference.Participants, Time: 1611988486336, Body: fmt.Appendf(nil,
				`{"p%d":{"handRaised":%t,"muted":false,"name":"%d"}}`, rand.IntN(people), seq%2 == 0, seq)}
			texts[i] = fmt.Sprintf("%s %d 1 2:%d\n%s", epoch, seq+1, seq, pack(nil, nil, place{}, []conference.Change{change}).body)
		}
		for i := 0; i < len(caches); i += 64 {
			caches[i]++
		}
		b.StartTimer()
		for i, f := range all {
			log.hub.dispatch(channelOf(f.conf), texts[i])
			<-f.kick
			f.serve()
			tails[i].Step(ctx, deliver[i])
			f.due()
		}
	}
	b.StopTimer()
	for _, f := range all {
		if f.pos.Seq != uint64(b.N) {
			b.Fatalf("a feed is at %d, want %d", f.pos.Seq, b.N)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*feeds), "ns/change")
}
