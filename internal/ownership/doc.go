// Package ownership decides which worker holds which conference: membership, placement, leases, terms, handover. It also
// has what a fleet shares about the provider: Tokens, Refusals and Rate.
//
// Owner of state: the goroutine of Worker.Run owns everything that a worker believes; sessions, callers and the store's
// answers come to it as messages. What the fleet believes is in the Store alone, and every change of it is one script that
// checks what it rests on. Of the store one call a worker is under way at a time, so answers can't overtake each other. Run
// compares what is with what should be and does something about the difference (scan.go); it follows no script of its own,
// so a message lost costs a look and nothing else.
//
// Guarantees: one worker at a time may append to a conference (Hold.Gate): it has claimed it, hasn't offered it to anyone
// since, and its lease, counted on the monotonic clock from before the renewal was asked for, less a tenth, isn't over.
// Times in the store are the store's own. A dead worker's conferences are claimed as soon as its lease is over. Who lost its
// lease keeps its links, joins anew, and takes back what nobody claimed; it touches nothing else for another lease, since
// when the store was away it isn't the only one. A store that comes back empty is told by every worker what was put. An idle
// worker costs one script call each third of a lease, whatever it holds: a poll renews, and answers with the live workers and
// with the conferences that changed.
//
// A handover: the owner proposes, the successor's link comes live (ready), the owner stops appending and writes down how far
// it came (offered), the successor claims when it is as far or after 2 s. Whoever of the two dies, or is too slow, the other
// goes on. Where the provider was seen to close the older of two links, the owner closes its own before the successor dials,
// for a day.
//
// Keys in Redis. All of the fleet's share one hash tag, so that a script may touch them together on a cluster, and are gone
// 24 hours after the last worker was; "conferences" after 30 days.
//
//	confgate:{fleet}:meta         hash: the fleet's name, version of the records, whether the provider closes older links
//	confgate:{fleet}:workers      sorted set: incarnation, end of its lease in Unix ms by Redis TIME
//	confgate:{fleet}:infos        hash: incarnation, JSON {worker, max, draining}
//	confgate:{fleet}:conferences  hash: conference, sealed chair password; what PUT stored
//	confgate:{fleet}:named        hash: conference, incarnations whose flags name it
//	confgate:{fleet}:owners       hash: conference, incarnation that holds it
//	confgate:{fleet}:terms        hash: conference, number of its last claim
//	confgate:{fleet}:handovers    hash: conference, "successor phase"
//	confgate:{fleet}:offers       hash: conference, the old owner's offer
//	confgate:{fleet}:changes      stream of about 4096: which conference changed at which version
//	confgate:{fleet}:demand       sorted set: conference, until when it is in demand
//	confgate:{fleet}:rate:API     hash: the rate limit of one API at the provider, for minutes
//	confgate:{CONF}:token         sealed control token of a conference, for as long as it lives
//	confgate:{CONF}:refused:MAC   a chair password that the provider refused, as its HMAC
//
// Non-goals: what a session does (Holder), who may append after all (the log's own fence, fanout), what clients are told.
//
// TestEachConferenceIsHeldOnce, TestDeath, TestCutOffWorkerStopsAndReturns, TestStoreAwayForAll, TestSuccessorDies and
// TestProviderClosesOlderLinks hold these, and TestRoughly all of them together over a bad network.
package ownership
