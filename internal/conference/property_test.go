package conference

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"confgate/internal/confctl"
)

// frames draws a run of frames of all kinds over a small population, so that they meet.
func frames(rt *rapid.T) []*confctl.Frame {
	id := rapid.SampledFrom([]string{"a", "b", "c", "d"})
	value := rapid.SampledFrom([]string{`"0"`, `"1"`, `1`, `"x"`, `""`, `null`, `"3,5"`, `{"n":null,"k":[1,null]}`, `{"m":1}`})
	object := func(t table, more ...string) *rapid.Generator[string] {
		keys := append(slices.Sorted(maps.Keys(t.exact)), more...)
		return rapid.Custom(func(rt *rapid.T) string {
			var parts []string
			for _, k := range rapid.SliceOfNDistinct(rapid.SampledFrom(keys), 0, 5, rapid.ID[string]).Draw(rt, "keys") {
				parts = append(parts, fmt.Sprintf("%q:%s", k, value.Draw(rt, "value")))
			}
			return "{" + strings.Join(parts, ",") + "}"
		})
	}
	list := func(one func() string) string {
		var rows []string
		for range rapid.IntRange(0, 4).Draw(rt, "rows") {
			rows = append(rows, one())
		}
		return `"data":[` + strings.Join(rows, ",") + `]`
	}
	inner := func(s string) string { // the members of an object, led by a comma
		if s == "{}" {
			return ""
		}
		return "," + s[1:len(s)-1]
	}
	var out []*confctl.Frame
	for i := range rapid.IntRange(1, 12).Draw(rt, "frames") {
		kind := confctl.Kind(rapid.IntRange(0, confctl.NumKinds-1).Draw(rt, "kind"))
		mode := rapid.IntRange(0, 3).Draw(rt, "removed")
		var body string
		switch kind {
		case confctl.Participants, confctl.WaitingList:
			body = list(func() string {
				return fmt.Sprintf(`{"pid":%q,"mode":%d,"pinfoMap":%s}`, id.Draw(rt, "pid"), mode/3, object(waitingFields, "NEW", "LOCKED_VIEW").Draw(rt, "row"))
			})
		case confctl.NetCondition:
			body = list(func() string {
				return fmt.Sprintf(`{"participantID":%q,"mode":%d%s}`, id.Draw(rt, "pid"), mode/3, inner(object(qualityFields, "new").Draw(rt, "row")))
			})
		case confctl.Attendees:
			body = list(func() string {
				return fmt.Sprintf(`{"mode":%d%s}`, mode/3, inner(object(attendeeFields, "hidePhone", "new").Draw(rt, "row")))
			})
		case confctl.InviteResult:
			body = list(func() string {
				return fmt.Sprintf(`{"callNumber":%q,"resultCode":%s}`, id.Draw(rt, "number"), value.Draw(rt, "code"))
			})
		case confctl.SpeakerChange:
			body = list(func() string { return object(speakerFields, "new").Draw(rt, "row") })
		case confctl.InterpreterGroup:
			body = list(func() string {
				return fmt.Sprintf(`{"groupId":%q,"interpreters":[%s]%s}`, id.Draw(rt, "group"),
					object(interpreterFields, "aiDigitalInfo", "interpreterId").Draw(rt, "person"), inner(object(groupFields, "new").Draw(rt, "row")))
			})
		case confctl.RealTimeSubtitle:
			body = `"data":` + object(subtitleFields, "new").Draw(rt, "caption")
		case confctl.ConfBasicInfo:
			body = strings.TrimPrefix(inner(object(basicFields, "webinar", "new", "guestJoinUri").Draw(rt, "basic"))+`,"pwds":[{"role":"chair","pwd":"s"}]`, ",")
		case confctl.ConfDynamicInfo:
			body = strings.TrimPrefix(inner(object(dynamicFields, "pause", "new").Draw(rt, "dynamic"))+`,"multiPic":`+object(layoutFields, "new").Draw(rt, "pic"), ",")
		default:
			body = `"anything":` + value.Draw(rt, "anything")
		}
		action := kind.String()
		msgMode := rapid.IntRange(0, 1).Draw(rt, "mode")
		f, err := confctl.Decode(fmt.Appendf(nil, `{%s,"action":%q,"msgMode":%d,"version":1,"createTime":%d}`, body, action, msgMode, i))
		if err != nil {
			rt.Fatalf("frame %s: %v", body, err)
		}
		out = append(out, f)
	}
	return out
}

