// Package faults is the oracle under faults: workers as processes of their own, real Redis servers, and clients of every
// worker, while one of them is killed, stopped, cut off or replaced. It holds no part of the gateway; only its tests run.
//
// What is checked each time is what fleet.finish says: documents equal the truth, chains are whole, no snapshot where a
// resume was possible, appends of two owners never mixed, no more links at the provider than conferences and handovers, no
// goroutine and no key left over. Each fault proves that it fired. Figures are printed with -v; those of the contract are
// also bounds, without any allowance with -faults.full, where faults last as long as it says and no test runs beside another.
//
// A worker whose clock is wrong is a binary of its own, built with another time.Now (clock_test.go): the gateway has no
// switch for it.
package faults
