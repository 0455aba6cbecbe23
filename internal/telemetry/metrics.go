package telemetry

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// latencyBuckets span what a delivery may take: 100 µs to 10 s.
var latencyBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// waitBuckets span a wait for one's turn under a limit of some calls a minute: none to minutes.
var waitBuckets = []float64{.001, .01, .1, .5, 1, 2.5, 5, 10, 30, 60, 120, 300}

// Metrics holds every metric of the process, under one registry. A nil *Metrics counts nothing.
type Metrics struct {
	registry *prometheus.Registry

	upstreamLinks        *prometheus.GaugeVec
	upstreamUnavailable  *prometheus.GaugeVec
	upstreamFrames       cells[[2]string, prometheus.Counter]
	upstreamUnknown      *prometheus.CounterVec
	upstreamGaps         prometheus.Counter
	upstreamResyncs      prometheus.Counter
	upstreamReconnects   *prometheus.CounterVec
	upstreamHeartbeatRTT prometheus.Histogram
	upstreamTokenRefresh *prometheus.CounterVec
	providerCalls        *prometheus.CounterVec
	providerWait         *prometheus.HistogramVec

	fanoutPublished  cells[string, prometheus.Counter]
	fanoutFenced     prometheus.Counter
	fanoutLogRefills prometheus.Counter
	fanoutUp         prometheus.Gauge

	ownershipConferences prometheus.Gauge
	ownershipUnowned     prometheus.Gauge
	ownershipTakeovers   *prometheus.CounterVec

	downstreamConnections   prometheus.Gauge
	downstreamSubscriptions prometheus.Gauge
	downstreamMessages      cells[string, prometheus.Counter]
	downstreamBytes         prometheus.Counter
	downstreamSnapshots     *prometheus.CounterVec
	downstreamClosed        *prometheus.CounterVec
	downstreamRefused       *prometheus.CounterVec
	downstreamRequests      *prometheus.CounterVec

	authKeyRefreshes *prometheus.CounterVec
	authKeysStale    prometheus.Gauge

	deliveryLatency cells[string, prometheus.Observer]
}

