// Package hugepages has the kernel keep a large heap in huge pages.
//
// A worker with a thousand conferences has a heap of some hundred megabytes, and touches little of each conference once a
// second. With pages of 4 KiB each such touch also waits for the page's address to be looked up; with pages of 2 MiB the
// processor knows all of them. Go leaves that to the system (https://go.dev/doc/gc-guide#Linux_transparent_huge_pages), and
// the usual settings either do it nowhere, or by a daemon that also fills what the runtime has given back.
//
// Run asks for it (MADV_COLLAPSE, Linux 6.1 or later, whatever the system's setting), but only for pieces of the heap of
// which each page is in use, so that no memory is added, and only for as much of it, from the low end, as the last collection
// of garbage has left; one after the other, in a goroutine that nothing waits for. What the runtime gives back later, the
// kernel takes out of a huge page again. Where the system can't do it, nothing happens.
//
// Guarantees: a piece of which something isn't in use is left alone (TestOnlyFullPieces); the heap reads as before
// (TestHeapIsTheSame).
package hugepages
