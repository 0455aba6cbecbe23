package fanout

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"confgate/internal/conference"
)

func testKeys(t interface{ Fatal(...any) }) *Keyring {
	k, err := ParseKeyFile([]byte(strings.Repeat("5a", 32)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// drawChanges makes changes of all topics, with and without secrets.
func drawChanges(t *rapid.T) []conference.Change {
	bodies := map[conference.Topic][]string{
		conference.Link:         {`{"state":"live"}`, `null`},
		conference.Info:         {`{"title":"x"}`, `{"passwords":{"chair":"s"}}`, `{"guestJoinUri":null,"muted":true}`, `{}`},
		conference.Participants: {`{"p":{"phone":"1","shoe":"s"}}`, `{"p":null}`, `{"p":{"extra":{"secret":{"a":[1]}}}}`},
		conference.Speakers:     {`[]`, `[{"pid":"p","volume":3}]`},
		conference.Quality:      {`{"p":{"rttMs":3,"audio":{"codec":"x"}}}`},
		conference.Invites:      {`{"code":"0","ok":true}`},
		conference.Vendor:       {`{"action":"X","mode":"full","data":{"k":1}}`},
	}
	topics := rapid.SampledFrom([]conference.Topic{
		conference.Link, conference.Info, conference.Participants, conference.Speakers, conference.Quality,
		conference.Invites, conference.Vendor,
	})
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) conference.Change {
		topic := topics.Draw(t, "topic")
		return conference.Change{
			Topic: topic, Time: rapid.Int64().Draw(t, "time"),
			Body: []byte(rapid.SampledFrom(bodies[topic]).Draw(t, "body")),
		}
	}), 1, 6).Draw(t, "changes")
}

// What is packed comes back; without a key, less what needs one.
func TestPackRoundTrip(t *testing.T) {
	t.Parallel()
	keys := testKeys(t)
	sealed, left := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		changes := drawChanges(t)
		at := place{"900", forEntry, conference.Position{Epoch: "c1", Seq: rapid.Uint64Range(1, 1<<53).Draw(t, "seq")}}
		u, err := unpack(keys, at, pack(nil, keys, at, changes).body)
		if err != nil || u.secretless || u.opening != nil {
			t.Fatalf("unpack = %v, secretless %v, opening %v", err, u.secretless, u.opening)
		}
		secrets := false
		for i, c := range changes {
			_, secret := conference.SplitSecrets(c)
			secrets = secrets || secret != nil
			if got := u.changes[i]; got.Topic != c.Topic || got.Time != c.Time || canonical(t, got.Change) != canonical(t, c) {
				t.Fatalf("change %d came back as %v %s, want %v %s", i, got, got.Body, c, c.Body)
			}
		}
		if secrets {
			sealed++
		} else {
			left++
		}

		u, err = unpack(nil, at, pack(nil, nil, at, changes).body)
		if err != nil || u.secretless != secrets || len(u.changes) != len(changes) {
			t.Fatalf("without a key: unpack = %v, secretless %v, %d changes, want secretless %v, %d",
				err, u.secretless, len(u.changes), secrets, len(changes))
		}
		for i, c := range changes {
			want := string(conference.Redact(c, conference.PII))
			if c.Topic == conference.Vendor {
				want = ""
			}
			if string(u.changes[i].Body) != want {
				t.Fatalf("without a key: change %d came back as %s, want %s", i, u.changes[i].Body, want)
			}
		}
	})
	if sealed == 0 || left == 0 {
		t.Errorf("%d cases with secrets and %d without, want some of both", sealed, left)
	}
}

