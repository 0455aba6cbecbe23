package fanouttest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"confgate/internal/conference"
	"confgate/internal/fanout"
)

// Open makes a log with options for one test; whatever it needs runs until the test ends.
type Open func(t *testing.T, opts fanout.LogOptions) fanout.Log

// TestLog is the behaviour that owners and feeds rely on, whatever the log.
func TestLog(t *testing.T, open Open) {
	t.Helper()
	tests := []struct {
		name string
		run  func(t *testing.T, open Open)
	}{
		{"nothing there", testNothing},
		{"begin, append, load", testAppend},
		{"a claim fences the one before", testFence},
		{"appends are placed", testPlace},
		{"an append is repeated as done", testRetry},
		{"an append without changes asks only", testProbe},
		{"an owner holds and lets go", testHold},
		{"a checkpoint's memory comes back", testMemory},
		{"a checkpoint needs its place", testCheckpointPlace},
		{"begin replaces everything", testBeginAgain},
		{"follow from nothing", testFollow},
		{"follow from a position", testFollowFrom},
		{"follow from elsewhere", testFollowElsewhere},
		{"follow what begins later", testFollowEarly},
		{"a new epoch is a snapshot", testFollowEpoch},
		{"history is kept, and bounded", testHistory},
		{"secrets", testSecrets},
		{"many followers of a busy owner", testBusy},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.run(t, open)
		})
	}
}

func testNothing(t *testing.T, open Open) {
	log, conf := open(t, fanout.LogOptions{}), Conf(t)
	cp := load(t, log, conf)
	if cp.Position != (conference.Position{}) || JSON(cp.Doc) != "{}" || cp.Memory != nil {
		t.Errorf("Load of nothing = %v %s %q, want the zero position, an empty document and no memory",
			cp.Position, JSON(cp.Doc), cp.Memory)
	}
	_, err := log.Append(t.Context(), conf, conference.Claim{Term: 1, Nonce: "x"}, conference.Position{Epoch: "e"}, nil)
	wantErr(t, "Append without any claim", err, conference.ErrEpoch)
	err = (&Owner{Log: log, Conf: conf, Claim: conference.Claim{Term: 1, Nonce: "x"}}).Store(t, cp)
	wantErr(t, "Checkpoint without any claim", err, conference.ErrEpoch)
	claim, pos, err := log.Claim(t.Context(), conf)
	if err != nil || pos != (conference.Position{}) || claim.Term == 0 || claim.Nonce == "" {
		t.Fatalf("Claim = %v, %v, %v, want a term, a nonce and the zero position", claim, pos, err)
	}
	_, err = log.Append(t.Context(), conf, claim, conference.Position{Epoch: "e"}, []conference.Change{Set("p1", "Ann")})
	wantErr(t, "Append before Begin", err, conference.ErrEpoch)
	_, err = log.Append(t.Context(), conf, claim, conference.Position{}, []conference.Change{Set("p1", "Ann")})
	wantErr(t, "Append to no epoch", err, conference.ErrEpoch)
}

func testAppend(t *testing.T, open Open) {
	log := open(t, fanout.LogOptions{})
	o := StartOwner(t, log, Conf(t))
	o.Append(t, Set("p1", "Ann"), Say("hello"), Set("p2", "Bob"))
	o.Append(t, Say("again"))
	cp := load(t, log, o.Conf)
	var prev [conference.NumTopics]uint64
	prev[conference.Participants], prev[conference.Subtitles] = 3, 4
	if cp.Position != o.Pos || cp.Prev != prev || cp.Secretless {
		t.Errorf("Load = %v, prev %v, secretless %v, want %v, %v, false", cp.Position, cp.Prev, cp.Secretless, o.Pos, prev)
	}
	wantDoc(t, cp.Doc, Set("p0", "Null"), Set("p1", "Ann"), Set("p2", "Bob"))
	if err := cp.Doc.Patch(Set("p3", "Eve")); err != nil {
		t.Fatal(err)
	}
	wantDoc(t, load(t, log, o.Conf).Doc, Set("p0", "Null"), Set("p1", "Ann"), Set("p2", "Bob"))
}

