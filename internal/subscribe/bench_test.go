package subscribe

import (
	"fmt"
	"testing"
	"time"

	"confgate/internal/confctl"
)

// busy is the increments of a busy conference, numbered by kind: more of them than message ids are remembered.
func busy() []confctl.Frame {
	actions := []string{"ParticipantsNotify", "NetConditionNotify", "ParticipantsNotify", "SpeakerChangeNotify", "FooNotify"}
	numbers := map[string]int64{}
	frames := make([]confctl.Frame, 4*windowSize)
	for i := range frames {
		action := actions[i%len(actions)]
		numbers[action]++
		frames[i] = confctl.Frame{
			Kind: confctl.ParseKind(action), Action: action, Mode: confctl.Increment, Version: numbers[action],
			CreateTime: int64(1_000_000 + i), MsgID: fmt.Sprintf("%032x", i),
		}
	}
	return frames
}

func busyTracker(numbering Numbering) *Tracker {
	t := New(Config{Numbering: numbering})
	kinds := []confctl.Kind{confctl.Participants, confctl.NetCondition, confctl.SpeakerChange}
	t.LinkUp(start, kinds)
	for _, k := range kinds {
		t.Observe(&confctl.Frame{Kind: k, Mode: confctl.Full, Version: 1, CreateTime: 1}, start)
	}
	return t
}

// pass takes the next frame of a busy conference that never ends: the same frames again, with later numbers and times.
func pass(t *Tracker, frames []confctl.Frame, i int, now time.Time) Verdict {
	f := &frames[i%len(frames)]
	v := t.Observe(f, now)
	t.Applied(f, true, now)
	t.Next(now)
	f.Version += int64(len(frames))
	f.CreateTime += int64(len(frames))
	return v
}

func BenchmarkObserve(b *testing.B) {
	for _, numbering := range []Numbering{Auto, ByKind, ByConference, Off} {
		b.Run(string(numbering), func(b *testing.B) {
			t, frames, i := busyTracker(numbering), busy(), 0
			b.ReportAllocs()
			for b.Loop() {
				pass(t, frames, i, start)
				i++
			}
		})
	}
}

// TestObserveDoesNotAllocate holds for every numbering; frames repeat, jump and restart on the way.
//
//nolint:paralleltest // AllocsPerRun counts what runs beside it
func TestObserveDoesNotAllocate(t *testing.T) {
	for _, numbering := range []Numbering{Auto, ByKind, ByConference, Off} {
		tracker, frames, i, now := busyTracker(numbering), busy(), 0, start
		for range frames { // each action's run begins
			pass(tracker, frames, i, now)
			i++
		}
		applied := 0
		// A mean over runs would be rounded down; f runs once more to begin with.
		allocs := testing.AllocsPerRun(1, func() {
			for range 5000 {
				if pass(tracker, frames, i, now).Apply {
					applied++
				}
				i++
				now = now.Add(time.Millisecond)
			}
		})
		if allocs != 0 || applied < 5000 {
			t.Errorf("%s: Observe, Applied and Next allocate %v times in 5000 frames, and let %d of 10000 pass, want 0, and most",
				numbering, allocs, applied)
		}
	}
}
