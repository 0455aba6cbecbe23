package watch

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"confgate/internal/conference"
)

// message decodes what a server would send.
func message(tb interface {
	Helper()
	Fatalf(string, ...any)
}, raw string,
) *Message {
	tb.Helper()
	m, err := decode([]byte(raw))
	if err != nil {
		tb.Fatalf("decode(%s): %v", raw, err)
	}
	return m
}

const grant = `{"type":"subscribed","topics":["link","participants","speakers","quality","invites"],"view":"p3","recovered":false}`

func TestReplica(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		messages []string
		want     []string // outcomes, or the seqs of a snapshot's news
		document string
		counts   Counts
		resume   *Resume
		broken   []string // what each violation contains
	}{
		{
			name:     "nothing yet",
			messages: []string{`{"type":"delta","topic":"participants","seq":1,"prev":0,"patch":{"p":{}}}`},
			want:     []string{"ignored"}, document: `{}`,
		},
		{
			name: "snapshot and changes",
			messages: []string{
				grant, `{"type":"snapshot","epoch":"e","seq":41,"state":{"participants":{"p1":{"muted":false}}}}`,
				`{"type":"delta","topic":"participants","seq":44,"prev":39,"patch":{"p1":{"muted":true},"p2":{"name":"Bo"}}}`,
				`{"type":"event","topic":"invites","seq":45,"prev":12,"data":{"ok":true}}`,
				`{"type":"delta","topic":"speakers","seq":46,"prev":0,"patch":[{"pid":"p1"}]}`,
				`{"type":"delta","topic":"participants","seq":47,"prev":44,"patch":{"p1":null}}`,
			},
			want:     []string{"", "applied", "applied", "applied", "applied"},
			document: `{"participants":{"p2":{"name":"Bo"}},"speakers":[{"pid":"p1"}]}`,
			counts:   Counts{Snapshots: 1, Deltas: 3, Events: 1}, resume: &Resume{"e", "p3", 47},
		},
		{
			name: "known ones and unknown topics are ignored",
			messages: []string{
				grant, `{"type":"snapshot","epoch":"e","seq":41,"state":{"link":{"state":"live"},"polls":{"a":1}}}`,
				`{"type":"delta","topic":"participants","seq":41,"prev":39,"patch":{"p1":{}}}`,
				`{"type":"delta","topic":"polls","seq":42,"prev":0,"patch":{"p1":{}}}`,
			},
			want: []string{"", "ignored", "ignored"}, document: `{"link":{"state":"live"}}`,
			counts: Counts{Snapshots: 1, Duplicates: 1}, resume: &Resume{"e", "p3", 41},
		},
		{
			name: "null removes a topic, an empty patch makes one",
			messages: []string{
				grant, `{"type":"snapshot","epoch":"e","seq":1,"state":{"speakers":[]}}`,
				`{"type":"delta","topic":"speakers","seq":2,"prev":1,"patch":null}`,
				`{"type":"delta","topic":"participants","seq":3,"prev":0,"patch":{}}`,
			},
			want: []string{"", "applied", "applied"}, document: `{"participants":{}}`,
			counts: Counts{Snapshots: 1, Deltas: 2}, resume: &Resume{"e", "p3", 3},
		},
		{
			name: "a loss stops it until a snapshot",
			messages: []string{
				grant, `{"type":"snapshot","epoch":"e","seq":41,"state":{}}`,
				`{"type":"delta","topic":"participants","seq":44,"prev":43,"patch":{"p1":{}}}`,
				`{"type":"delta","topic":"participants","seq":45,"prev":44,"patch":{"p2":{}}}`,
			},
			want: []string{"", "lost", "ignored"}, document: `{}`,
			counts: Counts{Snapshots: 1, Gaps: 1}, broken: []string{"participants 44 continues 43, but 41 was the last"},
		},
		{
			name: "a resume that isn't granted waits for the snapshot",
			messages: []string{
				grant, `{"type":"snapshot","epoch":"e","seq":41,"state":{}}`, grant,
				`{"type":"delta","topic":"participants","seq":42,"prev":0,"patch":{"p1":{}}}`,
			},
			want: []string{"", "ignored"}, document: `{}`, counts: Counts{Snapshots: 1},
		},
		{
			name: "a granted resume goes on",
			messages: []string{
				grant, `{"type":"snapshot","epoch":"e","seq":41,"state":{}}`,
				`{"type":"delta","topic":"participants","seq":42,"prev":0,"patch":{"p1":{}}}`,
				strings.Replace(grant, "false", "true", 1),
				`{"type":"delta","topic":"participants","seq":50,"prev":42,"patch":{"p2":{}}}`,
			},
			want: []string{"", "applied", "applied"}, document: `{"participants":{"p1":{},"p2":{}}}`,
			counts: Counts{Snapshots: 1, Deltas: 2}, resume: &Resume{"e", "p3", 50},
		},
		{
			name: "a snapshot brings missed events once, another epoch all of them",
			messages: []string{
				grant, `{"type":"snapshot","epoch":"e","seq":5,"state":{}}`,
				`{"type":"event","topic":"invites","seq":6,"prev":2,"data":{}}`,
				`{"type":"snapshot","epoch":"e","seq":20,"state":{},"events":[{"type":"event","topic":"invites","seq":6},{"type":"event","topic":"invites","seq":9}]}`,
				`{"type":"snapshot","epoch":"f","seq":3,"state":{},"events":[{"type":"event","topic":"invites","seq":2}]}`,
			},
			want: []string{"", "applied", "9", "2"}, document: `{}`,
			counts: Counts{Snapshots: 3, Resets: 1, Events: 3}, resume: &Resume{"f", "p3", 3},
		},
		{
			name: "broken promises that a client gets over",
			messages: []string{
				grant, `{"type":"snapshot","epoch":"e","seq":40,"state":{"layout":{}}}`,
				`{"type":"delta","topic":"participants","seq":42,"prev":30,"patch":{}}`,
				`{"type":"delta","topic":"participants","seq":44,"prev":41,"patch":{}}`,
				`{"type":"delta","topic":"speakers","seq":43,"prev":0,"patch":[]}`,
				`{"type":"delta","topic":"invites","seq":45,"prev":0,"patch":{}}`,
				`{"type":"event","topic":"vendor","seq":46,"prev":0,"data":{}}`,
				`{"type":"delta","topic":"link","seq":47,"prev":47,"patch":{}}`,
				`{"type":"snapshot","epoch":"e","seq":41,"state":{},"events":[{"topic":"invites","seq":50}]}`,
			},
			want:     []string{"", "applied", "applied", "applied", "applied", "applied", "lost", "50"},
			document: `{}`,
			counts:   Counts{Snapshots: 2, Deltas: 4, Events: 2, Gaps: 1}, resume: &Resume{"e", "p3", 41},
			broken: []string{
				"layout, which wasn't granted", "participants 44 continues 41 instead of 42", "speakers 43 came after 44",
				"invites 45 came as delta", "vendor 46 wasn't granted", "link 47 continues 47", "snapshot 41 is older than 46",
				"event 50 of snapshot 41 is out of order",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := NewReplica()
			var got []string
			for _, raw := range tt.messages {
				switch m := message(t, raw); m.Type {
				case "subscribed":
					r.Subscribed(m)
				case "snapshot":
					news, err := r.Snapshot(m)
					if err != nil {
						t.Fatal(err)
					}
					var seqs []string
					for _, e := range news {
						seqs = append(seqs, fmt.Sprint(e.Seq))
					}
					got = append(got, strings.Join(seqs, ","))
				default:
					outcome, err := r.Change(m)
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, [...]string{"ignored", "applied", "lost"}[outcome])
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("outcomes (-want +got):\n%s", diff)
			}
			if got := string(r.AppendDocument(nil)); got != tt.document {
				t.Errorf("document = %s, want %s", got, tt.document)
			}
			if diff := cmp.Diff(tt.counts, r.Counts()); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.resume, r.Resume()); diff != "" {
				t.Errorf("resume (-want +got):\n%s", diff)
			}
			checkViolations(t, r.Violations(), tt.broken)
		})
	}
}