// history applies frames to a state, and yields the document after each with the changes that led there.
func history(rt *rapid.T, s *State, yield func(changes []Change)) {
	for _, f := range frames(rt) {
		changes, _ := s.Apply(f)
		yield(changes)
	}
}

// The bytes of a frame belong to others again after Apply: nothing that it has made refers to them.
func TestFramesAreUsedAgain(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s, want := New("c"), New("c")
		var changes, wanted []Change
		for _, f := range frames(rt) {
			untouched, _ := want.Apply(f)
			wanted = append(wanted, untouched...)
			again, err := confctl.Decode(bytes.Clone(f.Raw))
			if err != nil {
				rt.Fatal(err)
			}
			made, _ := s.Apply(again)
			changes = append(changes, made...)
			for i := range again.Raw {
				again.Raw[i] = '#'
			}
		}
		if diff := cmp.Diff(wanted, changes); diff != "" {
			rt.Errorf("changes (-want +got):\n%s", diff)
		}
		if got := jsonOf(s.Doc()); got != jsonOf(want.Doc()) || !bytes.Equal(s.Memory(), want.Memory()) {
			rt.Errorf("document %s, memory %s; want %s, %s", got, s.Memory(), jsonOf(want.Doc()), want.Memory())
		}
	})
}

func jsonOf(d *Doc) string { return string(d.AppendJSON(nil, AllTopics, full)) }

func TestChangesRebuildTheDocument(t *testing.T) {
	t.Parallel()
	seen := Topics(0)
	rapid.Check(t, func(rt *rapid.T) {
		s, replica := New("c"), NewDoc()
		var at []*Doc
		var after [][]Change
		history(rt, s, func(changes []Change) {
			at = append(at, replica.Clone())
			after = append(after, changes)
			for _, c := range changes {
				seen |= TopicSet(c.Topic)
				if !json.Valid(c.Body) {
					rt.Fatalf("%s: %s isn't JSON", c.Topic, c.Body)
				}
				if err := replica.Patch(c); err != nil {
					rt.Fatal(err)
				}
			}
			if got, want := jsonOf(replica), jsonOf(s.Doc()); got != want {
				rt.Fatalf("replica = %s\nwant      %s", got, want)
			}
		})
		want := jsonOf(s.Doc())
		if strings.Contains(want, ":null") {
			rt.Fatalf("document has a null member: %s", want)
		}
		for k, d := range at { // a snapshot taken anywhere and the changes after it
			d, err := ParseDoc(d.AppendJSON(nil, StateTopics, full))
			if err != nil {
				rt.Fatal(err)
			}
			for _, changes := range after[k:] {
				for _, c := range changes {
					if err := d.Patch(c); err != nil {
						rt.Fatal(err)
					}
				}
			}
			if got := jsonOf(d); got != want {
				rt.Fatalf("from snapshot %d: %s\nwant %s", k, got, want)
			}
		}
	})
	if want := AllTopics &^ TopicSet(Link); seen != want {
		t.Errorf("topics that changed: %v, want %v", seen.Names(), want.Names())
	}
}

func TestFullFrameTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := New("c")
		for _, f := range frames(rt) {
			_, _ = s.Apply(f)
			if again, _ := s.Apply(f); len(again) > 0 && f.Mode == confctl.Full && f.Kind != confctl.KindOther && f.Kind != confctl.RealTimeSubtitle {
				// Rows without an identity that stand twice in one frame are two people each time.
				if f.Kind == confctl.Attendees {
					continue
				}
				rt.Fatalf("%s twice: %v\nframe %s", f.Action, lines(again), f.Raw)
			}
		}
	})
}

