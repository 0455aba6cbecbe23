// Package gateway is the composition root: it turns Options into a running worker.
//
// It owns the process-wide parts: the listeners, the HTTP servers, the Redis client, the clients towards the provider, and
// the goroutine of each session. It joins packages that don't know each other: sessions append to the log of fanout,
// the feeds of fanout are the edge's source, and the edge's wire is the feeds' encoder.
//
// Guarantees. Build opens the listeners and starts nothing; Run blocks until its context is done and then leaves in a
// fixed order: not ready, no new clients, clients sent away over a while, sessions stopped, the rest closed
// (TestDrainOrder). A bad option is refused before anything is opened, in one line that names the flag, the value and what
// is allowed, without the secrets that it holds (TestBadValues). Flags win over the environment, the environment over the
// file (TestLayers).
//
// Non-goals: deciding which worker holds which conference. A worker holds the conferences that its options name; one that
// was fenced by another worker stays a follower for good.
package gateway