func checkViolations(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("violations = %q, want %d", got, len(want))
		return
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("violation %d = %q, want one with %q", i, got[i], want[i])
		}
	}
}

func TestReplicaBadPatch(t *testing.T) {
	t.Parallel()
	r := NewReplica()
	r.Subscribed(message(t, grant))
	if _, err := r.Snapshot(message(t, `{"type":"snapshot","epoch":"e","seq":1,"state":{}}`)); err != nil {
		t.Fatal(err)
	}
	m := &Message{Type: "delta", Topic: "participants", Seq: 2, Patch: json.RawMessage(`{"p1":`)}
	if outcome, err := r.Change(m); outcome != Lost || err == nil {
		t.Errorf("Change(broken patch) = %v, %v, want Lost and an error", outcome, err)
	}
	if got := r.Resume(); got != nil {
		t.Errorf("Resume after a broken patch = %v, want none", got)
	}
}

// Whatever a network does to a stream of changes, a replica that subscribes anew when it is told to ends with the server's
// document, and each topic always is as the server's was at the topic's position.
func TestReplicaFollowsAnyStream(t *testing.T) {
	t.Parallel()
	seen := make(map[string]int)
	rapid.Check(t, func(rt *rapid.T) {
		s := newStream()
		r := NewReplica()
		r.Subscribed(message(rt, grant))
		snapshot := func() {
			if _, err := r.Snapshot(message(rt, s.snapshot())); err != nil {
				rt.Fatal(err)
			}
		}
		snapshot()
		for range rapid.IntRange(1, 40).Draw(rt, "changes") {
			m := s.change(rt)
			switch rapid.SampledFrom([]string{"", "", "", "lose", "repeat", "resume"}).Draw(rt, "fate") {
			case "lose":
				seen["lose"]++
				continue
			case "repeat":
				seen["repeat"]++
				apply(rt, r, m, snapshot, seen)
			case "resume": // the connection broke before this change: the server sends what comes after the resume point
				if from := r.Resume(); from != nil {
					seen["resume"]++
					for _, missed := range s.sent[from.Seq:] {
						apply(rt, r, missed, snapshot, seen)
					}
				}
			}
			apply(rt, r, m, snapshot, seen)
			if got, want := string(r.AppendDocument(nil)), s.documentAt(r.Positions()); got != want {
				rt.Fatalf("document = %s, want %s, as it was at the positions %v", got, want, r.Positions())
			}
		}
		snapshot()
		if got, want := string(r.AppendDocument(nil)), s.document(); got != want {
			rt.Fatalf("document = %s, want %s", got, want)
		}
	})
	for _, fate := range []string{"lose", "repeat", "resume", "lost", "applied", "ignored"} {
		if seen[fate] == 0 {
			t.Errorf("no run had the case %q: %v", fate, seen)
		}
	}
}

