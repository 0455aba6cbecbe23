package gateway

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"confgate/internal/confctl"
)

// load runs the three layers as `gateway serve` does.
func load(t *testing.T, args, environ []string) (Options, error) {
	t.Helper()
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	loader := NewLoader(fs)
	if err := fs.Parse(args); err != nil {
		return Options{}, fmt.Errorf("parse: %w", err)
	}
	return loader.Load(environ)
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBadValues(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args []string
		want string // a part of the one line, apart from the flag and the value
		flag string
		show string // the value as shown
	}{
		{"listen without port", []string{"--listen", "localhost"}, "HOST:PORT", "listen", "localhost"},
		{"listen port too large", []string{"--listen", ":65536"}, "0 to 65535", "listen", ":65536"},
		{"listen port by name", []string{"--listen", ":http"}, "0 to 65535", "listen", ":http"},
		{"admin", []string{"--admin-listen", "9090"}, "HOST:PORT", "admin-listen", "9090"},
		{"pprof", []string{"--pprof=perhaps"}, "true or false", "pprof", "perhaps"},
		{"redis scheme", []string{"--redis-url", "http://h:1"}, "redis[s]://", "redis-url", "http://h:1"},
		{"redis not a url", []string{"--redis-url", "pass@word"}, "redis[s]://", "redis-url", "***"},
		{"redis database", []string{"--redis-url", "redis://:pw@h/x"}, "/DB", "redis-url", "redis://***@h/x"},
		{"redis parameter", []string{"--redis-url", "redis://h?x=pw"}, "?master=NAME", "redis-url", "redis://h?***"},
		{"redis cluster database", []string{"--redis-url", "redis://a,b/2"}, "/DB", "redis-url", "redis://a,b/2"},
		{"redis master and cluster", []string{"--redis-url", "redis://a?master=m&cluster=1"}, "or ?master", "redis-url", "redis://a?***"},
		{"redis host", []string{"--redis-url", "redis://a,,b"}, "HOST", "redis-url", "redis://a,,b"},
		{"redis port", []string{"--redis-url", "redis://a:99999"}, "PORT", "redis-url", "redis://a:99999"},
		{"redis socket", []string{"--redis-url", "unix://h/s"}, "unix://", "redis-url", "unix://h/s"},
		{"provider scheme", []string{"--provider-url", "ftp://h"}, "https://HOST", "provider-url", "ftp://h"},
		{"provider path", []string{"--provider-url", "https://h/v1"}, "origin", "provider-url", "https://h/v1"},
		{"provider userinfo", []string{"--provider-url", "https://u:pw@h"}, "origin", "provider-url", "https://***@h"},
		{"plain ws", []string{"--provider-ws-url", "ws://h"}, "wss://", "provider-ws-url", "ws://h"},
		{"server name", []string{"--provider-server-name", "h:443"}, "host name", "provider-server-name", "h:443"},
		{"rate", []string{"--provider-rate", "90/fortnight"}, "90/m", "provider-rate", "90/fortnight"},
		{"rate of nothing", []string{"--provider-rate", "0/m"}, "90/m", "provider-rate", "0/m"},
		{"numbering", []string{"--provider-numbering", "both"}, "auto, kind, conference, off", "provider-numbering", "both"},
		{"topics", []string{"--topics", "participants,partisans"}, "topics of the protocol", "topics", "participants,partisans"},
		{"conference without password", []string{"--conference", "hunter2"}, "ID=PASSWORD", "conference", "***"},
		{"conference id", []string{"--conference", "a b=hunter2"}, "A-Z a-z 0-9 _ -", "conference", "***"},
		{"conference password with a line break", []string{"--conference", "a=hun\nter2"}, "ID=PASSWORD", "conference", "***"},
		{"conference empty password", []string{"--conference", "a="}, "ID=PASSWORD", "conference", "***"},
		{"conference empty file", []string{"--conference", "a=@"}, "ID=@FILE", "conference", "***"},
		{"conference twice", []string{"--conference", "a=hunter2", "--conference", "a=hunter2"}, "each once", "conference", "a=***"},
		{"heartbeat unit", []string{"--heartbeat-interval", "20"}, "a duration", "heartbeat-interval", "20"},
		{"heartbeat too long", []string{"--heartbeat-interval", "3m"}, "to 60s", "heartbeat-interval", "3m0s"},
		{"heartbeat off", []string{"--heartbeat-interval", "-1s"}, "from 10ms", "heartbeat-interval", "-1s"},
		{"refresh too short", []string{"--refresh-interval", "1ms"}, "100ms", "refresh-interval", "1ms"},
		{"resume window", []string{"--resume-window", "2h"}, "1s to 1h", "resume-window", "2h0m0s"},
		{"lease too short", []string{"--lease-ttl", "100ms"}, "500ms to 1m", "lease-ttl", "100ms"},
		{"on demand", []string{"--on-demand=perhaps"}, "true or false", "on-demand", "perhaps"},
		{"linger", []string{"--linger", "0.1s"}, "1s to 24h", "linger", "100ms"},
		{"max conferences", []string{"--max-conferences", "many"}, "a number", "max-conferences", "many"},
		{"max conferences negative", []string{"--max-conferences", "-1"}, "from 1", "max-conferences", "-1"},
		{
			"more conferences than the maximum",
			[]string{"--max-conferences", "1", "--conference", "a=1", "--conference", "b=1"},
			"2 at least", "max-conferences", "1",
		},
		{"drain timeout", []string{"--drain-timeout", "2h"}, "1ms to 1h", "drain-timeout", "2h0m0s"},
		{"auth", []string{"--auth", "basic"}, "jwt, or none", "auth", "basic"},
		{"jwt without a secret", []string{"--auth", "jwt", "--auth-hmac-secret-file", ""}, "--auth-hmac-secret-file", "auth", "jwt"},
		{"no auth anywhere", []string{"--auth", "none", "--listen", "0.0.0.0:80"}, "loopback", "listen", "0.0.0.0:80"},
		{"no auth on a name", []string{"--auth", "none", "--listen", "example.com:80"}, "loopback", "listen", "example.com:80"},
		{"origin", []string{"--allowed-origins", "https://a.example,b.example/x"}, "origins such as", "allowed-origins", "b.example/x"},
		{"origin pattern", []string{"--allowed-origins", "https://[a.example"}, "origins such as", "allowed-origins", "https://[a.example"},
		{"keys by plain http", []string{"--auth-jwks-url", "http://a.example/k?pw"}, "https://", "auth-jwks-url", "http://a.example/k?***"},
		{"keys with userinfo", []string{"--auth-jwks-url", "https://u:pw@a.example"}, "https://", "auth-jwks-url", "https://***@a.example"},
		{"connections", []string{"--max-connections", "-2"}, "-1 for no limit", "max-connections", "-2"},
		{"connections a subject", []string{"--max-connections-per-subject", "-1"}, "0 for no limit", "max-connections-per-subject", "-1"},
		{"subscriptions", []string{"--max-subscriptions", "2000000"}, "1 to 1000000", "max-subscriptions", "2000000"},
		{"messages", []string{"--message-rate", "50/s"}, "a number", "message-rate", "50/s"},
		{"message size", []string{"--max-message-bytes", "70000"}, "to 65536", "max-message-bytes", "70000"},
		{"requests", []string{"--request-rate", "-7"}, "a number", "request-rate", "-7"},
		{"handshakes", []string{"--handshake-rate", "-7"}, "a number", "handshake-rate", "-7"},
		{"pending", []string{"--max-pending", "-7"}, "a number", "max-pending", "-7"},
		{"handshake timeout", []string{"--handshake-timeout", "1h"}, "100ms to 1m", "handshake-timeout", "1h0m0s"},
		{"header", []string{"--max-header-bytes", "100"}, "from 4096", "max-header-bytes", "100"},
		{"worker id", []string{"--worker-id", "a b"}, "1 to 64", "worker-id", "a b"},
		{"log level", []string{"--log-level", "loud"}, "debug, info, warn, error", "log-level", "loud"},
		{"log format", []string{"--log-format", "xml"}, "json, console", "log-format", "xml"},
		{"config missing", []string{"--config", "/nonexistent/file"}, "readable", "config", "/nonexistent/file"},
	}
	covered := map[string]bool{}
	for _, tt := range tests {
		covered[tt.flag] = true
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"--auth-hmac-secret-file", "f"}, tt.args...)
			_, err := load(t, args, nil)
			bad, ok := errors.AsType[*BadValue](err)
			if !ok {
				t.Fatalf("load(%q) = %v, want a bad value", tt.args, err)
			}
			if bad.Flag != tt.flag || bad.Value != tt.show || !strings.Contains(bad.Want, tt.want) {
				t.Errorf("load(%q) = flag %q, value %q, want %q; want flag %q, value %q, want … %q …",
					tt.args, bad.Flag, bad.Value, bad.Want, tt.flag, tt.show, tt.want)
			}
			if line := err.Error(); strings.Contains(line, "\n") || !strings.HasPrefix(line, "--"+tt.flag+" ") {
				t.Errorf("load(%q) = %q, want one line that begins with the flag", tt.args, line)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "pw") {
				t.Errorf("load(%q) = %q, which shows a password", tt.args, err)
			}
		})
	}
	// Any text does for these, or their file is judged by Build.
	free := []string{"seal-key-file", "provider-ca-file", "auth-none-anywhere", "auth-hmac-secret-file", "auth-issuer", "auth-audience"}
	for _, s := range settings() {
		if !covered[s.name] && !slices.Contains(free, s.name) {
			t.Errorf("no case refuses a value of --%s", s.name)
		}
	}
}

