// Package bench measures what a gateway costs: crowds of cheap clients against any confgate URL, and scenarios that start
// a server, a Redis and a simulated provider of their own and compare with a floor.
//
// A client is one socket and one goroutine that reads frames, checks by the protocol's own rule that no message was lost,
// and notes when each came. It decodes no JSON: it relies on the order of members in which the gateway writes messages
// (TestScanReadsTheEncoder holds the two together). A [Crowd] owns its clients and adds up what they saw.
//
// The floor is the least that a server in Go can do: one Redis subscription, and a loop that writes the bytes of each
// message to each socket. It is a process of its own, pinned like the server, in the same run.
//
// A [Load] is put on a gateway that runs already. With the control API of the simulated provider behind it, the load has it
// make changes, and knows the truth; without, it takes what comes, and says that no document was compared.
//
// Guarantees: a run is bounded in time and in clients; nothing but loopback addresses is put under load unless asked for; a
// run in which a client lost a message or was left behind is a failed run (TestClientsLeftBehindAreAFault), and so is one
// without any delivery that wasn't told to be (TestAttachNoticesSilence), and one at whose end clients saw different bytes or
// a document isn't the provider's, as far as the token's scopes show it (TestAttachNoticesAWrongDocument). What is in a
// document or a truth reaches neither output nor errors (TestAttach).
//
// Latency is from the frame's createTime, which has whole milliseconds: figures are up to one millisecond too high.
//
// Non-goals: clients far away, several machines, what TLS costs. Pinning a gateway that runs already is its owner's business.
package bench
