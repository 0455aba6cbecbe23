package telemetry

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNilMetricsCountNothing(t *testing.T) {
	t.Parallel()
	var m *Metrics
	m.LinkMoved("", "live")
	m.LinkUnavailable("", "locked")
	m.ProviderWait("token", time.Second)
	m.Unowned(1)
	m.Frame("other", "full")
	m.Unknown("frame")
	m.Gap()
	m.Resync()
	m.Reconnect("network")
	m.HeartbeatRTT(time.Millisecond)
	m.TokenRefresh("ok")
	m.ProviderCall("token", "200")
	m.Published("link", 1)
	m.Fenced()
	m.Refill()
	m.FanoutUp(true)
	m.Owned(1)
	m.Takeover("start")
	m.Connections(1)
	m.Subscriptions(1)
	m.Sent("delta", 1, 10)
	m.Snapshot("lag")
	m.Closed("normal")
	m.Refused(LimitMessages)
	m.Request("list", 200)
	m.KeyRefresh(true)
	m.KeysStale(true)
	m.Latency("append", time.Millisecond)
	if m.Registry() == nil {
		t.Error("(*Metrics)(nil).Registry() = nil, want an empty registry")
	}
}

func TestAdminHandler(t *testing.T) {
	t.Parallel()
	m := NewMetrics("v1", "c0ffee", "go1.26")
	m.Frame("ParticipantsNotify", "increment")
	m.LinkMoved("", "connecting")
	m.LinkMoved("connecting", "live")
	var h Health
	tests := []struct {
		name, path string
		ready      bool
		pprof      bool
		status     int
		contains   string
	}{
		{"alive before ready", "/livez", false, false, 200, "ok"},
		{"not ready at start", "/readyz", false, false, 503, "not ready"},
		{"ready", "/readyz", true, false, 200, "ok"},
		{"frames", "/metrics", true, false, 200, `confgate_upstream_frames_total{action="ParticipantsNotify",mode="increment"} 1`},
		{"links", "/metrics", true, false, 200, `confgate_upstream_links{state="live"} 1`},
		{"left state", "/metrics", true, false, 200, `confgate_upstream_links{state="connecting"} 0`},
		{"build", "/metrics", true, false, 200, `confgate_build_info{commit="c0ffee",goversion="go1.26",version="v1"} 1`},
		{"no pprof unless asked", "/debug/pprof/", true, false, 404, ""},
		{"pprof", "/debug/pprof/", true, true, 200, "goroutine"},
	}
	for _, tt := range tests {
		h.SetReady(tt.ready)
		w := httptest.NewRecorder()
		AdminHandler(m, &h, tt.pprof).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, tt.path, http.NoBody))
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.contains) {
			t.Errorf("%s: GET %s = %d, body has %q: %v; want %d, true",
				tt.name, tt.path, w.Code, tt.contains, strings.Contains(w.Body.String(), tt.contains), tt.status)
		}
	}
}

func TestNewLogger(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	log, err := NewLogger(&buf, "warn", "json")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("quiet")
	log.Warn("loud", Conference("900"), Seq(7))
	if got := buf.String(); strings.Contains(got, "quiet") || !strings.Contains(got, `"conf":"900","seq":7`) {
		t.Errorf("log = %q, want the warning with its keys and nothing else", got)
	}
	for _, bad := range [][2]string{{"loudly", "json"}, {"info", "xml"}} {
		if _, err := NewLogger(&buf, bad[0], bad[1]); err == nil || !strings.Contains(err.Error(), "want one of") {
			t.Errorf("NewLogger(%q, %q) = %v, want an error that says what is allowed", bad[0], bad[1], err)
		}
	}
}

// The names and labels that alerts, boards and other people's tools are written against.
func TestMetricsOfTheContract(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"upstream_links": "state", "upstream_frames_total": "action mode", "upstream_unknown_total": "what", "upstream_gaps_total": "",
		"upstream_resyncs_total": "", "upstream_reconnects_total": "reason", "upstream_heartbeat_rtt_seconds": "",
		"upstream_token_refresh_total": "result", "provider_calls_total": "api code", "fanout_published_total": "topic",
		"fanout_fenced_total": "", "fanout_log_refills_total": "", "fanout_up": "", "ownership_conferences": "",
		"ownership_takeovers_total": "reason", "downstream_connections": "", "downstream_subscriptions": "",
		"downstream_messages_total": "type", "downstream_bytes_total": "", "downstream_snapshots_total": "reason",
		"downstream_closed_total": "reason", "delivery_latency_seconds": "stage", "build_info": "commit goversion version",
	}
	m := NewMetrics("v1", "c0ffee", "go1.26")
	// Labels with open sets of values have no series before there is something to count.
	m.Frame("ParticipantsNotify", "full")
	m.ProviderCall("token", "200")
	m.Published("link", 1)
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	series := map[string]int{}
	for _, f := range families {
		name, ours := strings.CutPrefix(f.GetName(), "confgate_")
		if _, named := want[name]; !ours || !named {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		got[name], series[name] = strings.Join(labels, " "), len(f.GetMetric())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("labels of the metrics by name (-want +got):\n%s", diff)
	}
	if n := series["downstream_messages_total"]; n != len(messageTypes) {
		t.Errorf("series of messages before the first = %d, want one of each of the %d types", n, len(messageTypes))
	}
}
