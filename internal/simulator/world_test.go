package simulator

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"confgate/internal/confctl"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const someTime = 1_611_993_595_000

func testWorld(seed uint64, index, people int, lively bool) *world {
	return newWorld(worldSpec{
		id: "900487914", title: title(index, lively), password: secret("135790"), index: index, target: people,
		lively: lively, now: someTime, rng: rand.New(rand.NewPCG(seed, 7)),
	})
}

// notify is a draft as a client sees it.
func notify(d draft) frame {
	return decode(appendNotify(nil, d.body, envelope{
		action: d.kind.String(), mode: d.mode, confID: "900487914", msgID: "00", version: 1, createTime: someTime,
	}))
}

func fulls(w *world) []frame {
	var all []frame
	for k := range confctl.NumKinds {
		if body, ok := w.full(nil, confctl.Kind(k)); ok {
			all = append(all, notify(draft{kind: confctl.Kind(k), mode: confctl.Full, body: body}))
		}
	}
	return all
}

// Full frames and the increments after them are the next full frames: in every dialect, from any seed.
func TestIncrementsAddUpToFulls(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		index := rapid.IntRange(0, 3).Draw(rt, "dialect")
		w := testWorld(rapid.Uint64().Draw(rt, "seed"), index, rapid.IntRange(0, 30).Draw(rt, "people"),
			rapid.Bool().Draw(rt, "lively"))
		known := make(model)
		for _, f := range fulls(w) {
			known.apply(t, f)
		}
		for i := range rapid.IntRange(1, 100).Draw(rt, "steps") {
			drafts := w.step(someTime + int64(i))
			if len(drafts) == 0 {
				rt.Fatalf("step %d changed nothing", i)
			}
			for _, d := range drafts {
				f := notify(d)
				if f.err != nil {
					rt.Fatalf("step %d: %v: %s", i, f.err, f.raw)
				}
				known.apply(t, f)
			}
		}
		want := make(model)
		for _, f := range fulls(w) {
			want.apply(t, f)
		}
		if diff := cmp.Diff(want, known); diff != "" {
			rt.Fatalf("increments and full frames differ (-full +increments):\n%s", diff)
		}
	})
}

// Every change that the world knows happens, in both mixes; every kind and mode is made.
func TestEveryChangeHappens(t *testing.T) {
	t.Parallel()
	for index := range 2 {
		for _, lively := range []bool{false, true} {
			w := testWorld(3, index, 25, lively)
			did := make(map[string]int)
			for i := range w.actions {
				a := &w.actions[i]
				do := a.do
				a.do = func(w *world) {
					before := len(w.out)
					do(w)
					if len(w.out) > before {
						did[a.name]++
					}
				}
			}
			seen := make(map[string]int)
			for i := range 8000 {
				for _, d := range w.step(someTime + int64(i)) {
					seen[fmt.Sprint(d.kind, " ", d.mode)]++
				}
			}
			for _, a := range w.actions {
				if did[a.name] == 0 && a.weight > 0 {
					t.Errorf("dialect %d, lively %t: %s never happened", index, lively, a.name)
				}
			}
			want := []string{
				"ConfDynamicInfoNotify full", "ConfDynamicInfoNotify increment", "ParticipantsNotify increment",
				"AttendeesNotify increment", "SpeakerChangeNotify full", "NetConditionNotify increment",
				"InviteResultNotify increment", "WaitingListNotify increment", "InterpreterGroupNotify full",
				"RealTimeSubtitleNotify " + []string{"full", "increment"}[index],
			}
			for _, k := range want {
				if seen[k] == 0 {
					t.Errorf("dialect %d, lively %t: no %s in %v", index, lively, k, seen)
				}
			}
		}
	}
}

