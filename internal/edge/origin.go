package edge

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// origins are the browser origins admitted besides a page of the same host: lower-case patterns of path.Match, over
// "host[:port]", or over "scheme://host[:port]" where they hold "://".
type origins []string

// CheckOrigin says whether a pattern of Config.AllowedOrigins can be used.
func CheckOrigin(pattern string) error {
	host := pattern
	if _, rest, ok := strings.Cut(pattern, "://"); ok {
		host = rest
	}
	if _, err := path.Match(pattern, ""); err != nil || host == "" || strings.ContainsAny(host, "/ ,") {
		return fmt.Errorf("edge: origin %q: want a host or scheme://host, each with an optional port and * for any part", pattern)
	}
	return nil
}

func newOrigins(patterns []string) origins {
	o := make(origins, len(patterns))
	for i, p := range patterns {
		o[i] = strings.ToLower(p)
	}
	return o
}

// allow says whether a request may come from where it says it comes from. Only browsers say so; what else connects is held
// off by its lack of a token alone.
func (o origins) allow(r *http.Request) bool {
	header := r.Header.Get("Origin")
	if header == "" {
		return true
	}
	u, err := url.Parse(strings.ToLower(header))
	if err != nil {
		return false
	}
	if u.Host != "" && u.Host == strings.ToLower(r.Host) {
		return true
	}
	for _, p := range o {
		target := u.Host
		if strings.Contains(p, "://") {
			target = u.Scheme + "://" + u.Host
		}
		if ok, err := path.Match(p, target); err == nil && ok {
			return true
		}
	}
	return false
}
