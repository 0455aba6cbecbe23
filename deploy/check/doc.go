// Package check tests what the folder above it ships: the chart, the rendered manifests, the image, the compose file, the
// dashboards, the systemd unit and the proxy's configuration.
//
// It holds no code beside tests, and is a module of its own, so that Helm and the types of Kubernetes stay out of the
// module that the gateway is built from. Helm is the tool of this module: `go tool helm`.
//
// There is no cluster and no container engine here. What stands for them: every object is decoded strictly into its Go
// type and its references are followed; Pod Security is judged by Kubernetes' own library; and the binary runs with the
// chart's own arguments, files and environment, as the image's user, in a read-only root that holds what the image would.
//
// There is no Grafana either: dashboards are decoded strictly into Grafana's own Go types, their queries are read by
// Prometheus' own parser, and they keep to the rules of Grafana's linter, written again here, each with bad examples that it
// must find (TestLintFinds).
package check
