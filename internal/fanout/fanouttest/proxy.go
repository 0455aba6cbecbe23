package fanouttest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// Proxy stands between clients and a Redis, and does to their connections what networks do. It understands just enough of
// RESP to tell a published message from everything else.
type Proxy struct {
	server, socket string
	listener       net.Listener
	wg             sync.WaitGroup

	mu    sync.Mutex
	rng   *rand.Rand
	share float64           // of published messages that are lost
	down  bool              // connections are refused
	conns map[net.Conn]bool // and whether published messages are lost on it

	dropped, cut atomic.Int64
}

// StartProxy starts a proxy before r. The seed decides which messages are lost.
func StartProxy(tb testing.TB, r *Redis, seed uint64) *Proxy {
	tb.Helper()
	dir, err := socketDir()
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{
		server: r.Socket(), socket: filepath.Join(dir, "proxy.sock"),
		rng: rand.New(rand.NewPCG(seed, 1)), conns: make(map[net.Conn]bool),
	}
	var lc net.ListenConfig
	if p.listener, err = lc.Listen(tb.Context(), "unix", p.socket); err != nil {
		tb.Fatal(err)
	}
	p.wg.Go(p.accept)
	tb.Cleanup(func() {
		_ = p.listener.Close()
		p.Cut()
		p.wg.Wait()
		_ = os.RemoveAll(dir)
	})
	return p
}

// URL is where clients find the proxy.
func (p *Proxy) URL() string { return "unix://" + p.socket }

// Lose sets the share of published messages that are lost from now on.
func (p *Proxy) Lose(share float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.share = share
}

// Mute loses all published messages of the connections that are open now; those that come later are fine.
func (p *Proxy) Mute() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		p.conns[c] = true
	}
}

// Down refuses connections from now on, or no longer.
func (p *Proxy) Down(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// Cut closes all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
		delete(p.conns, c)
		p.cut.Add(1)
	}
}

// Dropped is how many published messages were lost, Cuts how many connections were closed.
func (p *Proxy) Dropped() int64 { return p.dropped.Load() }

// Cuts is how many connections were closed.
func (p *Proxy) Cuts() int64 { return p.cut.Load() }

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(c) })
	}
}

func (p *Proxy) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	p.mu.Lock()
	down := p.down
	if !down {
		p.conns[c] = false
	}
	p.mu.Unlock()
	if down {
		return
	}
	s, err := net.Dial("unix", p.server) //nolint:noctx // a local socket answers at once
	if err != nil {
		return
	}
	defer func() { _ = s.Close() }()
	p.wg.Go(func() {
		_, _ = io.Copy(s, c)
		_ = s.Close()
	})
	r := bufio.NewReader(s)
	var buf bytes.Buffer
	for {
		buf.Reset()
		words, err := element(r, &buf, 0)
		if err != nil {
			break
		}
		if len(words) > 0 && (words[0] == "message" || words[0] == "smessage") && p.drop(c) {
			p.dropped.Add(1)
			continue
		}
		if _, err := c.Write(buf.Bytes()); err != nil {
			break
		}
	}
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

func (p *Proxy) drop(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns[c] || p.rng.Float64() < p.share
}

var errRESP = errors.New("not RESP")

// element copies one element of RESP 2 or 3 to buf, and gives the first word of a list.
func element(r *bufio.Reader, buf *bytes.Buffer, depth int) ([]string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	buf.WriteString(line)
	if len(line) < 3 || depth > 16 {
		return nil, errRESP
	}
	n, _ := strconv.Atoi(line[1 : len(line)-2])
	switch line[0] {
	case '$', '=', '!':
		if n < 0 {
			return nil, nil
		}
		start := buf.Len()
		if _, err := io.CopyN(buf, r, int64(n)+2); err != nil {
			return nil, err
		}
		return []string{string(buf.Bytes()[start : start+n])}, nil
	case '%', '|':
		n *= 2
		fallthrough
	case '*', '~', '>':
		var first []string
		for i := range max(n, 0) {
			words, err := element(r, buf, depth+1)
			if err != nil {
				return nil, err
			}
			if i == 0 {
				first = words
			}
		}
		return first, nil
	default:
		return nil, nil
	}
}