func testFence(t *testing.T, open Open) {
	log := open(t, fanout.LogOptions{})
	old := StartOwner(t, log, Conf(t))
	old.Append(t, Set("p1", "Ann"))
	claim, pos, err := log.Claim(t.Context(), old.Conf)
	if err != nil || pos != old.Pos || claim.Term <= old.Claim.Term || claim.Nonce == old.Claim.Nonce {
		t.Fatalf("Claim = %v, %v, %v, want a later term than %v and position %v", claim, pos, err, old.Claim, old.Pos)
	}
	cp := load(t, log, old.Conf)
	_, err = log.Append(t.Context(), old.Conf, old.Claim, old.Pos, []conference.Change{Set("p1", "Old")})
	wantErr(t, "Append under the old claim", err, conference.ErrFenced)
	_, err = log.Append(t.Context(), old.Conf, old.Claim, old.Pos, nil)
	wantErr(t, "empty Append under the old claim", err, conference.ErrFenced)
	_, err = old.BeginWith(t, cp)
	wantErr(t, "Begin under the old claim", err, conference.ErrFenced)
	wantErr(t, "Checkpoint under the old claim", old.Store(t, cp), conference.ErrFenced)
	forged := conference.Claim{Term: claim.Term, Nonce: old.Claim.Nonce}
	_, err = log.Append(t.Context(), old.Conf, forged, old.Pos, []conference.Change{Set("p1", "Old")})
	wantErr(t, "Append under the same term and another nonce", err, conference.ErrFenced)

	next := &Owner{Log: log, Conf: old.Conf, Claim: claim, Pos: pos}
	next.Append(t, Set("p2", "Bob"))
	wantDoc(t, load(t, log, old.Conf).Doc, Set("p0", "Null"), Set("p1", "Ann"), Set("p2", "Bob"))
}

func testPlace(t *testing.T, open Open) {
	log := open(t, fanout.LogOptions{})
	o := StartOwner(t, log, Conf(t))
	o.Append(t, Set("p1", "Ann"))
	o.Append(t, Set("p2", "Bob"), Set("p3", "Eve"))
	for _, tt := range []struct {
		name string
		at   conference.Position
		want error
	}{
		{"before the last append", conference.Position{Epoch: o.Pos.Epoch, Seq: 0}, conference.ErrPosition},
		{"inside the last append", conference.Position{Epoch: o.Pos.Epoch, Seq: 2}, conference.ErrPosition},
		{"ahead", conference.Position{Epoch: o.Pos.Epoch, Seq: 4}, conference.ErrPosition},
		{"another epoch", conference.Position{Epoch: "cnever", Seq: 3}, conference.ErrEpoch},
		{"no epoch", conference.Position{Seq: 3}, conference.ErrEpoch},
	} {
		_, err := log.Append(t.Context(), o.Conf, o.Claim, tt.at, []conference.Change{Set("p9", "Zed")})
		wantErr(t, "Append "+tt.name, err, tt.want)
	}
	if got := load(t, log, o.Conf).Position; got != o.Pos {
		t.Errorf("the log moved to %v, want %v", got, o.Pos)
	}
}

