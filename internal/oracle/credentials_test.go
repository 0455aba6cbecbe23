package oracle_test

import (
	"encoding/json"
	"flag"
	"strings"
	"testing"
	"time"

	"confgate/internal/confctl"
	"confgate/internal/gateway"
	"confgate/internal/oracle/oracletest"
	"confgate/internal/simulator"
	"confgate/internal/simulator/simulatortest"
)

var (
	tokenLife = flag.Duration("oracle.tokenlife", 5*time.Second, "life of control tokens in TestControlTokenIsRefreshed")
	tokenRun  = flag.Duration("oracle.tokenrun", 11*time.Second, "how long TestControlTokenIsRefreshed runs")
)

// awaitLink follows a conference's link until ok holds.
func awaitLink(t *testing.T, c *oracletest.Reader, nudge <-chan struct{}, ok func(state, reason string) bool) {
	t.Helper()
	late := time.NewTimer(oracletest.Patience)
	defer late.Stop()
	for {
		var doc struct {
			Link struct{ State, Reason string }
		}
		if err := json.Unmarshal(c.Report().Document, &doc); err != nil {
			t.Fatal(err)
		}
		if ok(doc.Link.State, doc.Link.Reason) {
			return
		}
		select {
		case <-nudge:
		case <-late.C:
			t.Fatalf("link is still %+v", doc.Link)
		}
	}
}

// A wrong password is tried once, since a second try would lock the account; clients and operators are told.
func TestWrongPasswordIsTriedOnce(t *testing.T) {
	t.Parallel()
	provider, origin := simulatortest.Start(t, simulator.Config{Conferences: 1, Seed: 4})
	w := startWorker(t, provider, origin, func(o *gateway.Options) {
		o.LogLevel = "info"
		o.Conferences[0].Password = confctl.NewSecret("not-the-password")
	})
	nudge := make(chan struct{}, 1)
	c := startReader(t, w, &oracletest.Reader{Name: "reader", Conference: provider.Conferences()[0].ID, Nudge: nudge})
	awaitLink(t, c, nudge, func(state, reason string) bool { return state == "unavailable" && reason == "credentials" })
	if got := provider.Requests()["token"]; got != 1 {
		t.Errorf("%d token requests, want exactly one", got)
	}
	lines := 0
	for line := range strings.Lines(w.log.String()) {
		if strings.Contains(line, `"conf":"`+c.Conference) && !strings.Contains(line, "new epoch") {
			lines++
		}
	}
	if lines != 1 {
		t.Errorf("%d log lines about the conference, want one:\n%s", lines, w.log.String())
	}
}

// A control token that runs out is refreshed before it does, and the link stays.
func TestControlTokenIsRefreshed(t *testing.T) {
	t.Parallel()
	provider, origin := simulatortest.Start(t, simulator.Config{Conferences: 1, Participants: 10, Rate: 20, Seed: 5, TokenLife: *tokenLife})
	w := startWorker(t, provider, origin, nil)
	nudge := make(chan struct{}, 1)
	c := &oracletest.Reader{Name: "reader", Conference: provider.Conferences()[0].ID, Nudge: nudge}
	startReader(t, w, c)
	awaitLink(t, c, nudge, func(state, _ string) bool { return state == "live" })
	end := time.NewTimer(*tokenRun)
	defer end.Stop()
	<-end.C
	provider.Pause()
	oracletest.AwaitTruth(t, provider, []*oracletest.Reader{c}, nudge)
	r := provider.Requests()
	if want := int(*tokenRun / *tokenLife); r["dial"] != 1 || r["token"] != 1 || r["refresh"] < want {
		t.Errorf("requests %v; want one dial, one token and %d refreshes at least", r, want)
	}
	// The token goes on being refreshed: what is counted lies between what was asked for before and after, but for one whose
	// answer is on its way.
	before := r["refresh"]
	n := int(metric(t, w.metrics(t), `confgate_upstream_token_refresh_total{result="ok"}`))
	if after := provider.Requests()["refresh"]; n < before-1 || n > after {
		t.Errorf("%d refreshes counted, want %d to %d", n, before, after)
	}
}
