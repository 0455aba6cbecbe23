package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"time"
)

//go:embed assets
var assets embed.FS

// policy admits what the page consists of and nothing else: no inline script or style, no other origin, no framing.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// contentTypes are ours, since the system's MIME table may lack JavaScript or name it otherwise.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
}

// Config is what the page is told about this gateway.
type Config struct {
	// Conferences lists the ids that the page offers; nil or an empty list lets the reader type one. Whoever can load the
	// page can read the list, without a token. It is called for every request, concurrently.
	Conferences func() []string
	// Auth is how clients are asked for a token: "none" or "jwt". Empty is "jwt".
	Auth string
}

type file struct {
	content []byte
	mime    string
	etag    string
}

type handler struct {
	cfg   Config
	files map[string]file // immutable; by request path
}

// Handler serves the page: `/`, what it loads from `/page/`, and its configuration, `/page/config.json`. Anything else is
// answered with 404. It is safe for concurrent use.
func Handler(cfg Config) http.Handler {
	if cfg.Auth == "" {
		cfg.Auth = "jwt"
	}
	h := &handler{cfg: cfg, files: make(map[string]file)}
	entries, err := assets.ReadDir("assets")
	if err != nil {
		panic(fmt.Sprintf("page: embedded files: %v", err)) // can't happen in a binary that was built
	}
	for _, e := range entries {
		content, err := assets.ReadFile("assets/" + e.Name())
		if err != nil {
			panic(fmt.Sprintf("page: embedded files: %v", err))
		}
		sum := sha256.Sum256(content)
		f := file{content, contentTypes[path.Ext(e.Name())], `"` + hex.EncodeToString(sum[:12]) + `"`}
		h.files["/page/"+e.Name()] = f
	}
	h.files["/"] = h.files["/page/index.html"]
	delete(h.files, "/page/index.html") // one address only: the page's links are relative to `/`
	return h
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	f, known := h.files[r.URL.Path]
	isConfig := r.URL.Path == "/page/config.json"
	switch {
	case !known && !isConfig:
		problem(w, http.StatusNotFound)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		header.Set("Allow", "GET, HEAD")
		problem(w, http.StatusMethodNotAllowed)
	case isConfig:
		h.serveConfig(w)
	default:
		header.Set("Content-Type", f.mime)
		header.Set("Etag", f.etag)
		header.Set("Cache-Control", "no-cache") // kept, but asked about: a new binary shows at once
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.content))
	}
}

func (h *handler) serveConfig(w http.ResponseWriter) {
	answer := struct {
		Conferences []string `json:"conferences"`
		Auth        string   `json:"auth"`
	}{[]string{}, h.cfg.Auth}
	if h.cfg.Conferences != nil {
		answer.Conferences = append(answer.Conferences, h.cfg.Conferences()...)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(answer) // strings always encode; a reader that went away is nobody's error
}

// problem answers as RFC 9457 says.
func problem(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"type":"about:blank","title":%q,"status":%d}`+"\n", http.StatusText(status), status)
}