func testRetry(t *testing.T, open Open) {
	log := open(t, fanout.LogOptions{})
	o := StartOwner(t, log, Conf(t))
	before := o.Pos
	changes := []conference.Change{Set("p1", "Ann"), Say("once")}
	o.Append(t, changes...)
	tail := StartTail(t, log, o.Conf, before)
	tail.WaitAt(t, o.Pos)
	pos, err := log.Append(t.Context(), o.Conf, o.Claim, before, changes)
	if err != nil || pos != o.Pos {
		t.Errorf("the same Append again = %v, %v, want %v", pos, err, o.Pos)
	}
	o.Append(t, Set("p2", "Bob"))
	seen := tail.WaitAt(t, o.Pos)
	if len(seen.Entries) != 2 {
		t.Errorf("follower was given %d entries, want 2", len(seen.Entries))
	}
	_, err = log.Append(t.Context(), o.Conf, o.Claim, before, changes)
	wantErr(t, "an Append before the last again", err, conference.ErrPosition)

	// What one claim has done is no answer to another.
	last := conference.Position{Epoch: o.Pos.Epoch, Seq: o.Pos.Seq - 1}
	if o.Claim, _, err = log.Claim(t.Context(), o.Conf); err != nil {
		t.Fatal(err)
	}
	_, err = log.Append(t.Context(), o.Conf, o.Claim, last, []conference.Change{Set("p2", "Bob")})
	wantErr(t, "the old claim's Append under a new one", err, conference.ErrPosition)
}

func testProbe(t *testing.T, open Open) {
	log := open(t, fanout.LogOptions{})
	o := StartOwner(t, log, Conf(t))
	o.Append(t)
	o.Append(t, Set("p1", "Ann"))
	o.Append(t)
	_, err := log.Append(t.Context(), o.Conf, o.Claim, conference.Position{Epoch: o.Pos.Epoch, Seq: 9}, nil)
	wantErr(t, "an empty Append elsewhere", err, conference.ErrPosition)
	if got := load(t, log, o.Conf).Position; got != o.Pos {
		t.Errorf("the log moved to %v, want %v", got, o.Pos)
	}
}

// testHold: nothing that an owner does rests on its Hold.
func testHold(t *testing.T, open Open) {
	log := open(t, fanout.LogOptions{})
	o := StartOwner(t, log, Conf(t))
	first, second := log.Hold(o.Conf, func() {}), log.Hold(o.Conf, func() {})
	o.Append(t, Set("p1", "Ann"))
	first()
	first()
	o.Append(t, Set("p2", "Bob"))
	second()
	o.Append(t)
	wantDoc(t, load(t, log, o.Conf).Doc, Set("p0", "Null"), Set("p1", "Ann"), Set("p2", "Bob"))
}

func testMemory(t *testing.T, open Open) {
	log := open(t, fanout.LogOptions{})
	o := StartOwner(t, log, Conf(t))
	o.Append(t, Set("p1", "Ann"), Say("a"))
	o.Checkpoint(t, "elephant")
	o.Append(t, Set("p2", "Bob"), Say("b"))
	cp := load(t, log, o.Conf)
	if string(cp.Memory) != "elephant" || cp.Position != o.Pos || cp.Prev[conference.Subtitles] != 4 {
		t.Errorf("Load = %v, memory %q, prev %v, want %v, elephant, subtitles 4", cp.Position, cp.Memory, cp.Prev, o.Pos)
	}
	wantDoc(t, cp.Doc, Set("p0", "Null"), Set("p1", "Ann"), Set("p2", "Bob"))
	o.Append(t, conference.Change{Topic: conference.Invites, Time: 1, Body: []byte(`{"code":"0"}`)})
	cp = load(t, log, o.Conf) // results that the memory doesn't know come beside it
	if len(cp.Since) != 1 || cp.Since[0].Seq != cp.Seq {
		t.Errorf("since the checkpoint: %v, want the invitation at %d", cp.Since, cp.Seq)
	}
	cp.Memory = []byte{0, 0xff, '\n'}
	if err := o.Store(t, cp); err != nil {
		t.Fatal(err)
	}
	if got := load(t, log, o.Conf); string(got.Memory) != "\x00\xff\n" || len(got.Since) != 0 {
		t.Errorf("memory came back as %q, with %v since", got.Memory, got.Since)
	}
}

