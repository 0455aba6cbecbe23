package fanout

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"confgate/internal/conference"
)

// Whoever looks at a replica sees all that has come, though its document takes changes together. What it lacks is bounded.
func TestReplicaIsWholeAtEveryLook(t *testing.T) {
	t.Parallel()
	const profile = conference.PII | conference.Secrets
	key := snapshotKey{topics: conference.AllTopics, profile: profile}
	looks := map[string]func(f *Feed) []byte{
		"snapshot": func(f *Feed) []byte { return f.snapshot(key).frame.Bytes },
		"document": func(f *Feed) []byte { return f.document(key) },
		"overview": func(f *Feed) []byte { return f.state.document().AppendJSON(nil, key.topics, key.profile) },
	}
	behind, many, large := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		f := newFeed("900", &NewFeeds(FeedOptions{Encoder: quietEncoder{}}).opts, true)
		want := conference.NewDoc()
		apply := func(d Delivery) {
			if err := f.apply(d); err != nil {
				t.Fatal(err)
			}
		}
		load := func() {
			apply(Delivery{Snapshot: &Snapshot{Checkpoint: conference.Checkpoint{Position: f.pos, Doc: want.Clone()}}})
		}
		load()
		extend := func(changes ...conference.Change) {
			var entry []conference.Stamped
			for i, c := range changes {
				if err := want.Patch(c); err != nil {
					t.Fatal(err)
				}
				entry = append(entry, conference.Stamped{Change: c, Seq: f.pos.Seq + uint64(i) + 1})
			}
			late, size := len(f.state.late), f.state.bytes
			apply(Delivery{Entry: entry})
			if len(f.state.late) == 0 && late > 0 {
				if many++; size > lateBytes/2 {
					large++
				}
			}
			if len(f.state.late) >= lateChanges || f.state.bytes >= lateBytes {
				t.Fatalf("%d changes of %d bytes wait", len(f.state.late), f.state.bytes)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"few": func(t *rapid.T) { extend(drawChanges(t)...) },
			"many": func(t *rapid.T) {
				for range lateChanges {
					extend(drawChanges(t)...)
				}
			},
			"large": func(*rapid.T) {
				body := []byte(`{"title":"` + strings.Repeat("x", lateBytes/3) + `"}`)
				extend(conference.Change{Topic: conference.Info, Body: body})
			},
			"load": func(*rapid.T) { load() },
			"look": func(t *rapid.T) {
				if len(f.state.late) > 0 {
					behind++
				}
				name := rapid.SampledFrom([]string{"snapshot", "document", "overview"}).Draw(t, "look")
				if got, want := looks[name](f), want.AppendJSON(nil, key.topics, key.profile); !bytes.Equal(got, want) {
					t.Fatalf("%s at %d = %s, want %s", name, f.pos.Seq, got, want)
				}
			},
		})
	})
	if behind == 0 || many == large || large == 0 {
		t.Errorf("%d looks at a document that lacked something, %d times it had too much to take, %d of them for its size; want some",
			behind, many, large)
	}
}
