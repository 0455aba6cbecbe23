// Package fanouttest is what tests need of the replicated log: the suite that every fanout.Log has to pass (TestLog), a
// follower that checks what it is given (Tail), a real redis-server of the test's own (StartRedis, StartCluster), and a
// proxy before it that loses published messages and cuts connections (Proxy).
//
// A missing redis-server fails the test, with the command that installs it. Everything that is started here is stopped
// when the test ends.
package fanouttest