// NewMetrics registers every metric, and the Go runtime's and the process's own, with a fresh registry.
func NewMetrics(version, commit, goVersion string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "confgate", Name: name, Help: help})
		m.registry.MustRegister(c)
		return c
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "confgate", Name: name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "confgate", Name: name, Help: help})
		m.registry.MustRegister(g)
		return g
	}
	gauges := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "confgate", Name: name, Help: help}, labels)
		m.registry.MustRegister(g)
		return g
	}

	m.upstreamLinks = gauges("upstream_links", "Links to the provider by their state.", "state")
	m.upstreamUnavailable = gauges("upstream_unavailable_links", "Links in the state unavailable, by why the provider refuses them.", "reason")
	frames := counters("upstream_frames_total", "Notify frames received from the provider.", "action", "mode")
	m.upstreamFrames.make = func(labels [2]string) prometheus.Counter { return frames.WithLabelValues(labels[:]...) }
	m.upstreamUnknown = counters("upstream_unknown_total", "What the provider sent and this version doesn't know: an action, a field, a value, or garbage.", "what")
	m.upstreamGaps = counter("upstream_gaps_total", "Gaps seen in the numbering of increments.")
	m.upstreamResyncs = counter("upstream_resyncs_total", "Subscribe requests sent to get fresh full frames.")
	m.upstreamReconnects = counters("upstream_reconnects_total", "Links that were lost and dialled anew, by cause.", "reason")
	m.upstreamHeartbeatRTT = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "confgate", Name: "upstream_heartbeat_rtt_seconds",
		Help: "Round trip of heartbeats to the provider.", Buckets: latencyBuckets,
	})
	m.upstreamTokenRefresh = counters("upstream_token_refresh_total", "Refreshes of control tokens.", "result")
	m.providerCalls = counters("provider_calls_total", "REST calls and dials at the provider, by API and answer (its own code, else the HTTP status, else a word).", "api", "code")

	m.providerWait = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "confgate", Name: "provider_wait_seconds",
		Help: "How long calls at the provider waited for their turn under the fleet's rate limit.", Buckets: waitBuckets,
	}, []string{"api"})

	published := counters("fanout_published_total", "Changes and events appended to the log.", "topic")
	m.fanoutPublished.make = func(topic string) prometheus.Counter { return published.WithLabelValues(topic) }
	m.fanoutFenced = counter("fanout_fenced_total", "Appends refused since another worker had claimed the conference.")
	m.fanoutLogRefills = counter("fanout_log_refills_total", "Ranges that a follower read from the stream since the transport had lost them.")
	m.fanoutUp = gauge("fanout_up", "1 while the replicated log answers, else 0.")

	m.ownershipConferences = gauge("ownership_conferences", "Conferences that this worker holds.")
	m.ownershipUnowned = gauge("ownership_unowned_conferences", "Conferences that the fleet should hold and no living worker does, as this worker sees it.")
	m.ownershipTakeovers = counters("ownership_takeovers_total", "Conferences that this worker took over, by cause.", "reason")

	m.downstreamConnections = gauge("downstream_connections", "Client connections.")
	m.downstreamSubscriptions = gauge("downstream_subscriptions", "Client subscriptions.")
	sent := counters("downstream_messages_total", "Messages written to clients.", "type")
	m.downstreamMessages.make = func(typ string) prometheus.Counter { return sent.WithLabelValues(typ) }
	m.downstreamBytes = counter("downstream_bytes_total", "Payload bytes written to clients.")
	m.downstreamSnapshots = counters("downstream_snapshots_total", "Snapshots sent to clients, by cause.", "reason")
	m.downstreamClosed = counters("downstream_closed_total", "Client connections closed, by cause.", "reason")

	m.downstreamRefused = counters("downstream_refused_total", "What clients were refused by a limit.", "limit")
	m.downstreamRequests = counters("downstream_requests_total", "REST requests and event streams, by status.", "route", "code")

	m.authKeyRefreshes = counters("auth_key_refreshes_total", "Fetches of the keys that tokens are verified with.", "result")
	m.authKeysStale = gauge("auth_keys_stale", "1 while the keys that tokens are verified with couldn't be refreshed in time, else 0.")

	latency := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "confgate", Name: "delivery_latency_seconds",
		Help:    "append: frame read to append acknowledged; deliver: message received from the log to socket written.",
		Buckets: latencyBuckets,
	}, []string{"stage"})
	build := gauges("build_info", "Always 1; the labels say what runs.", "version", "commit", "goversion")
	build.WithLabelValues(version, commit, goVersion).Set(1)

	m.deliveryLatency.make = func(stage string) prometheus.Observer { return latency.WithLabelValues(stage) }
	m.registry.MustRegister(m.upstreamHeartbeatRTT, m.providerWait, latency,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.zero()
	return m
}

// zero makes the series of closed label sets exist from the start, so that a rate over them is never "no data".
func (m *Metrics) zero() {
	for _, s := range LinkStates {
		m.upstreamLinks.WithLabelValues(s)
	}
	for _, r := range UnavailableReasons {
		m.upstreamUnavailable.WithLabelValues(r)
	}
	for _, r := range ReconnectReasons {
		m.upstreamReconnects.WithLabelValues(r)
	}
	for _, r := range []string{"start", "death", "handover"} {
		m.ownershipTakeovers.WithLabelValues(r)
	}
	for _, r := range []string{"subscribe", "resume", "lag", "epoch"} {
		m.downstreamSnapshots.WithLabelValues(r)
	}
	for _, t := range messageTypes {
		m.downstreamMessages.at(t)
	}
	for _, r := range ClosedReasons {
		m.downstreamClosed.WithLabelValues(r)
	}
	for _, a := range []string{"token", "wsToken", "realTimeInfo", "dial"} {
		m.providerWait.WithLabelValues(a)
	}
	for _, r := range []string{"ok", "refused", "error"} {
		m.upstreamTokenRefresh.WithLabelValues(r)
	}
	for _, w := range []string{"action", "frame", "answer"} {
		m.upstreamUnknown.WithLabelValues(w)
	}
	for _, l := range Limits {
		m.downstreamRefused.WithLabelValues(l)
	}
	for _, r := range []string{"ok", "error"} {
		m.authKeyRefreshes.WithLabelValues(r)
	}
	for _, s := range []string{"append", "deliver"} {
		m.deliveryLatency.at(s)
	}
}

