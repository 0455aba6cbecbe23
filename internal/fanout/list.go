package fanout

import (
	"sort"
	"sync/atomic"
	"time"

	"confgate/internal/conference"
)

// link is a place in a feed's list: behind one item, before the next. Readers hold links, not items, so that a reader that
// stands still keeps nothing alive.
type link struct{ next atomic.Pointer[item] }

// item is one step of a feed. It is immutable, and exactly one of its parts is set.
type item struct {
	after *link // the place behind it

	content *content // an entry
	status  *statusItem
	reset   string // the list doesn't continue here: why a reader needs a snapshot to go on
	lost    bool   // what was here has been dropped

	released bool // nobody holds the conference any more: there is nothing behind it for who reads it

	run  uint64 // counts resets: seqs compare within a run
	last uint64 // the replica's seq behind it
}

// statusItem is a change of freshness. Serials grow; 0 is how a feed begins, fresh.
type statusItem struct {
	serial uint64
	fresh  bool
	reason string // empty when fresh
	frame  Frame
}

// list is a feed's list as its goroutine sees it: it alone appends and drops.
type list struct {
	head, tail *link
	items      backlog[*item]
	gone       *item // takes the place of what was dropped
	run        uint64
}

func (l *list) init(window time.Duration, limit int) {
	anchor := &link{}
	l.head, l.tail, l.gone = anchor, anchor, &item{lost: true}
	l.items.age, l.items.limit = window, limit
}

// push appends an item, and drops what no longer fits. Dropping cuts the chain, which frees the items behind slow readers.
func (l *list) push(now time.Time, it *item, size int) {
	it.after = &link{}
	it.run = l.run
	l.items.push(now, it, size)
	l.tail.next.Store(it)
	l.tail = it.after
	l.items.trim(now, func(old *item) {
		l.head.next.Store(l.gone)
		l.head = old.after
	})
}

// after finds the place behind a seq of the present run, where the replica is at pos. partial is the entry that the seq lies
// within, if it does: the place is behind it then. False where what follows the seq isn't kept.
func (l *list) after(seq, pos uint64) (at *link, partial *content, ok bool) {
	if seq == pos {
		return l.tail, nil, true
	}
	kept := l.items.kept
	i := sort.Search(len(kept), func(i int) bool {
		it := kept[i].value
		return it.run == l.run && it.last > seq
	})
	if i == len(kept) || kept[i].value.content == nil {
		return nil, nil, false
	}
	it := kept[i].value
	switch first := it.content.changes[0].Seq; {
	case first > seq+1:
		return nil, nil, false
	case first <= seq:
		return it.after, it.content, true
	case i == 0:
		return l.head, nil, true
	default:
		return kept[i-1].value.after, nil, true
	}
}

// events lists the messages of the present run's events up to a seq, for readers of some topics.
func (l *list) events(topics conference.Topics, p conference.Profile, upto uint64) [][]byte {
	var events [][]byte
	for _, k := range l.items.kept {
		it := k.value
		if it.run != l.run || it.content == nil {
			continue
		}
		for i, ch := range it.content.changes {
			if ch.Topic.Event() && ch.Body != nil && topics.Has(ch.Topic) && ch.Seq <= upto {
				events = append(events, it.content.view(p).messages[i].text)
			}
		}
	}
	return events
}