// The world stays near its size, however long it runs.
func TestWorldKeepsItsSize(t *testing.T) {
	t.Parallel()
	w := testWorld(5, 0, 40, false)
	for i := range 20_000 {
		w.step(someTime + int64(i))
		if n := len(w.people); n < 30 || n > 50 {
			t.Fatalf("step %d: %d people, want about 40", i, n)
		}
	}
	if len(w.attendees) > maxAttendees+1 || len(w.waiting) > 10 {
		t.Errorf("%d attendees, %d waiting", len(w.attendees), len(w.waiting))
	}
	pids, accounts, chairs := make(map[string]int), make(map[string]int), 0
	for _, p := range w.people {
		pids[p.pid]++
		accounts[p.info.vals[pAccountID]]++
		if p.info.is(pRole, "1") {
			chairs++
		}
	}
	if len(pids) != len(w.people) || chairs != 1 {
		t.Errorf("%d pids of %d people, %d chairs, want 1", len(pids), len(w.people), chairs)
	}
}

// Some people have two devices, and so one number under two pids.
func TestSharedNumbers(t *testing.T) {
	t.Parallel()
	w, most := testWorld(6, 0, 40, false), 0
	for i := range 2000 {
		w.step(someTime + int64(i))
		tels := make(map[string]int)
		for _, p := range w.people {
			tels[p.info.vals[pTel]]++
			most = max(most, tels[p.info.vals[pTel]])
		}
	}
	if most < 2 {
		t.Error("no number was ever shared by two pids")
	}
}

// The first conference's frames have the keys of the reference's samples, with the same JSON types.
func TestFramesLookLikeTheSamples(t *testing.T) {
	t.Parallel()
	w := testWorld(9, 0, 20, false)
	var made []frame
	for i := range 3000 {
		for _, d := range w.step(someTime + int64(i)) {
			made = append(made, notify(d))
		}
	}
	made = append(made, fulls(w)...)
	files, err := filepath.Glob("testdata/samples/*.json")
	if err != nil || len(files) != 10 {
		t.Fatalf("Glob(samples) = %v, %v, want ten", files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sample := decode(data)
		want, have := make(map[string]bool), make(map[string]bool)
		shapes("", sample.All, want)
		for _, f := range made {
			if f.Action == sample.Action {
				shapes("", f.All, have)
			}
		}
		for shape := range want {
			// Volumes and subtitles' envelopes vary in their types; test worlds seal every kind alike.
			if !have[shape] && !strings.HasPrefix(shape, ".version") && !strings.HasPrefix(shape, ".createTime") {
				t.Errorf("%s: no frame has %s", filepath.Base(file), shape)
			}
		}
	}
}

func shapes(path string, v any, into map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			shapes(path+"."+k, e, into)
		}
	case []any:
		for _, e := range v {
			shapes(path+"[]", e, into)
		}
	default:
		into[fmt.Sprintf("%s %v", path, reflect.TypeOf(v))] = true
	}
}

// The same seed and number of steps make the same truth, another seed another one.
func TestSeedDecidesTheWorld(t *testing.T) {
	t.Parallel()
	truth := func(seed uint64, faults FaultPlan) (all []Truth) {
		synctest.Test(t, func(*testing.T) {
			p := New(Config{Conferences: 2, Participants: 15, Seed: seed, Faults: faults})
			for _, c := range p.Conferences() {
				p.Step(c.ID, 500)
				all = append(all, p.Truth(c.ID))
			}
		})
		return all
	}
	one, again, other := truth(1, FaultPlan{}), truth(1, FaultPlan{Drop: 0.5}), truth(2, FaultPlan{})
	if diff := cmp.Diff(one, again); diff != "" {
		t.Errorf("two worlds of one seed differ:\n%s", diff)
	}
	if cmp.Equal(one, other) {
		t.Error("worlds of two seeds are equal")
	}
}

