// Package subscribe is the upstream subscription: which notify types to ask for, and whether what arrives is complete.
// The Tracker decides, frame by frame, what may be applied, notices what was lost, and says when fresh full frames are due.
//
// It is pure: no goroutine, no clock, no I/O, no logging. Time is passed in and must not go backwards. One goroutine, the
// session that holds the link, owns a Tracker.
//
// # What is known about the numbers
//
// A full frame's version is its time of creation, an increment's a growing number; the two are never compared. Whether the
// numbers grow per notify type or per conference isn't documented, so the Tracker finds it out (numbering.go) unless the
// configuration says it. Order between an increment and a full frame is told by createTime alone.
//
// # Guarantees
//
//   - A loss that the numbers show puts the kinds that it may have touched in doubt; a kind leaves doubt only by a full
//     frame that isn't older than the frame that showed the loss, or by the first full frame of a new link.
//   - A loss that no number shows is healed by the periodic check, if any increment came since the last one.
//   - A state is never taken back: a frame older than what was applied is dropped, and where that may have lost something
//     the kind is in doubt.
//   - An event is never reported twice within the window of remembered message ids, nor dropped for coming late.
//   - Subscribes are limited: one in flight, one a second, fewer where they change nothing.
//
// # Limits, accepted
//
//   - A change that is lost when no other increment comes after it, or since the last full frames, stays unseen.
//   - A kind that doesn't send full frames can't be healed; its gaps are counted only.
//   - Full frames and increments whose creation times come from clocks that differ are ordered as those clocks say; a
//     provider whose full frames look too old three times in a row is redialled, which compares anew.
//
// # Not its job
//
// Sending, timers, REST, reading answers (confctl.SubscribeError), and what a frame means.
//
// TestClauses, TestFullFrames, TestNumberings, TestResyncs and TestRefresh lock the rules one by one, TestNoLossStays and
// TestWhatNumbersShowHeals what they amount to.
package subscribe
