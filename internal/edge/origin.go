package edge

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
)

// origins are the browser origins admitted besides a page of the same host: lower-case patterns of path.Match, over
// "host[:port]", or over "scheme://host[:port]" where they hold "://".
type origins []string

// CheckOrigin says whether a pattern of Config.AllowedOrigins can be used.
//
// A page without an origin of its own (a sandboxed frame, a file) says "null". Only * admits it: anybody's page can put itself
// into such a frame, so that null in a list would admit all of them, and look as if it didn't.
func CheckOrigin(pattern string) error {
	if strings.EqualFold(pattern, "null") {
		return fmt.Errorf("edge: origin %q: any page can say that it is this one; only * admits it", pattern)
	}
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
		o[i] = literalAddress(strings.ToLower(p))
	}
	return o
}

// literalAddress has the brackets around an IPv6 address stand for themselves; to path.Match they are a set of characters.
func literalAddress(pattern string) string {
	scheme, host, ok := strings.Cut(pattern, "://")
	if !ok {
		scheme, host = "", pattern
	} else {
		scheme += "://"
	}
	inner, rest, closed := strings.Cut(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(inner); !strings.HasPrefix(host, "[") || !closed || err != nil {
		return pattern
	}
	return scheme + `\[` + inner + `\]` + rest
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
