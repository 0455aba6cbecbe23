package session

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"

	"confgate/internal/confctl"
)

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.fulls = full()
	wrong := func(c *Config) { c.Password = confctl.NewSecret("canary-wrong") }
	run(t, newFakeLog(), p, func(r *rig) {
		refusedAt := time.Now()
		pass(time.Hour)
		if got := p.count("token"); got != 1 {
			t.Errorf("token requests = %d, want 1", got)
		}
		wantLink(t, r.log, "unavailable/credentials")
		var lines []string
		for _, e := range r.lines.FilterLevelExact(zapcore.ErrorLevel).All() {
			lines = append(lines, e.Message)
		}
		if others := r.lines.FilterLevelExact(zapcore.WarnLevel).Len(); len(lines) != 1 || others != 0 {
			t.Errorf("error lines = %q and %d warnings, want one line alone", lines, others)
		}
		if time.Since(refusedAt) < DefaultSamePassword {
			t.Error("the bubble's time stands still")
		}
		set := func(pw string) {
			if err := r.set(pw); err != nil {
				t.Error(err)
			}
			pass(time.Second)
		}
		set("canary-wrong") // again, and long after: one more try
		if got := p.count("token"); got != 2 {
			t.Errorf("token requests after the same password an hour later = %d, want 2", got)
		}
		pass(DefaultSamePassword - 2*time.Second)
		set("canary-wrong")
		if got := p.count("token"); got != 2 {
			t.Errorf("token requests after the same password within 10 min = %d, want 2", got)
		}
		set("right")
		if got := p.count("token"); got != 3 {
			t.Errorf("token requests after another password = %d, want 3", got)
		}
		wantLink(t, r.log, "live")
	}, wrong)
}

// A password that came while another one was being refused was taken for the refused one, and never sent.
func TestPasswordComesWhileAnotherIsRefused(t *testing.T) {
	t.Parallel()
	t.Run("connecting", func(t *testing.T) {
		t.Parallel()
		p := newFakeProvider()
		p.fulls = full()
		p.onToken = func() error { time.Sleep(time.Second); return nil }
		run(t, newFakeLog(), p, func(r *rig) {
			if err := r.set("right"); err != nil {
				t.Error(err)
			}
			pass(time.Minute)
			wantLink(t, r.log, "live")
			if got := p.count("token"); got != 2 {
				t.Errorf("token requests = %d, want one for each password", got)
			}
		}, func(c *Config) { c.Password = confctl.NewSecret("canary-wrong") })
	})
	t.Run("renewing", func(t *testing.T) {
		t.Parallel()
		p := newFakeProvider()
		p.fulls, p.life = full(), time.Minute
		run(t, newFakeLog(), p, func(r *rig) {
			wantLink(t, r.log, "live")
			p.with(func() {
				p.password = "another"
				p.onToken = func() error { time.Sleep(time.Second); return nil }
				p.onRefresh = func() error { return refusalOf("refresh", "MMC.118000001", false) }
			})
			pass(40*time.Second + 500*time.Millisecond)
			if err := r.set("another"); err != nil {
				t.Error(err)
			}
			pass(5 * time.Second)
			wantLink(t, r.log, "live")
			if got := p.count("token"); got != 3 {
				t.Errorf("token requests = %d, want the first, the refused one and the new password's", got)
			}
			p.wire().fail(errAway)
			pass(time.Minute)
			wantLink(t, r.log, "live")
		})
	})
}

func TestRefusalOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	p, log := newFakeProvider(), newFakeLog()
	p.fulls = full()
	wrong := func(c *Config) { c.Password, c.RefusalKey = confctl.NewSecret("canary-wrong"), []byte("key") }
	run(t, log, p, func(r *rig) { wantLink(t, r.log, "unavailable/credentials") }, wrong)
	run(t, log, p, func(r *rig) {
		wantLink(t, r.log, "unavailable/credentials")
		if got := p.count("token"); got != 1 {
			t.Errorf("token requests of both processes = %d, want 1", got)
		}
	}, wrong)
	run(t, log, p, func(r *rig) { wantLink(t, r.log, "live") },
		func(c *Config) { c.RefusalKey = []byte("key") })
	if strings.Contains(string(log.memory), "canary") {
		t.Errorf("memory %s holds the password", log.memory)
	}
}

