package simulator

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

func TestParseFaults(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       FaultPlan
		wantErr    string
	}{
		{"nothing", "", FaultPlan{}, ""},
		{"blanks", " , ", FaultPlan{}, ""},
		{
			"as documented", "drop=1%,repeat=1%,swap=1%,cut=2s,garbage=0.1%",
			FaultPlan{Drop: 0.01, Repeat: 0.01, Swap: 0.01, Cut: 2 * time.Second, Garbage: 0.001},
			"",
		},
		{
			"all", "drop=0.5, repeat = 1 %,swap=1,garbage=0,unknown=2%,restart=0.01%,cut=1s,silent=2s,halfopen=3s,deaf=4s," +
				"refuse=5,expire=6s,slow=7ms,seed=8",
			FaultPlan{
				Drop: 0.5, Repeat: 0.01, Swap: 1, Unknown: 0.02, Restart: 0.0001, Cut: time.Second, Silent: 2 * time.Second,
				HalfOpen: 3 * time.Second, Deaf: 4 * time.Second, Refuse: 5, Expire: 6 * time.Second, Slow: 7 * time.Millisecond,
				Seed: 8,
			},
			"",
		},
		{"unknown name", "dorp=1%", FaultPlan{}, `unknown fault "dorp", known are drop, repeat`},
		{"no value", "drop", FaultPlan{}, `fault "drop" has no value`},
		{"twice", "drop=1%,drop=2%", FaultPlan{}, `fault "drop" is named twice`},
		{"too likely", "drop=101%", FaultPlan{}, `"101%" for fault drop is not a probability`},
		{"negative", "drop=-0.1", FaultPlan{}, `"-0.1" for fault drop is not a probability`},
		{"not a number", "drop=NaN", FaultPlan{}, `"NaN" for fault drop is not a probability`},
		{"words", "drop=often", FaultPlan{}, `"often" for fault drop is not a probability`},
		{"bare time", "cut=2", FaultPlan{}, `"2" for fault cut is not a time such as 2s`},
		{"negative time", "cut=-2s", FaultPlan{}, `"-2s" for fault cut is not a time`},
		{"negative count", "refuse=-1", FaultPlan{}, `"-1" for fault refuse is not a count`},
		{"seed", "seed=x", FaultPlan{}, `seed "x" of the faults is not a whole number`},
	} {
		got, err := ParseFaults(tc.text)
		if tc.wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), tc.wantErr) || !strings.HasPrefix(err.Error(), "simulator: ") {
				t.Errorf("%s: ParseFaults(%q) = %v, want an error with %q", tc.name, tc.text, err, tc.wantErr)
			}
			continue
		}
		if err != nil || got != tc.want {
			t.Errorf("%s: ParseFaults(%q) = %+v, %v, want %+v", tc.name, tc.text, got, err, tc.want)
		}
		if back, err := ParseFaults(got.String()); err != nil || back != got {
			t.Errorf("%s: ParseFaults(%q) = %+v, %v, want %+v", tc.name, got.String(), back, err, got)
		}
	}
}

// The help names every fault with an example that parses.
func TestFaultHelp(t *testing.T) {
	t.Parallel()
	help := FaultHelp()
	for i, s := range faultSpecs() {
		if !strings.Contains(help, s.name+"="+s.example) {
			t.Errorf("FaultHelp() lacks %s", s.name)
		}
		if p, err := ParseFaults(s.name + "=" + s.example); err != nil || p == (FaultPlan{}) {
			t.Errorf("ParseFaults(%s=%s) = %+v, %v", s.name, s.example, p, err)
		}
		if fault(i) >= numFaults {
			t.Errorf("fault %s has no counter", s.name)
		}
	}
	if len(faultSpecs()) != int(numFaults) {
		t.Errorf("%d faults, %d counters", len(faultSpecs()), numFaults)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	if err := (Config{}).Validate(); err != nil {
		t.Errorf("Validate() of the zero value = %v", err)
	}
	err := Config{Conferences: -1, Numbering: "odd", TokenLife: -time.Second, Faults: FaultPlan{Drop: 2}, Quota: -1}.Validate()
	for _, want := range []string{"conferences is -1", "numbering is odd", "token life is -1s", "fault drop is 2", "negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate() = %v, want %q in it", err, want)
		}
	}
}

// observed is what a client of increments numbered per conference can tell of the stream's faults.
type observed struct{ lost, twice, swapped, garbage, unknown, restarts int }