func apply(rt *rapid.T, r *Replica, raw string, snapshot func(), seen map[string]int) {
	outcome, err := r.Change(message(rt, raw))
	if err != nil {
		rt.Fatal(err)
	}
	switch outcome {
	case Lost:
		seen["lost"]++
		snapshot()
	case Applied:
		seen["applied"]++
	case Ignored:
		seen["ignored"]++
	}
}

// stream is a server's side: topics with one counter each, so that documents are easily compared.
type stream struct {
	values map[string][]step // by topic, in order
	sent   []string          // by seq-1
}

type step struct {
	seq   uint64
	value int
}

func newStream() *stream { return &stream{values: map[string][]step{}} }

// documentAt is the document in which each topic is as it was at its position.
func (s *stream) documentAt(positions map[string]uint64) string {
	doc := conference.NewDoc()
	for topic, steps := range s.values {
		t, _ := conference.ParseTopic(topic)
		for _, v := range steps {
			if v.seq > positions[topic] {
				break
			}
			if err := doc.Patch(conference.Change{Topic: t, Body: fmt.Appendf(nil, `{"n":%d}`, v.value)}); err != nil {
				panic(err)
			}
		}
	}
	return string(doc.AppendJSON(nil, conference.AllTopics, conference.PII|conference.Secrets))
}

func (s *stream) document() string {
	all := make(map[string]uint64)
	for topic := range s.values {
		all[topic] = uint64(len(s.sent))
	}
	return s.documentAt(all)
}

func (s *stream) snapshot() string {
	return fmt.Sprintf(`{"type":"snapshot","epoch":"e","seq":%d,"state":%s}`, len(s.sent), s.document())
}

func (s *stream) change(rt *rapid.T) string {
	topic := rapid.SampledFrom([]string{"link", "participants", "quality"}).Draw(rt, "topic")
	steps := s.values[topic]
	now := step{seq: uint64(len(s.sent) + 1), value: len(steps) + 1}
	var prev uint64
	if len(steps) > 0 {
		prev = steps[len(steps)-1].seq
	}
	s.values[topic] = append(steps, now)
	m := fmt.Sprintf(`{"type":"delta","topic":%q,"seq":%d,"prev":%d,"patch":{"n":%d}}`, topic, now.seq, prev, now.value)
	s.sent = append(s.sent, m)
	return m
}
