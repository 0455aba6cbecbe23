package session

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"confgate/internal/confctl"
)

func parseURL(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestEndpoint(t *testing.T) {
	t.Parallel()
	const public = "https://api.provider.example"
	tests := []struct {
		name, raw, base string
		want            string // empty: refused
	}{
		{"as in the reference", "wss://119.3.200.83:443", public, "wss://119.3.200.83:443"},
		{"a name", "wss://media.provider.example/edge", public, "wss://media.provider.example/edge"},
		{"private networks are allowed", "wss://10.1.2.3", public, "wss://10.1.2.3"},
		{"plain towards a secure base", "ws://119.3.200.83", public, ""},
		{"plain towards a plain base", "ws://119.3.200.83", "http://provider.example", "ws://119.3.200.83"},
		{"secure towards a plain base", "wss://119.3.200.83", "http://provider.example", "wss://119.3.200.83"},
		{"not a WebSocket", "https://119.3.200.83", public, ""},
		{"not a WebSocket towards a plain base", "http://119.3.200.83", "http://provider.example", ""},
		{"user information", "wss://u:p@119.3.200.83", public, ""},
		{"no host", "wss://", public, ""},
		{"only a port", "wss://:443", public, ""},
		{"empty", "", public, ""},
		{"not a URL", "wss://[::1", public, ""},
		{"loopback", "wss://127.0.0.1", public, ""},
		{"loopback 6", "wss://[::1]:443", public, ""},
		{"loopback 4 in 6", "wss://[::ffff:127.0.0.1]", public, ""},
		{"localhost", "wss://LocalHost.:443", public, ""},
		{"below localhost", "wss://a.localhost", public, ""},
		{"link-local, as cloud metadata", "wss://169.254.169.254", public, ""},
		{"link-local 6", "wss://[fe80::1%25eth0]", public, ""},
		{"multicast", "wss://224.0.0.1", public, ""},
		{"unspecified", "wss://0.0.0.0", public, ""},
		{"loopback towards a loopback base", "ws://127.0.0.1:1", "http://127.0.0.1:8080", "ws://127.0.0.1:1"},
		{"loopback towards localhost", "wss://127.0.0.1:1", "https://localhost", "wss://127.0.0.1:1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := endpoint(tt.raw, parseURL(t, tt.base))
			if tt.want == "" {
				if !errors.Is(err, ErrEndpoint) {
					t.Errorf("endpoint(%q, %s) = %v, %v; want ErrEndpoint", tt.raw, tt.base, got, err)
				}
				return
			}
			if err != nil || got.String() != tt.want {
				t.Errorf("endpoint(%q, %s) = %v, %v; want %s", tt.raw, tt.base, got, err, tt.want)
			}
		})
	}
}

func TestRefuseLocal(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"127.0.0.1:443": true, "[::1]:443": true, "169.254.169.254:80": true, "nonsense": true,
		"119.3.200.83:443": false, "10.0.0.1:443": false,
	} {
		if got := errors.Is(refuseLocal("tcp", address, nil), ErrEndpoint); got != want {
			t.Errorf("refuseLocal(%s) refuses: %v, want %v", address, got, want)
		}
	}
}

// handshakes is a server that upgrades every request, over TLS.
func handshakes(t *testing.T, handle http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handle)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes fail on purpose
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func upgrade(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	_ = c.CloseNow()
}

func TestDialTLS(t *testing.T) {
	t.Parallel()
	s := handshakes(t, upgrade) // its certificate is for 127.0.0.1 and example.com
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, ca, serverName, base string
		ok                         bool
	}{
		{"CA file, IP address: the base's name", ca, "", "https://example.com", true},
		{"CA file, IP address: the base's name is another", ca, "", "https://provider.example", false},
		{"CA file, server name", ca, "example.com", "https://provider.example", true},
		{"CA file, wrong server name", ca, "provider.example", "https://example.com", false},
		{"system roots", "", "example.com", "https://example.com", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg, err := TLSConfig(tt.ca, tt.serverName)
			if err != nil {
				t.Fatal(err)
			}
			d := dialer{base: parseURL(t, tt.base), override: parseURL(t, strings.Replace(s.URL, "https", "wss", 1)), tls: cfg}
			w, err := d.dial(t.Context(), "ignored", conf, confctl.NewSecret("canary"))
			if (err == nil) != tt.ok {
				t.Errorf("dial() error = %v, want success %v", err, tt.ok)
			}
			if err == nil {
				w.CloseNow()
			} else if strings.Contains(err.Error(), "canary") {
				t.Errorf("dial() error %q holds the token", err)
			}
		})
	}
}

