package session

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"confgate/internal/confctl"
	"confgate/internal/conference"
)

// bodies are the bodies of the log's changes of a topic.
func (l *fakeLog) bodies(t conference.Topic) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []string
	for _, c := range l.changes {
		if c.Topic == t {
			list = append(list, string(c.Body))
		}
	}
	return list
}

func TestFenced(t *testing.T) {
	t.Parallel()
	p, log := newFakeProvider(), newFakeLog()
	synctest.Test(t, func(t *testing.T) {
		p.fulls = full(roster("p1"))
		r := newRig(t, log, p).start(t.Context())
		pass(time.Second)
		before := log.json(conference.Secrets)
		if _, _, err := log.Claim(t.Context(), conf); err != nil {
			t.Fatal(err)
		}
		p.wire().in <- renamed(1, "p1", "late")
		if err := <-r.result; !errors.Is(err, conference.ErrFenced) {
			t.Errorf("Run() = %v, want ErrFenced", err)
		}
		if !p.wire().closed() {
			t.Error("the link is open after the fence")
		}
		if got := log.json(conference.Secrets); got != before {
			t.Errorf("log = %s, want it as before: %s", got, before)
		}
		if got := r.lines.FilterMessage("session stopped").Len(); got != 1 {
			t.Errorf("lines about it = %d, want 1", got)
		}
		r.cancel()
	})
}

func TestUnansweredAppendIsRepeatedUnchanged(t *testing.T) {
	t.Parallel()
	p, log := newFakeProvider(), newFakeLog()
	p.fulls = full(roster("p1"))
	run(t, log, p, func(r *rig) {
		log.with(func() { log.appends, log.loseAnswers = nil, 2 })
		for n := range 50 {
			p.wire().in <- renamed(int64(n+1), "p1", fmt.Sprint("name ", n))
			if n == 10 {
				synctest.Wait()
			}
		}
		pass(5 * time.Second)
		log.with(func() {
			if len(log.appends) < 3 || !bytes.Equal(log.appends[0], log.appends[1]) {
				t.Errorf("appends = %d, first two equal: %v; want the first again, then the rest",
					len(log.appends), len(log.appends) > 1 && bytes.Equal(log.appends[0], log.appends[1]))
			}
		})
		if got := log.bodies(conference.Participants); len(got) != 51 {
			t.Errorf("changes of participants = %d, want 51, each once", len(got))
		}
		if got := log.topic(conference.Participants); !strings.Contains(got, "name 49") {
			t.Errorf("participants = %s, want name 49", got)
		}
		if got := log.count("claim"); got != 1 {
			t.Errorf("claims = %d, want 1", got)
		}
		away, back := r.lines.FilterMessage("log is away").Len(), r.lines.FilterMessage("log is back").Len()
		if away != 1 || back != 1 {
			t.Errorf("lines about the log = %d away, %d back; want 1, 1", away, back)
		}
	})
}

func TestLogAwayAndBack(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		changes int
		claims  int // that it takes in all
	}{
		{"the queue holds them", 50, 1},
		{"the queue overflows", 500, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, log := newFakeProvider(), newFakeLog()
			p.fulls = full(roster("p1"))
			run(t, log, p, func(*rig) {
				log.with(func() { log.away = true })
				for n := range tt.changes {
					p.wire().in <- renamed(int64(n+1), "p1", fmt.Sprint("name ", n))
					synctest.Wait()
				}
				p.wire().in <- subtitle("said meanwhile")
				pass(time.Minute)
				if p.wire().closed() {
					t.Error("the link was closed while the log was away")
				}
				log.with(func() { log.away = false })
				pass(5 * time.Second)
				if got := log.topic(conference.Participants); !strings.Contains(got, fmt.Sprint("name ", tt.changes-1)) {
					t.Errorf("participants = %s, want the last name", got)
				}
				if got := log.count("claim"); got != tt.claims {
					t.Errorf("claims = %d, want %d", got, tt.claims)
				}
				if got := log.bodies(conference.Subtitles); len(got) != 1 {
					t.Errorf("subtitles = %q, want the one", got)
				}
				if got := len(log.bodies(conference.Participants)); tt.claims == 2 && got != 3 {
					t.Errorf("changes of participants = %d, want 3: the first full, the one under way, the difference", got)
				}
				p.wire().in <- renamed(int64(tt.changes+1), "p1", "after")
				pass(time.Second)
				if got := log.topic(conference.Participants); !strings.Contains(got, "after") {
					t.Errorf("participants = %s, want it to go on", got)
				}
			}, func(c *Config) { c.QueueChanges = 100 })
		})
	}
}

