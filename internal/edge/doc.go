// Package edge serves the gateway's clients: the WebSocket protocol confgate.v1, the same messages as server-sent events, state
// documents by REST, tokens, limits, and what a client may see.
//
// Each connection has a reader, whose goroutine only waits for the socket, and a writer while there is something to send: one
// of a few shared ones (shared.go), which try each socket once and wait for none, or, where a socket takes no more, a
// goroutine of its own until it does. Heartbeats and the expiry of tokens of all connections ride on the one ticker of [Server.Run]. The reader owns
// what the client has asked for and its token; the writer owns the socket's sending side and the live subscriptions, so
// the order in which a conference's messages appear on the wire is the order in which the writer does its work: that is
// what makes "nothing of the old subscription after subscribed" and "nothing after unsubscribed" true. What must travel
// from the one to the other goes through one queue a connection. A subscribe that has to wait waits in a goroutine of its
// own, in order with what else was asked about its conference, and holds up nothing else.
//
// coder/websocket does handshakes and reads; frames are written by this package, straight from the shared bytes that the
// feed encoded once. The library's own control frames are caught and sent by the writer too, so that nothing can fall
// between the bytes of a frame.
//
// A REST request is answered by its own goroutine from one question to the [Source]; an event stream is the goroutine of its
// request, which walks the feed like a WebSocket's writer and is moved away, counted and ended like one (stream.go). Who
// asks, from which page, how often and with what right is settled before anything is told (rest.go). A [KeySet] fetches the
// keys of tokens in its Run; verifying a token never waits for the network but once for an unknown key.
//
// Guarantees:
//   - A request without a good token is told nothing of a conference, not even whether there is one (TestRESTWhoMay).
//   - A poller is never shown an older state than it has (fanout.TestDocumentWaitsForWhatTheReaderHas).
//   - A flood of handshakes without tokens keeps out nobody who has one, and made-up tokens cause at most one fetch of keys in
//     5 s (TestHandshakeRate, TestUnknownKeysAreFetchedSeldom).
//   - Tokens are verified though their issuer is away, by the keys that it last published (TestKeysSurviveTheirServer).
//   - A delivery, from the feed's wake to the bytes in the socket, allocates nothing (TestDeliveryAllocatesNothing).
//   - A client that stalls holds up nobody (TestStalledClientHoldsUpNobody), and little of what it doesn't take hides in the
//     kernel (TestStalledSocketHidesLittle).
//   - Waking a connection never blocks the feed and takes no lock (TestWakeDoesNotBlock).
//   - A client that takes even a little is never cut off for slowness; one that takes nothing for Config.WriteStall is
//     closed with 4408 (TestSlowReader*).
//   - A client's backlog here is bounded: the queue of answers stops the reader, frames wait in the feed
//     (TestReaderWaitsForWriter).
//   - Tokens, and the query of a request, appear in no log line, metric or error (TestTokensStayOut).
//
// Choices that the protocol leaves open, each with its test:
//   - An event stream begins with welcome and subscribed, which have no id (TestEvents); a refused one is an HTTP status, since
//     an EventSource needs that to stop (TestEventsRefused).
//   - The ETag of a document is the contract's, compressed or not: ranges aren't served, and Vary parts the encodings
//     (TestDocument).
//   - A successful auth is answered by a further welcome that carries the request's id (TestAuth).
//   - A renewed token that no longer allows a live subscription closes the connection with 4403: there is no reason word
//     for taking a single subscription away (TestAuth).
//   - A live connection ends when its token's exp has passed; one that was admitted within the leeway only, when the
//     leeway is over (TestTokenExpires).
//   - Messages beyond the rate are refused with rate_limited; more than 100 refusals, one a second forgiven, close the
//     connection with 4429 (TestRateLimit). A WebSocket ping counts as a message (TestPingFlood).
//   - Binary frames, frames over 64 KiB and broken framing close with 4409 (TestNotThisProtocol); text that isn't a
//     message of the protocol is answered with bad_request (TestBadRequests).
//   - Refused handshakes still pass through a close handshake; so many at once get HTTP 429 instead (TestFloodOfRefused).
//
// Non-goals: keeping state of a conference (the feed's), redacting (conference's), TLS (a proxy's, though a TLS connection
// works), compression.
package edge