func testCheckpointPlace(t *testing.T, open Open) {
	log := open(t, fanout.LogOptions{ResumeWindow: -1}) // everything goes that may
	o := StartOwner(t, log, Conf(t))
	o.Append(t, Set("p1", "Ann"))
	early := load(t, log, o.Conf)
	o.Append(t, Set("p2", "Bob"))
	if err := o.Store(t, early); err != nil {
		t.Errorf("Checkpoint of an earlier position = %v", err)
	}
	// What follows the checkpoint may not go.
	wantDoc(t, load(t, log, o.Conf).Doc, Set("p0", "Null"), Set("p1", "Ann"), Set("p2", "Bob"))
	late := load(t, log, o.Conf)
	if err := o.Store(t, late); err != nil {
		t.Fatal(err)
	}
	// A checkpoint that is late itself replaces nothing newer.
	if err := o.Store(t, early); err != nil {
		t.Errorf("Checkpoint of an earlier position than the last = %v", err)
	}
	wantDoc(t, load(t, log, o.Conf).Doc, Set("p0", "Null"), Set("p1", "Ann"), Set("p2", "Bob"))
	early.Seq = o.Pos.Seq + 1
	err := o.Store(t, early)
	wantErr(t, "Checkpoint of a position that the log doesn't have", err, conference.ErrEpoch)
	early.Position = conference.Position{Epoch: "cnever", Seq: 1}
	err = o.Store(t, early)
	wantErr(t, "Checkpoint of another epoch", err, conference.ErrEpoch)
}

func testBeginAgain(t *testing.T, open Open) {
	log := open(t, fanout.LogOptions{})
	o := StartOwner(t, log, Conf(t))
	o.Append(t, Set("p1", "Ann"), Say("a"))
	o.Checkpoint(t, "old")
	o.Append(t, Set("p2", "Bob"))
	o.Begin(t)
	cp := load(t, log, o.Conf)
	if cp.Position != o.Pos || cp.Prev != [conference.NumTopics]uint64{} || cp.Memory != nil {
		t.Errorf("Load = %v, prev %v, memory %q, want %v and nothing", cp.Position, cp.Prev, cp.Memory, o.Pos)
	}
	wantDoc(t, cp.Doc, Set("p0", "Null"))
	tail := StartTail(t, log, o.Conf, conference.Position{})
	if seen := tail.WaitAt(t, o.Pos); len(seen.Snapshots[0].History) != 0 {
		t.Errorf("a fresh epoch has a history of %d entries", len(seen.Snapshots[0].History))
	}
	o.Append(t, Set("p1", "Ann"))
	tail.WaitAt(t, o.Pos)
}

func testFollow(t *testing.T, open Open) {
	log := open(t, fanout.LogOptions{})
	o := StartOwner(t, log, Conf(t))
	o.Append(t, Set("p1", "Ann"))
	tail := StartTail(t, log, o.Conf, conference.Position{})
	seen := tail.WaitAt(t, o.Pos)
	if len(seen.Snapshots) != 1 || len(seen.Entries) != 0 || seen.Snapshots[0].Prev[conference.Participants] != 1 {
		t.Errorf("follower was given %d snapshots, %d entries, prev %v, want 1, 0, 1 on participants",
			len(seen.Snapshots), len(seen.Entries), seen.Snapshots[0].Prev)
	}
	batch := []conference.Change{Set("p2", "Bob"), Say("hi"), Set("p1", "Anna")}
	o.Append(t, batch...)
	seen = tail.WaitAt(t, o.Pos)
	if len(seen.Entries) != 1 {
		t.Fatalf("one append came as %d deliveries", len(seen.Entries))
	}
	want := []conference.Stamped{
		{Change: batch[0], Seq: 2, Prev: 1}, {Change: batch[1], Seq: 3, Prev: 0}, {Change: batch[2], Seq: 4, Prev: 2},
	}
	if diff := cmp.Diff(want, seen.Entries[0]); diff != "" {
		t.Errorf("entry (-want +got):\n%s", diff)
	}
	if seen.Doc != JSON(load(t, log, o.Conf).Doc) || len(seen.Statuses) != 0 {
		t.Errorf("follower has %s and was told %v, want what Load gives, and nothing", seen.Doc, seen.Statuses)
	}
}