// canonical is what a change makes of a document with everything, or an event's own text.
func canonical(t *rapid.T, c conference.Change) string {
	if c.Topic.Event() {
		return string(c.Body)
	}
	d := conference.NewDoc()
	for _, b := range []string{`{"passwords":{"general":"g"},"guestJoinUri":"u","p":{"x":1,"extra":{"secret":{"b":2}}}}`} {
		if err := d.Patch(conference.Change{Topic: c.Topic, Body: []byte(b)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Patch(c); err != nil {
		t.Fatal(err)
	}
	return string(d.AppendJSON(nil, conference.StateTopics, conference.PII|conference.Secrets))
}

func TestSplitMessage(t *testing.T) {
	t.Parallel()
	h, body, err := splitMessage("c5k2 41 2 1:39 9:0\nbo\ndy")
	want := header{epoch: "c5k2", first: 41, count: 2}
	want.prev[1] = 39
	if err != nil || h != want || body != "bo\ndy" {
		t.Errorf("splitMessage = %v, %q, %v, want %v, the body", h, body, err, want)
	}
	for _, bad := range []string{
		"", "c1 1 1", "c1 1\n", " 1 1\n", "c1 x 1\n", "c1 1 x\n", "c1 1 -1\n", "c1 1 1 2\n", "c1 1 1 99:1\n", "c1 1 1 -1:1\n",
		"c1 1 1 2:x\n", "c1 99999999999999999999 1\n", "c1 1 1 \n",
	} {
		if h, _, err := splitMessage(bad); !errors.Is(err, errEntry) {
			t.Errorf("splitMessage(%q) = %v, %v, want errEntry", bad, h, err)
		}
	}
}

func TestUnpackGarbage(t *testing.T) {
	t.Parallel()
	at := place{"900", forEntry, conference.Position{Epoch: "c1", Seq: 1}}
	good := pack(nil, nil, at, []conference.Change{{Topic: conference.Link, Time: 7, Body: []byte(`{"state":"live"}`)}}).body
	for n := range len(good) {
		if _, err := unpack(nil, at, good[:n]); !errors.Is(err, errEntry) {
			t.Errorf("unpack of %d bytes of %d = %v, want errEntry", n, len(good), err)
		}
	}
	change := func(i int, b byte) []byte {
		out := []byte(string(good))
		out[i] = b
		return out
	}
	for name, bad := range map[string][]byte{
		"another version":   change(0, 2),
		"too many changes":  change(2, 100),
		"an unknown topic":  change(3, byte(conference.NumTopics)),
		"an endless number": append(good[:2:2], 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
	} {
		if _, err := unpack(nil, at, bad); !errors.Is(err, errEntry) {
			t.Errorf("unpack with %s = %v, want errEntry", name, err)
		}
	}
	if _, err := decodeEntry(nil, "900", "c1 1 2 0:0\n"+string(good)); !errors.Is(err, errEntry) {
		t.Errorf("a header that counts more than there is = %v, want errEntry", err)
	}
}

// Whatever lies in Redis, decoding it ends, without a panic and in proportion.
func FuzzDecodeEntry(f *testing.F) {
	at := place{"900", forEntry, conference.Position{Epoch: "c1", Seq: 1}}
	keys := testKeys(f)
	changes := []conference.Change{
		{Topic: conference.Info, Time: 1, Body: []byte(`{"passwords":{"chair":"s"},"title":"x"}`)},
		{Topic: conference.Vendor, Time: 2, Body: []byte(`{"action":"X"}`)},
	}
	for _, k := range []*Keyring{nil, keys} {
		f.Add("c1 1 2 1:0 11:0\n" + string(pack(nil, k, at, changes).body))
	}
	f.Add("c1 0 0\n")
	f.Fuzz(func(t *testing.T, msg string) {
		e, err := decodeEntry(keys, "900", msg)
		if err != nil {
			return
		}
		for i, c := range e.changes {
			if i > 0 && c.Seq != e.changes[i-1].Seq+1 || int(c.Topic) >= conference.NumTopics {
				t.Errorf("decodeEntry(%q) gave %v after %v", msg, c, e.changes[max(i-1, 0)])
			}
		}
		if 3*len(e.changes) > len(msg) {
			t.Errorf("%d changes from %d bytes", len(e.changes), len(msg))
		}
	})
}

func TestPrevRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var prev [conference.NumTopics]uint64
		for i := range prev {
			prev[i] = rapid.Uint64Range(0, 1<<53-1).Draw(t, strconv.Itoa(i))
		}
		got, err := parsePrev(formatPrev(prev))
		if err != nil || got != prev {
			t.Fatalf("parsePrev(formatPrev(%v)) = %v, %v", prev, got, err)
		}
	})
	if got, err := parsePrev("1 2"); err != nil || got[1] != 2 || got[2] != 0 {
		t.Errorf("parsePrev of fewer topics = %v, %v", got, err)
	}
	if _, err := parsePrev("1 x"); !errors.Is(err, errEntry) {
		t.Errorf("parsePrev of words = %v, want errEntry", err)
	}
}

func TestSinceAndReplay(t *testing.T) {
	t.Parallel()
	entry := stamp(make([]conference.Change, 3), 10, new([conference.NumTopics]uint64))
	for seq, want := range map[uint64]int{0: 3, 9: 3, 10: 3, 11: 2, 12: 1, 13: 0, 99: 0} {
		if got := len(since(entry, seq)); got != want {
			t.Errorf("since(11..13, %d) has %d changes, want %d", seq, got, want)
		}
	}
	var prev [conference.NumTopics]uint64
	set := func(after uint64, names ...string) []conference.Stamped {
		var changes []conference.Change
		for _, n := range names {
			changes = append(changes, conference.Change{
				Topic: conference.Participants, Body: fmt.Appendf(nil, `{%q:{}}`, n),
			})
		}
		return stamp(changes, after, &prev)
	}
	cp := conference.Checkpoint{Position: conference.Position{Seq: 2}, Doc: conference.NewDoc()}
	entries := [][]conference.Stamped{set(0, "a"), set(1, "b", "c"), set(3, "d"), set(5, "beyond a hole")}
	if err := replay(&cp, entries); err != nil {
		t.Fatal(err)
	}
	want := `{"participants":{"c":{},"d":{}}}`
	got := string(cp.Doc.AppendJSON(nil, conference.StateTopics, conference.PII|conference.Secrets))
	if diff := cmp.Diff(want, got); diff != "" || cp.Seq != 4 || cp.Prev[conference.Participants] != 4 {
		t.Errorf("replay led to %d, prev %v, document (-want +got):\n%s", cp.Seq, cp.Prev, diff)
	}
	if run := leading(entries[:3], 4); len(run) != 3 {
		t.Errorf("leading up to 4 has %d entries, want 3", len(run))
	}
	if run := leading(entries, 6); len(run) != 1 {
		t.Errorf("leading up to 6 has %d entries, want 1", len(run))
	}
}

// BenchmarkCheckpoint is what a checkpoint of some 35 kB costs an owner, but for Redis.
func BenchmarkCheckpoint(b *testing.B) {
	doc := conference.NewDoc()
	for i := range 50 {
		for topic, row := range map[conference.Topic]string{
			conference.Participants: `"account":"zhangsan%[1]d","camera":true,"capabilities":[1,3],"client":"desktop","extra":{` +
				`"LOCKED_VIEW":"0","RTC_USER_ID":"uzr571a9brwu11cvcibvru5a7r7r%04[1]d","unlisted":"1"},"joinedAt":1611988486336,` +
				`"muted":true,"name":"张三%[1]d","phone":"+8657129967649%04[1]d","role":"chair","state":"joined","video":true`,
			conference.Attendees: `"account":"zhangsan%[1]d","name":"张三%[1]d","phone":"+8657129967649%04[1]d","userId":"%032[1]d"`,
			conference.Quality: `"rating":"good","rttMs":%[1]d,"jitterUpMs":1,"jitterDownMs":2,"bandwidthBps":4000000,` +
				`"audio":{"codec":"AACLD","upBps":64000,"downBps":64000},"video":{"codec":"H264HP","upBps":2000000}`,
		} {
			body := fmt.Appendf(nil, `{"p%[1]d":{`+row+`}}`, i)
			if err := doc.Patch(conference.Change{Topic: topic, Body: body}); err != nil {
				b.Fatal(err)
			}
		}
	}
	keys := testKeys(b)
	b.ReportAllocs()
	for b.Loop() {
		image, p := doc.Image(), checkpointRooms.borrow()
		packCheckpoint(p, keys, "c", conference.Position{}, image)
		checkpointRooms.giveBack(p)
		image.Free()
	}
}
