package fanouttest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"confgate/internal/conference"
	"confgate/internal/fanout"
)

// Conf names a conference after the test, so that tests can share a Redis.
func Conf(t *testing.T) string {
	t.Helper()
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, t.Name())
	return fmt.Sprintf("%.48s-%08x", name, rand.Uint32())
}

// Set is a change that gives a participant a name.
func Set(pid, name string) conference.Change {
	return conference.Change{
		Topic: conference.Participants, Time: 1611993595058, Body: fmt.Appendf(nil, `{%q:{"name":%q}}`, pid, name),
	}
}

// Say is an event.
func Say(text string) conference.Change {
	return conference.Change{
		Topic: conference.Subtitles, Time: 1611993595063, Body: fmt.Appendf(nil, `{"lines":[{"text":%q}]}`, text),
	}
}

// Owner is a claim on a conference and where it is.
type Owner struct {
	Log   fanout.Log
	Conf  string
	Claim conference.Claim
	Pos   conference.Position
}

// StartOwner claims a conference and begins an epoch, with a document that has one participant.
func StartOwner(t *testing.T, log fanout.Log, conf string) *Owner {
	t.Helper()
	o := &Owner{Log: log, Conf: conf}
	var err error
	if o.Claim, _, err = log.Claim(t.Context(), conf); err != nil {
		t.Fatalf("Claim: %v", err)
	}
	o.Begin(t)
	return o
}

// Begin starts an epoch, with a document that has one participant.
func (o *Owner) Begin(t *testing.T) {
	t.Helper()
	pos, err := o.BeginWith(t, conference.Checkpoint{Doc: docOf(t, Set("p0", "Null"))})
	if err != nil {
		t.Fatalf("Begin: %v", err)
	}
	if pos.Epoch == "" || pos.Epoch == o.Pos.Epoch || pos.Seq != 0 {
		t.Fatalf("Begin = %v, want seq 0 of another epoch than %q", pos, o.Pos.Epoch)
	}
	o.Pos = pos
}

// Append appends, and fails the test if that fails.
func (o *Owner) Append(t *testing.T, changes ...conference.Change) {
	t.Helper()
	pos, err := o.Log.Append(t.Context(), o.Conf, o.Claim, o.Pos, changes)
	want := conference.Position{Epoch: o.Pos.Epoch, Seq: o.Pos.Seq + uint64(len(changes))}
	if err != nil || pos != want {
		t.Fatalf("Append after %v = %v, %v, want %v", o.Pos, pos, err, want)
	}
	o.Pos = pos
}

// BeginWith starts an epoch with a state.
func (o *Owner) BeginWith(t *testing.T, cp conference.Checkpoint) (conference.Position, error) {
	t.Helper()
	st := stored(cp)
	defer spoil(st)
	return o.Log.Begin(t.Context(), o.Conf, o.Claim, st)
}

// Checkpoint stores the state at the head.
func (o *Owner) Checkpoint(t *testing.T, memory string) {
	t.Helper()
	cp := load(t, o.Log, o.Conf)
	cp.Memory = []byte(memory)
	if err := o.Store(t, cp); err != nil {
		t.Fatalf("Checkpoint: %v", err)
	}
}

// Store stores a state.
func (o *Owner) Store(t *testing.T, cp conference.Checkpoint) error {
	t.Helper()
	st := stored(cp)
	defer spoil(st)
	return o.Log.Checkpoint(t.Context(), o.Conf, o.Claim, st)
}

func stored(cp conference.Checkpoint) conference.Stored {
	return conference.Stored{Position: cp.Position, Prev: cp.Prev, Image: cp.Doc.Image(), Memory: cp.Memory}
}

// spoil overwrites an image before it frees it, so that a log that has kept something of it shows wrong state.
func spoil(st conference.Stored) {
	for _, part := range st.Image.Parts() {
		for _, text := range [][]byte{part.Open, part.Secret} {
			for i := range text {
				text[i] = '#'
			}
		}
	}
	st.Image.Free()
}

func load(t *testing.T, log fanout.Log, conf string) conference.Checkpoint {
	t.Helper()
	cp, err := log.Load(t.Context(), conf)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return cp
}

func docOf(t *testing.T, changes ...conference.Change) *conference.Doc {
	t.Helper()
	d := conference.NewDoc()
	for _, c := range changes {
		if err := d.Patch(c); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func wantDoc(t *testing.T, got *conference.Doc, changes ...conference.Change) {
	t.Helper()
	if diff := cmp.Diff(JSON(docOf(t, changes...)), JSON(got)); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s = %v, want %v", what, err, want)
	}
}
