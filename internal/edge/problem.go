package edge

import (
	"net/http"
	"strconv"
)

// problem answers a request with an error (RFC 9457).
func problem(w http.ResponseWriter, status int, detail string) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	body := appendString([]byte(`{"type":"about:blank","title":`), http.StatusText(status))
	body = strconv.AppendInt(append(body, `,"status":`...), int64(status), 10)
	body = append(appendString(append(body, `,"detail":`...), detail), "}\n"...)
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// harden sets the headers that every answer has.
func harden(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
}
