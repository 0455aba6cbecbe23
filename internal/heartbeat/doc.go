// Package heartbeat is the liveness of one connection: when to beat, how long the answers take, and the verdict that nobody
// is there any more. It serves links to the provider, and clients as well.
//
// A beat goes out every interval and has half of one for its answer. A missing answer makes the connection stale, a second
// one in a row makes it dead: a peer that falls silent is found dead at most two and a half intervals after its last
// answer. An answer that comes late clears the suspicion. A beat that can't even be written counts as missed: a half-open
// connection shows like that once its buffers are full.
//
// It is pure: no goroutine, no clock, no I/O. Time is passed in and must not go backwards. One goroutine, the one that
// owns the connection, owns its Monitor. Sending, timers and closing are the owner's. The promise of two and a half
// intervals is locked by TestSilenceIsDeath.
package heartbeat
