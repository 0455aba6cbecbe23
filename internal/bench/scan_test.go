package bench

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"confgate/internal/conference"
	"confgate/internal/edge"
)

// stamped makes a change of a topic.
func stamped(topic conference.Topic, seq, prev uint64, body string) conference.Stamped {
	return conference.Stamped{
		Change: conference.Change{Topic: topic, Time: 1611993595058, Body: []byte(body)}, Seq: seq, Prev: prev,
	}
}

// What the gateway's encoder writes is read as it was meant, alone and in an array.
func TestScanReadsTheEncoder(t *testing.T) {
	t.Parallel()
	var enc edge.Encoder
	changes := []conference.Stamped{
		stamped(conference.Participants, 44, 39, `{"p1":{"name":"\"{\\\"type\\\":\\\"delta\\\"","muted":true},"p2":null}`),
		stamped(conference.Speakers, 45, 0, `[]`),
		stamped(conference.Invites, 46, 12, `{"x":[1,{"y":"],["}]}`),
	}
	array := []byte{'['}
	var messages [][]byte
	for i, c := range changes {
		if i > 0 {
			array = append(array, ',')
		}
		messages = append(messages, enc.Delta(nil, "900", c, c.Body))
		array = append(array, messages[i]...)
	}
	array = append(array, ']')
	check := func(payload []byte, want []conference.Stamped, raw [][]byte) {
		t.Helper()
		i := 0
		var c change
		other := scan(payload, &c, func(c *change) {
			if i < len(want) && (!c.known || c.topic != want[i].Topic || c.seq != want[i].Seq || c.prev != want[i].Prev ||
				c.time != want[i].Time || string(c.raw) != string(raw[i])) {
				t.Errorf("scan(%s) = %+v (%s), want %+v", payload, c, c.raw, want[i])
			}
			i++
		})
		if i != len(want) || other != (len(want) == 0) {
			t.Errorf("scan(%s) = %d changes, other %t; want %d", payload, i, other, len(want))
		}
	}
	check(array, changes, messages)
	for i := range changes {
		check(messages[i], changes[i:i+1], messages[i:i+1])
	}
	check(enc.Status(nil, "900", false, "log", 1), nil, nil)
	check(enc.Snapshot(nil, "900", conference.Position{Epoch: "c1", Seq: 5}, []byte("{}"), nil), nil, nil)
	check(nil, nil, nil)
}

// Whatever comes, scan neither fails nor reads beyond the payload.
func FuzzScan(f *testing.F) {
	f.Add([]byte(`[{"type":"delta","conference":"9","topic":"quality","seq":1,"prev":0,"time":5,"patch":{}}]`))
	f.Add([]byte(`{"type":"event","conference":"9","topic":"`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		var c change
		n := 0
		scan(payload, &c, func(c *change) {
			if n++; len(c.raw) > len(payload) {
				t.Error("a message is longer than its frame")
			}
		})
		if n > len(payload)/len(deltaStart)+1 {
			t.Errorf("%d messages in %d bytes", n, len(payload))
		}
	})
}

func TestScanAllocatesNothing(t *testing.T) { //nolint:paralleltest // counts the process's allocations
	msg := edge.Encoder{}.Delta(nil, "900", stamped(conference.Quality, 2, 1, `{"p":{"rttMs":3}}`), []byte(`{"p":{"rttMs":3}}`))
	var c change
	seen := uint64(0)
	f := func(c *change) { seen += c.seq }
	if n := testing.AllocsPerRun(100, func() { scan(msg, &c, f) }); n != 0 || seen == 0 {
		t.Errorf("scan allocates %v times and saw %d, want never", n, seen)
	}
}

func TestTakeFindsLosses(t *testing.T) {
	t.Parallel()
	type in struct {
		topic     conference.Topic
		seq, prev uint64
	}
	tests := []struct {
		name      string
		in        []in
		got, lost int64
	}{
		{"in order", []in{{conference.Quality, 11, 4}, {conference.Quality, 13, 11}, {conference.Waiting, 14, 0}}, 3, 0},
		{"repeat", []in{{conference.Quality, 11, 4}, {conference.Quality, 11, 4}, {conference.Quality, 9, 4}}, 1, 0},
		{"one is missing", []in{{conference.Quality, 11, 4}, {conference.Quality, 15, 13}}, 2, 1},
		{"first is missing", []in{{conference.Quality, 15, 12}}, 1, 1},
		{"another topic's", []in{{conference.Quality, 11, 4}, {conference.Waiting, 15, 12}}, 2, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			crowd := NewCrowd(Config{Conferences: []string{"900"}, Clients: 1})
			c := crowd.clients[0]
			c.other([]byte(`{"type":"snapshot","conference":"900","epoch":"c1","seq":10,"state":{}}`))
			for _, i := range tt.in {
				c.take(&change{topic: i.topic, known: true, seq: i.seq, prev: i.prev}, time.Now())
			}
			if got := crowd.Totals(); got.Deliveries != tt.got || got.Lost != tt.lost || got.Snapshots != 1 {
				t.Errorf("totals = %+v, want %d deliveries and %d lost", got, tt.got, tt.lost)
			}
		})
	}
}

