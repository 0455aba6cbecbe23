package hugepages

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// openHeap is nil where the kernel has no huge pages, or makes none when asked: then Run must say so, and that was tested.
func openHeap(t *testing.T) *heap {
	t.Helper()
	h, err := open()
	if err != nil {
		if err := Run(t.Context()); err == nil {
			t.Error("Run says nothing of a kernel without huge pages")
		}
		return nil
	}
	t.Cleanup(func() { _ = h.pagemap.Close() })
	return h
}

// region maps n pieces of memory.
func region(t *testing.T, h *heap, n uintptr) (memory []byte, begin uintptr) {
	t.Helper()
	all, err := unix.Mmap(-1, 0, int((n+1)*h.piece), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(all) })
	if err := unix.Madvise(all, unix.MADV_DONTDUMP); err != nil { // so that it is a mapping of its own
		t.Fatal(err)
	}
	base := reflect.ValueOf(all).Pointer()
	begin = (base + h.piece - 1) / h.piece * h.piece
	memory = all[begin-base:][:n*h.piece]
	return memory, begin
}

// huge is how many kilobytes of the mapping around an address are in huge pages.
func huge(t *testing.T, at uintptr) (kilobytes int) {
	t.Helper()
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = smaps.Close() }()
	inside := false
	for lines := bufio.NewScanner(smaps); lines.Scan(); {
		var begin, end uintptr
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x ", &begin, &end); n == 2 {
			inside = begin <= at && at < end
		}
		if rest, ok := strings.CutPrefix(lines.Text(), "AnonHugePages:"); ok && inside {
			if _, err := fmt.Sscan(rest, &kilobytes); err != nil {
				t.Fatal(err)
			}
			return kilobytes
		}
	}
	t.Fatal("no such mapping")
	return 0
}

func TestOnlyFullPieces(t *testing.T) {
	t.Parallel()
	h := openHeap(t)
	if h == nil {
		return
	}
	memory, begin := region(t, h, 4)
	page := os.Getpagesize()
	hole := int(h.piece)*2 + 5*page
	for i := 0; i < len(memory); i += page {
		memory[i] = byte(i / page)
	}
	if err := unix.Madvise(memory[hole:hole+page], unix.MADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if err := h.collapse(t.Context(), begin, begin+4*h.piece); errors.Is(err, unix.EINVAL) {
		return // a kernel before 6.1, at which TestHeapIsTheSame looks
	} else if err != nil {
		t.Fatal(err)
	}
	if h.made[begin+2*h.piece] || len(h.made) != 3 {
		t.Errorf("huge pages were made of %d pieces, of the one with a hole: %v; want 3, false", len(h.made), h.made[begin+2*h.piece])
	}
	if got, want := huge(t, begin), int(3*h.piece>>10); got != want {
		t.Errorf("%d kB are in huge pages, want %d", got, want)
	}
	if full, err := h.full(begin + 2*h.piece); full || err != nil {
		t.Errorf("full(the piece with a hole) = %v, %v, want false: memory was added", full, err)
	}
	for i := 0; i < len(memory); i += page {
		if want := byte(i / page); i != hole && memory[i] != want {
			t.Fatalf("page %d reads %d, want %d", i/page, memory[i], want)
		}
	}
	// What was given back isn't one any more, and what must be none stays none.
	if err := unix.Madvise(memory[:page], unix.MADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if err := h.collapse(t.Context(), begin, begin+4*h.piece); err != nil {
		t.Fatal(err)
	}
	if h.made[begin] {
		t.Error("a piece of which a page was given back passes for a huge page")
	}
	memory[0] = 0
	if err := unix.Madvise(memory, unix.MADV_NOHUGEPAGE); err != nil {
		t.Fatal(err)
	}
	if err := h.collapse(t.Context(), begin, begin+4*h.piece); !errors.Is(err, unix.EINVAL) {
		t.Errorf("collapse of memory that must have none = %v, want EINVAL", err)
	}
}

// The heap is read and written while huge pages are made of it.
func TestHeapIsTheSame(t *testing.T) {
	t.Parallel()
	h := openHeap(t)
	if h == nil {
		return
	}
	const block, blocks, rounds = 64 << 10, 400, 5
	heap := make([][]byte, blocks)
	for i := range heap {
		heap[i] = bytes.Repeat([]byte{byte(i)}, block)
	}
	var writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			for range rounds {
				for i := w; i < blocks; i += 2 {
					for j := range heap[i] {
						heap[i][j]++
					}
				}
			}
		})
	}
	begin, end, err := h.bounds()
	if err != nil {
		t.Fatal(err)
	}
	if at := reflect.ValueOf(heap[0]).Pointer(); at < begin || at >= end {
		t.Errorf("the heap is %x to %x, and a block of it at %x", begin, end, at)
	}
	if err := h.collapse(t.Context(), begin, end); err != nil {
		kept := make([]byte, 2*least) // which Run wouldn't do anything for less
		runtime.GC()
		again := Run(t.Context())
		runtime.KeepAlive(kept)
		if again == nil && errors.Is(err, unix.EINVAL) {
			t.Error("Run says nothing of a kernel that makes no huge pages when asked")
		}
		return
	}
	writers.Wait()
	for i, b := range heap {
		if want := bytes.Repeat([]byte{byte(i + rounds)}, block); !bytes.Equal(b, want) {
			t.Fatalf("block %d isn't what was written", i)
		}
	}
	if len(h.made) == 0 {
		t.Error("no huge page was made of a full heap")
	}
}

// Not in parallel: what the others allocate would count.
func TestCollected(t *testing.T) { //nolint:paralleltest // see above
	kept := make([]byte, 96<<20)
	runtime.GC()
	times, with := collected()
	if with < 96<<20 {
		t.Errorf("%d bytes are left beside 96 MiB that are in use", with)
	}
	runtime.KeepAlive(kept)
	runtime.GC()
	again, without := collected()
	if again <= times || without > with-90<<20 {
		t.Errorf("%d bytes are left of %d, without 96 MiB, by collection %d after %d", without, with, again, times)
	}
}
