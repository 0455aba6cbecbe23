package session

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"confgate/internal/confctl"
	"confgate/internal/subscribe"
)

func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	c := Config{Conference: conf}.withDefaults()
	if c.Heartbeat != DefaultHeartbeat || c.Retain != DefaultRetain || c.CheckpointChanges != DefaultCheckpointChanges ||
		len(c.Types) != len(subscribe.Documented()) || c.Logger == nil || c.TLS == nil {
		t.Errorf("withDefaults() = %+v, want every zero replaced", c)
	}
	if c := (Config{Heartbeat: time.Second}).withDefaults(); c.Heartbeat != time.Second {
		t.Errorf("withDefaults().Heartbeat = %v, want the second it was", c.Heartbeat)
	}
}

func TestNewNamesAllThatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := New(Config{Heartbeat: -1, QueueBytes: -1})
	if err == nil {
		t.Fatal("New() of an empty configuration succeeded")
	}
	for _, want := range []string{"conference id", "no log", "no limiter", "no provider API", "heartbeat", "limit of changes"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("New() error = %q, want it to name: %s", err, want)
		}
	}
}

// countingLimiter notes what it was asked.
type countingLimiter struct {
	*LocalLimiter
	asked   []string
	learned map[string]int
}

func (l *countingLimiter) Wait(ctx context.Context, api string) error {
	l.asked = append(l.asked, api)
	return l.LocalLimiter.Wait(ctx, api)
}

func (l *countingLimiter) Learn(api string, limit int, per time.Duration) {
	l.learned[api] = limit
	l.LocalLimiter.Learn(api, limit, per)
}

func TestEveryCallIsLimitedAndCounted(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-APIG-Ratelimit-Api", "remain:9,limit:100,time:1 minute")
		_, _ = w.Write([]byte(`{"data":{"token":"t","webSocketToken":"w","participants":[]}}`))
	}))
	t.Cleanup(s.Close)
	lim := &countingLimiter{LocalLimiter: NewLimiter(DefaultRate), learned: map[string]int{}}
	var seen []string
	r := newRemote(Config{
		Limiter: lim, CallTimeout: time.Second,
		API: &confctl.API{Base: parseURL(t, s.URL), HTTP: s.Client(), Observe: func(c confctl.Call) { seen = append(seen, c.API) }},
	}.withDefaults())
	secret := confctl.NewSecret("x")
	_, err1 := r.token(t.Context(), conf, secret)
	_, err2 := r.refresh(t.Context(), conf, secret)
	_, err3 := r.wsToken(t.Context(), conf, secret)
	_, err4 := r.realTimeInfo(t.Context(), conf, secret)
	for i, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if _, err := r.dial(t.Context(), "wss://192.0.2.1:bad", conf, secret); err == nil {
		t.Error("dial of a bad address succeeded")
	}
	if got := strings.Join(lim.asked, " "); got != "token token wsToken realTimeInfo dial" {
		t.Errorf("the limiter was asked for %q, want every call, a refresh as token", got)
	}
	if got := strings.Join(seen, " "); got != "token refresh wsToken realTimeInfo" {
		t.Errorf("Observe of the caller saw %q, want the REST calls", got)
	}
	if len(lim.learned) != 3 || lim.learned["token"] != 100 {
		t.Errorf("learned = %v, want 100 for token, wsToken and realTimeInfo", lim.learned)
	}
}
