// Package proctest is for tests that start programs: redis-server, a proxy, a gateway of its own process.
//
// A Process ends with its test at the latest, also where the test's own process is killed or panics: a small shell watches for
// that (TestGuard). Its output is kept, and shown where the test fails. Ports are those that no other test is given, in this
// process or another, and that the system gives to nobody (TestPorts, TestPortsApart).
//
// Until is how tests wait for what programs do. Nothing here sleeps instead of waiting.
package proctest
