package session

import (
	"context"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"confgate/internal/confctl"
	"confgate/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a session at work over fakes.
type rig struct {
	*Session
	log      *fakeLog
	provider *fakeProvider
	lines    *observer.ObservedLogs
	metrics  *telemetry.Metrics
	cancel   context.CancelFunc
	result   chan error
	set      func(password string) error // SetPassword in the rig's own bubble
}

type option func(*Config)

func newRig(t *testing.T, log *fakeLog, p *fakeProvider, opts ...option) *rig {
	t.Helper()
	core, lines := observer.New(zap.DebugLevel)
	cfg := Config{
		Conference: conf, Password: confctl.NewSecret("right"), Log: log, Limiter: NewLimiter(DefaultRate),
		API: &confctl.API{Base: &url.URL{Scheme: "https", Host: "provider"}}, Logger: zap.New(core), Metrics: telemetry.NewMetrics("", "", ""),
	}
	for _, o := range opts {
		o(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if p != nil {
		s.provider = p
	}
	return &rig{
		Session: s, log: log, provider: p, lines: lines, metrics: cfg.Metrics, result: make(chan error, 1),
		set: func(password string) error { return s.SetPassword(t.Context(), confctl.NewSecret(password)) },
	}
}

// start runs the session; stop must be called before a bubble ends.
func (r *rig) start(ctx context.Context) *rig {
	ctx, r.cancel = context.WithCancel(ctx)
	go func() { r.result <- r.Run(ctx) }()
	return r
}

// stop ends the session, and checks that it ended as asked.
func (r *rig) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	if err := <-r.result; err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}
	r.log.with(func() {
		if r.log.broken != nil {
			t.Errorf("the log was given what can't be: %v", r.log.broken)
		}
	})
}

// run puts a session in a bubble, lets it settle, and hands it to fn, which may use t, but not end it.
func run(t *testing.T, log *fakeLog, p *fakeProvider, fn func(r *rig), opts ...option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, log, p, opts...).start(t.Context())
		// Not 0, so that frames of now are newer than those of the start.
		time.Sleep(time.Millisecond)
		synctest.Wait()
		fn(r)
		r.stop(t)
	})
}

// pass lets time pass in a bubble.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func wantLink(t *testing.T, l *fakeLog, want string) {
	t.Helper()
	if got := l.link(); got != want {
		t.Errorf("link = %s, want %s", got, want)
	}
}
