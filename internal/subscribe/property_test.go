package subscribe

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"confgate/internal/confctl"
)

// TestNoLossStays is the promise of the package: whatever was lost, repeated, swapped, cut or numbered anew, once the
// faults stop and one periodic check has run the client's state is the provider's. It also holds that no event is told
// twice, and none that arrived goes untold.
func TestNoLossStays(t *testing.T) {
	t.Parallel()
	always := []string{
		"fault none", "fault lose", "fault repeat", "fault swap", "cut", "counters", "unlinked", "unanswered", "partial",
		"repeat", "old full", "old increment", "check", "redial",
	}
	numbered := append([]string{"gap", "late", "restarted", "resync"}, always...)
	for _, tt := range []struct {
		byKind    bool
		numbering Numbering
		classes   []string // that must have come
	}{
		{true, ByKind, numbered},
		{true, Auto, append([]string{"verdict kind"}, numbered...)},
		{true, Off, always},
		{false, ByConference, numbered},
		{false, Auto, append([]string{"verdict conference"}, numbered...)},
		{false, Off, always},
	} {
		t.Run(fmt.Sprintf("by kind %v, set to %s", tt.byKind, tt.numbering), func(t *testing.T) {
			t.Parallel()
			exercise(t, tt.classes, func(rt *rapid.T, classes map[string]int) {
				w := newWorld(rt, tt.byKind, false, Config{Numbering: tt.numbering}, classes)
				w.run()
				w.peace(1)
				w.pass(DefaultRefresh + patience)
				w.check()
			})
		})
	}
}

// TestWhatNumbersShowHeals is the same without any periodic check, for losses that the numbers show: each of them is
// healed by the resync that it asks for. Auto is given changes enough to find out the numbering.
func TestWhatNumbersShowHeals(t *testing.T) {
	t.Parallel()
	classes := []string{
		"fault none", "fault lose", "fault repeat", "fault swap", "cut", "counters", "unlinked", "unanswered", "partial",
		"gap", "late", "restarted", "resync", "repeat", "old full", "old increment", "redial",
	}
	for _, tt := range []struct {
		byKind    bool
		numbering Numbering
		changes   int // when the faults are over
		classes   []string
	}{
		{true, ByKind, len(modelStates), classes},
		{true, Auto, 40, append([]string{"verdict kind"}, classes...)},
		{false, ByConference, len(modelStates), classes},
		{false, Auto, 40, append([]string{"verdict conference"}, classes...)},
	} {
		t.Run(fmt.Sprintf("by kind %v, set to %s", tt.byKind, tt.numbering), func(t *testing.T) {
			t.Parallel()
			exercise(t, tt.classes, func(rt *rapid.T, classes map[string]int) {
				w := newWorld(rt, tt.byKind, true, Config{Numbering: tt.numbering, Refresh: -1}, classes)
				w.run()
				w.peace(tt.changes)
				w.pass(maxInterval + patience)
				w.check()
				if w.classes["check"] > 0 {
					rt.Fatal("a periodic check ran though it is off")
				}
			})
		})
	}
}

// exercise checks a property over many runs, and that together they came to every class.
func exercise(t *testing.T, classes []string, run func(*rapid.T, map[string]int)) {
	t.Helper()
	came := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) { run(rt, came) })
	for _, class := range classes {
		if came[class] == 0 {
			t.Errorf("no run came to %q", class)
		}
	}
	for _, class := range slices.Sorted(maps.Keys(came)) {
		t.Logf("%s: %d", class, came[class])
	}
}

// run is the time of troubles.
func (w *world) run() {
	w.dial()
	for range rapid.SampledFrom([]int{5, 50, 200, 300}).Draw(w.rt, "steps") {
		w.trouble()
	}
}

// check compares the client with the provider after it all.
func (w *world) check() {
	if v := w.tracker.evidence.Verdict; v != "" {
		w.classes["verdict "+string(v)]++
		if w.byKind != (v == ByKind) {
			w.classes["wrong verdict"]++
		}
	}
	if diff := cmp.Diff(w.truth, w.state); diff != "" {
		w.rt.Fatalf("after the check the client differs (-truth +client):\n%s", diff)
	}
	if !w.tracker.Live(w.now()) || w.tracker.Stale(w.now()) || w.tracker.Filling(w.now()) {
		w.rt.Fatalf("live %v, stale %v, filling %v, want true, false, false",
			w.tracker.Live(w.now()), w.tracker.Stale(w.now()), w.tracker.Filling(w.now()))
	}
	for id := range w.arrived {
		if w.told[id] != 1 {
			w.rt.Fatalf("event %s was told %d times, want once", id, w.told[id])
		}
	}
}

// TestAnyFrame holds for whatever a provider may send: no panic, no time to wake that has passed, no action without a
// link, and at most one Subscribe a second.
func TestAnyFrame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		number := rapid.OneOf(rapid.Int64(), rapid.Int64Range(-2, 12))
		tracker := New(Config{Numbering: rapid.SampledFrom([]Numbering{Auto, ByKind, ByConference, Off}).Draw(rt, "numbering")})
		now, sent := start, start
		tracker.LinkUp(now, modelSubscribed)
		for range rapid.IntRange(1, 60).Draw(rt, "frames") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 700, 2500}).Draw(rt, "ms")) * time.Millisecond)
			f := &confctl.Frame{
				Class:  confctl.Class(rapid.IntRange(0, 1).Draw(rt, "class")),
				Kind:   confctl.Kind(rapid.IntRange(0, confctl.NumKinds-1).Draw(rt, "kind")),
				Action: rapid.StringN(0, 2, 2).Draw(rt, "action"), Mode: confctl.Mode(rapid.IntRange(0, 1).Draw(rt, "mode")),
				Version: number.Draw(rt, "version"), CreateTime: number.Draw(rt, "created"),
				MsgID: rapid.SampledFrom([]string{"", "a", "b", "c", "d", "e"}).Draw(rt, "id"),
			}
			v := tracker.Observe(f, now)
			if v.Apply && (v.Repeat || v.Old) {
				rt.Fatalf("Observe(%+v) = %+v: applied though it is dropped", f, v)
			}
			switch {
			case v.Apply && rapid.Bool().Draw(rt, "applies"):
				tracker.Applied(f, rapid.Bool().Draw(rt, "changed"), now)
			case v.Apply:
				tracker.Failed(f, now)
			}
			switch action, wake := tracker.Next(now); {
			case !wake.IsZero() && !wake.After(now):
				rt.Fatalf("Next at %v = %v, %v, want a later time", now, action, wake)
			case action == Resync:
				if now.Sub(sent) < minInterval {
					rt.Fatalf("a Subscribe %v after the one before, want 1s at least", now.Sub(sent))
				}
				sent = now
				tracker.Sent(now)
			case action == Redial:
				tracker.LinkDown(now)
				if action, wake := tracker.Next(now); action != None || !wake.IsZero() {
					rt.Fatalf("Next without a link = %v, %v, want nothing", action, wake)
				}
				sent = now
				tracker.LinkUp(now, modelSubscribed)
			}
		}
	})
}
