// Package fanout is the replicated log of a conference's changes, between the one worker that owns it and all workers that
// show it to clients, and the replica that clients read.
//
// Log has two implementations with the same behaviour, which the suite in fanouttest pins down. MemoryLog serves one
// process. RedisLog keeps, for each conference, under one hash tag: a hash "meta" (claim, epoch, last seq overall and per
// topic, the server's run id), a stream "log" with one entry an append, whose id is the seq of its last change, a hash
// "ckpt", and a pub/sub channel that carries the entries' bytes. Every write is one script (scripts/*.lua) that checks the
// claim and the position first; the scripts alone stamp seq and prev, and never look into a change.
//
// What holds, whatever is lost or cut: a follower is given each change after its snapshot once, in order, or a new
// snapshot. Pub/sub is only a hint. A jump, a reconnection, and a poll of the heads of conferences that fell quiet make a
// follower read the missing range from the stream (hub.go, follow.go; TestFollowerSurvivesLoss). Within an epoch a follower
// never goes back: a log that lost what it had acknowledged is reported as stale until its owner has begun a new epoch.
//
// What idling costs grows with workers and servers, not with conferences (TestIdleConferencesCostLittle). Once a second the hub
// looks at each server (look.go): INFO says that it answers, else followers are told, and which run of it this is, a mark that
// nobody emptied it; with it goes a probe by each quiet subscription connection, which is replaced where the probe doesn't
// come back (probe.go; TestDeafSubscriptionOfQuietConferences, TestClusterProbes). A conference is polled soon after its last
// message, then after twice the time, up to half a minute; at once where its server is another run, its subscription doesn't
// stand or its follower misses something (TestQuietConferencesArePolledSeldom). Sessions say what they hold (Hold); the
// keeper renews those keys with the looks, each conference about nine times in a KeyTTL, and tells owners, a few at a time,
// when their server is another (keeper.go; TestOwnersAreToldOfAnotherServer, TestHeldKeysAreRenewed). Correctness doesn't
// rest on it: appends check for themselves.
//
// Feed is one worker's replica of one conference: one goroutine owns its place in the log (a Tail) and the document, and
// appends to a linked list, which readers walk without a lock (list.go, reader.go). An entry is encoded once a redaction
// profile and its bytes are shared. The list is bounded by the resume window and by bytes; a reader that falls off it gets a fresh snapshot, so a slow
// reader costs no memory of its own. Feeds owns a worker's feeds. A feed says whether its worker vouches for the state: not
// while the log is away, nor while no worker holds the conference (held.go).
//
// The package is larger than most, since its two halves, the log and the feed, share the vocabulary of log.go and little
// else; the feed never sees Redis, and the log never sees a reader.
//
// Not here: who may own a conference (ownership), what a message looks like (the Encoder is given), sockets.
package fanout