func TestAllBadValuesAtOnce(t *testing.T) {
	t.Parallel()
	_, err := load(t, []string{"--listen", "x", "--heartbeat-interval", "soon", "--auth", "none"}, []string{"CONFGATE_LOG_LEVEL=loud"})
	want := []string{
		`--heartbeat-interval "soon": want a duration from 10ms to 60s`,
		`--listen "x": want ` + wantHostPort,
		`--log-level "loud" (from CONFGATE_LOG_LEVEL): want one of debug, info, warn, error`,
	}
	if diff := cmp.Diff(want, strings.Split(fmt.Sprint(err), "\n")); diff != "" {
		t.Errorf("load: -want +got:\n%s", diff)
	}
}

func TestLayers(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "gateway.yaml", `
auth: none
listen: 127.0.0.1:1000
worker-id: from-file
log-level: warn
pprof: true
max-conferences: 7
heartbeat-interval: 3s
refresh-interval: -1s
topics: [participants, speakers]
conference:
  - c1=007
  - c2=@/run/c2
`)
	environ := []string{
		"CONFGATE_CONFIG=" + file, "CONFGATE_LISTEN=127.0.0.1:2000", "CONFGATE_WORKER_ID=from-env",
		"CONFGATE_RESUME_WINDOW=30s", "CONFGATE_LOG_LEVEL=", "HOME=/root",
	}
	got, err := load(t, []string{"--listen", "127.0.0.1:3000", "--pprof=false"}, environ)
	if err != nil {
		t.Fatal(err)
	}
	want := Options{
		Listen: "127.0.0.1:3000", WorkerID: "from-env", LogLevel: "warn", MaxConferences: 7, Auth: "none",
		HeartbeatInterval: 3 * time.Second, RefreshInterval: -time.Second, ResumeWindow: 30 * time.Second,
		Topics:      []string{"participants", "speakers"},
		Conferences: []Conference{{ID: "c1", Password: confctl.NewSecret("007")}, {ID: "c2", File: "/run/c2"}},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(confctl.Secret.Equal)); diff != "" {
		t.Errorf("load: -want +got:\n%s", diff)
	}

	got, err = load(t, []string{"--conference", "c3=1"}, append(environ, "CONFGATE_CONFERENCE=c4=1 c5=a,b"))
	if err != nil || len(got.Conferences) != 1 || got.Conferences[0].ID != "c3" {
		t.Errorf("load = %v, %v, want the flag's conference alone", got.Conferences, err)
	}
	got, err = load(t, nil, append(environ, "CONFGATE_CONFERENCE=c4=1 c5=a,b"))
	if err != nil || len(got.Conferences) != 2 || got.Conferences[1].Password.Reveal() != "a,b" {
		t.Errorf("load = %v, %v, want the environment's two conferences", got.Conferences, err)
	}
}

