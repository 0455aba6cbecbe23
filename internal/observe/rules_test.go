package observe

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// wanted are alerts that must be there, whatever others there are.
var wanted = []string{
	"ConfgateLinksDown", "ConfgateNoFrames", "ConfgateCredentialsRefused", "ConfgateAccountLocked",
	"ConfgateProviderQuotaNearlyUsed", "ConfgateGapStorm", "ConfgateResyncStorm", "ConfgateUnknownFrames", "ConfgateRedisDown",
	"ConfgatePubSubLossy", "ConfgateFencedAppends", "ConfgateConferencesUnowned", "ConfgateDeliveryLatency",
	"ConfgateSlowClients", "ConfgateClientsRefused", "ConfgateTokenKeysStale", "ConfgateWorkerDown", "ConfgateWorkerRestarting",
}

// anchors are the sections of a page, as GitHub names them, and how many lines of text each has.
func anchors(t *testing.T, path string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines, section := make(map[string]int), ""
	for line := range strings.Lines(string(text)) {
		title := strings.TrimLeft(line, "#")
		if title == line || !strings.HasPrefix(title, " ") {
			if strings.TrimSpace(line) != "" {
				lines[section]++
			}
			continue
		}
		section = strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(title))
		lines[section] += 0
	}
	return lines
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	sections := anchors(t, guide)
	duration := regexp.MustCompile(`^[1-9][0-9]*[mh]$`)
	var names []string
	for _, r := range alerts(t) {
		names = append(names, r.Alert)
		if !strings.HasPrefix(r.Alert, "Confgate") || r.Record != "" {
			t.Errorf("rule %q%q: want alerts that begin with Confgate", r.Alert, r.Record)
		}
		if !duration.MatchString(r.For) {
			t.Errorf("%s: for is %q, want some minutes", r.Alert, r.For)
		}
		if s := r.Labels["severity"]; s != "warning" && s != "critical" {
			t.Errorf("%s: severity is %q", r.Alert, s)
		}
		if s := r.Annotations["summary"]; len(s) < 20 || !strings.HasSuffix(s, ".") || strings.Contains(s, "{{") {
			t.Errorf("%s: summary is %q, want a sentence about what users notice", r.Alert, s)
		}
		if r.Annotations["description"] == "" {
			t.Errorf("%s has no description", r.Alert)
		}
		page, section, _ := strings.Cut(r.Annotations["runbook_url"], "#")
		if page != "docs/operations.md" {
			t.Errorf("%s: the runbook is in %q", r.Alert, page)
		}
		if n, ok := sections[section]; !ok || n < 2 {
			t.Errorf("%s: the section %q of the guide has %d lines (exists: %v), want what to look at and what to do", r.Alert, section, n, ok)
		}
	}
	for _, name := range wanted {
		if !slices.Contains(names, name) {
			t.Errorf("there is no alert %s", name)
		}
	}
	slices.Sort(names)
	if unique := slices.Compact(slices.Clone(names)); len(unique) != len(names) {
		t.Error("two alerts have one name")
	}
}

func TestAnchors(t *testing.T) {
	t.Parallel()
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte("# A page\n\n## Redis or pub/sub down\n\none\ntwo\n#no title\n### Empty\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := anchors(t, page)
	if n := got["redis-or-pubsub-down"]; n != 3 {
		t.Errorf("lines of the section = %d, want 3; all: %v", n, got)
	}
	if n, ok := got["empty"]; n != 0 || !ok {
		t.Errorf("lines of the empty section = %d, %v, want 0, true", n, ok)
	}
}

// TestRuleCases runs the cases of the rules, and checks that each alert has one in which it fires and one in which it doesn't.
func TestRuleCases(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"check", "rules", filepath.Base(rulesFile)},
		{"test", "rules", filepath.Base(ruleCases)},
	} {
		if out, err := promtool(t, nil, args...); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	var cases struct {
		Tests []struct {
			AlertRuleTest []struct {
				Alertname string
				ExpAlerts []any `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	text, err := os.ReadFile(ruleCases)
	if err == nil {
		err = yaml.Unmarshal(text, &cases)
	}
	if err != nil {
		t.Fatal(err)
	}
	firing, quiet := make(map[string]bool), make(map[string]bool)
	for _, c := range cases.Tests {
		for _, a := range c.AlertRuleTest {
			if len(a.ExpAlerts) > 0 {
				firing[a.Alertname] = true
			} else {
				quiet[a.Alertname] = true
			}
		}
	}
	for _, r := range alerts(t) {
		if !firing[r.Alert] || !quiet[r.Alert] {
			t.Errorf("%s has a firing case: %v, a quiet one: %v", r.Alert, firing[r.Alert], quiet[r.Alert])
		}
	}
}
