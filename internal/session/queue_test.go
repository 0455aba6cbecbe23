package session

import (
	"bytes"
	"testing"
	"time"

	"pgregory.net/rapid"

	"confgate/internal/conference"
)

func state(body string) conference.Change {
	return conference.Change{Topic: conference.Participants, Body: []byte(body)}
}

func event(body string) conference.Change {
	return conference.Change{Topic: conference.Subtitles, Body: []byte(body)}
}

func bodiesOf(entries []entry) string {
	var b bytes.Buffer
	for _, e := range entries {
		b.Write(e.change.Body)
	}
	return b.String()
}

func TestQueueOverflow(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name        string
		bytes, most int
		push        []conference.Change
		want        string
		lossy       bool
		lost        int
	}{
		{"fits", 8, 4, []conference.Change{state("a"), event("b"), state("c")}, "abc", false, 0},
		{"too many changes: events stay", 100, 8, []conference.Change{
			event("1"), event("2"), state("a"), state("b"), state("c"), state("d"), state("e"), state("f"), state("g"),
		}, "12", true, 0},
		{"too many bytes: events stay", 8, 100, []conference.Change{event("1"), state("aaaaaaaaa")}, "1", true, 0},
		{"state after it is let go of", 8, 100, []conference.Change{event("1"), state("aaaaaaaaa"), state("b"), event("2")}, "12", true, 0},
		{"oldest events beyond a quarter", 100, 8, []conference.Change{
			event("1"), event("2"), event("3"), event("4"), event("5"), event("6"), event("7"), event("8"), event("9"),
		}, "89", true, 7},
	}
	for _, tt := range tests {
		q := queue{maxBytes: tt.bytes, maxChanges: tt.most}
		for _, c := range tt.push {
			q.push(c, time.Time{})
		}
		if got := bodiesOf(q.entries); got != tt.want || q.lossy != tt.lossy || q.lost != tt.lost {
			t.Errorf("%s: queue = %q, lossy %v, lost %d; want %q, %v, %d", tt.name, got, q.lossy, q.lost, tt.want, tt.lossy, tt.lost)
		}
	}
}

func TestQueueRestart(t *testing.T) {
	t.Parallel()
	q := queue{maxBytes: 4, maxChanges: 4}
	q.push(event("1"), time.Time{})
	q.push(state("aaaa"), time.Time{})
	q.restart([]conference.Change{state("dddddddd")})
	if got := bodiesOf(q.entries); got != "dddddddd1" || q.lossy {
		t.Errorf("after restart queue = %q, lossy %v; want the difference, then the event", got, q.lossy)
	}
	q = queue{maxBytes: 100, maxChanges: 100}
	q.push(state("x"), time.Time{})
	q.giveBack([]entry{{change: event("1")}, {change: state("y")}, {change: event("2")}})
	if got := bodiesOf(q.entries); got != "12x" {
		t.Errorf("after giveBack queue = %q, want the events first", got)
	}
}

func TestQueueKeepsOrderAndCount(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := queue{maxBytes: 1 << 30, maxChanges: 1 << 30}
		var want, got bytes.Buffer
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			for range rapid.IntRange(0, 700).Draw(t, "pushes") {
				body := bytes.Repeat([]byte("x"), rapid.IntRange(0, 9).Draw(t, "size"))
				if len(body) > 0 {
					body[0] = byte('a' + len(body))
				}
				c := conference.Change{Topic: conference.Participants, Body: body}
				q.push(c, time.Time{})
				want.Write(body)
			}
			batch := q.take()
			if len(batch) > batchChanges {
				t.Fatalf("take() = %d changes, want at most %d", len(batch), batchChanges)
			}
			got.WriteString(bodiesOf(batch))
		}
		for !q.empty() {
			got.WriteString(bodiesOf(q.take()))
		}
		if !bytes.Equal(got.Bytes(), want.Bytes()) || q.bytes != 0 {
			t.Fatalf("took %d bytes in order: %v, %d left over; want %d, true, 0", got.Len(), bytes.Equal(got.Bytes(), want.Bytes()), q.bytes, want.Len())
		}
	})
}

func TestQueueLargeChange(t *testing.T) {
	t.Parallel()
	q := queue{maxBytes: 8 << 20, maxChanges: 100}
	big := string(bytes.Repeat([]byte("x"), batchBytes+1))
	for _, c := range []conference.Change{state("a"), state(big), state("b")} {
		q.push(c, time.Time{})
	}
	for i, want := range []int{1, 1, 1} {
		if got := len(q.take()); got != want {
			t.Errorf("take %d = %d changes, want %d", i, got, want)
		}
	}
}

func TestHead(t *testing.T) {
	t.Parallel()
	h := head{pos: conference.Position{Epoch: "e", Seq: 4}}
	batch := []entry{{change: state("a")}, {change: event("b")}, {change: state("c")}}
	for _, tt := range []struct {
		reached conference.Position
		want    bool
	}{
		{conference.Position{Epoch: "e", Seq: 7}, true},
		{conference.Position{Epoch: "e", Seq: 6}, false},
		{conference.Position{Epoch: "f", Seq: 7}, false},
	} {
		if got := h.follows(tt.reached, len(batch)); got != tt.want {
			t.Errorf("follows(%v, 3) = %v, want %v", tt.reached, got, tt.want)
		}
	}
	h.advance(batch)
	if h.pos.Seq != 7 || h.prev[conference.Participants] != 7 || h.prev[conference.Subtitles] != 6 || h.prev[conference.Link] != 0 {
		t.Errorf("advance() = %v, prev %v; want seq 7, participants 7, subtitles 6", h.pos, h.prev)
	}
}
