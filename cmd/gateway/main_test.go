package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"
)

// TestMain is also the gateway itself, for commands that start further processes of their own binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		main()
	}
	goleak.VerifyTestMain(m)
}

// patience bounds every wait of these tests; nothing waits that long unless something is broken.
const patience = time.Minute

// lines is a writer that hands out what is written line by line.
type lines struct {
	mu   sync.Mutex
	all  bytes.Buffer
	rest []byte
	c    chan string
}

func newLines() *lines { return &lines{c: make(chan string, 1000)} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all.Write(p)
	l.rest = append(l.rest, p...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		l.rest = rest
		l.c <- string(line)
	}
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// match waits for a line that matches and gives its groups.
func (l *lines) match(t *testing.T, pattern string) []string {
	t.Helper()
	re, late := regexp.MustCompile(pattern), time.After(patience)
	for {
		select {
		case line := <-l.c:
			if m := re.FindStringSubmatch(line); m != nil {
				return m
			}
		case <-late:
			t.Fatalf("no line matches %s in:\n%s", pattern, l)
		}
	}
}

// start runs a command until the test ends; end stops it and gives its exit status.
func start(t *testing.T, command ...string) (stdout, stderr *lines, end func() int) {
	t.Helper()
	stdout, stderr = newLines(), newLines()
	ctx, cancel := context.WithCancel(context.Background())
	code := make(chan int, 1)
	go func() { code <- run(ctx, command, stdout, stderr) }()
	end = sync.OnceValue(func() int {
		cancel()
		select {
		case c := <-code:
			return c
		case <-time.After(patience):
			t.Errorf("gateway %s has not ended", strings.Join(command, " "))
			return -1
		}
	})
	t.Cleanup(func() { end() })
	return stdout, stderr, end
}

func TestExitStatus(t *testing.T) {
	t.Parallel()
	short, secret := filepath.Join(t.TempDir(), "short"), filepath.Join(t.TempDir(), "hmac")
	for path, content := range map[string]string{short: "hunter2", secret: strings.Repeat("k", 32)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name string
		args []string
		code int
		want string // in the one line on standard error; empty: nothing there
	}{
		{"version", []string{"version"}, 0, ""},
		{"help", []string{"serve", "--help"}, 0, ""},
		{"unknown command", []string{"server"}, 2, `unknown command "server"`},
		{"unknown flag", []string{"serve", "--no-such-flag"}, 2, "unknown flag: --no-such-flag (see gateway serve --help)"},
		{"argument too many", []string{"serve", "now"}, 2, "got 1 argument(s), want: gateway serve [flags]"},
		{"argument missing", []string{"watch"}, 2, "got 0 argument(s), want: gateway watch CONFERENCE [flags]"},
		{"password as an argument", []string{"serve", "--conference", "1=hunter2", "2=hunter2"}, 2, "got 1 argument(s)"},
		{"one dash", []string{"serve", "-conference=1=hunter2"}, 2, "unknown shorthand flag: 'c', names have two dashes (see gateway serve --help)"},
		{"no name", []string{"watch", "c", "--=hunter2"}, 2, "a flag without a name"},
		{"bad value", []string{"serve", "--listen", "x", "--auth", "none"}, 2, `--listen "x": want HOST:PORT`},
		{"bad file", []string{"serve", "--auth-hmac-secret-file", short}, 2, "want a readable file with 32 bytes"},
		{"bad fault", []string{"simulate", "--faults", "nap=1s"}, 2, `unknown fault "nap"`},
		{"bad world", []string{"simulate", "--conferences", "-1"}, 2, "conferences is -1"},
		{"control for all", []string{"simulate", "--listen", "127.0.0.1:0", "--control", "0.0.0.0:0"}, 2, "--control \"0.0.0.0:0\": want a loopback address"},
		{"two lengths", []string{"bench", "--conference", "1", "--duration", "1s", "--window", "1s"}, 2, "--duration and --window exclude each other"},
		{"scenario's own", []string{"bench", "--scenario", "idle", "--url", "http://127.0.0.1:1"}, 2, "--url doesn't go with --scenario"},
		{"nothing drives", []string{"bench", "--conference", "1", "--rate", "5"}, 2, "goes with --simulator"},
		{"bad demo", []string{"demo", "--participants", "-1"}, 2, "participants is -1"},
		{"bad demo address", []string{"demo", "--listen", "8.8.8.8:1"}, 2, `--listen "8.8.8.8:1": want a loopback address`},
		{"bad address", []string{"simulate", "--listen", "nowhere"}, 2, `--listen "nowhere": want HOST:PORT`},
		{"bad conference", []string{"watch", "a b"}, 2, `CONFERENCE "a b": want 1 to 64 of`},
		{"bad gateway", []string{"watch", "a", "--url", "ftp://x"}, 2, "want http, https, ws or wss"},
		{"taken port", []string{"simulate", "--listen", "256.0.0.1:1"}, 1, "listen"},
		{"token without secret", []string{"token"}, 2, "--auth-hmac-secret-file"},
		{"token with bad scope", []string{"token", "--auth-hmac-secret-file", secret, "--scope", "root"}, 2, `--scope "root"`},
		{"bench elsewhere", []string{"bench", "--url", "http://192.0.2.1", "--conference", "c"}, 2, "isn't a loopback address"},
		{"bench of nothing", []string{"bench"}, 2, "there must be a conference"},
		{"unknown scenario", []string{"bench", "--scenario", "nap"}, 2, `--scenario "nap"`},
		{"missing token file", []string{"watch", "c", "--token-file", short + "x"}, 2, "--token-file: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), tt.args, &stdout, &stderr)
			if code != tt.code {
				t.Errorf("run(%q) = %d, want %d; standard error: %s", tt.args, code, tt.code, &stderr)
			}
			got := stderr.String()
			if !strings.Contains(got, tt.want) || (tt.want == "") != (got == "") || strings.Count(got, "\n") > 1 {
				t.Errorf("run(%q) wrote %q to standard error, want one line with %q", tt.args, got, tt.want)
			}
			if strings.Contains(got, "hunter2") {
				t.Errorf("run(%q) shows the secret", tt.args)
			}
		})
	}
}

