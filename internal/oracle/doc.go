// Package oracle checks whole workers against the truth: the simulator's world, mapped to the contract's document by a
// mapper of its own, beside what clients ended up with. It holds no part of the gateway; only its tests run.
//
// The mapper (Expect) shares no code with internal/conference, so that a mistake there isn't repeated here. Attendees are
// compared without their keys, since those are names that the gateway gives.
package oracle
