package check

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// startService runs the gateway's binary by a service's command, with some arguments exchanged.
func startService(t *testing.T, command []string, exchange ...string) *tail {
	t.Helper()
	args := slices.Clone(command)
	for pair := range slices.Chunk(exchange, 2) {
		i := slices.Index(args, pair[0])
		if i < 0 {
			t.Fatalf("the command %v has no %s", args, pair[0])
		}
		args[i] = pair[1]
	}
	output := newTail(t)
	cmd := exec.CommandContext(t.Context(), gatewayBinary(t), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return output
}

// startRedis runs a Redis by a service's command, on a socket, which it gives.
func startRedis(t *testing.T, command []string) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	cmd := exec.CommandContext(t.Context(), command[0], append(slices.Clone(command[1:]), "--port", "0", "--unixsocket", socket)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Dir = filepath.Dir(socket)
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: install redis-server by `make deps`", err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	eventually(t, "Redis listens", func() bool {
		conn, err := new(net.Dialer).DialContext(t.Context(), "unix", socket)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return socket
}

// TestUnit lets systemd judge the unit: its syntax, and how much it leaves open.
func TestUnit(t *testing.T) {
	t.Parallel()
	const unit = "../systemd/confgate.service"
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	// It must name a program that is there.
	const program = "/usr/local/bin/gateway"
	if !strings.Contains(string(text), "\nExecStart="+program+" serve ") {
		t.Fatalf("the unit doesn't start %s serve", program)
	}
	file := filepath.Join(t.TempDir(), "confgate.service")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), program, gatewayBinary(t))), 0o644); err != nil {
		t.Fatal(err)
	}
	verify := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", file)
	if out, err := verify.CombinedOutput(); err != nil || strings.Contains(string(out), "confgate.service") {
		t.Errorf("systemd-analyze verify: %v: %s", err, out)
	}
	security := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", file)
	if out, err := security.CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze security: %v, want an exposure of 1.5 at most: %s", err, out)
	}
	var flags []string
	for _, m := range regexp.MustCompile(`--([a-z-]+)`).FindAllStringSubmatch(string(regexp.MustCompile(`(?m)^ExecStart=.*$`).Find(text)), -1) {
		flags = append(flags, m[1])
	}
	help, err := exec.CommandContext(t.Context(), gatewayBinary(t), "serve", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range flags {
		if !strings.Contains(string(help), "--"+f+" ") {
			t.Errorf("the unit gives --%s, which isn't a flag", f)
		}
	}
	if len(flags) == 0 {
		t.Error("found no flags in the unit")
	}
}

// TestProxy runs HAProxy by its example, before two workers of which one isn't ready.
func TestProxy(t *testing.T) {
	t.Parallel()
	ready := startWorker(t, http.StatusOK)
	leaving := startWorker(t, http.StatusServiceUnavailable)
	listen := freeAddress(t)
	proxy := newTail(t)
	program, err := exec.LookPath("haproxy")
	if err != nil {
		program = "/usr/sbin/haproxy"
	}
	cmd := exec.CommandContext(t.Context(), program, "-db", "-f", "../haproxy/haproxy.cfg")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	for i, addr := range []string{ready, leaving} {
		name := "CONFGATE_" + string(rune('1'+i))
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, name+"="+addr, name+"_ADMIN_PORT="+port)
	}
	cmd.Env = append(cmd.Env, "CONFGATE_LISTEN="+listen)
	cmd.Stdout, cmd.Stderr = proxy, proxy
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: install haproxy by `make deps`", err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	proxy.wait(`gateways/gw2 is DOWN`)
	const secret = "a-token-in-a-query"
	for range 5 {
		if got := fetch(t, "http://"+listen+"/v1/conferences/1/events?access_token="+secret, ""); got != ready {
			t.Fatalf("the proxy's answer came from %q, want the worker that is ready, %s", got, ready)
		}
	}
	proxy.wait(`clients gateways/gw1 200 .* GET /v1/conferences/1/events`)
	if text := proxy.text(); strings.Contains(text, secret) || strings.Contains(text, "haproxy.cfg:") {
		t.Errorf("the proxy logs a token, or warns of its configuration: %s", text)
	}
}

// startWorker stands for a gateway on both its ports: /readyz answers the status, the rest says who answered.
func startWorker(t *testing.T, readiness int) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			w.WriteHeader(readiness)
			return
		}
		_, _ = w.Write([]byte(addr))
	})}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { _ = server.Close() })
	return addr
}

// freeAddress is one where nobody listens, on a part of loopback that nobody else uses.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.9.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// TestRedisUser runs a gateway by the rights that docs/deploy.md gives it in Redis.
func TestRedisUser(t *testing.T) {
	t.Parallel()
	docs, err := os.ReadFile("../../docs/deploy.md")
	if err != nil {
		t.Fatal(err)
	}
	user := regexp.MustCompile(`(?m)^ *(user gate on >PASSWORD .+)$`).FindString(string(docs))
	if user == "" {
		t.Fatal("docs/deploy.md doesn't say what a user in Redis may do")
	}
	acl := filepath.Join(t.TempDir(), "users.acl")
	if err := os.WriteFile(acl, []byte("user default off\n"+strings.TrimSpace(user)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := startRedis(t, []string{"redis-server", "--save", "", "--aclfile", acl})
	simulator := startService(t, []string{"simulate", "--listen=127.0.0.1:0", "--conferences=1"})
	provider := simulator.wait(`--provider-url (http://\S+) --conference (\S+)`)
	// Two, so that one hands the conference over to the other when it leaves.
	serve := []string{
		"serve", "--redis-url=unix://gate:PASSWORD@" + socket, "--provider-url=" + provider[1], "--conference=" + provider[2],
		"--auth=none", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--provider-rate=600/s",
	}
	workers := []*tail{startService(t, serve), startService(t, serve)}
	var operators []string
	for _, w := range workers {
		operators = append(operators, "http://"+w.wait(`"msg":"starting".*"admin":"([^"]+)"`)[1])
	}
	eventually(t, "one link live, and both workers with Redis", func() bool {
		metrics := fetch(t, operators[0]+"/metrics", "") + fetch(t, operators[1]+"/metrics", "")
		return strings.Contains(metrics, `confgate_upstream_links{state="live"} 1`) && strings.Count(metrics, "\nconfgate_fanout_up 1\n") == 2 &&
			strings.Contains(metrics, `confgate_fanout_published_total{topic="participants"}`)
	})
	for _, w := range workers {
		if text := w.text(); strings.Contains(text, "NOPERM") || strings.Contains(text, `"level":"error"`) {
			t.Errorf("a worker lacks rights: %s", text)
		}
	}
}

// TestSecretExample looks for the keys of the rendered Deployment in the example of its Secret.
func TestSecretExample(t *testing.T) {
	t.Parallel()
	var all objects
	for _, file := range []string{"../k8s/confgate.yaml", "../k8s/secret.example.yaml"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		o, err := decode(text)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, o...)
	}
	secret := one[*corev1.Secret](t, all)
	secret.Data = map[string][]byte{}
	for key, text := range secret.StringData {
		secret.Data[key] = []byte(text)
	}
	checkMounts(t, all, one[*appsv1.Deployment](t, all).Spec.Template.Spec)
}