// TestHelp checks that every command says in a line what it does, and shows examples that call it.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, cmd := range []*cobra.Command{
		demoCommand(), serveCommand(), simulateCommand(), watchCommand(), benchCommand(), tokenCommand(), versionCommand(),
	} {
		if cmd.Short == "" || !strings.Contains(cmd.Example, "gateway "+cmd.Name()) {
			t.Errorf("gateway %s has no short help, or no example that calls it", cmd.Name())
		}
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"serve", "--help"}, &out, io.Discard); code != 0 {
		t.Fatalf("serve --help = %d", code)
	}
	for _, want := range []string{"--listen HOST:PORT", "(default :8080)", "--conference ID=PASSWORD", "--config FILE", "CONFGATE_"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("serve --help doesn't show %q:\n%s", want, &out)
		}
	}
}

func TestDemo(t *testing.T) {
	t.Parallel()
	stdout, stderr, end := start(t, "demo", "--listen", "127.0.0.1:0", "--participants", "5", "--conferences", "2")
	url := stdout.match(t, `Open (http://127\.0\.0\.1:\d+/) in a browser`)[1]
	for path, want := range map[string]string{"": "<!doctype html>", "page/config.json": `"auth":"none"`} {
		if body := fetch(t, url+path); !strings.Contains(strings.ToLower(body), want) {
			t.Errorf("GET %s%s = %.200q…, want %s in it", url, path, body, want)
		}
	}
	conf := stdout.match(t, `Conferences: ([\w-]+), [\w-]+\.`)[1]

	watched, _, endWatch := start(t, "watch", conf, "--json", "--url", url)
	watched.match(t, `"type":"snapshot"`)
	watched.match(t, `"type":"delta"`)
	if code := endWatch(); code != 0 {
		t.Errorf("watch ended with %d, want 0", code)
	}
	if code := end(); code != 0 {
		t.Errorf("demo ended with %d, want 0; standard error:\n%s", code, stderr)
	}
}

// TestDemoTakesAnotherPort holds the default port, or finds it held, and wants the demo to run all the same.
func TestDemoTakesAnotherPort(t *testing.T) {
	t.Parallel()
	if ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", defaultDemoListen); err == nil {
		defer ln.Close()
	}
	stdout, _, end := start(t, "demo", "--participants", "3", "--conferences", "1")
	url := stdout.match(t, `Open (http://127\.0\.0\.1:\d+/) in a browser`)[1]
	if strings.Contains(url, defaultDemoListen) {
		t.Errorf("the demo listens on %s, which is taken", url)
	}
	if code := end(); code != 0 {
		t.Errorf("demo ended with %d, want 0", code)
	}
}

// TestServeAgainstSimulate pastes what `gateway simulate` prints behind `gateway serve`, and mints a token to watch with.
func TestServeAgainstSimulate(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "hmac")
	if err := os.WriteFile(secret, bytes.Repeat([]byte("k"), 32), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, _, endSimulate := start(t, "simulate", "--listen", "127.0.0.1:0", "--conferences", "1", "--participants", "4",
		"--rate", "50", "--faults", "repeat=10%", "--token-life", "10m")
	flags := strings.Fields(stdout.match(t, `^--provider-url .*$`)[0])
	conf, _, _ := strings.Cut(flags[len(flags)-1], "=")

	flags = append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--auth-hmac-secret-file", secret}, flags...)
	_, stderr, endServe := start(t, flags...)
	addr := stderr.match(t, `"listen":"([^"]+)"`)[1]
	stderr.match(t, `"msg":"ready"`)

	var token bytes.Buffer
	if code := run(t.Context(), []string{"token", "--auth-hmac-secret-file", secret, "--conference", conf}, &token, io.Discard); code != 0 {
		t.Fatalf("token = %d", code)
	}
	watched, _, endWatch := start(t, "watch", conf, "--json", "--url", "http://"+addr, "--token", strings.TrimSpace(token.String()))
	watched.match(t, `"type":"snapshot"`)
	watched.match(t, `"type":"delta"`)
	for name, end := range map[string]func() int{"watch": endWatch, "serve": endServe, "simulate": endSimulate} {
		if code := end(); code != 0 {
			t.Errorf("%s ended with %d, want 0", name, code)
		}
	}
	if strings.Contains(stderr.String(), strings.TrimSpace(token.String())) {
		t.Error("the log shows the token")
	}
}

// TestSecondSignal checks that the first signal ends the context, and the second one the process.
func TestSecondSignal(t *testing.T) { //nolint:paralleltest // signals reach the whole process
	exited := make(chan int, 1)
	ctx, stop := untilSignal(t.Context(), func(code int) { exited <- code })
	defer stop()
	kill := func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	kill()
	<-ctx.Done()
	if cause := context.Cause(ctx); !strings.Contains(fmt.Sprint(cause), "terminated") {
		t.Errorf("the context ended with %v, want the signal's name", cause)
	}
	kill()
	if code := <-exited; code != 128+int(syscall.SIGTERM) {
		t.Errorf("the second signal exits with %d, want %d", code, 128+int(syscall.SIGTERM))
	}
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