func testFollowFrom(t *testing.T, open Open) {
	log := open(t, fanout.LogOptions{})
	o := StartOwner(t, log, Conf(t))
	o.Append(t, Set("p1", "Ann"))
	o.Append(t, Set("p2", "Bob"), Say("x"), Set("p3", "Eve"))
	o.Append(t, Say("y"))
	for seq := range o.Pos.Seq + 1 {
		tail := StartTail(t, log, o.Conf, conference.Position{Epoch: o.Pos.Epoch, Seq: seq})
		seen := tail.WaitAt(t, o.Pos)
		if len(seen.Snapshots) != 0 {
			t.Errorf("following from %d gave a snapshot", seq)
		}
		tail.Stop()
	}
}

func testFollowElsewhere(t *testing.T, open Open) {
	log := open(t, fanout.LogOptions{})
	o := StartOwner(t, log, Conf(t))
	o.Append(t, Set("p1", "Ann"))
	tail := StartTail(t, log, o.Conf, conference.Position{Epoch: "cnever", Seq: 1})
	if seen := tail.WaitAt(t, o.Pos); len(seen.Snapshots) != 1 {
		t.Errorf("following from another epoch gave %d snapshots, want 1", len(seen.Snapshots))
	}
	// Ahead of the log: nothing older may be shown, and what comes then is shown once.
	ahead := conference.Position{Epoch: o.Pos.Epoch, Seq: 3}
	tail = StartTail(t, log, o.Conf, ahead)
	for i := range 4 {
		o.Append(t, Set("p2", fmt.Sprint(i)))
	}
	if seen := tail.WaitAt(t, o.Pos); len(seen.Snapshots) != 0 || len(seen.Entries) != 2 {
		t.Errorf("following from ahead gave %d snapshots and %d entries, want 0 and 2", len(seen.Snapshots), len(seen.Entries))
	}
}

func testFollowEarly(t *testing.T, open Open) {
	log, conf := open(t, fanout.LogOptions{}), Conf(t)
	tail := StartTail(t, log, conf, conference.Position{})
	o := StartOwner(t, log, conf)
	o.Append(t, Set("p1", "Ann"))
	tail.WaitAt(t, o.Pos)
}

func testFollowEpoch(t *testing.T, open Open) {
	log := open(t, fanout.LogOptions{})
	o := StartOwner(t, log, Conf(t))
	o.Append(t, Set("p1", "Ann"), Set("p2", "Bob"))
	tail := StartTail(t, log, o.Conf, conference.Position{})
	tail.WaitAt(t, o.Pos)
	o.Begin(t)
	seen := tail.WaitAt(t, o.Pos)
	if len(seen.Snapshots) != 2 || seen.Doc != JSON(docOf(t, Set("p0", "Null"))) {
		t.Errorf("a new epoch gave %d snapshots and %s", len(seen.Snapshots), seen.Doc)
	}
	o.Append(t, Set("p1", "Ann"))
	tail.WaitAt(t, o.Pos)
}

func testHistory(t *testing.T, open Open) {
	const limit = 20_000
	log := open(t, fanout.LogOptions{WindowBytes: limit})
	o := StartOwner(t, log, Conf(t))
	kilo := strings.Repeat("x", 1000)
	for i := range 3 {
		o.Append(t, Set("p1", fmt.Sprint(i)), Say("x"))
		o.Checkpoint(t, "")
	}
	seen := StartTail(t, log, o.Conf, conference.Position{}).WaitAt(t, o.Pos)
	if h := seen.Snapshots[0].History; len(h) != 3 || h[0][0].Seq != 1 || len(h[0]) != 2 {
		t.Errorf("history = %v, want the 3 entries", h)
	}
	for range 20 {
		o.Append(t, Say(kilo))
		o.Checkpoint(t, "")
	}
	seen = StartTail(t, log, o.Conf, conference.Position{}).WaitAt(t, o.Pos)
	size := 0
	for _, e := range seen.Snapshots[0].History {
		size += len(e[0].Body)
	}
	if size > limit || size < limit/4 {
		t.Errorf("history of %d bytes is kept, want less than %d, and not much less", size, limit)
	}
	seen = StartTail(t, log, o.Conf, conference.Position{Epoch: o.Pos.Epoch, Seq: 2}).WaitAt(t, o.Pos)
	if len(seen.Snapshots) != 1 {
		t.Errorf("following from what isn't kept gave %d snapshots, want 1", len(seen.Snapshots))
	}
	near := conference.Position{Epoch: o.Pos.Epoch, Seq: o.Pos.Seq - 1}
	if seen = StartTail(t, log, o.Conf, near).WaitAt(t, o.Pos); len(seen.Snapshots) != 0 {
		t.Error("following from what is kept gave a snapshot")
	}
	wantDoc(t, load(t, log, o.Conf).Doc, Set("p0", "Null"), Set("p1", "2"))
}