// LinkStates are the values of the label "state".
var LinkStates = []string{"waiting", "connecting", "live", "stale", "unavailable", "ended"}

// UnavailableReasons are why a link is unavailable: the credentials were refused, or the provider has locked the conference.
var UnavailableReasons = []string{"credentials", "locked"}

// ReconnectReasons are why a link was lost.
var ReconnectReasons = []string{"network", "provider", "heartbeat", "gap"}

// messageTypes are those of the messages to clients.
var messageTypes = []string{
	"welcome", "subscribed", "snapshot", "delta", "event", "status", "unsubscribed", "heartbeat", "pong", "error",
}

// ClosedReasons are why a client's connection was closed.
var ClosedReasons = []string{
	"leaving", "full", "subject", "unauthorized", "expired", "forbidden", "too_slow", "protocol", "too_many", "client", "lost",
	"released",
}

// Registry is what /metrics serves.
func (m *Metrics) Registry() *prometheus.Registry {
	if m == nil {
		return prometheus.NewRegistry()
	}
	return m.registry
}

// LinkMoved counts a link out of one state and into another; empty means none.
func (m *Metrics) LinkMoved(from, to string) {
	if m == nil || from == to {
		return
	}
	if from != "" {
		m.upstreamLinks.WithLabelValues(from).Dec()
	}
	if to != "" {
		m.upstreamLinks.WithLabelValues(to).Inc()
	}
}

// LinkUnavailable counts a link out of one reason for being unavailable and into another; empty means that it isn't.
func (m *Metrics) LinkUnavailable(from, to string) {
	if m == nil || from == to {
		return
	}
	if from != "" {
		m.upstreamUnavailable.WithLabelValues(from).Dec()
	}
	if to != "" {
		m.upstreamUnavailable.WithLabelValues(to).Inc()
	}
}

// Frame counts a notify frame; action is a known kind's name or "other".
func (m *Metrics) Frame(action, mode string) {
	if m != nil {
		m.upstreamFrames.at([2]string{action, mode}).Inc()
	}
}

// Unknown counts something this version doesn't know: "action", "frame" (undecodable), "answer".
func (m *Metrics) Unknown(what string) {
	if m != nil {
		m.upstreamUnknown.WithLabelValues(what).Inc()
	}
}

// Gap counts a gap in the numbering.
func (m *Metrics) Gap() {
	if m != nil {
		m.upstreamGaps.Inc()
	}
}

// Resync counts a Subscribe that asks for fresh full frames.
func (m *Metrics) Resync() {
	if m != nil {
		m.upstreamResyncs.Inc()
	}
}

// Reconnect counts a link that was lost, by cause.
func (m *Metrics) Reconnect(reason string) {
	if m != nil {
		m.upstreamReconnects.WithLabelValues(reason).Inc()
	}
}

// HeartbeatRTT observes an upstream heartbeat's round trip.
func (m *Metrics) HeartbeatRTT(d time.Duration) {
	if m != nil {
		m.upstreamHeartbeatRTT.Observe(d.Seconds())
	}
}

// TokenRefresh counts a refresh of a control token: "ok", "refused" or "error".
func (m *Metrics) TokenRefresh(result string) {
	if m != nil {
		m.upstreamTokenRefresh.WithLabelValues(result).Inc()
	}
}

// ProviderCall counts a REST call or a dial ("token", "refresh", "wsToken", "realTimeInfo", "dial") by its answer.
func (m *Metrics) ProviderCall(api, code string) {
	if m != nil {
		m.providerCalls.WithLabelValues(api, code).Inc()
	}
}

// ProviderWait observes how long a call waited for its turn; api is as in ProviderCall, a refresh being a token call.
func (m *Metrics) ProviderWait(api string, d time.Duration) {
	if m != nil {
		m.providerWait.WithLabelValues(api).Observe(d.Seconds())
	}
}

// Published counts changes appended to the log.
func (m *Metrics) Published(topic string, n int) {
	if m != nil {
		m.fanoutPublished.at(topic).Add(float64(n))
	}
}

// Fenced counts an append that the log refused to an old claim.
func (m *Metrics) Fenced() {
	if m != nil {
		m.fanoutFenced.Inc()
	}
}

