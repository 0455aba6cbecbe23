package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"confgate/internal/confctl"
	"confgate/internal/gateway"
	"confgate/internal/oracle/oracletest"
	"confgate/internal/proctest"
	"confgate/internal/simulator"
)

// lapse is how much faster than in reality the rules look at the workers: a minute lasts four seconds.
const lapse = 15

// healthyFor is how long nothing may fire, a quarter of an hour for the rules: as long as nearly all of them look back, or wait.
const healthyFor = time.Minute

var (
	ruleRange   = regexp.MustCompile(`\[[0-9]+[mh]\]`)
	ruleSeconds = regexp.MustCompile(`(?s)^(histogram_quantile\(.+_seconds_bucket.+ > )([0-9.]+)\s*$`)
)

// faster is the rule file with every span of time divided by lapse. What an alert compares with seconds that were measured is
// multiplied instead: to these rules a pause of this machine, which does much else, lasts so many times as long.
func faster(t *testing.T) ruleFile {
	t.Helper()
	shorter := func(span string) string {
		d, err := time.ParseDuration(span)
		if err != nil {
			t.Fatal(err)
		}
		return (d / lapse).String()
	}
	var file ruleFile
	readYAML(t, rulesFile, &file)
	longer := 0
	for i := range file.Groups {
		for j := range file.Groups[i].Rules {
			r := &file.Groups[i].Rules[j]
			r.For = shorter(r.For)
			r.Expr = ruleRange.ReplaceAllStringFunc(r.Expr, func(s string) string { return "[" + inSeconds(shorter(s[1:len(s)-1])) + "]" })
			if m := ruleSeconds.FindStringSubmatch(r.Expr); m != nil {
				limit, err := strconv.ParseFloat(m[2], 64)
				if err != nil {
					t.Fatal(err)
				}
				r.Expr = m[1] + strconv.FormatFloat(limit*lapse, 'f', -1, 64)
				longer++
			}
		}
	}
	if longer == 0 {
		t.Error("no alert compares with measured seconds")
	}
	return file
}

// inSeconds writes 1m0s as 60s: Prometheus knows no spans with empty parts.
func inSeconds(span string) string {
	d, err := time.ParseDuration(span)
	if err != nil {
		return span
	}
	return strconv.Itoa(int(d.Seconds())) + "s"
}

// prometheus is a Prometheus that scrapes every other second.
type prometheus struct{ url string }

// startPrometheus runs one that scrapes the addresses of some jobs, until the test ends.
func startPrometheus(t *testing.T, jobs map[string][]string, rules ruleFile) *prometheus {
	t.Helper()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatal("no prometheus here: apt-get install prometheus")
	}
	dir := t.TempDir()
	write := func(name string, content any) string {
		text, err := yaml.Marshal(content)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	type m = map[string]any
	var scrapes []m
	for job, addrs := range jobs {
		scrapes = append(scrapes, m{"job_name": job, "static_configs": []m{{"targets": addrs}}})
	}
	config := write("prometheus.yaml", m{
		"global":         m{"scrape_interval": "2s", "evaluation_interval": "1s", "scrape_timeout": "2s"},
		"rule_files":     []string{write("rules.yaml", rules)},
		"scrape_configs": scrapes,
	})
	listen := proctest.Addrs(t, 1)[0]
	p := &prometheus{url: "http://" + listen}
	run := proctest.Start(t, "prometheus", path, nil, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+listen, "--log.level=warn", "--query.lookback-delta=10s")
	proctest.Until(t, "Prometheus starts", func() error {
		if run.Ended() {
			return proctest.ErrEnded
		}
		_, err := oracletest.Get(t.Context(), p.url+"/-/ready", "")
		return err
	})
	return p
}

// series is a series of an answer.
type series struct {
	Metric map[string]string
	Value  [2]any
	Values [][2]any
}

// some says whether a series has a value that is a number.
func (s *series) some() bool {
	for _, v := range append(s.Values, s.Value) {
		if text, ok := v[1].(string); ok && text != "NaN" {
			return true
		}
	}
	return false
}

// ask asks the API.
func (p *prometheus) ask(ctx context.Context, path string, query url.Values, data any) error {
	text, err := oracletest.Get(ctx, p.url+"/api/v1/"+path+"?"+query.Encode(), "")
	if err != nil {
		return err
	}
	answer := struct {
		Status string
		Data   any
	}{Data: data}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return errors.New("no success")
	}
	return nil
}