func TestLogAwayAtTheStart(t *testing.T) {
	t.Parallel()
	p, log := newFakeProvider(), newFakeLog()
	p.fulls, log.away = full(roster("p1")), true
	run(t, log, p, func(*rig) {
		pass(time.Minute)
		if len(p.calls) != 0 {
			t.Errorf("calls of the provider without a log = %v, want none", p.calls)
		}
		log.with(func() { log.away = false })
		pass(3 * time.Second)
		wantLink(t, log, "live")
	})
}

func TestEpochLost(t *testing.T) {
	t.Parallel()
	p, log := newFakeProvider(), newFakeLog()
	p.fulls = full(roster("p1", "p2"))
	run(t, log, p, func(*rig) {
		log.with(func() { log.pos, log.doc, log.did = conference.Position{}, conference.NewDoc(), false })
		p.wire().in <- renamed(1, "p1", "Eve")
		synctest.Wait()
		p.wire().in <- renamed(2, "p1", "Zoe")
		pass(3 * time.Second)
		if got := log.topic(conference.Participants); !strings.Contains(got, "Zoe") || !strings.Contains(got, "p2") {
			t.Errorf("participants of the new epoch = %s, want Zoe and p2", got)
		}
		if got := log.bodies(conference.Participants); len(got) != 0 {
			t.Errorf("changes of participants in the new epoch = %q, want none: its first state has them", got)
		}
		if log.pos.Epoch != "e2" || log.count("begin") != 2 {
			t.Errorf("epoch = %q after %d begins, want e2 after 2", log.pos.Epoch, log.count("begin"))
		}
		p.wire().in <- renamed(3, "p1", "Ann")
		pass(time.Second)
		if got := log.topic(conference.Participants); !strings.Contains(got, "Ann") {
			t.Errorf("participants = %s, want it to go on", got)
		}
	})
}

func TestMisplacedAppendsClaimAgainSlowly(t *testing.T) {
	t.Parallel()
	p, log := newFakeProvider(), newFakeLog()
	p.fulls = full(roster("p1"))
	run(t, log, p, func(*rig) {
		log.with(func() { log.misplaced = 1000 })
		p.wire().in <- renamed(1, "p1", "Zoe")
		p.wire().in <- subtitle("kept")
		pass(time.Minute)
		if got := log.count("claim"); got < 5 || got > 60 {
			t.Errorf("claims in a minute of misplaced appends = %d, want 5 to 60", got)
		}
		log.with(func() { log.misplaced = 0 })
		pass(time.Minute)
		if got := log.topic(conference.Participants); !strings.Contains(got, "Zoe") {
			t.Errorf("participants = %s, want Zoe", got)
		}
		if got := log.bodies(conference.Subtitles); len(got) != 1 {
			t.Errorf("subtitles = %q, want the one", got)
		}
	})
}

