package oracletest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// BuildGateway makes a binary of the gateway, for all tests of a package.
func BuildGateway(out string, flags ...string) error {
	args := append([]string{"build", "-o", out}, flags...)
	cmd := exec.Command("go", append(args, "confgate/cmd/gateway")...) //nolint:noctx // the test's own time limit ends it
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("oracletest: %v: %w: %s", cmd.Args, err, text)
	}
	return nil
}

// SecretFile is a file with a secret for tokens.
func SecretFile(tb testing.TB) string {
	tb.Helper()
	return file(tb, "hmac", bytes.Repeat([]byte("k"), 32))
}

// SealKeyFile is a file with a key for secrets in Redis.
func SealKeyFile(tb testing.TB) string {
	tb.Helper()
	return file(tb, "seal", []byte(strings.Repeat("5e", 32)+"\n"))
}

func file(tb testing.TB, name string, data []byte) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// Get is the body of a URL's answer with status 200.
func Get(ctx context.Context, url, token string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", req.URL.Path, resp.Status)
	}
	return string(body), err
}

// Metric is the sum of a metric over the labels that begin as name does, from the text of /metrics; false where there is
// none.
func Metric(tb testing.TB, text, name string) (float64, bool) {
	tb.Helper()
	sum, found := 0.0, false
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || (rest[0] != ' ' && rest[0] != '{') {
			continue
		}
		var v float64
		if _, err := fmt.Sscan(rest[strings.LastIndexByte(rest, ' '):], &v); err != nil {
			tb.Fatalf("metric %q: %v", line, err)
		}
		sum, found = sum+v, true
	}
	return sum, found
}
