package check

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/units"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// rule is one of the linter for dashboards. Names that end in "-rule", and template-on-time-change-reload, are those of
// Grafana's own linter, whose module can't be fetched by everybody; the rules here say the same, and are as strict or more.
type rule struct {
	name string
	find func(*board) []string // what is wrong
	bad  []spoiling            // ways to break this rule alone
}

// spoiling exchanges a text of fleet.json, where it comes first.
type spoiling struct{ old, new string }

// source is the data source that everything must use.
const source = "${datasource}"

const goodExpr = `count(confgate_build_info{job=~\"$job\", instance=~\"$instance\"})`

// expr is a spoiling of the first query.
func expr(text string) spoiling { return spoiling{goodExpr, strings.ReplaceAll(text, `"`, `\"`)} }

var rules = []rule{
	{"template-datasource-rule", datasourceVariable, []spoiling{
		{`"label": "Data source"`, `"label": "From"`},
		{`"query": "prometheus"`, `"query": "loki"`},
	}},
	{"template-job-rule", labelVariable("job", "Job"), []spoiling{
		{`"name": "job",` + "\n" + `        "label": "Job"`, `"name": "job",` + "\n" + `        "label": "Jobs"`},
		{`"allValue": ".+"`, `"allValue": ".*"`},
		{`"multi": true`, `"multi": false`},
	}},
	{"template-instance-rule", labelVariable("instance", "Instance"), []spoiling{{`"label": "Instance"`, `"label": "Pod"`}}},
	{"template-label-promql-rule", variableQueries, []spoiling{
		{`"query": "label_values(confgate_build_info, job)"`, `"query": "label_values(confgate_build_info{, job)"`},
		{`"query": "label_values(confgate_build_info, job)"`, `"query": "labels(confgate_build_info, job)"`},
	}},
	{"template-on-time-change-reload", variableRefresh, []spoiling{{`"refresh": 2`, `"refresh": 1`}}},
	{"template-unused-rule", unusedVariables, []spoiling{{
		`"list": [` + "\n" + `      {` + "\n" + `        "name": "datasource"`,
		`"list": [{"name": "zone", "label": "Zone", "type": "custom"}, {"name": "datasource"`,
	}}},
	{"uneditable-dashboard-rule", editable, []spoiling{{`"editable": false`, `"editable": true`}}},
	{"panel-title-description-rule", panelTexts, []spoiling{
		{`"title": "Workers"`, `"title": ""`},
		{`"description": "Workers that answer scrapes."`, `"description": ""`},
		{`"description": "Workers that answer scrapes."`, `"description": "Workers"`},
	}},
	{"panel-units-rule", panelUnits, []spoiling{
		{`"unit": "short"`, `"unit": "shorts"`},
		{`"unit": "short",`, ``},
	}},
	{"panel-datasource-rule", panelSources, []spoiling{
		{`"datasource": {` + "\n" + `        "type": "prometheus",` + "\n" + `        "uid": "${datasource}"`, `"datasource": {"type": "prometheus", "uid": "main"`},
		{`"datasource": {` + "\n" + `            "type": "prometheus",` + "\n" + `            "uid": "${datasource}"`, `"datasource": {"type": "prometheus", "uid": "main"`},
	}},
	{"panel-no-targets-rule", panelTargets, []spoiling{
		{`"panels": [`, `"panels": [{"id": 99, "type": "stat", "title": "Nothing", "description": "It shows nothing.",
			"gridPos": {"h": 1, "w": 1, "x": 0, "y": 99}, "fieldConfig": {"defaults": {"unit": "short"}, "overrides": []}},`},
	}},
	{"target-promql-rule", queryLanguage, []spoiling{expr(`count(confgate_build_info{job=~"$job"`), expr(`count(up, up)`)}},
	{"target-job-rule", queryMatches("job"), []spoiling{
		expr(`count(confgate_build_info{instance=~"$instance"})`),
		expr(`count(confgate_build_info{job="$job", instance=~"$instance"})`),
	}},
	{"target-instance-rule", queryMatches("instance"), []spoiling{expr(`count(confgate_build_info{job=~"$job"})`)}},
	{"target-rate-interval-rule", queryRanges, []spoiling{
		expr(`sum(rate(confgate_upstream_gaps_total{job=~"$job", instance=~"$instance"}[5m]))`),
		expr(`sum(rate(confgate_upstream_gaps_total{job=~"$job", instance=~"$instance"}[$__range]))`),
		expr(`sum(avg_over_time(confgate_fanout_up{job=~"$job", instance=~"$instance"}[1h]))`),
	}},
	{"target-counter-agg-rule", queryCounters, []spoiling{
		expr(`sum(confgate_upstream_gaps_total{job=~"$job", instance=~"$instance"})`),
		expr(`sum(delta(confgate_upstream_gaps_total{job=~"$job", instance=~"$instance"}[$__range]))`),
	}},
	// Ours.
	{"histogram by le", queryHistograms, []spoiling{
		expr(`histogram_quantile(0.9, sum(rate(confgate_provider_wait_seconds_bucket{job=~"$job", instance=~"$instance"}[$__rate_interval])))`),
	}},
	{"nothing per conference or client", querySubjects, []spoiling{
		expr(`count by (conference) (confgate_build_info{job=~"$job", instance=~"$instance"})`),
		expr(`count(confgate_build_info{job=~"$job", instance=~"$instance", subject!=""})`),
	}},
	{"a name that is ours", boardTexts, []spoiling{
		{`"uid": "confgate-fleet"`, `"uid": "fleet"`},
		{`"title": "confgate / Fleet"`, `"title": "Fleet"`},
		{`"schemaVersion": 38`, `"schemaVersion": 30`},
	}},
	{"a place for each panel", boardLayout, []spoiling{
		{`"id": 3,`, `"id": 2,`},
		{`"x": 3,`, `"x": 2,`},
		{`"x": 21,`, `"x": 22,`},
	}},
}