func TestTakeover(t *testing.T) {
	t.Parallel()
	p, log := newFakeProvider(), newFakeLog()
	p.fulls = full(roster("p1", "p2"), func() []byte {
		return notify("ConfBasicInfoNotify", confctl.Full, 0, "", `,"title":"T","guestJoinUri":"https://canary"`)
	})
	run(t, log, p, func(*rig) {
		pass(DefaultCheckpoint)
		p.wire().in <- notify("InviteResultNotify", confctl.Full, 0, `[{"callNumber":"+99","resultCode":"11072076"}]`, "")
		pass(time.Millisecond) // and no checkpoint: the log tells the successor
		if got := len(log.bodies(conference.Invites)); got != 1 {
			t.Errorf("invite events = %d, want 1", got)
		}
	})
	if len(log.stored) == 0 {
		t.Fatal("no checkpoint was stored")
	}
	for _, secretless := range []bool{false, true} {
		log.secretless = secretless
		before := len(log.changes)
		run(t, log, p, func(*rig) {
			p.wire().in <- notify("InviteResultNotify", confctl.Full, 0, `[{"callNumber":"+99","resultCode":"11072076"}]`, "")
			pass(5 * time.Second)
			wantLink(t, log, "live")
			for _, c := range log.changes[before:] {
				secret := secretless && c.Topic == conference.Info && strings.Contains(string(c.Body), "canary")
				if c.Topic != conference.Link && !secret {
					t.Errorf("the successor (secretless %v) appended to %s: %s; want nothing", secretless, c.Topic, c.Body)
				}
			}
			if log.epochs != 1 {
				t.Errorf("epochs = %d, want 1", log.epochs)
			}
		})
	}
}

func TestDifferenceWithoutSecrets(t *testing.T) {
	t.Parallel()
	p, log := newFakeProvider(), newFakeLog()
	log.secretless = true
	p.fulls = full(roster("p1"), func() []byte {
		return notify("ConfBasicInfoNotify", confctl.Full, 0, "", `,"title":"T","guestJoinUri":"https://canary"`)
	})
	run(t, log, p, func(*rig) {
		before := len(log.bodies(conference.Info))
		log.with(func() { log.misplaced = 1 })
		p.wire().in <- renamed(1, "p1", "Zoe")
		pass(5 * time.Second)
		if got := log.bodies(conference.Info); len(got) != before {
			t.Errorf("changes of the conference = %q, want none by the difference", got[before:])
		}
		if got := log.topic(conference.Participants); !strings.Contains(got, "Zoe") {
			t.Errorf("participants = %s, want Zoe", got)
		}
	})
}

func TestCheckpoints(t *testing.T) {
	t.Parallel()
	p, log := newFakeProvider(), newFakeLog()
	p.fulls = full(roster("p1"))
	run(t, log, p, func(*rig) {
		pass(DefaultCheckpoint + time.Second)
		if got := log.count("checkpoint"); got != 1 {
			t.Errorf("checkpoints of a quiet conference = %d, want 1", got)
		}
		pass(time.Hour)
		if got := log.count("checkpoint"); got != 1 {
			t.Errorf("checkpoints of an idle hour = %d, want none more", got)
		}
		// Busy throughout, so that the log is never at rest: every 300 changes.
		for n := range 1500 {
			p.wire().in <- renamed(int64(n+1), "p1", fmt.Sprint("name ", n))
			if n%7 == 0 {
				synctest.Wait()
			}
		}
		pass(time.Second)
		if got := log.count("checkpoint"); got < 5 || got > 6 {
			t.Errorf("checkpoints after 1500 changes = %d, want 5 or 6", got)
		}
		for i, cp := range log.stored {
			if i > 0 && cp.Seq <= log.stored[i-1].Seq {
				t.Errorf("checkpoint %d at %d isn't after %d", i, cp.Seq, log.stored[i-1].Seq)
			}
		}
	}, func(c *Config) { c.Refresh = -1 })
}

func TestUnreadableMemory(t *testing.T) {
	t.Parallel()
	for _, memory := range []string{`{`, `{"state":7,"continuity":[]}`, `{"continuity":{"kind":-1}}`} {
		p, log := newFakeProvider(), newFakeLog()
		p.fulls, log.memory = full(roster("p1")), []byte(memory)
		run(t, log, p, func(r *rig) {
			wantLink(t, log, "live")
			if r.lines.FilterMessageSnippet("unreadable").Len() == 0 {
				t.Errorf("memory %s: no line says that it is unreadable", memory)
			}
		})
	}
}
