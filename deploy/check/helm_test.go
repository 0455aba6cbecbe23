package check

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

const (
	chart = "../helm/confgate"
	// kubernetes is the oldest version that the chart names.
	kubernetes = "1.30.0"
)

func bufioReader(b []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(b)) }

// helmPath builds Helm where that wasn't done yet, and is where it lies.
var helmPath = sync.OnceValues(func() (string, error) {
	out, err := exec.CommandContext(context.Background(), "go", "tool", "-n", "helm").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go tool -n helm: %w: %s", err, out)
	}
	return strings.TrimSpace(string(out)), nil
})

// helm runs Helm, as if nobody had ever set it up, and gives its output.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	path, err := helmPath()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), path, append(args, "--kube-version", kubernetes)...)
	cmd.Env = append(cmd.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "KUBECONFIG="+filepath.Join(home, "none"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("helm %s: %w: %s%s", args[0], err, &stdout, &stderr)
	}
	return stdout.String(), nil
}

// render renders the chart as release "confgate" in the namespace "confgate".
func render(t *testing.T, args ...string) (string, objects) {
	t.Helper()
	out, err := helm(t, append([]string{"template", "confgate", chart, "--namespace", "confgate"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := decode([]byte(out))
	if err != nil {
		t.Fatalf("the rendered chart: %v", err)
	}
	return out, decoded
}

// gatewayFile is the file that the rendered ConfigMap gives to the gateway.
func gatewayFile(t *testing.T, o objects) []byte {
	t.Helper()
	for _, c := range all[*corev1.ConfigMap](o) {
		if text, ok := c.Data["gateway.yaml"]; ok {
			return []byte(text)
		}
	}
	t.Fatal("no ConfigMap has gateway.yaml")
	return nil
}
