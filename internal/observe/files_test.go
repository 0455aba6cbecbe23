package observe

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Where the things are that these tests are about.
const (
	rulesFile      = "../../deploy/prometheus/rules.yaml"
	ruleCases      = "../../deploy/prometheus/rules_test.yaml"
	dashboardFiles = "../../deploy/grafana/*.json"
	guide          = "../../docs/operations.md"
)

// ruleFile is what a file of rules says.
type ruleFile struct {
	Groups []ruleGroup `yaml:"groups"`
}

type ruleGroup struct {
	Name  string `yaml:"name"`
	Rules []rule `yaml:"rules"`
}

type rule struct {
	Alert       string            `yaml:"alert,omitempty"`
	Record      string            `yaml:"record,omitempty"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

// readYAML reads a file that knows no other members than out has.
func readYAML(t *testing.T, path string, out any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(out); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// alerts are all alerts of the rule file.
func alerts(t *testing.T) []rule {
	t.Helper()
	var file ruleFile
	readYAML(t, rulesFile, &file)
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// dashboard is what these tests read of a dashboard. Whether it is one, and a good one, is deploy/check's to say.
type dashboard struct {
	Title  string  `json:"title"`
	Panels []panel `json:"panels"`
}

type panel struct {
	Title   string   `json:"title"`
	Targets []target `json:"targets"`
}

type target struct {
	Expr    string `json:"expr"`
	Instant bool   `json:"instant"`
}

// dashboards reads all of them.
func dashboards(t *testing.T) []dashboard {
	t.Helper()
	files, err := filepath.Glob(dashboardFiles)
	if err != nil || len(files) < 5 {
		t.Fatalf("dashboards are %v, %v; want five at least", files, err)
	}
	all := make([]dashboard, len(files))
	for i, file := range files {
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &all[i])
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	return all
}

// filled is an expression as Grafana would send it, for all workers and with the given spans of time.
func filled(expr, interval, span string) string {
	return strings.NewReplacer("$__rate_interval", interval, "$__range", span, "$job", ".+", "$instance", ".+").Replace(expr)
}

var metricName = regexp.MustCompile(`\b(?:confgate|process|go)_[a-z0-9_]+\b`)

// metricsOf are the metrics that an expression names.
func metricsOf(expr string) []string { return metricName.FindAllString(expr, -1) }

// promtool runs promtool, in the folder of the rules.
func promtool(t *testing.T, stdin []byte, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("no promtool here: apt-get install prometheus")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = filepath.Dir(rulesFile)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