// testSecrets holds for logs that keep secrets: in the process, or sealed.
func testSecrets(t *testing.T, open Open) {
	log := open(t, fanout.LogOptions{})
	o := StartOwner(t, log, Conf(t))
	secret := conference.Change{
		Topic: conference.Info, Time: 1, Body: []byte(`{"passwords":{"chair":"sesame"},"title":"Open"}`),
	}
	vendor := conference.Change{Topic: conference.Vendor, Time: 2, Body: []byte(`{"action":"X","mode":"full","data":{"k":1}}`)}
	tail := StartTail(t, log, o.Conf, conference.Position{})
	tail.WaitAt(t, o.Pos)
	o.Append(t, Set("p1", "Ann"), secret, vendor)
	seen := tail.WaitAt(t, o.Pos)
	got := seen.Entries[0][2]
	if got.Prev != 0 || got.Seq != 3 || string(got.Body) != string(vendor.Body) {
		t.Errorf("vendor event = %v %s, want it as it was appended", got, got.Body)
	}
	want := []conference.Change{Set("p0", "Null"), Set("p1", "Ann"), secret}
	if seen.Doc != JSON(docOf(t, want...)) {
		t.Errorf("follower has %s, want the secrets too", seen.Doc)
	}
	for _, what := range []string{"from the entries", "from the checkpoint"} {
		cp := load(t, log, o.Conf)
		if cp.Secretless {
			t.Errorf("Load %s is secretless", what)
		}
		wantDoc(t, cp.Doc, want...)
		o.Checkpoint(t, "")
	}
}

func testBusy(t *testing.T, open Open) {
	log := open(t, fanout.LogOptions{})
	o := StartOwner(t, log, Conf(t))
	rng := rand.New(rand.NewPCG(7, 7))
	tails := make(chan *Tail, 8)
	var wg sync.WaitGroup
	for i := range cap(tails) {
		wg.Go(func() {
			// They come while the owner is at it, each a little later.
			timer := time.NewTimer(time.Duration(i) * 5 * time.Millisecond)
			<-timer.C
			tails <- StartTail(t, log, o.Conf, conference.Position{})
		})
	}
	for i := range 400 {
		var changes []conference.Change
		for range 1 + rng.IntN(4) {
			switch rng.IntN(5) {
			case 0:
				changes = append(changes, Say(fmt.Sprint(i)))
			case 1:
				changes = append(changes, conference.Change{
					Topic: conference.Participants, Time: 1, Body: fmt.Appendf(nil, `{"p%d":null}`, rng.IntN(20)),
				})
			default:
				changes = append(changes, Set(fmt.Sprintf("p%d", rng.IntN(20)), fmt.Sprint(i)))
			}
		}
		o.Append(t, changes...)
		if i%50 == 49 {
			o.Checkpoint(t, "")
		}
	}
	wg.Wait()
	want := JSON(load(t, log, o.Conf).Doc)
	for range cap(tails) {
		seen := (<-tails).WaitAt(t, o.Pos)
		if seen.Doc != want || len(seen.Snapshots) != 1 {
			t.Errorf("follower has %s after %d snapshots, want %s after 1", seen.Doc, len(seen.Snapshots), want)
		}
	}
}