// query evaluates an expression now, or over the time since a start.
func (p *prometheus) query(ctx context.Context, expr string, since time.Time) ([]series, error) {
	values, path := url.Values{"query": {expr}}, "query"
	if !since.IsZero() {
		path = "query_range"
		values.Set("start", strconv.FormatInt(since.Unix(), 10))
		values.Set("end", strconv.FormatInt(time.Now().Unix(), 10))
		values.Set("step", "1")
	}
	var data struct{ Result []series }
	err := p.ask(ctx, path, values, &data)
	return data.Result, err
}

// firing are the alerts that have fired within a span of time.
func (p *prometheus) firing(t *testing.T, span string) []string {
	t.Helper()
	found, err := p.query(t.Context(), `count_over_time(ALERTS{alertstate="firing"}[`+span+`])`, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range found {
		names = append(names, fmt.Sprint(s.Metric))
	}
	return names
}

// evaluations waits until each rule was evaluated without an error.
func (p *prometheus) evaluations(t *testing.T, want int) {
	t.Helper()
	proctest.Until(t, "rules are evaluated", func() error {
		var data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
		if err := p.ask(t.Context(), "rules", nil, &data); err != nil {
			return err
		}
		n := 0
		for _, g := range data.Groups {
			for _, r := range g.Rules {
				if r.Health != "ok" {
					return fmt.Errorf("%s is %s: %s", r.Name, r.Health, r.LastError)
				}
				n++
			}
		}
		if n != want {
			return fmt.Errorf("%d rules, want %d", n, want)
		}
		return nil
	})
}

// readersEach is how many clients stay at each worker.
const readersEach = 10

// load has clients of several kinds come, stay and go, until the test ends.
func (f *fleet) load(t *testing.T) {
	t.Helper()
	var readers []*oracletest.Reader
	for i, w := range f.workers {
		for j := range readersEach {
			r := &oracletest.Reader{
				Name: fmt.Sprintf("reader %d at %d", j, i), Conference: f.confs[j%len(f.confs)], Secret: f.secret, Unchecked: true,
				Endpoint: func() string { return "http://" + w.Addr().String() },
			}
			r.Start(t)
			readers = append(readers, r)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			for _, w := range f.workers {
				origin := "http://" + w.Addr().String() + "/v1/conferences"
				// A worker that leaves answers no more, which is no matter of this test.
				_, _ = oracletest.Get(ctx, origin, f.token)
				_, _ = oracletest.Get(ctx, origin+"/"+f.confs[0], f.token)
				glance(ctx, origin+"/"+f.confs[0]+"/events", f.token)
			}
			readers[i%len(readers)].Disconnect()
		}
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
}

// glance opens an event stream and leaves after the first bytes.
func glance(ctx context.Context, address, token string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return
	}
	_, _ = io.ReadFull(resp.Body, make([]byte, 100))
	_ = resp.Body.Close()
}

// TestPrometheus has a Prometheus look for a minute at two workers under load, and at one as `gateway demo` has it, without
// Redis. All is well first, and no alert fires; meanwhile every panel shows something. Then the provider of the two goes away,
// and what should fire does, for them alone.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 2, simulator.Config{Conferences: 4, Participants: 15, Rate: 20, Seed: 5, TokenLife: 6 * time.Second}, nil)
	demo := startFleet(t, 1, simulator.Config{Conferences: 3, Seed: 1, Lively: true}, func(o *gateway.Options) { o.RedisURL = confctl.Secret{} })
	jobs := make(map[string][]string)
	for job, fl := range map[string]*fleet{"confgate": f, "demo": demo} {
		fl.awaitMetric(t, `confgate_upstream_links{state="live"}`, float64(len(fl.confs)))
		fl.load(t)
		fl.awaitMetric(t, "confgate_downstream_connections", float64(readersEach*len(fl.workers)))
		for _, w := range fl.workers {
			jobs[job] = append(jobs[job], w.AdminAddr().String())
		}
	}
	began := time.Now()
	p := startPrometheus(t, jobs, faster(t))
	p.evaluations(t, len(alerts(t)))

	f.checkNames(t)
	wait(t, healthyFor)
	p.evaluations(t, len(alerts(t)))
	if names := p.firing(t, "1h"); len(names) > 0 {
		t.Errorf("alerts fired while all was well: %v", names)
	}
	p.checkPanels(t, began)
	p.checkMatchers(t)

	// Frames of unknown kinds come, and then the provider refuses everything and cuts its links.
	f.provider.SetFaults(simulator.FaultPlan{Unknown: 1})
	proctest.Until(t, "unknown frames", func() error {
		if f.metric(t, "confgate_upstream_unknown_total") == 0 {
			return errors.New("none yet")
		}
		return nil
	})
	f.provider.SetFaults(simulator.FaultPlan{Refuse: 1 << 30})
	for _, c := range f.confs {
		f.provider.CutLinks(c)
	}
	for _, name := range []string{"ConfgateMostLinksDown", "ConfgateLinksDown", "ConfgateUnknownFrames"} {
		proctest.Until(t, name+" fires", func() error {
			if names := p.firing(t, "1h"); !slices.ContainsFunc(names, func(s string) bool { return strings.Contains(s, name) }) {
				return fmt.Errorf("only %v", names)
			}
			return nil
		})
	}
	for _, name := range p.firing(t, "1h") {
		if strings.Contains(name, "job:demo") {
			t.Errorf("fired for the demo, whose provider is well: %s", name)
		}
	}
	f.provider.Heal()
}

