package observe

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var (
	selector  = regexp.MustCompile(`\b(?:confgate|process|go)_[a-z0-9_]+(\{[^}]*\})?`)
	rangeOf   = regexp.MustCompile(`\[([^\]]*)\]`)
	perObject = regexp.MustCompile(`\b(conference|conf|pid|user|subject|client|session)\b`)
)

// lint lists what is wrong with a dashboard, by the rules of Grafana's own linter and ours.
func lint(d *dashboard) []string {
	var wrong []string
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if !strings.HasPrefix(d.UID, "confgate-") || !strings.HasPrefix(d.Title, "confgate / ") || d.Description == "" {
		bad("uid %q, title %q, description %q", d.UID, d.Title, d.Description)
	}
	if d.Editable || !slices.Contains(d.Tags, "confgate") || d.SchemaVersion < 36 {
		bad("editable %v, tags %v, schemaVersion %d", d.Editable, d.Tags, d.SchemaVersion)
	}
	vars := make(map[string]variable)
	for _, v := range d.Templating.List {
		vars[v.Name] = v
	}
	if v := vars["datasource"]; v.Type != "datasource" || string(v.Query) != `"prometheus"` || v.Label != "Data source" {
		bad("no variable for the data source")
	}
	if v := vars["job"]; v.Type != "query" || v.Datasource.UID != "${datasource}" || !v.Multi || v.AllValue != ".+" || v.Refresh != 2 {
		bad("no variable for the job")
	}
	queries, ids := 0, make(map[int]bool)
	taken := make(map[[2]int]string)
	for _, p := range d.Panels {
		if ids[p.ID] {
			bad("%s: its id is another's", p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x > 23 {
					bad("%s lies over %q or the edge", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Title == "" || p.GridPos.W == 0 || p.GridPos.H == 0 {
			bad("panel %d: no title or no size", p.ID)
		}
		if p.Type == "row" {
			continue
		}
		if len(p.Description) < 15 || !strings.HasSuffix(p.Description, ".") {
			bad("%s: description is %q", p.Title, p.Description)
		}
		if p.Type == "alertlist" {
			continue
		}
		queries += len(p.Targets)
		wrong = append(wrong, lintQueries(&p)...)
	}
	if queries == 0 {
		bad("no queries")
	}
	return wrong
}

// lintQueries lists what is wrong with a panel that queries.
func lintQueries(p *panel) []string {
	var wrong []string
	bad := func(format string, args ...any) { wrong = append(wrong, p.Title+": "+fmt.Sprintf(format, args...)) }
	if p.FieldConfig.Defaults.Unit == "" {
		bad("no unit")
	}
	if len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
		bad("%d queries of the data source %q", len(p.Targets), p.Datasource.UID)
	}
	refs := make(map[string]bool)
	for _, q := range p.Targets {
		if q.Datasource.UID != "${datasource}" || q.RefID == "" || refs[q.RefID] {
			bad("query %q of the data source %q", q.RefID, q.Datasource.UID)
		}
		refs[q.RefID] = true
		found := selector.FindAllStringSubmatch(q.Expr, -1)
		if len(found) == 0 {
			bad("names no metric: %s", q.Expr)
		}
		for _, m := range found {
			if !strings.Contains(m[1], `job=~"$job"`) {
				bad("%s isn't limited to the job", m[0])
			}
		}
		for _, m := range rangeOf.FindAllStringSubmatch(q.Expr, -1) {
			if m[1] != "$__rate_interval" && m[1] != "$__range" {
				bad("looks back by a fixed time: %s", q.Expr)
			}
		}
		if perObject.MatchString(q.Expr) {
			bad("is about single conferences or clients: %s", q.Expr)
		}
	}
	return wrong
}

func TestDashboards(t *testing.T) {
	t.Parallel()
	uids := make(map[string]bool)
	var rules []rule
	for _, d := range dashboards(t) {
		for _, w := range lint(&d) {
			t.Errorf("%s: %s", d.file, w)
		}
		if uids[d.UID] {
			t.Errorf("%s: its uid is another's", d.file)
		}
		uids[d.UID] = true
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				rules = append(rules, rule{Record: fmt.Sprintf("query:%d", len(rules)), Expr: filled(q.Expr, "1m", "1h")})
			}
		}
	}
	// promtool is the judge of the language: each query becomes a rule.
	text, err := yaml.Marshal(ruleFile{Groups: []ruleGroup{{Name: "queries", Rules: rules}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "queries.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := promtool(t, nil, "check", "rules", path); err != nil {
		t.Errorf("promtool check rules: %v\n%s", err, out)
	}
}

// TestLintFinds spoils a good dashboard in several ways, and checks that the linter sees each.
func TestLintFinds(t *testing.T) {
	t.Parallel()
	find := func(d *dashboard) *panel {
		i := slices.IndexFunc(d.Panels, func(p panel) bool { return p.Type == "timeseries" })
		return &d.Panels[i]
	}
	for _, c := range []struct {
		name, want string
		spoil      func(d *dashboard)
	}{
		{"no unit", "no unit", func(d *dashboard) { find(d).FieldConfig.Defaults.Unit = "" }},
		{"no description", "description", func(d *dashboard) { find(d).Description = "" }},
		{"fixed range", "fixed time", func(d *dashboard) {
			find(d).Targets[0].Expr = `rate(confgate_upstream_gaps_total{job=~"$job"}[5m])`
		}},
		{"any job", "limited", func(d *dashboard) { find(d).Targets[0].Expr = `sum(confgate_fanout_up)` }},
		{"per conference", "single", func(d *dashboard) {
			find(d).Targets[0].Expr = `sum by (conference) (confgate_fanout_up{job=~"$job"})`
		}},
		{"fixed data source", "data source", func(d *dashboard) { find(d).Targets[0].Datasource.UID = "main" }},
		{"overlap", "lies over", func(d *dashboard) { find(d).GridPos.X, find(d).GridPos.Y = 0, 0 }},
		{"no variable", "no variable", func(d *dashboard) { d.Templating.List = d.Templating.List[1:] }},
		{"same id", "another's", func(d *dashboard) { find(d).ID = d.Panels[0].ID }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := dashboards(t)[0]
			c.spoil(&d)
			if found := strings.Join(lint(&d), "\n"); !strings.Contains(found, c.want) {
				t.Errorf("lint = %q, want something about %q", found, c.want)
			}
		})
	}
}
