// Package oracletest is what the oracle's tests share: readers whose documents are compared with the simulated provider's
// truth (Reader, AwaitTruth, CheckHistory), the binary and the files that a worker wants, and a look at its metrics.
//
// A Reader owns its client and what it noted of it; everything that is started here ends with the test. Workers are the
// business of the tests themselves: they run in the test's process or in their own.
package oracletest
