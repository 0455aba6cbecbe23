// Package observe holds the tests of what operators look at: the alerts, the dashboards, and the metrics under them. A real
// Prometheus scrapes real workers.
//
// Guarantees: every alert has a firing and a quiet case, says what users notice and leads to a section of the operations
// guide that exists (TestAlerts, TestRuleCases); every metric that an alert or a panel names is exposed, and every panel's
// every query brings data (TestPrometheus); no alert fires while all is well, even where a minute lasts a second
// (TestPrometheus); dashboards keep to the rules of Grafana's linter, whose module can't be fetched by everybody (TestDashboards).
//
// Non-goals: what Grafana draws; thresholds that suit every fleet.
package observe
