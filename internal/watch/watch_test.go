package watch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// lively is a server's part with a bit of everything, until the client leaves.
func lively(s *stage) {
	s.greet()
	s.grant(false)
	s.snapshot("e1", 40, `{"link":{"state":"live","since":1611993595000},"participants":{"p1":{"name":"Ana"}}}`)
	s.send(`[`+participants(41, 30, `{"p1":{"muted":true}}`)+`,`+
		`{"type":"event","conference":"c1","topic":"invites","seq":42,"prev":0,"time":1611993595063,"data":{"code":"0","ok":true}}]`,
		`{"type":"status","conference":"c1","fresh":false,"reason":"owner","since":1611993595100}`)
	s.wait()
}

// until is a writer that ends a run when what was written contains a text.
type until struct {
	bytes.Buffer
	text string
	stop context.CancelFunc
}

func (u *until) Write(p []byte) (int, error) {
	n, err := u.Buffer.Write(p)
	if strings.Contains(u.String(), u.text) {
		u.stop()
	}
	return n, err
}

func TestRunJSON(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out := &until{text: `"fresh":false`, stop: cancel}
	if err := Run(ctx, Options{URL: play(t, lively), Conference: "c1", JSON: true, Out: out}); err != nil {
		t.Fatalf("Run = %v, want nil", err)
	}
	want := []string{
		`{"type":"welcome","worker":"gw-0","session":"s","time":1,"heartbeatMs":25000,"scopes":["read"]}`,
		`{"type":"subscribed","id":"1","conference":"c1","topics":["link","participants","invites","subtitles"],"view":"v","recovered":false}`,
		`{"type":"snapshot","conference":"c1","epoch":"e1","seq":40,"state":{"link":{"state":"live","since":1611993595000},"participants":{"p1":{"name":"Ana"}}}}`,
		participants(41, 30, `{"p1":{"muted":true}}`),
		`{"type":"event","conference":"c1","topic":"invites","seq":42,"prev":0,"time":1611993595063,"data":{"code":"0","ok":true}}`,
		`{"type":"status","conference":"c1","fresh":false,"reason":"owner","since":1611993595100}`,
	}
	if diff := cmp.Diff(want, strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestRunJSONKeepsOneMessageALine(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := &printer{out: &out}
	p.raw([]byte("{\n  \"type\": \"pong\",\n  \"id\": \"a\\nb\"\n}"))
	if got, want := out.String(), `{"type":"pong","id":"a\nb"}`+"\n"; got != want {
		t.Errorf("line = %q, want %q", got, want)
	}
}

func TestRunLines(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out := &until{text: "not fresh", stop: cancel}
	var notes bytes.Buffer
	if err := Run(ctx, Options{URL: play(t, lively), Conference: "c1", Out: out, Notes: &notes}); err != nil {
		t.Fatalf("Run = %v, want nil", err)
	}
	clock := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d\d\d `)
	if got := len(clock.FindAllString(out.String(), -1)); got != 4 {
		t.Errorf("%d of the lines have a time, want 4", got)
	}
	want := `snapshot         40 {"link":{"state":"live","since":1611993595000},"participants":{"p1":{"name":"Ana"}}}
participants     41 {"p1":{"muted":true}}
invites          42 {"code":"0","ok":true}
status            0 not fresh: owner
`
	if diff := cmp.Diff(want, clock.ReplaceAllString(out.String(), "")); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("connecting\nsubscribed\n", notes.String()); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

func TestRunTable(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out := &until{text: "the worker doesn't vouch for this: owner", stop: cancel}
	size := func() (int, int, bool) { return 100, 20, true }
	if err := Run(ctx, Options{URL: play(t, lively), Conference: "c1", Out: out, Size: size, NoColour: true}); err != nil {
		t.Fatalf("Run = %v, want nil", err)
	}
	last := out.String()[strings.LastIndex(out.String(), "\r"):]
	for _, want := range []string{"● live", "1 participants", "Ana", "off", "✔ invitation: answered", "epoch e1  seq 42", "worker gw-0"} {
		if !strings.Contains(last, want) {
			t.Errorf("the last table lacks %q:\n%s", want, last)
		}
	}
}

func TestRunEnds(t *testing.T) {
	t.Parallel()
	unauthorized := func(s *stage) { s.close(4401) }
	for _, o := range []Options{{JSON: true}, {}, {Size: func() (int, int, bool) { return 80, 24, true }}} {
		o.URL, o.Conference, o.Out = play(t, unauthorized), "c1", io.Discard
		if err := Run(t.Context(), o); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("Run(%+v) = %v, want %v", o, err, ErrUnauthorized)
		}
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		o.URL, o.Out = play(t, lively), full
		if err := Run(t.Context(), o); err == nil || !strings.HasPrefix(err.Error(), "watch: write: ") {
			t.Errorf("Run to a full disk = %v, want an error of the write", err)
		}
		_ = full.Close()
		o.URL = "nothing"
		if err := Run(t.Context(), o); err == nil {
			t.Error("Run of a URL without a scheme = nil, want an error")
		}
	}
}

const fullDocument = `{
 "link":{"state":"stale","since":1611993535000,"reason":"gap"},
 "conference":{"title":"张三的会议","locked":true,"recording":true,"mode":"rollcall"},
 "participants":{
  "p1":{"name":"张三","role":"chair","state":"joined","muted":false,"camera":true},
  "p2":{"name":"Ana","role":"guest","cohost":true,"state":"joined","muted":true,"camera":false,"handRaised":true},
  "p3":{"name":"Bo","role":"guest","state":"calling","sharing":true},
  "p4":{"role":"audience","muted":"maybe"}},
 "waiting":{"w1":{"name":"Larry"},"w2":{"name":"Lena"}},
 "attendees":{"a1":{"name":"Mia"}},
 "speakers":[{"pid":"p1","name":"张三","volume":45},{"pid":"p2","volume":7}],
 "quality":{"p1":{"rating":"good","rttMs":37,"audio":{"upLossPct":0,"downLossPct":0.5}},"p2":{"rating":"poor","rttMs":320}},
 "interpreters":{"g1":{"name":"Main"}}}`

func drawn(width, height int, document string, r Report) string {
	r.Document = []byte(document)
	t := table{width: width, height: height, now: time.UnixMilli(1611993595000)}
	events := []happening{{"vendor", 0, []byte(`{"action":"PollNotify"}`)}}
	captions := []caption{{"p2", "Hello world.", true}}
	return strings.Join(t.draw(r, events, captions, Notice{}), "\n")
}

func TestTable(t *testing.T) {
	t.Parallel()
	r := Report{Epoch: "e1", Seq: 42, Connected: true, Fresh: true, Messages: 7, Connects: 1, Worker: "gw-0", Counts: Counts{Snapshots: 1}}
	got := drawn(90, 30, fullDocument, r)
	want := strings.ReplaceAll(`张三的会议
◐ stale: gap for 1 min · locked · recording · rollcall
4 participants, 1 hands up
NAME                            ROLE    STATE    HAND MIC CAM SHARE NET     DELAY    LOSS
张三                            ★ host  joined        ◉   on        good    37 ms   0.5 %
Ana                             co-host joined   ✋   ◉   off       ▲poor  320 ms
Bo                              guest   calling               ▣
p4                              audienc…
speaking  张三 ▮▮▮▮ 45, Ana 7
waiting   2: Larry, Lena
invited   1: Mia
interpret 1: Main
CLOCK  vendor PollNotify
❝ Ana: Hello world.
epoch e1  seq 42  7 messages  1 snapshots  1 connects  worker gw-0`, "CLOCK", time.UnixMilli(0).Format("15:04:05"))
	want = strings.Replace(want, "audienc…", "audien…", 1)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

// Whatever the terminal's size, no line is wider and no table higher: both would break painting in place.
func TestTableFits(t *testing.T) {
	t.Parallel()
	people := make(map[string]any)
	for i := range 300 {
		people[fmt.Sprintf("p%03d", i)] = map[string]any{"name": strings.Repeat("名", i%40), "role": "guest", "muted": true, "camera": true}
	}
	document, err := json.Marshal(map[string]any{"participants": people})
	if err != nil {
		t.Fatal(err)
	}
	for _, width := range []int{20, 33, 60, 80, 250} {
		for _, height := range []int{4, 10, 23, 100} {
			lines := strings.Split(drawn(width, height, string(document), Report{}), "\n")
			if len(lines) > height {
				t.Errorf("%dx%d: %d lines, want at most the height", width, height, len(lines))
			}
			for _, line := range lines {
				cells := 0
				for _, r := range line {
					cells += columns(r)
				}
				if cells > width {
					t.Errorf("%dx%d: a line of %d cells: %q", width, height, cells, line)
				}
			}
			if all := strings.Join(lines, "\n"); height >= 23 && !strings.Contains(all, "more") {
				t.Errorf("%dx%d: the table doesn't say that it leaves people out:\n%s", width, height, all)
			}
		}
	}
}

func TestTextIsHarmless(t *testing.T) {
	t.Parallel()
	evil := "\x1b]0;owned\x07\x1b[2J\u009b31m\u202e\u2028\u200b\r\nname"
	quoted, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	name := string(quoted)
	document := strings.ReplaceAll(`{"conference":{"title":EVIL,"mode":EVIL},"link":{"state":EVIL,"reason":EVIL},
	 "participants":{"p1":{"name":EVIL,"role":EVIL,"state":EVIL},EVIL:{}},"waiting":{"w":{"name":EVIL}},"attendees":{"a":{"name":EVIL}},
	 "speakers":[{"name":EVIL,"volume":EVIL}],"quality":{"p1":{"rating":EVIL}},"interpreters":{"g":{"name":EVIL}}}`, "EVIL", name)
	harmless := func(what, text string) {
		t.Helper()
		if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && printable(string(r)) != string(r) && r != '\uFFFD' }); i >= 0 {
			t.Errorf("%s holds a control character: %q", what, text[i:])
		}
		if !strings.Contains(text, "name") {
			t.Errorf("%s lacks the text itself: %q", what, text)
		}
	}
	harmless("table", drawn(200, 40, document, Report{Worker: evil, Epoch: evil}))
	var out bytes.Buffer
	p := &printer{out: &out}
	p.update(&Message{Type: "delta", Topic: "participants", Patch: []byte(`{"p1":"` + evil[10:] + `"}`)})
	harmless("line", out.String())
}

func TestFit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		n    int
		want string
	}{
		{"", 3, "   "},
		{"abc", 3, "abc"},
		{"abcd", 3, "ab…"},
		{"张三", 4, "张三"},
		{"张三", 3, "张…"},
		{"张三丰", 4, "张… "},
		{"e\u0301a", 2, "e\u0301a"},
		{"ab\u0301", 2, "ab\u0301"},
		{"a\x1bb", 4, "a\uFFFDb "},
		{"a\xff", 3, "a\uFFFD "},
	}
	for _, tt := range tests {
		if got := fit(tt.in, tt.n); got != tt.want {
			t.Errorf("fit(%q, %d) = %q, want %q", tt.in, tt.n, got, tt.want)
		}
	}
}

// writes counts what is written to it.
type writes struct{ atomic.Int64 }

func (w *writes) Write(p []byte) (int, error) {
	w.Add(1)
	return len(p), nil
}

// A conference that changes all the time is painted four times a second, and one that doesn't once.
func TestScreenPaintsAtMostFourTimesASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out writes
		s := newScreen(&out, func() (int, int, bool) { return 80, 24, true }, false)
		s.report = func() Report { return Report{Document: []byte(`{}`)} }
		paints := func() int { return int(out.Load()) }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.run(ctx) }()
		start := time.Now()
		for time.Since(start) < 10*time.Second {
			s.update(&Message{Type: "delta"})
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if got := paints(); got < 38 || got > 41 {
			t.Errorf("paints in 10 s of changes = %d, want 40", got)
		}
		before := paints()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := paints() - before; got < 9 || got > 11 {
			t.Errorf("paints in 10 s without a change = %d, want 10", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run = %v, want nil", err)
		}
	})
}

func TestReadCaption(t *testing.T) {
	t.Parallel()
	tests := []struct {
		data string
		want caption
		ok   bool
	}{
		{`{"pid":"p1","final":true,"lines":[{"language":"english","text":"yes"},{"language":"original","text":"ja"}]}`, caption{"p1", "ja", true}, true},
		{`{"pid":"p1","lines":[{"text":"yes"},{"text":"ja"}]}`, caption{"p1", "yes", false}, true},
		{`{"pid":"p1","lines":[]}`, caption{}, false},
		{`{"lines":"none"}`, caption{}, false},
	}
	for _, tt := range tests {
		if got, ok := readCaption([]byte(tt.data)); got != tt.want || ok != tt.ok {
			t.Errorf("readCaption(%s) = %v, %t, want %v, %t", tt.data, got, ok, tt.want, tt.ok)
		}
	}
}

func TestScreenKeepsWhatHappened(t *testing.T) {
	t.Parallel()
	s := newScreen(io.Discard, nil, false)
	for i := range 10 {
		s.update(&Message{Type: "event", Topic: "invites", Data: fmt.Appendf(nil, `{"code":"%d"}`, i)})
		s.update(&Message{Type: "event", Topic: "subtitles", Data: fmt.Appendf(nil, `{"pid":"p%d","lines":[{"text":"%d"}]}`, i%3, i)})
	}
	if got := len(s.events); got != keepEvents || string(s.events[keepEvents-1].data) != `{"code":"9"}` {
		t.Errorf("events = %d, want the last %d", got, keepEvents)
	}
	want := []caption{{"p2", "8", false}, {"p0", "9", false}}
	if len(s.captions) != 2 || s.captions[0] != want[0] || s.captions[1] != want[1] {
		t.Errorf("captions = %v, want %v", s.captions, want)
	}
}