// The gateway's own codec reads every frame that is made, and its requests are understood.
func TestCodecUnderstands(t *testing.T) {
	t.Parallel()
	for index := range 4 {
		w := testWorld(13, index, 10, false)
		check := func(d draft) {
			t.Helper()
			version := int64(someTime)
			if d.mode == confctl.Increment {
				version = 39
			}
			data := appendNotify(nil, d.body, envelope{
				action: d.kind.String(), mode: d.mode, confID: "900487914", msgID: "0a", version: version,
				createTime: someTime, quoted: d.kind == confctl.RealTimeSubtitle,
			})
			f, err := confctl.Decode(data)
			if err != nil {
				t.Fatalf("Decode(%s) = %v", data, err)
			}
			if f.Kind != d.kind || f.Mode != d.mode || f.Version != version || f.CreateTime != someTime || f.MsgID != "0a" {
				t.Errorf("Decode(%s) = %+v", data, f)
			}
		}
		for i := range 500 {
			for _, d := range w.step(someTime + int64(i)) {
				check(d)
			}
		}
		for k := range confctl.NumKinds {
			if body, ok := w.full(nil, confctl.Kind(k)); ok {
				check(draft{kind: confctl.Kind(k), mode: confctl.Full, body: body})
			}
		}
	}
	for _, token := range []string{"stb1", "Basic c3RiMQ=="} {
		var req request
		if err := json.Unmarshal(confctl.AppendSubscribe(nil, "7", documented, secret(token)), &req); err != nil {
			t.Fatal(err)
		}
		d, err := req.payload()
		if err != nil || req.Action != "Subscribe" || req.Sequence != "7" || bareToken(d.ConfToken) != "stb1" ||
			!cmp.Equal(d.SubscribeType, documented) {
			t.Errorf("a Subscribe request reads as %+v, %v", d.SubscribeType, err)
		}
	}
}

// A step of a large world, with its frames sealed for one link.
func BenchmarkStep(b *testing.B) {
	p := New(Config{Conferences: 1, Participants: 200})
	r := p.order[0]
	b.ReportAllocs()
	for b.Loop() {
		r.step(1)
	}
}

// The full frame that every Subscribe to a large world brings.
func BenchmarkFullParticipants(b *testing.B) {
	w := testWorld(1, 0, 500, false)
	b.ReportAllocs()
	for b.Loop() {
		if body, ok := w.full(nil, confctl.Participants); !ok || len(body) == 0 {
			b.Fatal("no full frame")
		}
	}
}

