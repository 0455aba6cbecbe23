package check

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	testVersion = "v1.2.3-test"
	testCommit  = "c0ffee"
)

// scratch is a folder for the binary that all tests share; TestMain removes it.
var scratch string

// sources copies the sources once, so that all builds are of the same ones whoever edits meanwhile.
var sources = sync.OnceValues(func() (string, error) {
	root := filepath.Join(scratch, "sources")
	return root, copySources("../..", root)
})

// gateway builds the binary for this machine once, by the Dockerfile, and is where it lies.
var gateway = sync.OnceValues(func() (string, error) {
	root, err := sources()
	if err != nil {
		return "", err
	}
	stage, err := buildStage(root, filepath.Join(scratch, "stage"))
	return filepath.Join(stage, "out", "gateway"), err
})

func gatewayBinary(t *testing.T) string {
	t.Helper()
	file, err := gateway()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestBinary(t *testing.T) {
	t.Parallel()
	file := gatewayBinary(t)
	binary, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = binary.Close() })
	if libs, _ := binary.ImportedLibraries(); len(libs) > 0 {
		t.Errorf("it needs %v, want a static binary", libs)
	}
	for _, p := range binary.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("it names a loader, want a static binary")
		}
	}
	out, err := exec.CommandContext(t.Context(), file, "version").CombinedOutput()
	if want := "confgate " + testVersion + ", commit " + testCommit; err != nil || !strings.HasPrefix(string(out), want) {
		t.Errorf("gateway version = %s, %v, want %s", out, err, want)
	}
}

// dist runs the script of releases, from sources in root, with some more variables.
func dist(root, out string, env ...string) error {
	cmd := exec.CommandContext(context.Background(), filepath.Join(root, "deploy", "dist"), out)
	cmd.Env = append(append(cmd.Environ(), env...), "VERSION="+testVersion, "COMMIT="+testCommit)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("deploy/dist: %w: %s", err, text)
	}
	return nil
}

// release runs the script of releases once, and is the folder with what it wrote.
var release = sync.OnceValues(func() (string, error) {
	root, err := sources()
	if err != nil {
		return "", err
	}
	out := filepath.Join(scratch, "release")
	return out, dist(root, out)
})

// TestReproducible builds a release once more, elsewhere, from sources of another age, on a machine that is set up otherwise.
// The image's binary must be the same too.
func TestReproducible(t *testing.T) {
	t.Parallel()
	first, err := release()
	if err != nil {
		t.Fatal(err)
	}
	from, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "another", "place")
	if err := copySources(from, root); err != nil {
		t.Fatal(err)
	}
	second := filepath.Join(root, "out")
	if err := dist(root, second, "TZ=Pacific/Kiritimati", "LANG=tr_TR.UTF-8", "USER=somebody", "GOFLAGS=-tags=x", "GOAMD64=v3", "GOARM64=v9.0",
		"CGO_ENABLED=1", "GOEXPERIMENT=synctest"); err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		file := "gateway-linux-" + arch
		a, b := sum(t, filepath.Join(first, file)), sum(t, filepath.Join(second, file))
		if a != b {
			t.Errorf("%s: two builds of the same sources differ: %x, %x", arch, a, b)
		}
		if c := sum(t, gatewayBinary(t)); arch == runtime.GOARCH && a != c {
			t.Errorf("the release's binary isn't the image's: %x, %x", a, c)
		}
	}
}

func sum(t *testing.T, file string) [sha256.Size]byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(data)
}

// copySources copies what Dockerfile.dockerignore lets into the image's build, which shows too that it is enough, and the
// script of releases.
func copySources(from, to string) error {
	ignore, err := os.ReadFile("../Dockerfile.dockerignore")
	if err != nil {
		return err
	}
	var kept []string
	for _, m := range regexp.MustCompile(`(?m)^!(\S+)$`).FindAllStringSubmatch(string(ignore), -1) {
		kept = append(kept, m[1])
	}
	if len(kept) < 5 {
		return fmt.Errorf("Dockerfile.dockerignore keeps %v", kept)
	}
	for _, k := range append(kept, "deploy/dist") {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, k)), 0o755); err != nil {
			return err
		}
		cp := exec.CommandContext(context.Background(), "cp", "-R", filepath.Join(from, k), filepath.Join(to, k))
		if out, err := cp.CombinedOutput(); err != nil {
			return fmt.Errorf("cp: %w: %s", err, out)
		}
	}
	return filepath.WalkDir(to, func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "testdata":
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			return filepath.SkipDir
		case strings.HasSuffix(path, "_test.go"):
			return os.Remove(path)
		}
		return nil
	})
}

// chartFlags are the flags of `gateway serve` that the chart gives by itself, or that must not be the same for every worker.
var chartFlags = []string{
	"listen", "admin-listen", "drain-timeout", "redis-url", "conference", "seal-key-file", "auth-hmac-secret-file",
	"provider-ca-file", "config", "worker-id", "help",
}

// TestFlags compares the flags that the schema allows in `config` with those that the gateway has.
func TestFlags(t *testing.T) {
	t.Parallel()
	help, err := exec.CommandContext(t.Context(), gatewayBinary(t), "serve", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	var has []string
	for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z-]+) `).FindAllSubmatch(help, -1) {
		has = append(has, string(m[1]))
	}
	if len(has) < 20 {
		t.Fatalf("gateway serve --help names %d flags, want more", len(has))
	}
	allowed := configSchema(t)
	for name := range allowed {
		if !slices.Contains(has, name) || slices.Contains(chartFlags, name) {
			t.Errorf("values.schema.json allows config.%s, which isn't a flag to be set there", name)
		}
	}
	for _, name := range has {
		if _, ok := allowed[name]; !ok && !slices.Contains(chartFlags, name) {
			t.Errorf("values.schema.json doesn't allow config.%s: enter it in properties.config", name)
		}
	}
}

// TestDist checks what the script of releases writes.
func TestDist(t *testing.T) {
	t.Parallel()
	out, err := release()
	if err != nil {
		t.Fatal(err)
	}
	check := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "SHA256SUMS")
	check.Dir = out
	if text, err := check.CombinedOutput(); err != nil || bytes.Count(text, []byte(": OK\n")) != 2 {
		t.Errorf("sha256sum: %v: %s", err, text)
	}
	for arch, want := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		binary, err := elf.Open(filepath.Join(out, "gateway-linux-"+arch))
		if err != nil {
			t.Fatal(err)
		}
		if binary.Machine != want {
			t.Errorf("gateway-linux-%s is for %v", arch, binary.Machine)
		}
		_ = binary.Close()
	}
}
