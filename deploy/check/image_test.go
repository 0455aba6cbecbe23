package check

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// TestImage runs the image as the chart would: what the Dockerfile copies and what the Deployment mounts, in a read-only
// root, with the Deployment's arguments and environment. The provider is the simulated one behind TLS, by a certificate
// that leads to the image's roots. The worker must get its links, serve a reader, and leave in order.
func TestImage(t *testing.T) {
	t.Parallel()
	root := imageRoot(t)
	provider, flags := startProvider(t, root)
	values := map[string]any{
		"replicaCount": 1,
		"redis":        map[string]any{"url": ""},
		"config":       map[string]any{"provider-url": provider, "provider-ws-url": "wss" + strings.TrimPrefix(provider, "https"), "provider-rate": "600/s"},
		"conferences":  flags,
		"secrets":      map[string]any{"hmac": "0123456789abcdef0123456789abcdef"},
		"extraArgs":    []string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"},
	}
	text, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "values.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	_, o := render(t, "-f", file)
	container := mount(t, root, o)

	cmd := inRoot(t.Context(), root, append([]string{"/gateway"}, container.Args...)...)
	for _, e := range container.Env {
		cmd.Env = append(cmd.Env, e.Name+"="+e.Value)
	}
	stderr := newTail(t)
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	starting := stderr.wait(`"msg":"starting".*"listen":"([^"]+)","admin":"([^"]+)"`)
	clients, operators := "http://"+starting[1], "http://"+starting[2]
	stderr.wait(`"msg":"ready"`)

	eventually(t, "all links live", func() bool {
		return strings.Contains(fetch(t, operators+"/metrics", ""), `confgate_upstream_links{state="live"} 2`)
	})
	mint := inRoot(t.Context(), root, "/gateway", "token", "--auth-hmac-secret-file", "/run/secrets/confgate/hmac")
	token, err := mint.Output()
	if err != nil {
		t.Fatalf("gateway token: %v", err)
	}
	document := fetch(t, clients+"/v1/conferences/"+flags[0]["id"], strings.TrimSpace(string(token)))
	if !strings.Contains(document, `"participants":{`) {
		t.Errorf("the document is %.200s, want one with participants", document)
	}
	if page := fetch(t, clients+"/", ""); !strings.Contains(page, "<html") {
		t.Errorf("the page is %.200s", page)
	}

	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v, want exit status 0; it wrote %s", err, stderr.text())
	}
}

// mount puts into the root what the Deployment mounts, and gives its container.
func mount(t *testing.T, root string, o objects) corev1.Container {
	t.Helper()
	pod := one[*appsv1.Deployment](t, o).Spec.Template.Spec
	container := pod.Containers[0]
	content := map[string]map[string][]byte{}
	for _, v := range pod.Volumes {
		files := map[string][]byte{}
		switch {
		case v.Secret != nil:
			for _, item := range v.Secret.Items {
				files[item.Path] = one[*corev1.Secret](t, o).Data[item.Key]
			}
		case v.ConfigMap != nil:
			for key, text := range one[*corev1.ConfigMap](t, o).Data {
				files[key] = []byte(text)
			}
		default:
			t.Fatalf("the volume %s is of a kind unknown here", v.Name)
		}
		content[v.Name] = files
	}
	for _, m := range container.VolumeMounts {
		for name, data := range content[m.Name] {
			putFile(t, root, filepath.Join(m.MountPath, name), data, 0o444)
		}
	}
	return container
}

// startProvider runs the simulated provider behind TLS, and adds its authority to the roots in root. It gives its origin and
// its conferences, as values of the chart.
func startProvider(t *testing.T, root string) (origin string, conferences []map[string]string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), gatewayBinary(t), "simulate", "--listen", "127.0.0.1:0", "--conferences", "2", "--rate", "50")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout := newTail(t)
	cmd.Stdout = stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line := stdout.wait(`--provider-url (http://\S+) (.+)\n`)
	for _, m := range regexp.MustCompile(`--conference ([^= ]+)=(\S+)`).FindAllStringSubmatch(line[2], -1) {
		conferences = append(conferences, map[string]string{"id": m[1], "password": m[2]})
	}
	target, err := url.Parse(line[1])
	if err != nil {
		t.Fatal(err)
	}
	authority, certificate := newCertificate(t)
	proxy := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(target))
	proxy.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	proxy.Config.ErrorLog = nil
	proxy.StartTLS()
	t.Cleanup(proxy.Close)

	bundle := filepath.Join(root, "/etc/ssl/certs/ca-certificates.crt")
	roots, err := os.ReadFile(bundle)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(roots, []byte("BEGIN CERTIFICATE")); n < 50 {
		t.Errorf("the image has %d roots, want the usual hundred", n)
	}
	putFile(t, root, "/etc/ssl/certs/ca-certificates.crt", append(roots, authority...), 0o444)
	return proxy.URL, conferences
}

// newCertificate makes an authority, in PEM, and a certificate of it for 127.0.0.1.
func newCertificate(t *testing.T) (authority []byte, certificate tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "confgate test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// patience bounds every wait; nothing takes that long unless something is broken, or the machine does much else.
const patience = time.Minute

// tail keeps what a process writes, and waits for words in it.
type tail struct {
	t     *testing.T
	in    *io.PipeWriter
	lines chan string
	seen  strings.Builder // owned by the test's goroutine
}

func newTail(t *testing.T) *tail {
	t.Helper()
	r, w := io.Pipe()
	// Ample for what these processes write, so that none ever waits for the test.
	x := &tail{t: t, in: w, lines: make(chan string, 10_000)}
	go func() {
		defer close(x.lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			select {
			case x.lines <- s.Text() + "\n":
			default:
			}
		}
	}()
	t.Cleanup(func() { _ = w.Close() })
	return x
}

func (x *tail) Write(p []byte) (int, error) { return x.in.Write(p) }

// wait gives the match of a pattern in a line.
func (x *tail) wait(pattern string) []string {
	x.t.Helper()
	wanted := regexp.MustCompile(pattern)
	timeout := time.After(patience)
	for {
		select {
		case line := <-x.lines:
			x.seen.WriteString(line)
			if m := wanted.FindStringSubmatch(line); m != nil {
				return m
			}
		case <-timeout:
			x.t.Fatalf("no %s within %v in %s", pattern, patience, x.text())
		}
	}
}

// text is what was written until now.
func (x *tail) text() string {
	for {
		select {
		case line, ok := <-x.lines:
			if !ok {
				return x.seen.String()
			}
			x.seen.WriteString(line)
		default:
			return x.seen.String()
		}
	}
}

// fetch is the body of an answer with status 200, else empty.
func fetch(t *testing.T, url, token string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return ""
	}
	return string(body)
}

// eventually asks again until it is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !so() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
