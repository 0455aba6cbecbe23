// Package observe holds the tests of what operators look at: the alerts, the dashboards, and the metrics under them. A real
// Prometheus scrapes real workers.
//
// Guarantees: every alert has a firing and a quiet case, says what users notice and leads to a section of the operations
// guide that exists (TestAlerts, TestRuleCases); every metric that an alert or a panel names is exposed, and every panel's
// every query brings data (TestPrometheus); no alert fires while all is well, for a fleet and for a worker as the demo has it,
// though a minute lasts four seconds (TestPrometheus); what an alert picks by label is there (TestPrometheus).
//
// Non-goals: whether the dashboards are good ones, which deploy/check says; what Grafana draws; thresholds that suit every fleet.
package observe