// Truth agrees with what full frames say.
func TestTruthIsWhatFullsSay(t *testing.T) {
	t.Parallel()
	for index := range 4 {
		w := testWorld(11, index, 20, false)
		for i := range 1500 {
			w.step(someTime + int64(i))
		}
		truth, m := w.truth(), make(model)
		for _, f := range fulls(w) {
			m.apply(t, f)
		}
		compare := func(what string, got, want any) {
			t.Helper()
			if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); diff != "" {
				t.Errorf("dialect %d: truth's %s differs from the frame's:\n%s", index, what, diff)
			}
		}
		compare("number of participants", len(truth.Participants), len(m["ParticipantsNotify"]))
		for pid, p := range truth.Participants {
			row := m["ParticipantsNotify"][pid]
			viewType := any(nil)
			if p.ViewType != nil {
				viewType = *p.ViewType
			}
			bit := func(b bool) string { return zeroOne(b) }
			compare(pid, []any{
				p.Name, p.Role, p.State, bit(p.Hand), bit(p.Broadcast), bit(p.RollCall), bit(p.Share), bit(p.Mute),
				bit(p.Video), bit(p.Camera), bit(p.Anonymous), bit(p.SVC), bit(p.LocalRec), bit(p.Cohost), p.AddTime, p.T,
				viewType, p.OrgID, p.Capabilities, `"` + pid + `"`,
			}, []any{
				row["NAME"], row["ROLE"], row["STATE"], row["HAND"], row["BROADCAST"], row["ROLLCALL"], row["SHARE"],
				row["MUTE"], row["VIDEO"], row["CAMERASTATE"], row["ANONYMOUS"], row["IS_SVC"], row["LOCALREC"],
				row["IS_COHOST"], row["ADDTIME"], row["T"], row["VIEW_TYPE"], row["ORG_ID"], row["CLIENT_CAPABILITIES"],
				string(p.Extra["RTC_USER_ID"]),
			})
		}
		compare("number of qualities", len(truth.Quality), len(m["NetConditionNotify"]))
		for pid, q := range truth.Quality {
			row := m["NetConditionNotify"][pid]
			compare("quality of "+pid, []any{
				q.NetInfo, q.Delay, q.Jitter, q.OutJitter, q.Bandwidth, q.LostPacketRate, q.AudioOutLossPacketRate,
				q.VideoInLossPacketRate, q.VideoOutLossPacketRate, q.AssistVideoInLossPacketRate,
				q.AssistVideoOutLossPacketRate, q.FluxIn, q.FluxOut, q.VideoFluxIn, q.VideoFluxOut, q.AssistVideoFluxIn,
				q.AssistVideoFluxOut, q.AudioCodecType, q.VideoCodecType,
			}, []any{
				row["netInfo"], row["delay"], row["jitter"], row["outJitter"], number(row["bandwidth"]),
				row["lostPacketRate"], row["audioOutLossPacketRate"], row["videoInLossPacketRate"],
				row["videoOutLossPacketRate"], row["assistVideoInLossPacketRate"], row["assistVideoOutLossPacketRate"],
				row["fluxIn"], row["fluxOut"], row["videoFluxIn"], row["videoFluxOut"], row["assistVideoFluxIn"],
				row["assistVideoFluxOut"], row["audioCodecType"], row["videoCodecType"],
			})
		}
		dynamic := m["ConfDynamicInfoNotify"][""]
		compare("dynamic information", []any{
			truth.Dynamic.State, truth.Dynamic.Mode, truth.Dynamic.EndTime, truth.Dynamic.PicNum, zeroOne(truth.Dynamic.Lock),
		}, []any{
			dynamic["state"], dynamic["mode"], dynamic["endTime"], number(dynamic["picNum"]), dynamic["lock"],
		})
		if (truth.Layout == nil) != (dynamic["multiPic"] == nil) {
			t.Errorf("dialect %d: layout %v, multiPic %v", index, truth.Layout, dynamic["multiPic"])
		}
		compare("attendees", len(truth.Attendees), len(m["AttendeesNotify"]))
		compare("waiting", len(truth.Waiting), len(m["WaitingListNotify"]))
		compare("invites", len(truth.Invites), len(m["InviteResultNotify"]))
		for i := 1; i < len(truth.Speakers); i++ {
			if truth.Speakers[i-1].Volume <= truth.Speakers[i].Volume {
				t.Errorf("speakers aren't loudest first: %v", truth.Speakers)
			}
		}
	}
}

func TestAppendString(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"\xff", "a\xc3", "\"\\\n\x00", "张三 🎧 </b>"})).Draw(rt, "s")
		var got string
		if err := json.Unmarshal(appendString(nil, s), &got); err != nil {
			rt.Fatalf("appendString(%q) isn't JSON: %v", s, err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); got != want && strings.Count(s, "\xff") < 2 {
			rt.Fatalf("appendString(%q) reads back as %q, want %q", s, got, want)
		}
	})
}

// Symptom: the demo showed a person in the conference whom it listed among the invited as not there: another of the same name.
func TestLivelyNamesAreUnique(t *testing.T) {
	t.Parallel()
	for _, world := range []string{"959826094", "971535644"} {
		seen := map[string]bool{}
		for n := range len(givenNames()) * len(familyNames()) {
			seen[livelyName(world, n)] = true
		}
		if want := len(givenNames()) * len(familyNames()); len(seen) != want {
			t.Errorf("names of world %s = %d, want %d", world, len(seen), want)
		}
	}
}