// lint lists what each rule finds.
func lint(b *board) map[string][]string {
	all := make(map[string][]string)
	for _, r := range rules {
		if found := r.find(b); len(found) > 0 {
			all[r.name] = found
		}
	}
	return all
}

// variable is a variable of the dashboard, or an empty one.
func (b *board) variable(name string) dashboard.VariableModel {
	i := slices.IndexFunc(b.Templating.List, func(v dashboard.VariableModel) bool { return v.Name == name })
	if i < 0 {
		return dashboard.VariableModel{}
	}
	return b.Templating.List[i]
}

func uid(s *common.DataSourceRef) string { return is(is(s).Uid) }

func datasourceVariable(b *board) []string {
	v := b.variable("datasource")
	if v.Type != dashboard.VariableTypeDatasource || is(is(v.Query).String) != "prometheus" || is(v.Label) != "Data source" {
		return []string{"want one variable for a Prometheus, named datasource and labelled Data source"}
	}
	return nil
}

func labelVariable(name, label string) func(*board) []string {
	return func(b *board) []string {
		v := b.variable(name)
		if v.Type != dashboard.VariableTypeQuery || uid(v.Datasource) != source || is(v.Label) != label || !is(v.Multi) || is(v.AllValue) != ".+" {
			return []string{fmt.Sprintf("want a variable %s, labelled %s, queried from %s, of several values, all of them by .+", name, label, source)}
		}
		return nil
	}
}

var labelValues = regexp.MustCompile(`^label_values\((.+), ([a-z_]+)\)$`)

func variableQueries(b *board) []string {
	var wrong []string
	for _, v := range b.Templating.List {
		if v.Type != dashboard.VariableTypeQuery {
			continue
		}
		text, _ := is(v.Query).Map["query"].(string)
		m := labelValues.FindStringSubmatch(text)
		if m == nil {
			wrong = append(wrong, fmt.Sprintf("%s is queried by %q, want label_values", v.Name, text))
		} else if _, err := parser.NewParser(parser.Options{}).ParseExpr(m[1]); err != nil {
			wrong = append(wrong, fmt.Sprintf("%s is queried by %q: %v", v.Name, text, err))
		}
	}
	return wrong
}