func TestDiffTurnsOneIntoTheOther(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		a, b := New("c"), New("c")
		history(rt, a, func([]Change) {})
		history(rt, b, func([]Change) {})
		from := a.Doc().Clone()
		for _, c := range Diff(from, b.Doc(), 1) {
			if err := from.Patch(c); err != nil {
				rt.Fatal(err)
			}
		}
		if got, want := jsonOf(from), jsonOf(b.Doc()); got != want {
			rt.Fatalf("patched = %s\nwant      %s", got, want)
		}
		if rest := Diff(from, b.Doc(), 1); len(rest) > 0 {
			rt.Fatalf("Diff of equals = %v, want nothing", lines(rest))
		}
	})
}

func TestRedactionCommutes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := New("c")
		var views [NumProfiles]*Doc
		for p := range views {
			views[p] = NewDoc()
		}
		history(rt, s, func(changes []Change) {
			for p, view := range views {
				for _, c := range changes {
					body := Redact(c, Profile(p))
					if err := view.Patch(Change{c.Topic, c.Time, body}); err != nil {
						rt.Fatalf("profile %d: %s: %v", p, body, err)
					}
				}
				got, want := jsonOf(view), string(s.Doc().AppendJSON(nil, AllTopics, Profile(p)))
				if got != want {
					rt.Fatalf("profile %d: patched = %s\nredacted           %s", p, got, want)
				}
				if again := string(view.AppendJSON(nil, AllTopics, Profile(p))); again != want {
					rt.Fatalf("profile %d: redacted twice = %s\nwant %s", p, again, want)
				}
			}
		})
	})
}

func TestSplitSecretsJoins(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s, joined, open := New("c"), NewDoc(), NewDoc()
		history(rt, s, func(changes []Change) {
			for _, c := range changes {
				o, sec := SplitSecrets(c)
				body, err := JoinSecrets(c.Topic, o, sec)
				if err != nil {
					rt.Fatal(err)
				}
				if c.Topic.Event() {
					var a, b any
					if json.Unmarshal(body, &a) != nil || json.Unmarshal(c.Body, &b) != nil || fmt.Sprint(a) != fmt.Sprint(b) {
						rt.Fatalf("joined = %s, want %s", body, c.Body)
					}
					continue
				}
				if err := joined.Patch(Change{c.Topic, c.Time, body}); err != nil {
					rt.Fatal(err)
				}
				if err := open.Patch(Change{c.Topic, c.Time, o}); err != nil {
					rt.Fatal(err)
				}
			}
			if got, want := jsonOf(joined), jsonOf(s.Doc()); got != want {
				rt.Fatalf("joined = %s\nwant     %s", got, want)
			}
			if got, want := jsonOf(open), string(s.Doc().AppendJSON(nil, AllTopics, PII)); got != want {
				rt.Fatalf("open = %s\nwant   %s", got, want)
			}
		})
	})
}

func TestRestoreGoesOn(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		a, b := New("c"), New("c")
		for _, f := range frames(rt) {
			one, _ := a.Apply(f)
			two, _ := b.Apply(f)
			if got, want := fmt.Sprint(lines(two)), fmt.Sprint(lines(one)); got != want {
				rt.Fatalf("restored state changes %s, want %s", got, want)
			}
			doc, err := ParseDoc(b.Doc().AppendJSON(nil, StateTopics, full))
			if err != nil {
				rt.Fatal(err)
			}
			if b, err = Restore("c", doc, b.Memory()); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

func FuzzApply(f *testing.F) {
	for _, name := range []string{"participants-full", "conf-basic-full", "attendees-full", "netcondition-incremental", "subtitle-full"} {
		data, err := os.ReadFile("../confctl/testdata/" + name + ".json")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, data)
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		s, replica := New("c"), NewDoc()
		for _, data := range [][]byte{a, b, a} {
			fr, err := confctl.Decode(data)
			if err != nil {
				continue
			}
			changes, _ := s.Apply(fr)
			for _, c := range changes {
				if err := replica.Patch(c); err != nil {
					t.Fatalf("%s %s: %v", c.Topic, c.Body, err)
				}
			}
			equalDocs(t, replica, s.Doc())
		}
	})
}
