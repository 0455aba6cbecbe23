package edge

import (
	"compress/gzip"
	"net/http"
	"strconv"
	"strings"

	"confgate/internal/conference"
)

// minGzip is the least size of a body that is worth compressing, in bytes: a smaller answer fits one packet anyhow.
const minGzip = 1400

// position writes a position as ETag and the ids of events have it.
func position(pos conference.Position, view string) string {
	return pos.Epoch + ":" + view + ":" + strconv.FormatUint(pos.Seq, 10)
}

// parsePosition undoes position; false where it is none or one of another view.
func parsePosition(text, view string) (conference.Position, bool) {
	pos, of, ok := splitPosition(text)
	if !ok || of != view {
		return conference.Position{}, false
	}
	return pos, true
}

// splitPosition reads a position and the view that it was reached with.
func splitPosition(text string) (pos conference.Position, view string, ok bool) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 || parts[0] == "" {
		return conference.Position{}, "", false
	}
	seq, err := strconv.ParseUint(parts[2], 10, 64)
	return conference.Position{Epoch: parts[0], Seq: seq}, parts[1], err == nil
}

func tag(pos conference.Position, view string) string { return `"` + position(pos, view) + `"` }

// positions are those that an If-None-Match names, under a view.
func positions(header []string, view string) []conference.Position {
	var list []conference.Position
	for etag := range strings.SplitSeq(strings.Join(header, ","), ",") { // no position holds a comma
		etag = strings.TrimPrefix(strings.TrimSpace(etag), "W/")
		if len(etag) < 2 || etag[0] != '"' || etag[len(etag)-1] != '"' {
			continue
		}
		if pos, ok := parsePosition(etag[1:len(etag)-1], view); ok {
			list = append(list, pos)
		}
	}
	return list
}

// write answers with JSON: etag is its tag, empty where it has none; a nil body means that the client has it already.
func (s *Server) write(w http.ResponseWriter, r *http.Request, etag string, body []byte) {
	h := w.Header()
	h.Set("Cache-Control", "private, no-cache")
	h.Add("Vary", "Accept-Encoding")
	zip := len(body) >= minGzip && acceptsGzip(r.Header.Values("Accept-Encoding"))
	if etag != "" {
		h.Set("ETag", etag)
	}
	if body == nil {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", "application/json")
	if !zip {
		h.Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
		return
	}
	h.Set("Content-Encoding", "gzip")
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return
	}
	z, _ := s.gzips.Get().(*gzip.Writer)
	if z == nil {
		z, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is a good one
	}
	z.Reset(w)
	_, _ = z.Write(body)
	_ = z.Close() // both fail only where the client has gone
	z.Reset(nil)
	s.gzips.Put(z)
}

// acceptsGzip reads an Accept-Encoding (RFC 9110, section 12.5.3).
func acceptsGzip(header []string) bool {
	accepted := false
	for part := range strings.SplitSeq(strings.Join(header, ","), ",") {
		coding, params, _ := strings.Cut(part, ";")
		coding = strings.ToLower(strings.TrimSpace(coding))
		if coding != "gzip" && coding != "x-gzip" && coding != "*" {
			continue
		}
		weight := 1.0
		if name, q, ok := strings.Cut(strings.TrimSpace(params), "="); ok && strings.EqualFold(strings.TrimSpace(name), "q") {
			var err error
			if weight, err = strconv.ParseFloat(strings.TrimSpace(q), 64); err != nil {
				weight = 0
			}
		}
		if coding != "*" { // what is named counts more
			return weight > 0
		}
		accepted = weight > 0
	}
	return accepted
}
