// Package session is one conference's link to the provider and what becomes of it: the life of the link, the reduction of
// its frames, and the appending of what they change to the log.
//
// Owner of state: each conference has one actor, the goroutine that runs Session.Run. It alone holds the conference.State,
// the continuity tracker, the heartbeat monitor and the queue of changes. REST calls, the dial, the socket's reader and
// writer, and the calls of the log run in goroutines of their own, which share nothing with it: they get copies and answer
// through one mailbox, each with a message that knows how the actor takes it in. Timers and the log only nudge it. Only an append that the log does together with
// others' needs no goroutine (append.go): its answer lies ready until the actor has a reason to look.
//
// Guarantees: a password that was refused is not sent again on its own, nor by any other worker. A successor uses the control
// token that the last owner left, and the password only if that is refused. A control token is renewed without touching the
// link. After any loss of the link the state stays; the fresh full frames bring the difference, and only that is appended. One
// append is under way at a time, and is repeated unchanged until the log answers. What the log couldn't take is made up by the
// difference between its state and the actor's. A fenced session stops and closes its link.
//
// A handover has two sessions of one conference for a moment (handover.go). The successor gets its link and keeps the frames,
// without touching the log; the old owner appends what it has, stores a checkpoint, stops, and names what it applied; once
// the conference is the successor's it applies its frames to the log's state, and appends the difference and the events that
// weren't named. Meanwhile the old owner doesn't dial. TestHandover holds this.
//
// Non-goals: which conferences to hold and on which worker (ownership), what clients see (edge), commands to the provider.
//
// The package is larger than others since it is where the provider, the state and the log meet: the actor (actor.go), the
// phases of its link (upstream.go, control.go, credentials.go, link.go), its log (publish.go, append.go, queue.go, memory.go), and the
// network behind it (provider.go, dial.go, limiter.go).
//
// TestWrongPassword, TestRefusalIsTheFleets, TestSuccessorTakesTheToken, TestControlTokenStaysFresh,
// TestReconnectWithoutGhosts, TestEnded, TestEndOutlivesItsOwner, TestNotStartedAfterItWas, TestLogAwayAndBack,
// TestIdleOwnerNoticesALostEpoch, TestAnswerIsAwaitedWhereChangesWait and TestFenced hold these.
package session
