package edge

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"go.uber.org/zap"

	"confgate/internal/conference"
	"confgate/internal/telemetry"
)

const (
	// listPath is where conferences are; those under it have their id behind a slash.
	listPath = "/v1/conferences"
	// maxBody bounds a request's body, in bytes.
	maxBody = 64 << 10
	// maxPassword bounds a chair password, in bytes; the provider's have six digits.
	maxPassword = 256
)

// Texts of problems. They say nothing that the client may not know.
const (
	textRegistry = "this worker can't take up or release conferences"
	textBody     = `the body must be a JSON object such as {"password":"..."}, with a password of 1 to 256 bytes and no control characters`
)

// call is one REST request under way.
type call struct {
	s     *Server
	w     http.ResponseWriter
	r     *http.Request
	conf  string // empty: the list
	ident Identity
}

// route is what may be done at a path.
type route struct {
	method string
	name   string // in the metrics
	serve  func(*call)
}

var (
	listRoutes     = []route{{http.MethodGet, "list", (*call).list}}
	documentRoutes = []route{
		{http.MethodGet, "document", (*call).document},
		{http.MethodPut, "put", (*call).put},
		{http.MethodDelete, "delete", (*call).remove},
	}
	eventsRoutes = []route{{http.MethodGet, routeEvents, (*call).events}}
)

const routeEvents = "events"

// routesAt finds what is at a path, and the conference that it is about; nil: nothing is there.
func routesAt(path string) (routes []route, conf string) {
	rest := strings.TrimPrefix(path, listPath)
	if rest == "" {
		return listRoutes, ""
	}
	conf, sub, deeper := strings.Cut(rest[1:], "/")
	switch {
	case !validConference(conf):
		return nil, ""
	case !deeper:
		return documentRoutes, conf
	case sub == routeEvents:
		return eventsRoutes, conf
	}
	return nil, ""
}

// allowed lists the methods of a path.
func allowed(routes []route) string {
	var methods []string
	for _, rt := range routes {
		methods = append(methods, rt.method)
		if rt.method == http.MethodGet && rt.name != routeEvents {
			methods = append(methods, http.MethodHead)
		}
	}
	return strings.Join(append(methods, http.MethodOptions), ", ")
}

