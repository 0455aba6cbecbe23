// Package rawsock reads and writes sockets without telling Go's scheduler.
//
// The scheduler is told of a system call because it might block, and then hands the processor on. The first call that it is
// told of after the process was idle wakes its monitor thread, which from then on looks after every call some ten thousand
// times a second: for a process that is idle a thousand times a second, that is a fifth of all it does. A socket that doesn't
// block needs none of it: a call that has nothing to do says so at once, and the goroutine waits in the network poller as it
// would anyway.
//
// Wrap is for connections that carry many small messages. What is written is written in pieces of 64 KiB at the most, so
// that no call keeps the processor for long. Where the system isn't Linux, and where a connection has no descriptor of its
// own, as under TLS, nothing changes.
//
// Guarantees: a wrapped connection keeps the contract of net.Conn, with its deadlines, errors and concurrency
// (TestConn, TestDeadlines, TestCloseEndsCalls), but that a look at its health is called only where there is
// something to see (TestHealth).
package rawsock
