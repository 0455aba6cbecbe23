package page

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func ask(t *testing.T, h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestHandler(t *testing.T) {
	t.Parallel()
	h := Handler(Config{})
	tests := []struct {
		name, method, path string
		status             int
		mime               string
		body               string // contained in the answer
	}{
		{"index", "GET", "/", 200, "text/html; charset=utf-8", "<!doctype html>"},
		{"head", "HEAD", "/", 200, "text/html; charset=utf-8", ""},
		{"client", "GET", "/page/client.js", 200, "text/javascript; charset=utf-8", "export class Client"},
		{"view", "GET", "/page/view.js", 200, "text/javascript; charset=utf-8", "export class View"},
		{"app", "GET", "/page/app.js", 200, "text/javascript; charset=utf-8", "import { Client }"},
		{"style", "GET", "/page/style.css", 200, "text/css; charset=utf-8", "--accent"},
		{"icon", "GET", "/page/icon.svg", 200, "image/svg+xml", "<svg"},
		{"config", "GET", "/page/config.json", 200, "application/json", `{"conferences":[],"auth":"jwt"}`},
		{"index has one address", "GET", "/page/index.html", 404, "application/problem+json", `"status":404`},
		{"no listing", "GET", "/page/", 404, "application/problem+json", `"status":404`},
		{"no climbing", "GET", "/page/../page.go", 404, "application/problem+json", `"status":404`},
		{"unknown", "GET", "/nothing", 404, "application/problem+json", `"title":"Not Found"`},
		{"post", "POST", "/", 405, "application/problem+json", `"status":405`},
		{"post config", "POST", "/page/config.json", 405, "application/problem+json", `"status":405`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := ask(t, h, tt.method, tt.path)
			if w.Code != tt.status {
				t.Errorf("%s %s = %d, want %d", tt.method, tt.path, w.Code, tt.status)
			}
			if got := w.Header().Get("Content-Type"); got != tt.mime {
				t.Errorf("%s %s: Content-Type = %q, want %q", tt.method, tt.path, got, tt.mime)
			}
			if !strings.Contains(w.Body.String(), tt.body) {
				t.Errorf("%s %s: body lacks %q", tt.method, tt.path, tt.body)
			}
			if got := w.Header().Get("Content-Security-Policy"); got != policy {
				t.Errorf("%s %s: Content-Security-Policy = %q, want %q", tt.method, tt.path, got, policy)
			}
			if got := w.Header().Get("X-Content-Type-Options"); got != "nosniff" {
				t.Errorf("%s %s: X-Content-Type-Options = %q, want nosniff", tt.method, tt.path, got)
			}
		})
	}
}

func TestHandlerETag(t *testing.T) {
	t.Parallel()
	h := Handler(Config{})
	seen := make(map[string]string)
	for _, path := range []string{"/", "/page/app.js", "/page/client.js", "/page/style.css", "/page/icon.svg"} {
		first := ask(t, h, "GET", path)
		tag := first.Header().Get("Etag")
		if tag == "" || seen[tag] != "" {
			t.Fatalf("GET %s: Etag = %q (also of %q), want one of its own", path, tag, seen[tag])
		}
		seen[tag] = path
		if got := first.Header().Get("Cache-Control"); got != "no-cache" {
			t.Errorf("GET %s: Cache-Control = %q, want no-cache", path, got)
		}
		if again := ask(t, h, "GET", path, "If-None-Match", tag); again.Code != 304 || again.Body.Len() != 0 {
			t.Errorf("GET %s with its Etag = %d, %d bytes, want 304 without body", path, again.Code, again.Body.Len())
		}
		if other := ask(t, h, "GET", path, "If-None-Match", `"other"`); other.Code != 200 {
			t.Errorf("GET %s with another Etag = %d, want 200", path, other.Code)
		}
	}
}

func TestHandlerConfig(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	h := Handler(Config{Auth: "none", Conferences: func() []string {
		if calls.Add(1) == 1 {
			return nil
		}
		return []string{"900487914", "900487915"}
	}})
	for _, want := range []any{
		map[string]any{"conferences": []any{}, "auth": "none"},
		map[string]any{"conferences": []any{"900487914", "900487915"}, "auth": "none"},
	} {
		w := ask(t, h, "GET", "/page/config.json")
		var got any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("config.json: %v", err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("config.json (-want +got):\n%s", diff)
		}
		if got := w.Header().Get("Cache-Control"); got != "no-store" {
			t.Errorf("config.json: Cache-Control = %q, want no-store", got)
		}
	}
}

// The policy forbids inline code, other origins and markup from strings; the files must not need them.
func TestAssetsObeyThePolicy(t *testing.T) {
	t.Parallel()
	forbidden := map[string]*regexp.Regexp{
		"inline handler":    regexp.MustCompile(`(?i)<[^>]*\son[a-z]+=`),
		"inline style":      regexp.MustCompile(`(?i)<[^>]*\sstyle=|<style`),
		"inline script":     regexp.MustCompile(`(?i)<script(>|[^>]*[^>c]>[^<])`),
		"other origin":      regexp.MustCompile(`(src|href|url|from|import)\s*[=(]?\s*["'(]?(https?:)?//[a-z]`),
		"markup sink":       regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function`),
		"token in storage":  regexp.MustCompile(`localStorage|document\.cookie`),
		"console left over": regexp.MustCompile(`console\.(log|debug)\(`),
	}
	entries, err := assets.ReadDir("assets")
	if err != nil || len(entries) < 6 {
		t.Fatalf("assets: %d files, %v, want at least 6", len(entries), err)
	}
	for _, e := range entries {
		content, err := assets.ReadFile("assets/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		for what, re := range forbidden {
			for line := range strings.SplitSeq(string(content), "\n") {
				if !strings.HasPrefix(strings.TrimSpace(line), "//") && re.MatchString(line) {
					t.Errorf("%s: %s: %s", e.Name(), what, strings.TrimSpace(line))
				}
			}
		}
	}
}
