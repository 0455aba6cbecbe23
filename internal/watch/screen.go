package watch

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	paintEvery = 250 * time.Millisecond // at most so often
	idlePaint  = time.Second            // without a change, for what shows a time
	keepEvents = 4
)

// screen paints a table in place: no alternate screen, so that the last table stays when it ends.
type screen struct {
	// immutable
	out    io.Writer
	size   func() (width, height int, ok bool)
	colour bool
	report func() Report
	dirty  chan struct{}

	// owned by run
	lines int // of the last table: what the cursor goes up

	// guarded by mu
	mu       sync.Mutex
	events   []happening // the newest last
	captions []caption   // the newest speaker last
	step     Notice
}

type happening struct {
	topic string
	time  int64
	data  []byte
}

type caption struct {
	pid, text string
	final     bool
}

func newScreen(out io.Writer, size func() (int, int, bool), colour bool) *screen {
	return &screen{out: out, size: size, colour: colour, dirty: make(chan struct{}, 1)}
}

// touch asks for a paint; many become one.
func (s *screen) touch() {
	select {
	case s.dirty <- struct{}{}:
	default: // asked already
	}
}

func (s *screen) notice(n Notice) {
	s.mu.Lock()
	s.step = n
	s.mu.Unlock()
	s.touch()
}

func (s *screen) update(m *Message) {
	if m.Type == "event" {
		s.happened(m)
	}
	s.touch()
}

func (s *screen) happened(m *Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.Topic == "subtitles" {
		if c, ok := readCaption(m.Data); ok {
			s.captions = append(without(s.captions, c.pid), c)
			s.captions = s.captions[max(0, len(s.captions)-2):]
		}
		return
	}
	s.events = append(s.events, happening{m.Topic, m.Time, bytes.Clone(m.Data)})
	s.events = s.events[max(0, len(s.events)-keepEvents):]
}

func without(list []caption, pid string) []caption {
	var kept []caption
	for _, c := range list {
		if c.pid != pid {
			kept = append(kept, c)
		}
	}
	return kept
}

// run paints until ctx is done. What it painted last stays.
func (s *screen) run(ctx context.Context) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		if err := s.paint(time.Now()); err != nil {
			return err
		}
		pause.Reset(paintEvery)
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		pause.Reset(idlePaint - paintEvery)
		select {
		case <-ctx.Done():
			return nil
		case <-s.dirty:
		case <-pause.C:
		}
	}
}

func (s *screen) paint(now time.Time) error {
	width, height, ok := s.size()
	if !ok || width < 20 || height < 5 {
		width, height = 80, 24
	}
	s.mu.Lock()
	events, captions, step := append([]happening(nil), s.events...), append([]caption(nil), s.captions...), s.step
	s.mu.Unlock()
	t := table{width: width, height: height - 1, colour: s.colour, now: now}
	lines := t.draw(s.report(), events, captions, step)
	var b bytes.Buffer
	if s.lines > 0 {
		fmt.Fprintf(&b, "\r\x1b[%dA", s.lines)
	}
	for _, line := range lines {
		b.WriteString(line)
		b.WriteString("\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	s.lines = len(lines)
	if _, err := s.out.Write(b.Bytes()); err != nil {
		return fmt.Errorf("watch: write: %w", err)
	}
	return nil
}