func observe(t *testing.T, frames []frame, restarts bool) (o observed) {
	t.Helper()
	var last, lastFull int64
	got := make(map[int64]bool)
	for _, f := range frames {
		switch {
		case f.err != nil || f.Action == "":
			o.garbage++
			continue
		case f.MsgMode == 0:
			if f.Version <= lastFull {
				t.Errorf("full frame %d after %d", f.Version, lastFull)
			}
			lastFull = f.Version
			if !slices.Contains(documented, f.Action) {
				o.unknown++
			}
			continue
		case restarts && f.Version == 1 && last > 0:
			o.restarts++
			last = 0
		case f.Version > last+1:
			o.lost += int(f.Version - last - 1)
		case f.Version <= last && got[f.Version]:
			o.twice++
		case f.Version <= last:
			o.lost-- // late, not lost
			o.swapped++
		}
		got[f.Version] = true
		last = max(last, f.Version)
	}
	return o
}

// Each fault of the stream does to increments what it says, as often as it counts, and leaves full frames alone.
func TestFaultsOfTheStream(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		fault string
		plan  FaultPlan
		seen  func(*observed) *int
	}{
		{"drop", FaultPlan{Drop: 0.1}, func(o *observed) *int { return &o.lost }},
		{"repeat", FaultPlan{Repeat: 0.1}, func(o *observed) *int { return &o.twice }},
		{"swap", FaultPlan{Swap: 0.1}, func(o *observed) *int { return &o.swapped }},
		{"garbage", FaultPlan{Garbage: 0.1}, func(o *observed) *int { return &o.garbage }},
		{"unknown", FaultPlan{Unknown: 0.1}, func(o *observed) *int { return &o.unknown }},
		{"restart", FaultPlan{Restart: 0.05}, func(o *observed) *int { return &o.restarts }},
	} {
		t.Run(tc.fault, func(t *testing.T) {
			t.Parallel()
			b := serve(t, Config{Numbering: NumberPerConference, Conferences: 2, Seed: 5})
			conf := b.Conferences()[1]
			cl, _ := b.linked(conf)
			b.SetFaults(tc.plan)
			b.Step(conf.ID, 600)
			fired := b.Fired()
			b.Heal()
			b.Step(conf.ID, 100)
			o := observe(t, cl.subscribeAll(), tc.fault == "restart")
			seen := tc.seen(&o)
			if fired[tc.fault] == 0 || *seen == 0 {
				t.Errorf("fired %d times, seen %d times", fired[tc.fault], *seen)
			}
			// A swap with a full frame shows in no number, nor does a restart right after another.
			if exact := tc.fault != "swap" && tc.fault != "restart"; *seen > fired[tc.fault] || exact && *seen != fired[tc.fault] {
				t.Errorf("seen %d times, fired %d times", *seen, fired[tc.fault])
			}
			if *seen = 0; o != (observed{}) {
				t.Errorf("seen besides: %+v", o)
			}
			for name, count := range fired {
				if name != tc.fault && count != 0 {
					t.Errorf("%s fired %d times too", name, count)
				}
			}
		})
	}
}

// Whatever the faults did, one Subscribe after they have stopped shows the whole world.
func TestHeal(t *testing.T) {
	t.Parallel()
	b := serve(t, Config{Faults: FaultPlan{Drop: 0.3, Swap: 0.3, Repeat: 0.3, Garbage: 0.2, Unknown: 0.2, Restart: 0.1}})
	conf := b.first()
	cl, _ := b.linked(conf)
	b.Step(conf.ID, 300)
	b.Heal()
	before := b.Fired()
	frames := cl.subscribeAll()
	b.Step(conf.ID, 50)
	b.Pause()
	frames = append(frames, cl.subscribeAll()...)
	if diff := cmp.Diff(before, b.Fired()); diff != "" {
		t.Errorf("faults fired after they were healed:\n%s", diff)
	}
	known, want := make(model), make(model)
	for _, f := range frames[len(frames)-kindsWithFulls:] {
		known.apply(t, f)
	}
	r := b.rooms[conf.ID]
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range fulls(r.world) {
		want.apply(t, f)
	}
	if diff := cmp.Diff(want, known); diff != "" {
		t.Errorf("the healed world differs:\n%s", diff)
	}
}