// Different finds the client that saw other bytes, and leaves out one that had a snapshot.
func TestDifferent(t *testing.T) {
	t.Parallel()
	crowd := NewCrowd(Config{Conferences: []string{"900"}, Clients: 4})
	see := func(c *client, seq uint64, raw string) {
		c.take(&change{topic: conference.Quality, known: true, seq: seq, prev: seq - 1, raw: []byte(raw)}, time.Now())
	}
	for i, c := range crowd.clients {
		see(c, 1, fmt.Sprint("before, unlike ", i))
	}
	if !crowd.Settled() {
		t.Error("Settled() = false with all at 1")
	}
	crowd.Arm()
	for _, c := range crowd.clients {
		see(c, 2, "same")
	}
	if d, s := crowd.Different(); d != 0 || s != 0 {
		t.Errorf("Different() = %d, %d; want none", d, s)
	}
	for i, c := range crowd.clients {
		see(c, 3, map[int]string{2: "changed"}[i])
	}
	crowd.clients[3].other([]byte(`{"type":"snapshot","conference":"900","epoch":"c1","seq":3,"state":{}}`))
	if d, s := crowd.Different(); d != 1 || s != 1 {
		t.Errorf("Different() = %d, %d; want 1 and 1", d, s)
	}
	see(crowd.clients[0], 4, "more")
	if crowd.Settled() {
		t.Error("Settled() = true with one ahead")
	}
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	var h histogram
	for i := range 1000 {
		h.add(time.Duration(i+1)*time.Millisecond, 1)
	}
	h.add(time.Minute, 1)
	l := h.take()
	near := func(got, want time.Duration) bool { return got >= want-step && got <= want+step }
	if !near(l.P50, 501*time.Millisecond) || !near(l.P99, 991*time.Millisecond) || l.Max != time.Minute {
		t.Errorf("take() = %+v, want 501 ms, 991 ms, a minute", l)
	}
	if l := h.take(); l != (Latency{}) {
		t.Errorf("second take() = %+v, want nothing", l)
	}
}

func TestProc(t *testing.T) {
	t.Parallel()
	before, err := cpu(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for start := time.Now(); ; sum++ {
		now, err := cpu(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if now > before {
			break
		}
		if time.Since(start) > 20*time.Second {
			t.Fatalf("cpu() stays at %v however much is computed", before)
		}
	}
	if rss, err := resident(os.Getpid()); err != nil || rss < 1<<20 || rss > 1<<36 {
		t.Errorf("resident() = %d, %v; want a process's size", rss, err)
	}
	for _, f := range []func(int) error{
		func(pid int) error { _, err := cpu(pid); return err }, func(pid int) error { _, err := resident(pid); return err },
	} {
		if err := f(1 << 30); err == nil {
			t.Error("no error for a process that isn't there")
		}
	}
}

func TestFloorMessage(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 125, 126, 300, 70_000} {
		b := floorMessage(17, 5, min(size, 60_000), time.UnixMilli(1611993595058))
		if string(b[:3]) != "17\n" {
			t.Fatalf("message begins with %q", b[:3])
		}
		n, head, ok := frameLen(b[3:])
		payload := b[3+head:]
		var m struct {
			Type, Topic string
			Seq, Prev   uint64
		}
		if err := json.Unmarshal(payload, &m); err != nil || !ok || n != len(payload) || m.Seq != 5 || m.Prev != 4 {
			t.Errorf("floorMessage(size %d) = %d of %d bytes, %+v, %v", size, n, len(payload), m, err)
		}
		if size > 150 && size < 60_000 && n != size {
			t.Errorf("floorMessage(size %d) has %d bytes", size, n)
		}
	}
}

func TestFrameLen(t *testing.T) {
	t.Parallel()
	long := binary.BigEndian.AppendUint64([]byte{0x81, 127}, 1<<20)
	for _, tt := range []struct {
		name    string
		in      []byte
		n, head int
		ok      bool
	}{
		{"nothing", nil, 0, 0, false},
		{"short", []byte{0x81, 125}, 125, 2, true},
		{"half a header", []byte{0x81, 126, 1}, 0, 0, false},
		{"middle", []byte{0x81, 126, 1, 2}, 258, 4, true},
		{"most of a header", long[:9], 0, 0, false},
		{"long", long, 1 << 20, 10, true},
	} {
		if n, head, ok := frameLen(tt.in); n != tt.n || head != tt.head || ok != tt.ok {
			t.Errorf("%s: frameLen = %d, %d, %t; want %d, %d, %t", tt.name, n, head, ok, tt.n, tt.head, tt.ok)
		}
	}
}

func TestFigures(t *testing.T) {
	t.Parallel()
	var r Result
	for _, v := range []float64{3, 1, 2} {
		r.add("x", "s", 2.5, v)
	}
	f := r.Figures[0]
	if f.Median != 2 || f.Min != 1 || f.Max != 3 || !f.Met() {
		t.Errorf("figure = %+v, want median 2 of 1 to 3, met", f)
	}
	r.add("x", "s", 2.5, 9)
	r.add("x", "s", 2.5, 9)
	if f.Median != 3 || f.Met() {
		t.Errorf("figure = %+v, want median 3, not met", f)
	}
}
