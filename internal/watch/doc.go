// Package watch is a client of confgate.v1: the command `gateway watch`, and under it a client that tests use as their
// reference of what a client sees.
//
// Replica is the pure part: positions by topic, patches, and a check of everything that the protocol promises about the
// order of messages. Client keeps one connection for one conference alive around it: back-off by close code, resume,
// subscribing anew after a loss, heartbeats, renewed tokens. Run prints what a Client sees, as a table that lives, as one
// line a change, or as JSON lines.
//
// A Client's replica is owned by its Run and is seen from outside as copies only. Constructors start nothing; Run blocks
// and, when it returns, has ended every goroutine that it started.
//
// Guarantees: a document is never changed by a message that doesn't continue it; nothing that a conference contains can
// control the terminal (TestTextIsHarmless); tokens reach neither the output nor an error.
//
// Not here: several conferences on one connection, SSE, commands.
package watch