// serveREST answers a request under listPath: who may ask is found out before anything is told.
func (s *Server) serveREST(w http.ResponseWriter, r *http.Request) {
	rec := &recorder{ResponseWriter: w}
	name := "other"
	defer func() { s.cfg.Metrics.Request(name, rec.code()) }()
	routes, conf := routesAt(r.URL.Path)
	if !s.crossOrigin(rec, r, routes) {
		return
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	i := slices.IndexFunc(routes, func(rt route) bool { return rt.method == method })
	switch {
	case routes == nil:
		problem(rec, http.StatusNotFound, "there is nothing at this path")
		return
	case i < 0 || r.Method == http.MethodHead && routes[i].name == routeEvents:
		rec.Header().Set("Allow", allowed(routes))
		problem(rec, http.StatusMethodNotAllowed, "this can't be done here")
		return
	}
	name = routes[i].name
	c := &call{s: s, w: rec, r: r, conf: conf}
	if c.known(name == routeEvents) {
		routes[i].serve(c)
	}
}

// crossOrigin tells a page of an admitted origin that it may read the answer, and answers preflights; false: that was all.
func (s *Server) crossOrigin(w http.ResponseWriter, r *http.Request, routes []route) bool {
	h := w.Header()
	h.Add("Vary", "Origin")
	if !s.origins.allow(r) {
		s.warnSparsely("client refused", telemetry.Reason("origin"))
		problem(w, http.StatusForbidden, "pages of this origin are not admitted")
		return false
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", "Confgate-Fresh, ETag, Location, Retry-After")
	}
	if r.Method != http.MethodOptions || routes == nil {
		return true
	}
	h.Set("Allow", allowed(routes))
	if r.Header.Get("Access-Control-Request-Method") != "" {
		h.Set("Access-Control-Allow-Methods", allowed(routes))
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-None-Match, Last-Event-ID")
		h.Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
	return false
}

// known finds out who asks, and whether it may ask now; false: the answer was given. In a query a token is read only where
// a page can't send a header.
func (c *call) known(inQuery bool) bool {
	c.w.Header().Add("Vary", "Authorization")
	_, token := offer(http.Header{"Authorization": c.r.Header["Authorization"]})
	if token == "" && inQuery {
		token = c.r.URL.Query().Get("access_token")
	}
	ident, err := c.s.cfg.Auth.Authenticate(c.r.Context(), token)
	if err != nil {
		challenge, detail := `Bearer realm="confgate"`, "a token is needed"
		if token != "" {
			challenge, detail = challenge+`, error="invalid_token"`, "the token is not accepted"
		}
		if errors.Is(err, ErrTokenExpired) {
			detail = "the token has expired"
		}
		c.w.Header().Set("WWW-Authenticate", challenge)
		problem(c.w, http.StatusUnauthorized, detail)
		return false
	}
	c.ident = ident
	if !c.s.mayRequest(ident.Subject) {
		c.s.cfg.Metrics.Refused(telemetry.LimitRequests)
		tryAgain(c.w.Header())
		problem(c.w, http.StatusTooManyRequests, "too many requests")
		return false
	}
	return true
}

// permitted answers what the token doesn't allow; false: it was answered. A forbidden conference may exist or not.
func (c *call) permitted(ok bool) bool {
	if !ok {
		c.w.Header().Set("WWW-Authenticate", `Bearer realm="confgate", error="insufficient_scope"`)
		problem(c.w, http.StatusForbidden, textForbidden)
	}
	return ok
}

// topics are those that the query asks for, with link; all that the token may see where it doesn't say. False: answered.
func (c *call) topics(query url.Values) (conference.Topics, bool) {
	visible := c.ident.Scopes.Profile().VisibleTopics()
	asked := visible
	if lists, ok := query["topics"]; ok {
		asked = 0
		for name := range strings.SplitSeq(strings.Join(lists, ","), ",") {
			if t, ok := conference.ParseTopic(strings.TrimSpace(name)); ok {
				asked |= conference.TopicSet(t)
			}
		}
	}
	if !c.permitted(asked&^visible == 0) {
		return 0, false
	}
	return asked | conference.TopicSet(conference.Link), true
}

// failed answers an error of the Source or of the Registry.
func (c *call) failed(what string, err error) {
	switch {
	case errors.Is(err, ErrNotFound):
		problem(c.w, http.StatusNotFound, textNotFound)
	case errors.Is(err, ErrNamedByFlags):
		problem(c.w, http.StatusConflict, "a worker's flags name this conference, so it can't be released")
	case errors.Is(err, ErrNoSealKey):
		problem(c.w, http.StatusNotImplemented, "passwords can't be stored here: the workers have no --seal-key-file")
	case errors.Is(err, ErrFull):
		c.w.Header().Set("Retry-After", "60")
		problem(c.w, http.StatusServiceUnavailable, "no worker has room for another conference (--max-conferences)")
	case errors.Is(err, ErrUnavailable) || c.r.Context().Err() != nil:
		tryAgain(c.w.Header())
		problem(c.w, http.StatusServiceUnavailable, textUnavailable)
	default:
		c.s.warnSparsely(what, telemetry.Conference(c.conf), zap.Error(err))
		problem(c.w, http.StatusInternalServerError, textInternal)
	}
}

// listed is a conference in the list.
type listed struct {
	ID      string         `json:"id"`
	Title   string         `json:"title,omitempty"`
	Link    *listedLink    `json:"link,omitempty"`
	Worker  string         `json:"worker,omitempty"`
	Fresh   *bool          `json:"fresh,omitempty"`
	Clients *int           `json:"clients,omitempty"`
	Counts  map[string]int `json:"counts,omitempty"`
	Epoch   string         `json:"epoch,omitempty"`
	Seq     *uint64        `json:"seq,omitempty"`
}

type listedLink struct {
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	Since  int64  `json:"since"`
}

// list answers with the conferences that the token may see.
func (c *call) list() {
	if !c.permitted(c.ident.Scopes.Has(ScopeRead)) {
		return
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), subscribeWait)
	defer cancel()
	summaries, err := c.s.cfg.Source.List(ctx, c.ident.May)
	if err != nil {
		c.failed("list failed", err)
		return
	}
	answer := struct {
		Worker      string   `json:"worker"`
		Conferences []listed `json:"conferences"`
	}{c.s.cfg.WorkerID, make([]listed, len(summaries))}
	for i, sum := range summaries {
		answer.Conferences[i] = newListed(sum)
	}
	body, err := json.Marshal(answer)
	if err != nil {
		c.failed("list failed", err)
		return
	}
	c.s.write(c.w, c.r, "", body)
}

func newListed(s Summary) listed {
	l := listed{ID: s.Conference, Worker: s.Worker}
	if !s.Known {
		return l
	}
	l.Title, l.Fresh, l.Clients, l.Epoch, l.Seq = s.Title, &s.Fresh, &s.Clients, s.Epoch, &s.Seq
	if s.LinkState != "" {
		l.Link = &listedLink{s.LinkState, s.LinkReason, s.LinkSince}
	}
	l.Counts = make(map[string]int, len(s.Counts))
	for t, n := range s.Counts {
		l.Counts[t.String()] = n
	}
	return l
}

// document answers with a conference's state document.
func (c *call) document() {
	p := c.ident.Scopes.Profile()
	if !c.permitted(c.ident.allows(c.conf, p)) {
		return
	}
	topics, ok := c.topics(c.r.URL.Query())
	if !ok {
		return
	}
	view := conference.View(topics, p)
	ctx, cancel := context.WithTimeout(c.r.Context(), subscribeWait)
	defer cancel()
	doc, err := c.s.cfg.Source.Document(ctx, DocumentRequest{
		Conference: c.conf, Topics: topics, Profile: p, Have: positions(c.r.Header.Values("If-None-Match"), view),
	})
	if err != nil {
		c.failed("document failed", err)
		return
	}
	if strings.TrimSpace(c.r.Header.Get("If-None-Match")) == "*" { // unless there is any
		doc.JSON = nil
	}
	fresh := "?1" // a boolean of structured fields (RFC 9651)
	if !doc.Fresh {
		fresh = "?0"
	}
	c.w.Header().Set("Confgate-Fresh", fresh)
	c.s.write(c.w, c.r, tag(doc.Position, view), doc.JSON)
}

// put has the fleet hold a conference.
func (c *call) put() {
	if !c.permitted(c.ident.Scopes.Has(ScopeAdmin) && c.ident.May(c.conf)) {
		return
	}
	if c.s.cfg.Registry == nil {
		problem(c.w, http.StatusNotImplemented, textRegistry)
		return
	}
	if given := c.r.Header.Get("Content-Type"); given != "" { // the contract asks for none
		if typ, _, err := mime.ParseMediaType(given); err != nil || typ != "application/json" {
			problem(c.w, http.StatusUnsupportedMediaType, "the body must be application/json")
			return
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		problem(c.w, http.StatusRequestEntityTooLarge, "the body is larger than 64 KiB")
		return
	}
	var m struct {
		Password string `json:"password"`
	}
	if err != nil || json.Unmarshal(body, &m) != nil || !validPassword(m.Password) {
		problem(c.w, http.StatusBadRequest, textBody) // the decoder's own words may quote the password
		return
	}
	created, err := c.s.cfg.Registry.Put(c.r.Context(), c.conf, []byte(m.Password))
	if err != nil {
		c.failed("put failed", err)
		return
	}
	c.s.cfg.Log.Info("conference put", telemetry.Conference(c.conf), zap.Bool("created", created))
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	status := http.StatusOK
	if created {
		status = http.StatusCreated
		h.Set("Location", listPath+"/"+c.conf)
	}
	c.w.WriteHeader(status)
	_, _ = c.w.Write(append(appendString([]byte(`{"id":`), c.conf), '}'))
}

// validPassword says whether s can be sent to the provider: it goes there in a header.
func validPassword(s string) bool {
	return s != "" && len(s) <= maxPassword && !strings.ContainsFunc(s, unicode.IsControl)
}

// remove has the fleet release a conference.
func (c *call) remove() {
	if !c.permitted(c.ident.Scopes.Has(ScopeAdmin) && c.ident.May(c.conf)) {
		return
	}
	if c.s.cfg.Registry == nil {
		problem(c.w, http.StatusNotImplemented, textRegistry)
		return
	}
	if err := c.s.cfg.Registry.Delete(c.r.Context(), c.conf); err != nil {
		c.failed("delete failed", err)
		return
	}
	c.s.cfg.Log.Info("conference deleted", telemetry.Conference(c.conf))
	c.w.WriteHeader(http.StatusNoContent)
}

// recorder notes the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

// Unwrap lets http.ResponseController through.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) code() int {
	if r.status == 0 {
		return http.StatusOK
	}
	return r.status
}
