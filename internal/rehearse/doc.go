// Package rehearse rehearses what an operations team does at noon: a rolling update of three workers behind a real HAProxy,
// with the configuration that deploy/ ships, and a scale-down and a scale-up. Workers are processes of the real binary; clients
// come by WebSocket and by event streams, through the proxy, with the back-off of ordinary clients.
//
// A worker is replaced as Kubernetes does it: the new one is ready before the old one is told anything; then the old one's
// address is taken from the balancer, the time of a preStop hook goes by, and SIGTERM comes.
//
// Guarantees: no client loses a message, gets a reset, or hears nothing for longer than a second (TestRehearsal); at the end
// every document is the provider's truth. `make rehearse` plays the long form, with 300 clients; the tests play a short one.
//
// Non-goals: Kubernetes itself, networks between machines, TLS.
package rehearse
