package hugepages

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// every is between two looks whether garbage was collected. Between collections nothing is done: what the heap grows by
	// then is mostly garbage.
	every = 10 * time.Second
	// share is how many times as long as a piece took the pause after it is, so that they take a quarter of a core at the
	// most. A piece takes the kernel one to five milliseconds, in which the process gets no new memory.
	share = 3
	// least is the heap that is worth it, in bytes: the processor knows the addresses of a smaller one anyway.
	least = 64 << 20
)

// heap is the process's heap as the kernel sees it. It belongs to one goroutine.
type heap struct {
	piece   uintptr          // the size of a huge page, in bytes
	pagemap *os.File         // what is in use
	made    map[uintptr]bool // pieces that are huge pages, by address
	entries []byte           // of the pagemap, for one piece
}

// Run makes huge pages of the heap until ctx is done, or until it turns out that the system doesn't do that: then it says why.
func Run(ctx context.Context) error {
	h, err := open()
	if err != nil {
		return err
	}
	defer func() { _ = h.pagemap.Close() }()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var seen uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		collections, lasting := collected()
		if collections == seen {
			continue
		}
		seen = collections
		begin, end, err := h.bounds()
		// The runtime fills a heap from its low end. What lies beyond as much as has lasted is written from end to end and
		// then dropped, for which pages of any size do.
		end = min(end, begin+lasting)
		if err == nil && end-begin >= least {
			err = h.collapse(ctx, begin, end)
		}
		if err != nil {
			return err
		}
		// What becomes of the others isn't seen any more.
		maps.DeleteFunc(h.made, func(at uintptr, _ bool) bool { return at >= end })
	}
}

// collected is how often garbage was collected, and how many bytes the last collection left, with the stacks as they are now.
// What lasts reaches a little further than so many bytes, for what is free between it.
func collected() (times uint64, left uintptr) {
	samples := []metrics.Sample{
		{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"},
	}
	metrics.Read(samples)
	return samples[0].Value.Uint64(), uintptr(samples[1].Value.Uint64() + samples[2].Value.Uint64())
}

// open finds out how the kernel does it.
func open() (*heap, error) {
	text, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
	if err != nil {
		return nil, fmt.Errorf("hugepages: the kernel has none: %w", err)
	}
	piece, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 32)
	if err != nil || piece == 0 {
		return nil, fmt.Errorf("hugepages: their size is %q", text)
	}
	pagemap, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return nil, fmt.Errorf("hugepages: %w", err)
	}
	return &heap{
		piece: uintptr(piece), pagemap: pagemap, made: make(map[uintptr]bool),
		entries: make([]byte, int(piece)/os.Getpagesize()*entrySize),
	}, nil
}

// bounds finds the heap: it is the mapping that a new object lies in.
func (h *heap) bounds() (begin, end uintptr, err error) {
	at := reflect.ValueOf(new([64]byte)).Pointer()
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return 0, 0, fmt.Errorf("hugepages: %w", err)
	}
	defer func() { _ = maps.Close() }()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		span, _, _ := strings.Cut(lines.Text(), " ")
		first, last, _ := strings.Cut(span, "-")
		b, err1 := strconv.ParseUint(first, 16, 64)
		e, err2 := strconv.ParseUint(last, 16, 64)
		if err := errors.Join(err1, err2); err != nil {
			return 0, 0, fmt.Errorf("hugepages: /proc/self/maps: %w", err)
		}
		if begin, end = uintptr(b), uintptr(e); begin <= at && at < end {
			return begin, end, nil
		}
	}
	return 0, 0, errors.New("hugepages: the heap isn't in /proc/self/maps")
}

// collapse makes a huge page of each piece between two addresses that is full and isn't one yet.
func (h *heap) collapse(ctx context.Context, begin, end uintptr) error {
	for at := (begin + h.piece - 1) / h.piece * h.piece; at+h.piece <= end; at += h.piece {
		full, err := h.full(at)
		switch {
		case err != nil:
			return err
		case !full:
			delete(h.made, at)
			continue
		case h.made[at]:
			continue
		}
		started := time.Now()
		_, _, errno := unix.Syscall(unix.SYS_MADVISE, at, h.piece, unix.MADV_COLLAPSE)
		switch errno {
		case 0:
			h.made[at] = true
		case unix.EAGAIN, unix.EBUSY, unix.ENOMEM:
			// There is no room for it now, or somebody else uses a page.
		default:
			return fmt.Errorf("hugepages: the kernel makes none when asked: %w", errno)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(share * time.Since(started)):
		}
	}
	return nil
}

const (
	entrySize = 8       // of the pagemap, in bytes
	present   = 1 << 63 // the bit of an entry that says that its page is in memory
)

// full says whether all pages of a piece are in memory.
func (h *heap) full(at uintptr) (bool, error) {
	if _, err := h.pagemap.ReadAt(h.entries, int64(at)/int64(os.Getpagesize())*entrySize); err != nil {
		return false, fmt.Errorf("hugepages: %w", err)
	}
	for e := h.entries; len(e) > 0; e = e[entrySize:] {
		if binary.NativeEndian.Uint64(e)&present == 0 {
			return false, nil
		}
	}
	return true, nil
}