// checkNames checks that the workers expose every metric that an alert, a panel or the guides name.
func (f *fleet) checkNames(t *testing.T) {
	t.Helper()
	var text string // of all workers: one may hold every conference
	for _, w := range f.workers {
		text += f.text(t, w)
	}
	var exprs []string
	for _, r := range alerts(t) {
		exprs = append(exprs, r.Expr)
	}
	for _, d := range dashboards(t) {
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				exprs = append(exprs, q.Expr)
			}
		}
	}
	exprs = append(exprs, documented(t)...)
	names := 0
	for _, expr := range exprs {
		for _, name := range metricsOf(expr) {
			names++
			_, ok := oracletest.Metric(t, text, name)
			if _, histogram := oracletest.Metric(t, text, name+"_count"); !ok && !histogram {
				t.Errorf("no worker exposes %s, of %s", name, expr)
			}
		}
	}
	if names < len(exprs) {
		t.Errorf("found %d names of metrics in %d expressions", names, len(exprs))
	}
}

// matching are selectors that pick some series of a metric.
var matching = regexp.MustCompile(`\bconfgate_[a-z_]+\{[^}]+\}`)

// checkMatchers checks that what the alerts pick by label is there: a word that no worker ever uses would never fire.
func (p *prometheus) checkMatchers(t *testing.T) {
	t.Helper()
	picked := 0
	for _, r := range alerts(t) {
		for _, selector := range matching.FindAllString(r.Expr, -1) {
			picked++
			found, err := p.query(t.Context(), selector, time.Time{})
			if err != nil || len(found) == 0 {
				t.Errorf("%s: %s picks nothing (%v)", r.Alert, selector, err)
			}
		}
	}
	if picked == 0 {
		t.Error("no alert picks anything by label")
	}
}

// documented are the metrics that the guides name.
func documented(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, file := range []string{guide, "../../docs/deploy.md", "../../deploy/helm/confgate/values.yaml"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := metricsOf(string(text))
		if len(found) == 0 {
			t.Errorf("%s names no metric", file)
		}
		names = append(names, found...)
	}
	return names
}

// checkPanels checks that every query of every panel brings data.
func (p *prometheus) checkPanels(t *testing.T, began time.Time) {
	t.Helper()
	queries := 0
	for _, d := range dashboards(t) {
		for _, panel := range d.Panels {
			for _, q := range panel.Targets {
				queries++
				since := began
				if q.Instant {
					since = time.Time{}
				}
				found, err := p.query(t.Context(), filled(q.Expr, "8s", "20s"), since)
				if err != nil {
					t.Errorf("%s, %s: %v", d.Title, panel.Title, err)
				} else if !slices.ContainsFunc(found, func(s series) bool { return s.some() }) {
					t.Errorf("%s, %s: no data for %s", d.Title, panel.Title, q.Expr)
				}
			}
		}
	}
	if queries < 50 {
		t.Errorf("there are %d queries, want those of five dashboards", queries)
	}
}

// wait lets time go by in which the workers work.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}