func TestUnknownVariablesAreOneWarning(t *testing.T) {
	t.Parallel()
	got, err := load(t, []string{"--auth", "none"}, []string{
		"CONFGATE_SERVICE_HOST=10.0.0.1", "CONFGATE_PORT=tcp://hunter2", "CONFGATE_listen=:1", "CONFGATEX=1", "CONFGATE_ADMIN_LISTEN=:1",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"unknown environment variables: CONFGATE_PORT, CONFGATE_SERVICE_HOST, CONFGATE_listen"}
	if diff := cmp.Diff(want, got.Warnings); diff != "" {
		t.Errorf("warnings: -want +got:\n%s", diff)
	}
	if got.AdminListen != ":1" {
		t.Errorf("AdminListen = %q, want :1", got.AdminListen)
	}
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, content, want string }{
		{"unknown key", "listen: :1\nno-such-key: true\n", `:2: unknown key "no-such-key": want one of: listen, admin-listen`},
		{"config in itself", "config: x\n", `:1: unknown key "config"`},
		{"key twice", "auth: none\nauth: jwt\n", `:2: key "auth" stands there twice`},
		{"mapping as a value", "conference: {a: hunter2}\n", `:1: key "conference": want a scalar or a list`},
		{"list of lists", "topics: [[a]]\n", `:1: key "topics": want a scalar or a list`},
		{"not a mapping", "- listen\n", ":1: want a mapping"},
		{"not YAML", "conference: \"a=hunter2\n\tb", `: want a file that is YAML`},
		{"bad value", "auth: none\nlog-level: loud\n", `--log-level "loud" (from `},
		{"bad password", "auth: none\nconference: hunter2\n", `--conference "***" (from `},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := load(t, []string{"--config", writeFile(t, "gateway.yaml", tt.content)}, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("load(%q) = %v, want … %s …", tt.content, err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("load(%q) = %v, which shows the password", tt.content, err)
			}
		})
	}
	for _, empty := range []string{"", "# nothing\n", "{}\n", "listen:\n"} {
		if _, err := load(t, []string{"--auth=none", "--config", writeFile(t, "gateway.yaml", empty)}, nil); err != nil {
			t.Errorf("load(%q) = %v, want no error", empty, err)
		}
	}
}