func TestLocked(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.fulls = full()
	p.onToken = func() error { return refusalOf("token", "MMC.111072064", true) }
	run(t, newFakeLog(), p, func(r *rig) {
		wantLink(t, r.log, "unavailable/locked")
		pass(DefaultLocked - time.Second)
		if got := p.count("token"); got != 1 {
			t.Errorf("token requests while locked = %d, want 1", got)
		}
		p.with(func() { p.onToken = nil })
		pass(2 * time.Second)
		wantLink(t, r.log, "live")
	})
}

func TestLockedWhileRenewing(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.life, p.fulls = 6*time.Second, full()
	run(t, newFakeLog(), p, func(r *rig) {
		p.with(func() {
			p.onRefresh = func() error { return refusalOf("refresh", "MMC.118000001", false) }
			p.onToken = func() error { return refusalOf("token", "MMC.111072064", true) }
		})
		pass(10 * time.Second)
		wantLink(t, r.log, "live")
		p.wire().fail(errors.New("cut"))
		pass(time.Minute)
		wantLink(t, r.log, "unavailable/locked")
		if got := p.count("token"); got != 2 {
			t.Errorf("token requests = %d, want 2: the first and the one that was told of the lock", got)
		}
		p.with(func() { p.onToken = nil })
		pass(DefaultLocked)
		wantLink(t, r.log, "live")
	})
}

func TestTokenRefusedOnTheWay(t *testing.T) {
	t.Parallel()
	p := newFakeProvider()
	p.fulls = full()
	run(t, newFakeLog(), p, func(r *rig) {
		// The token at hand is refused once: another one by password, at once.
		refusals := 1
		p.with(func() {
			p.onWSToken = func() error {
				if refusals--; refusals >= 0 {
					return refusalOf("wsToken", "MMC.111081006", false)
				}
				return nil
			}
		})
		p.wire().fail(errors.New("cut"))
		pass(time.Second)
		wantLink(t, r.log, "live")
		if p.count("token") != 2 || p.count("wsToken") != 3 || p.count("dial") != 2 {
			t.Errorf("tokens, wsTokens, dials = %d, %d, %d; want 2, 3, 2", p.count("token"), p.count("wsToken"), p.count("dial"))
		}
		// A dial that refuses every token is retried with back-off, not in a loop.
		p.with(func() {
			p.onDial = func() error { return &confctl.Error{API: "dial", HTTPStatus: 401, Class: confctl.ClassToken} }
		})
		p.wire().fail(errors.New("cut"))
		pass(10 * time.Second)
		wantLink(t, r.log, "connecting/provider")
		if got := p.count("dial"); got < 4 || got > 40 {
			t.Errorf("dials in 10 s of refusals = %d, want a few", got)
		}
	})
}

func TestSetPasswordAfterTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, newFakeLog(), newFakeProvider()).start(t.Context())
		synctest.Wait()
		r.stop(t)
		if err := r.set("x"); !errors.Is(err, ErrStopped) {
			t.Errorf("SetPassword() after Run = %v, want ErrStopped", err)
		}
	})
}

func TestNoSecretsInLines(t *testing.T) {
	t.Parallel()
	p, log := newFakeProvider(), newFakeLog()
	p.password = "canary-password"
	p.fulls = full(roster("p1"))
	run(t, log, p, func(r *rig) {
		p.wire().fail(errors.New("cut"))
		pass(time.Hour)
		p.with(func() { p.password = "another" })
		p.with(func() { p.onRefresh = func() error { return refusalOf("refresh", "MMC.118000001", false) } })
		pass(time.Hour)
		p.wire().fail(errors.New("cut"))
		pass(time.Hour)
		wantLink(t, log, "unavailable/credentials")
		for _, e := range r.lines.All() {
			for k, v := range e.ContextMap() {
				if s, ok := v.(string); ok && strings.Contains(s, "canary") {
					t.Errorf("line %q has %s = %q", e.Message, k, s)
				}
			}
		}
		if r.lines.Len() == 0 {
			t.Error("no lines at all")
		}
	}, func(c *Config) { c.Password = confctl.NewSecret("canary-password") })
	if strings.Contains(string(log.memory), "canary") {
		t.Errorf("memory %s holds a secret", log.memory)
	}
}