func TestTLSConfigRefusesBadFiles(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{empty, filepath.Join(t.TempDir(), "missing.pem")} {
		if _, err := TLSConfig(file, ""); err == nil || !strings.Contains(err.Error(), "provider CA file") {
			t.Errorf("TLSConfig(%s) error = %v, want one that names the file's purpose", file, err)
		}
	}
}

func TestDialRefusals(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		handle http.HandlerFunc
		code   string
		class  confctl.ErrorClass
	}{
		{"401", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, "401", confctl.ClassToken},
		{"code in the body", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error_code":"MMC.111072006"}`))
		}, "MMC.111072006", confctl.ClassEnd},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://127.0.0.1:1/?"+r.URL.RawQuery, http.StatusFound)
		}, "redirect", confctl.ClassRetry},
		{"200", func(http.ResponseWriter, *http.Request) {}, "unreadable", confctl.ClassRetry},
		{"503", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, "503", confctl.ClassRetry},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var query url.Values
			var path string
			s := handshakes(t, func(w http.ResponseWriter, r *http.Request) {
				query, path = r.URL.Query(), r.URL.Path
				tt.handle(w, r)
			})
			cfg := s.Client().Transport.(*http.Transport).TLSClientConfig
			d := dialer{base: parseURL(t, s.URL), tls: cfg}
			_, err := d.dial(t.Context(), strings.Replace(s.URL, "https", "wss", 1), conf, confctl.NewSecret("canary"))
			e, ok := errors.AsType[*confctl.Error](err)
			if !ok || e.Label() != tt.code || e.Class != tt.class {
				t.Errorf("dial() error = %v, want code %s, class %v", err, tt.code, tt.class)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("dial() error %q holds the token", err)
			}
			if path != "/"+socketPath || query.Get("confID") != conf || query.Get("tmpToken") != "canary" {
				t.Errorf("request = %s %v, want the socket's path, confID and tmpToken", path, query)
			}
		})
	}
}

func TestDialHidesTheToken(t *testing.T) {
	t.Parallel()
	s := handshakes(t, upgrade)
	raw := strings.Replace(s.URL, "https", "wss", 1)
	s.Close()
	d := dialer{base: parseURL(t, s.URL), tls: s.Client().Transport.(*http.Transport).TLSClientConfig}
	_, err := d.dial(t.Context(), raw, conf, confctl.NewSecret("canary"))
	if err == nil || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), conf) {
		t.Errorf("dial() error = %v, want one without the token and the conference", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.dial(ctx, raw, conf, confctl.NewSecret("canary")); !errors.Is(err, context.Canceled) {
		t.Errorf("dial() error = %v, want context.Canceled", err)
	}
}

// Both the HTTP transport and the WebSocket library quote an answer that they refuse, which may repeat the request.
func TestDialQuotesNothing(t *testing.T) {
	t.Parallel()
	for name, format := range map[string]string{
		"status line": "HTTP/1.1 %s\r\n\r\n",
		"accept key":  "HTTP/1.1 101 Ok\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		"upgrade":     "HTTP/1.1 101 Ok\r\nUpgrade: %s\r\nConnection: Upgrade\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := handshakes(t, func(w http.ResponseWriter, r *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = fmt.Fprintf(conn, format, r.URL.Query().Get("tmpToken"))
				_ = conn.Close()
			})
			d := dialer{base: parseURL(t, s.URL), tls: s.Client().Transport.(*http.Transport).TLSClientConfig}
			_, err := d.dial(t.Context(), strings.Replace(s.URL, "https", "wss", 1), conf, confctl.NewSecret("canary"))
			if err == nil || strings.Contains(err.Error(), "canary") {
				t.Errorf("dial() error = %v, want one without what the peer sent", err)
			}
		})
	}
}