// Refill counts a range that a follower read from the stream.
func (m *Metrics) Refill() {
	if m != nil {
		m.fanoutLogRefills.Inc()
	}
}

// FanoutUp says whether the log answers.
func (m *Metrics) FanoutUp(up bool) {
	if m != nil {
		m.fanoutUp.Set(b2f(up))
	}
}

// Owned sets how many conferences this worker holds.
func (m *Metrics) Owned(n int) {
	if m != nil {
		m.ownershipConferences.Set(float64(n))
	}
}

// Unowned sets how many conferences no living worker holds though one should.
func (m *Metrics) Unowned(n int) {
	if m != nil {
		m.ownershipUnowned.Set(float64(n))
	}
}

// Takeover counts a conference that this worker took over: "start", "death", "handover".
func (m *Metrics) Takeover(reason string) {
	if m != nil {
		m.ownershipTakeovers.WithLabelValues(reason).Inc()
	}
}

// Connections adds to the number of client connections.
func (m *Metrics) Connections(delta int) {
	if m != nil {
		m.downstreamConnections.Add(float64(delta))
	}
}

// Subscriptions adds to the number of client subscriptions.
func (m *Metrics) Subscriptions(delta int) {
	if m != nil {
		m.downstreamSubscriptions.Add(float64(delta))
	}
}

// Sent counts messages of one type written to clients, and their bytes.
func (m *Metrics) Sent(typ string, messages, bytes int) {
	if m != nil {
		m.downstreamMessages.at(typ).Add(float64(messages))
		m.downstreamBytes.Add(float64(bytes))
	}
}

// Snapshot counts a snapshot sent to a client: "subscribe" (asked for), "resume" (resuming wasn't possible), "lag" (fell
// off the list), "epoch".
func (m *Metrics) Snapshot(reason string) {
	if m != nil {
		m.downstreamSnapshots.WithLabelValues(reason).Inc()
	}
}

// Closed counts a closed client connection by cause.
func (m *Metrics) Closed(reason string) {
	if m != nil {
		m.downstreamClosed.WithLabelValues(reason).Inc()
	}
}

// The limits that clients can meet.
const (
	LimitConnections        = "connections"         // of the worker
	LimitSubjectConnections = "subject_connections" // of a token's subject
	LimitSubscriptions      = "subscriptions"       // of a connection
	LimitMessages           = "messages"            // a second, of a connection
	LimitMessageSize        = "message_size"
	LimitRequests           = "requests"   // a second, of a token's subject
	LimitHandshakes         = "handshakes" // a second, of the worker
	LimitPending            = "pending"    // sockets without a request under way
	LimitIdle               = "idle"       // those of them between two requests, which give way to others
	LimitHeader             = "header"     // size of a request's header, and the time that it may take
)

// Limits are the values of the label "limit".
var Limits = []string{
	LimitConnections, LimitSubjectConnections, LimitSubscriptions, LimitMessages, LimitMessageSize, LimitRequests,
	LimitHandshakes, LimitPending, LimitIdle, LimitHeader,
}

// Refused counts what a client was refused by one of the Limits.
func (m *Metrics) Refused(limit string) {
	if m != nil {
		m.downstreamRefused.WithLabelValues(limit).Inc()
	}
}

// Request counts a REST request, or an event stream when it has ended, by its route ("list", "document", "events", "put",
// "delete", "other") and its status.
func (m *Metrics) Request(route string, status int) {
	if m != nil {
		m.downstreamRequests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	}
}

// KeyRefresh counts a fetch of the keys that tokens are verified with.
func (m *Metrics) KeyRefresh(ok bool) {
	if m == nil {
		return
	}
	result := "error"
	if ok {
		result = "ok"
	}
	m.authKeyRefreshes.WithLabelValues(result).Inc()
}

// KeysStale says whether those keys are older than they should be.
func (m *Metrics) KeysStale(stale bool) {
	if m != nil {
		m.authKeysStale.Set(b2f(stale))
	}
}

// Latency observes a stage of a delivery: "append" or "deliver".
func (m *Metrics) Latency(stage string, d time.Duration) {
	if m != nil {
		m.deliveryLatency.at(stage).Observe(d.Seconds())
	}
}

func b2f(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