func variableRefresh(b *board) []string {
	var wrong []string
	for _, v := range b.Templating.List {
		if v.Type == dashboard.VariableTypeQuery && is(v.Refresh) != dashboard.VariableRefreshOnTimeRangeChanged {
			wrong = append(wrong, v.Name+" doesn't follow the shown time")
		}
	}
	return wrong
}

func unusedVariables(b *board) []string {
	var wrong []string
	for _, v := range b.Templating.List {
		if !strings.Contains(b.text, "$"+v.Name) && !strings.Contains(b.text, "${"+v.Name+"}") {
			wrong = append(wrong, v.Name)
		}
	}
	return wrong
}

func editable(b *board) []string {
	if b.Editable == nil || *b.Editable {
		return []string{"it can be edited, and would no longer be what is in the repository"}
	}
	return nil
}

func panelTexts(b *board) []string {
	var wrong []string
	for _, p := range b.panels {
		if d := is(p.Description); is(p.Title) == "" || len(d) < 15 || !strings.HasSuffix(d, ".") {
			wrong = append(wrong, fmt.Sprintf("panel %d: title %q, description %q, want a sentence", is(p.Id), is(p.Title), d))
		}
	}
	return wrong
}

// knownUnits are those that make sense here, by Grafana's names.
var knownUnits = []string{
	units.NoUnit, units.Short, units.PercentUnit, units.BoolYesNo, units.Seconds, units.BytesIEC, units.BytesPerSecondSI, units.OpsPerSecond,
}

func panelUnits(b *board) []string {
	var wrong []string
	for _, p := range b.panels {
		if p.Type == "alertlist" {
			continue
		}
		if unit := is(is(p.FieldConfig).Defaults.Unit); !slices.Contains(knownUnits, unit) {
			wrong = append(wrong, fmt.Sprintf("%s: the unit is %q", is(p.Title), unit))
		}
	}
	return wrong
}

func panelSources(b *board) []string {
	var wrong []string
	for _, p := range b.panels {
		if len(p.Targets) > 0 && uid(p.Datasource) != source {
			wrong = append(wrong, is(p.Title)+" has a data source of its own")
		}
	}
	for _, q := range b.queries {
		if uid(q.Datasource) != source {
			wrong = append(wrong, q.panel+" has a query of another data source")
		}
	}
	return wrong
}

func panelTargets(b *board) []string {
	var wrong []string
	for _, p := range b.panels {
		refs := make(map[string]bool)
		for _, q := range b.queries {
			if q.panel == is(p.Title) {
				refs[is(q.RefId)] = true
			}
		}
		if p.Type != "alertlist" && len(p.Targets) == 0 || len(refs) != len(p.Targets) {
			wrong = append(wrong, fmt.Sprintf("%s has %d queries with %d names", is(p.Title), len(p.Targets), len(refs)))
		}
	}
	return wrong
}

func queryLanguage(b *board) []string {
	var wrong []string
	for _, q := range b.queries {
		if q.err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %s: %v", q.panel, q.Expr, q.err))
		}
	}
	return wrong
}

// walk shows every part of every query that can be read, with what it lies in.
func (b *board) walk(visit func(q query, node parser.Node, path []parser.Node) string) []string {
	var wrong []string
	for _, q := range b.queries {
		if q.err != nil {
			continue // target-promql-rule has it
		}
		parser.Inspect(q.node, func(node parser.Node, path []parser.Node) error {
			if found := visit(q, node, path); found != "" {
				wrong = append(wrong, fmt.Sprintf("%s: %s: %s", q.panel, found, q.Expr))
			}
			return nil
		})
	}
	return wrong
}

func queryMatches(label string) func(*board) []string {
	return func(b *board) []string {
		return b.walk(func(_ query, node parser.Node, _ []parser.Node) string {
			selector, ok := node.(*parser.VectorSelector)
			if !ok || slices.ContainsFunc(selector.LabelMatchers, func(m *labels.Matcher) bool {
				return m.Name == label && m.Type == labels.MatchRegexp && m.Value == "$"+label
			}) {
				return ""
			}
			return fmt.Sprintf("%s doesn't match %s=~$%s", selector.Name, label, label)
		})
	}
}