func TestRedisURL(t *testing.T) {
	t.Parallel()
	tests := []struct {
		url     string
		addrs   []string
		user    string
		pass    string
		db      int
		cluster bool
		master  string
		tls     bool
	}{
		{url: "redis://h", addrs: []string{"h:6379"}},
		{url: "redis://:p%40w@h:1/3", addrs: []string{"h:1"}, pass: "p@w", db: 3},
		{url: "rediss://u:p@h:1/", addrs: []string{"h:1"}, user: "u", pass: "p", tls: true},
		{url: "redis://a:1,b:2", addrs: []string{"a:1", "b:2"}, cluster: true},
		{url: "redis://u:p@a?cluster=true", addrs: []string{"a:6379"}, user: "u", pass: "p", cluster: true},
		{url: "redis://a:1,b:2/4?master=main", addrs: []string{"a:1", "b:2"}, db: 4, master: "main"},
		{url: "redis://[::1]:7,[::2]", addrs: []string{"[::1]:7", "[::2]:6379"}, cluster: true},
		{url: "unix:///run/redis.sock?db=2", addrs: []string{"/run/redis.sock"}, db: 2},
	}
	for _, tt := range tests {
		got, err := parseRedisURL(tt.url)
		if err != nil {
			t.Errorf("parseRedisURL(%q) = %v, want no error", tt.url, err)
			continue
		}
		if diff := cmp.Diff(tt.addrs, got.Addrs); diff != "" {
			t.Errorf("parseRedisURL(%q): addresses: -want +got:\n%s", tt.url, diff)
		}
		if got.Username != tt.user || got.Password != tt.pass || got.DB != tt.db || got.IsClusterMode != tt.cluster ||
			got.MasterName != tt.master || (got.TLSConfig != nil) != tt.tls {
			t.Errorf("parseRedisURL(%q) = %q %q %d %t %q %t, want %+v", tt.url, got.Username, got.Password, got.DB,
				got.IsClusterMode, got.MasterName, got.TLSConfig != nil, tt)
		}
	}
}

func TestClientAddress(t *testing.T) {
	t.Parallel()
	tests := []struct {
		o    Options
		want string
	}{
		{Options{Auth: AuthNone, Listen: ":8080"}, "127.0.0.1:8080"},
		{Options{Auth: AuthNone, Listen: "localhost:1"}, "localhost:1"},
		{Options{Auth: AuthNone, Listen: "[::1]:1"}, "[::1]:1"},
		{Options{Auth: AuthNone, Listen: ":1", AuthNoneAnywhere: true}, ":1"},
		{Options{Auth: AuthJWT, Listen: "0.0.0.0:1"}, "0.0.0.0:1"},
	}
	for _, tt := range tests {
		if got, err := tt.o.clientAddress(); got != tt.want || err != nil {
			t.Errorf("clientAddress(%s %s) = %q, %v, want %q", tt.o.Auth, tt.o.Listen, got, err, tt.want)
		}
	}
}
