package faults

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// audit reads along what Redis servers do, by MONITOR: which appends came under which claim, and which were carried out.
// The log itself doesn't keep that.
type audit struct {
	mu    sync.Mutex
	confs map[string]*record
	wrong []string
}

// record is the appends of one conference.
type record struct {
	term     uint64
	nonce    string
	accepted int
	refused  int // of another claim than the newest that appended
	claims   int // that appended, one after the other

	last    time.Time     // of the newest append that was carried out, by the server's clock
	unowned time.Duration // the longest time between two of those
	until   time.Time     // its end
}

func newAudit() *audit { return &audit{confs: make(map[string]*record)} }

// watch reads along at one server, until the test ends; it connects again and again while the server is away. When it
// returns the server is being read.
func (a *audit) watch(t *testing.T, addr string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	begun := make(chan struct{})
	var once sync.Once
	done := make(chan struct{})
	go func() {
		defer close(done)
		pause := time.NewTicker(20 * time.Millisecond)
		defer pause.Stop()
		for ctx.Err() == nil {
			a.read(ctx, addr, func() { once.Do(func() { close(begun) }) })
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	<-begun
}

// read is one connection's worth of reading along.
func (a *audit) read(ctx context.Context, addr string, begun func()) {
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("MONITOR\r\n")); err != nil {
		return
	}
	defer a.forget()
	r := bufio.NewReaderSize(conn, 1<<20)
	var pending call // the append that is being carried out, or refused
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if line == "+OK\r\n" {
			begun()
			continue
		}
		// +1612.34 [0 lua] "XADD" "confgate:{c}:log" …: what scripts do follows their call at once.
		from, command, _ := strings.Cut(line, "] ")
		if strings.HasSuffix(from, " lua") {
			if strings.HasPrefix(strings.ToLower(command), `"xadd"`) && pending.conf != "" {
				a.append(pending, true, timeOf(from))
				pending = call{}
			}
			continue
		}
		if pending.conf != "" { // a repeat that was answered as done ends here too
			a.append(pending, false, time.Time{})
		}
		pending = appendCall(command)
	}
}

// timeOf is when the server says that something happened; the zero time where it doesn't.
func timeOf(line string) time.Time {
	seconds, _, _ := strings.Cut(strings.TrimPrefix(line, "+"), " ")
	whole, part, _ := strings.Cut(seconds, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	micro, errPart := strconv.ParseInt(part, 10, 64)
	if err != nil || errPart != nil {
		return time.Time{}
	}
	return time.Unix(sec, micro*1000)
}

// call is an append as its owner asked for it.
type call struct {
	conf, nonce string
	term        uint64
}

// appendCall reads an EVALSHA or EVAL of the append script with changes; other commands give the zero call. Its arguments
// are meta, log, ckpt, term, nonce, epoch, after, count and more (scripts/append.lua), the ninth a publishing command.
func appendCall(command string) call {
	words := make([]string, 0, 12)
	for len(words) < 12 && command != "" {
		word, err := strconv.QuotedPrefix(command)
		if err != nil {
			return call{}
		}
		text, err := strconv.Unquote(word)
		if err != nil {
			return call{}
		}
		words = append(words, text)
		command = strings.TrimPrefix(command[len(word):], " ")
	}
	if len(words) < 12 || !strings.HasPrefix(strings.ToLower(words[0]), "eval") || words[2] != "3" {
		return call{}
	}
	conf, isMeta := strings.CutSuffix(strings.TrimPrefix(words[3], "confgate:{"), "}:meta")
	term, err := strconv.ParseUint(words[6], 10, 64)
	count, errCount := strconv.Atoi(words[10])
	_, errAfter := strconv.ParseUint(words[9], 10, 64)
	if !isMeta || err != nil || errCount != nil || errAfter != nil || count == 0 {
		return call{}
	}
	return call{conf: conf, term: term, nonce: words[7]}
}

func (a *audit) append(c call, accepted bool, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.confs[c.conf]
	if r == nil {
		r = &record{}
		a.confs[c.conf] = r
	}
	newest := r.nonce == c.nonce
	switch {
	case accepted && !newest && c.term < r.term:
		a.wrong = append(a.wrong, fmt.Sprintf("%s: an append of term %d after one of term %d", c.conf, c.term, r.term))
	case accepted && !newest && c.term == r.term && r.nonce != "":
		a.wrong = append(a.wrong, fmt.Sprintf("%s: appends of two claims of term %d", c.conf, c.term))
	}
	switch {
	case accepted:
		r.accepted++
		if !newest {
			r.claims++
		}
		r.term, r.nonce = c.term, c.nonce
		if gap := at.Sub(r.last); !r.last.IsZero() && gap > r.unowned {
			r.unowned, r.until = gap, at
		}
		r.last = at
	case !newest && c.term < r.term:
		r.refused++
	}
}

// forget begins anew where a server has gone: the one that comes next may know an older term, or none.
func (a *audit) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.confs {
		r.term, r.nonce = 0, ""
	}
}

// check reports appends of two owners that were mixed, and gives how many claims appended and how many late appends were
// refused. Every conference must have appends, else nothing was read along.
func (a *audit) check(t *testing.T, conferences int) (claims, refused int) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.wrong {
		t.Error(w)
	}
	if len(a.confs) != conferences {
		t.Errorf("read along the appends of %d conferences, want %d", len(a.confs), conferences)
	}
	for id, r := range a.confs {
		if r.accepted == 0 {
			t.Errorf("%s: read along no append", id)
		}
		claims += r.claims
		refused += r.refused
	}
	return claims, refused
}

// begin starts to measure how long conferences get no append.
func (a *audit) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.confs {
		r.unowned, r.last = 0, time.Time{}
	}
}

// unowned is the longest time in which a conference got no append, since begin, and which one that was, until when. While
// frames flow that is the time in which nobody owned it, and the pause that the provider makes between changes.
func (a *audit) unowned() (longest time.Duration, conf string, until time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, r := range a.confs {
		if r.unowned > longest {
			longest, conf, until = r.unowned, id, r.until
		}
	}
	return longest, conf, until
}

func (a *audit) refused() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, r := range a.confs {
		n += r.refused
	}
	return n
}
