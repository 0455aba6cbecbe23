package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "confgate"

// mayImport is the table of docs/ARCHITECTURE.md: for each package, which others of this module its code may import. Tests
// may import more. A package that isn't here fails the test: enter it there and here first.
var mayImport = map[string][]string{
	"api":                        {},
	"cmd/gateway":                {"internal/bench", "internal/gateway", "internal/simulator", "internal/watch"},
	"internal/bench":             {"internal/conference", "internal/oracle", "internal/simulator", "internal/watch"},
	"internal/confctl":           {"internal/rawjson"},
	"internal/conference":        {"internal/confctl", "internal/rawjson"},
	"internal/edge":              {"internal/conference", "internal/heartbeat", "internal/rawsock", "internal/telemetry"},
	"internal/edge/page":         {},
	"internal/fanout":            {"internal/conference", "internal/telemetry"},
	"internal/fanout/fanouttest": {"internal/conference", "internal/fanout", "internal/proctest", "internal/telemetry"},
	"internal/gateway":           {everything},
	"internal/heartbeat":         {},
	"internal/hugepages":         {},
	"internal/observe":           {},
	"internal/oracle":            {everything},
	"internal/oracle/faults":     {everything},
	"internal/oracle/oracletest": {everything},
	"internal/ownership":         {"internal/conference", "internal/telemetry"},
	"internal/proctest":          {},
	"internal/rawjson":           {},
	"internal/rawsock":           {},
	"internal/rehearse":          {},
	"internal/session": {
		"internal/confctl", "internal/conference", "internal/subscribe", "internal/heartbeat", "internal/rawsock", "internal/telemetry",
	},
	"internal/simulator":               {"internal/confctl"},
	"internal/simulator/simulatortest": {"internal/simulator"},
	"internal/subscribe":               {"internal/confctl"},
	"internal/telemetry":               {},
	"internal/watch":                   {"internal/conference"},
}

const everything = "*"

// listed is what this test needs of `go list -json`.
type listed struct {
	ImportPath, Dir       string
	GoFiles, TestGoFiles  []string
	XTestGoFiles, Imports []string
}

// listPackages lists the module's packages.
func listPackages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Dir,GoFiles,TestGoFiles,XTestGoFiles,Imports", "./...")
	cmd.Dir = filepath.Join("..", "..")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, stderr.Bytes())
	}
	var packages []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, p)
	}
}

func TestImportTable(t *testing.T) {
	t.Parallel()
	packages := listPackages(t)
	// The composition root imports nearly all the others, so an empty or partial listing shows.
	if len(packages) < 10 {
		t.Fatalf("go list found %d packages, want all of this module", len(packages))
	}
	imports := 0
	for _, p := range packages {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		allowed, ok := mayImport[name]
		if !ok {
			t.Errorf("package %s isn't in the table", name)
			continue
		}
		for _, path := range p.Imports {
			imported, ours := strings.CutPrefix(path, module+"/")
			if !ours {
				continue
			}
			imports++
			if !slices.Contains(allowed, imported) && !slices.Contains(allowed, everything) {
				t.Errorf("package %s imports %s, which the table doesn't allow", name, imported)
			}
		}
	}
	if imports < 10 {
		t.Errorf("found %d imports within the module, want more: the listing is broken", imports)
	}
}

// TestPackageComments checks that every package has exactly one comment, in doc.go.
func TestPackageComments(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, p := range listPackages(t) {
		var found []string
		for _, file := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			if parsed.Doc != nil {
				found = append(found, file)
			}
		}
		checked++
		if !slices.Equal(found, []string{"doc.go"}) {
			t.Errorf("package %s has its comment in %v, want it in doc.go alone", p.ImportPath, found)
		}
	}
	if checked == 0 {
		t.Error("checked no package")
	}
}

// TestSleeps checks that tests sleep only in files that run bubbles of testing/synctest, where time is made up.
func TestSleeps(t *testing.T) {
	t.Parallel()
	files := 0
	for _, p := range listPackages(t) {
		for _, file := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			fset := token.NewFileSet()
			parsed, err := parser.ParseFile(fset, filepath.Join(p.Dir, file), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files++
			bubbles := slices.ContainsFunc(parsed.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"testing/synctest"` })
			if bubbles {
				continue
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" && fmt.Sprint(sel.X) == "time" {
					t.Errorf("%s: sleeps: wait for a condition, or use a bubble", fset.Position(n.Pos()))
				}
				return true
			})
		}
	}
	if files == 0 {
		t.Error("looked at no test file")
	}
}