// Old links fall silent, deaf or frozen, and come back when the plan is healed.
func TestFaultsOfAge(t *testing.T) {
	t.Parallel()
	const age = 50 * time.Millisecond
	for _, tc := range []struct {
		fault  string
		plan   FaultPlan
		pushes bool
	}{
		{"silent", FaultPlan{Silent: age}, false},
		{"halfopen", FaultPlan{HalfOpen: age}, false},
		{"deaf", FaultPlan{Deaf: age}, true},
	} {
		t.Run(tc.fault, func(t *testing.T) {
			t.Parallel()
			b := serve(t, Config{})
			conf := b.first()
			cl, _ := b.linked(conf)
			b.SetFaults(tc.plan)
			waitFor(t, "the fault", func() bool { return b.Fired()[tc.fault] == 1 })
			cl.send(`{"action":"HeartBeat","sequence":"1"}`)
			if tc.fault != "halfopen" { // that one doesn't read it
				waitFor(t, "the request to be read", func() bool { return b.Requests()["heartbeat"] == 1 })
			}
			b.Step(conf.ID, 30)
			b.Inject(conf.ID, []byte(`{"action":"marker"}`))
			if tc.pushes {
				for _, f := range cl.until("a pushed frame", func(f frame) bool { return f.Action == "marker" }) {
					if f.Action == "HeartBeat" {
						t.Error("a deaf link answered")
					}
				}
			}
			b.Heal()
			cl.send(`{"action":"HeartBeat","sequence":"2"}`)
			for _, f := range cl.until("an answer", func(f frame) bool { return f.Sequence == "2" }) {
				// The half-open link reads the first request late, when it thaws.
				if f.Sequence == "1" && tc.fault != "halfopen" || f.Action == "marker" {
					t.Errorf("after healing came %s", f.raw)
				}
			}
			if n := b.Fired()[tc.fault]; n != 1 {
				t.Errorf("%s fired %d times for one link", tc.fault, n)
			}
			cl.subscribeAll()
		})
	}
}

// A silent link doesn't answer pings either, and isn't closed.
func TestSilentLinkStaysOpen(t *testing.T) {
	t.Parallel()
	b := serve(t, Config{Faults: FaultPlan{Silent: time.Nanosecond}})
	cl := b.dialled(b.first())
	cl.subscribe(documented, cl.token)
	if !cl.silentFor(150 * time.Millisecond) {
		t.Error("a silent link sent something or was closed")
	}
}

func TestCutFault(t *testing.T) {
	t.Parallel()
	b := serve(t, Config{Faults: FaultPlan{Cut: 60 * time.Millisecond}, Seed: 1})
	conf := b.first()
	var codes []websocket.StatusCode
	for range 8 {
		codes = append(codes, b.dialled(conf).ended())
	}
	if n := b.Fired()["cut"]; n != 8 {
		t.Errorf("cut fired %d times, want 8", n)
	}
	if slices.Sort(codes); len(slices.Compact(codes)) != 2 {
		t.Errorf("links were cut with %v, want some with a close frame and some without", codes)
	}
	b.Heal()
	cl, _ := b.linked(conf)
	if !cl.silentFor(150 * time.Millisecond) {
		t.Error("a healed link was cut")
	}
}

// Tokens that end early take their links along.
func TestExpireFault(t *testing.T) {
	t.Parallel()
	b := serve(t, Config{})
	cl := b.dialled(b.first())
	b.SetFaults(FaultPlan{Expire: 80 * time.Millisecond})
	if code := cl.ended(); code != websocket.StatusPolicyViolation {
		t.Errorf("closed with %v, want %v", code, websocket.StatusPolicyViolation)
	}
	if b.Fired()["expire"] == 0 {
		t.Error("expire didn't count")
	}
	status, _, body := get(t, b.Handler(), "GET", pathWSToken, cl.conf, map[string]string{
		"X-Conference-Authorization": cl.token,
	})
	if status != 400 || body["error_code"] != "MMC.111081006" {
		t.Errorf("wsToken with an expired token = %d %v", status, body)
	}
}

func TestRefuseFault(t *testing.T) {
	t.Parallel()
	b := serve(t, Config{Faults: FaultPlan{Refuse: 3}})
	for range 3 {
		status, _, _ := get(t, b.Handler(), "GET", pathToken, b.first().ID, map[string]string{
			"X-Password": b.first().Password.Reveal(), "X-Login-Type": "1",
		})
		if status < 500 {
			t.Errorf("status %d, want 5xx", status)
		}
	}
	logIn(t, b.Handler(), b.first())
	if n := b.Fired()["refuse"]; n != 3 {
		t.Errorf("refuse fired %d times, want 3", n)
	}
}

func TestSlowFault(t *testing.T) {
	t.Parallel()
	b := serve(t, Config{Faults: FaultPlan{Slow: 60 * time.Millisecond}, Seed: 1})
	begin := time.Now()
	cl, _ := b.linked(b.first())
	for range 10 {
		cl.subscribeAll()
	}
	if d := time.Since(begin); d < 60*time.Millisecond {
		t.Errorf("twelve slow answers took %v", d)
	}
	if n := b.Fired()["slow"]; n < 12 {
		t.Errorf("slow fired %d times, want at least 12", n)
	}
}
