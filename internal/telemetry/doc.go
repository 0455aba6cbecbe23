// Package telemetry is the gateway's eyes: the zap logger, the Prometheus metrics and the operators' HTTP endpoints.
//
// It owns the names: every metric is declared in metrics.go, every log key in keys.go. No label carries a conference id, a
// participant id or a user; no log field carries a password, a token, a join link or a participant's name. Metrics are
// nil-safe: every method works on a nil *Metrics, so that a test needs none.
package telemetry
