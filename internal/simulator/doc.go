// Package simulator is a conferencing provider to run against: its REST calls and its WebSocket on one port, over seeded
// worlds in which people meet, with faults on demand.
//
// A Provider owns one room per conference; a room owns its world (who is there, who speaks, how good the networks are) and
// its links, behind one mutex that is never held over I/O. A world is pure: dice and a time go in, frames come out. The same
// seed and number of changes make the same world, times apart. Each link has a reader and a writer; nothing else sends.
//
// Guarantees. A link gets its frames in the order in which they were made, and except for the faults all of them. The sum of
// a kind's full frame and the increments after it is what Truth says. Keys are on the wire as in the reference's samples;
// where samples, tables and the vendor's pages spell one key in two ways, each conference keeps to one way and its
// neighbours to others. Faults count each time that they really bite. After Run or Close no goroutine is left.
//
// Control is an API beside the provider's own, for load tests: changes on demand at a pace, which end with whoever asked for
// them, and the truth. It asks nobody who they are, and tells passwords. Remote is its client.
//
// It isn't a conference server: no media, no commands but the refreshing of tokens and the switching of subtitles, and what
// it promises about load is only that it keeps out of the way of what is measured against it.
//
// The package is larger than others here: a world, its wire form and the provider around it change together, and nobody
// needs one of them alone.
//
// # Guesses
//
// The reference leaves these open; a gateway shouldn't rely on any of them:
//
//   - Increments are numbered per notify type or per conference (Config.Numbering), from 1 at each start of the conference,
//     whatever is subscribed. A second Subscribe replaces the first, and brings full frames again.
//   - Increments made between a Subscribe and the full frame of their kind are sent before it.
//   - InviteResultNotify comes as a full frame on Subscribe even with no results. RealTimeSubtitleNotify doesn't; in the
//     stream it has msgMode 0, as in the only sample, in every other conference, and msgMode 1 in the rest.
//   - ConfDynamicInfoNotify comes as an increment one time in four. multiPic goes away by a full frame without it.
//   - Increments change keys and never take one away; no key is ever emptied.
//   - The removal of a participant ends its quality too, with or without a removal in NetConditionNotify.
//   - A link is closed when its control session expires without having been kept alive.
//   - A refused handshake is completed and then closed with 1008; a conference's end closes with 1000, in both cases after
//     whatever was queued.
//   - Wrong passwords count per conference, whoever sends them, and the right one clears the count. While control is locked
//     no password is good. Whether a conference runs is checked before the password.
//   - An expired or unknown control token is MMC.111081006 with HTTP 400; the same number is the returnCode of a Subscribe
//     with such a token. An unreadable request over the link gets no answer.
//   - A rotated control token (Config.RotateTokens) is void at once. tmpWsToken of the token answer opens nothing.
//   - Over the quota, a call gets HTTP 429 and APIG.0308; a minute begins with its first call.
//   - A conference that starts again has new people, and counts increments from 1 again; createTime goes on.
package simulator
