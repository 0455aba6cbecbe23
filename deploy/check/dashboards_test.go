package check

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	grafanaprom "github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/prometheus/prometheus/promql/parser"
)

// classic is the form of dashboards that every Grafana reads.
type classic = dashboard.Dashboard //nolint:staticcheck // what replaces it is for the newest Grafana alone

// board is a dashboard as Grafana's own types have it.
type board struct {
	classic
	text    string
	panels  []dashboard.Panel // without rows
	queries []query
}

// query is one of a panel.
type query struct {
	grafanaprom.Dataquery
	panel string
	node  parser.Expr
	err   error // of the language; node is nil then
}

var registerPlugins = sync.OnceFunc(plugins.RegisterDefaultPlugins)

// readBoard decodes a dashboard strictly, the options of its panels and its queries included: unknown members, wrong types
// and missing ones that Grafana requires are errors.
func readBoard(text string) (*board, error) {
	registerPlugins()
	// It checks well, but leaves panels out, and without a mistake it gives an empty list of them, which isn't nil.
	var mistakes cog.BuildErrors
	if err := new(classic).UnmarshalJSONStrict([]byte(text)); err != nil && (!errors.As(err, &mistakes) || len(mistakes) > 0) {
		return nil, err
	}
	b := &board{text: text}
	if err := json.Unmarshal([]byte(text), &b.classic); err != nil {
		return nil, err
	}
	if err := b.Validate(); err != nil {
		return nil, err
	}
	language := parser.NewParser(parser.Options{})
	for _, p := range b.Panels {
		if p.Panel == nil {
			continue
		}
		b.panels = append(b.panels, *p.Panel)
		for _, target := range p.Panel.Targets {
			q := query{panel: is(p.Panel.Title)}
			switch data := target.(type) {
			case *grafanaprom.Dataquery:
				q.Dataquery = *data
			case grafanaprom.Dataquery:
				q.Dataquery = data
			}
			q.node, q.err = language.ParseExpr(filled(q.Expr))
			b.queries = append(b.queries, q)
		}
	}
	return b, nil
}

// Spans of time that no query gives by itself stand for those that Grafana fills in.
const (
	rateInterval = "11m11s"
	shownRange   = "22h22m22s"
)

func filled(expr string) string {
	return strings.NewReplacer("$__rate_interval", rateInterval, "$__range", shownRange).Replace(expr)
}

// is gives what a pointer points to, else the zero value.
func is[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}

// boards reads all dashboards.
func boards(t *testing.T) map[string]*board {
	t.Helper()
	files, err := filepath.Glob("../grafana/*.json")
	if err != nil || len(files) < 5 {
		t.Fatalf("dashboards are %v, %v; want five at least", files, err)
	}
	all := make(map[string]*board)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if all[filepath.Base(file)], err = readBoard(string(text)); err != nil {
			t.Fatalf("%s isn't what Grafana reads: %v", file, err)
		}
	}
	return all
}

func TestDashboards(t *testing.T) {
	t.Parallel()
	uids := make(map[string]string)
	for file, b := range boards(t) {
		for name, found := range lint(b) {
			t.Errorf("%s: %s: %s", file, name, strings.Join(found, "; "))
		}
		if other, taken := uids[is(b.Uid)]; taken {
			t.Errorf("%s and %s have one uid", file, other)
		}
		uids[is(b.Uid)] = file
		if len(b.queries) < 5 {
			t.Errorf("%s has %d queries, want some", file, len(b.queries))
		}
	}
}

// TestLintFinds spoils a dashboard in one way for each rule, and checks that this rule and no other sees it.
func TestLintFinds(t *testing.T) {
	t.Parallel()
	fleet := boards(t)["fleet.json"].text
	for _, r := range rules {
		if len(r.bad) == 0 {
			t.Errorf("%s has no bad example", r.name)
		}
		for _, bad := range r.bad {
			t.Run(r.name, func(t *testing.T) {
				t.Parallel()
				if !strings.Contains(fleet, bad.old) {
					t.Fatalf("fleet.json has no %s", bad.old)
				}
				b, err := readBoard(strings.Replace(fleet, bad.old, bad.new, 1))
				if err != nil {
					t.Fatalf("the bad example isn't even a dashboard: %v", err)
				}
				found := lint(b)
				if _, ok := found[r.name]; !ok || len(found) != 1 {
					t.Errorf("%s instead of %s: lint finds %v, want what this rule is about", bad.new, bad.old, found)
				}
			})
		}
	}
}

// TestStrictDashboards spoils a dashboard so that Grafana's types must refuse it.
func TestStrictDashboards(t *testing.T) {
	t.Parallel()
	fleet := boards(t)["fleet.json"].text
	for name, bad := range map[string]spoiling{
		"a misspelt member":      {`"graphTooltip"`, `"graphTooltips"`},
		"a misspelt option":      {`"reduceOptions"`, `"reduceOption"`},
		"a missing option":       {`"wideLayout": true,`, ``},
		"a number for a text":    {`"title": "Workers"`, `"title": 1`},
		"a text for a number":    {`"schemaVersion": 38`, `"schemaVersion": "38"`},
		"a query of other terms": {`"expr"`, `"expression"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(fleet, bad.old) {
				t.Fatalf("fleet.json has no %s", bad.old)
			}
			if _, err := readBoard(strings.Replace(fleet, bad.old, bad.new, 1)); err == nil {
				t.Errorf("%s is taken", bad.new)
			}
		})
	}
}

// TestGuideNamesDashboards looks for each dashboard in the guide's table, by its title.
func TestGuideNamesDashboards(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for file, b := range boards(t) {
		if row := "\n| " + strings.TrimPrefix(is(b.Title), "confgate / ") + " | "; !strings.Contains(string(guide), row) {
			t.Errorf("docs/operations.md has no row for %s (%s) in its table of dashboards", is(b.Title), file)
		}
	}
}