// function is the one whose argument a node is.
func function(path []parser.Node) string {
	if len(path) > 0 {
		if call, ok := path[len(path)-1].(*parser.Call); ok {
			return call.Func.Name
		}
	}
	return ""
}

func queryRanges(b *board) []string {
	return b.walk(func(_ query, node parser.Node, path []parser.Node) string {
		m, ok := node.(*parser.MatrixSelector)
		if !ok {
			return ""
		}
		switch f := function(path); {
		case strings.Contains(m.String(), "["+rateInterval+"]"):
			return ""
		case strings.Contains(m.String(), "["+shownRange+"]") && f != "rate" && f != "irate":
			return "" // the whole of the shown time
		default:
			return "a span of time that is neither $__rate_interval nor, but for rates, $__range"
		}
	})
}

func queryCounters(b *board) []string {
	return b.walk(func(_ query, node parser.Node, path []parser.Node) string {
		selector, ok := node.(*parser.VectorSelector)
		if !ok || !regexp.MustCompile(`_(total|bucket|sum|count)$`).MatchString(selector.Name) {
			return ""
		}
		if n := len(path); n >= 2 && slices.Contains([]string{"rate", "irate", "increase"}, function(path[:n-1])) {
			return ""
		}
		return selector.Name + " is a counter, and means nothing by itself"
	})
}

func queryHistograms(b *board) []string {
	return b.walk(func(_ query, node parser.Node, _ []parser.Node) string {
		call, ok := node.(*parser.Call)
		if !ok || call.Func.Name != "histogram_quantile" {
			return ""
		}
		if sum, ok := call.Args[1].(*parser.AggregateExpr); ok && sum.Op == parser.SUM && slices.Contains(sum.Grouping, "le") {
			return ""
		}
		return "a quantile of what isn't summed by le"
	})
}

var subjects = []string{"conference", "conf", "pid", "participant", "user", "subject", "client", "session", "link"}

func querySubjects(b *board) []string {
	return b.walk(func(_ query, node parser.Node, _ []parser.Node) string {
		var used []string
		switch n := node.(type) {
		case *parser.AggregateExpr:
			used = n.Grouping
		case *parser.VectorSelector:
			for _, m := range n.LabelMatchers {
				used = append(used, m.Name)
			}
		}
		for _, label := range used {
			if slices.Contains(subjects, label) {
				return "is about each " + label
			}
		}
		return ""
	})
}

func boardTexts(b *board) []string {
	if !strings.HasPrefix(is(b.Uid), "confgate-") || !strings.HasPrefix(is(b.Title), "confgate / ") || is(b.Description) == "" ||
		!slices.Contains(b.Tags, "confgate") || b.SchemaVersion < 36 {
		return []string{fmt.Sprintf("uid %q, title %q, description %q, tags %q, schema %d", is(b.Uid), is(b.Title), is(b.Description), b.Tags, b.SchemaVersion)}
	}
	return nil
}

func boardLayout(b *board) []string {
	var wrong []string
	ids, taken := make(map[uint32]bool), make(map[[2]uint32]bool)
	for _, p := range b.Panels {
		id, at := is(p.RowPanel).Id, is(p.RowPanel).GridPos
		if p.Panel != nil {
			id, at = is(p.Panel.Id), p.Panel.GridPos
		}
		clash := id == 0 || ids[id] || is(at).W == 0 || is(at).H == 0
		ids[id] = true
		for x := is(at).X; x < is(at).X+is(at).W; x++ {
			for y := is(at).Y; y < is(at).Y+is(at).H; y++ {
				clash = clash || x > 23 || taken[[2]uint32{x, y}]
				taken[[2]uint32{x, y}] = true
			}
		}
		if clash {
			wrong = append(wrong, fmt.Sprintf("panel %d lies over another or the edge, or has another's number", id))
		}
	}
	return wrong
}
