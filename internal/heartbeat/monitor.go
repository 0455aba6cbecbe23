package heartbeat

import (
	"strconv"
	"time"
)

// DefaultInterval is a ninth of the 180 s after which the provider closes a silent link, so that no delay comes near it.
const DefaultInterval = 20 * time.Second

// sequenceDigits is the length of a sequence; the provider takes 20 to 30 digits.
const sequenceDigits = 30

// Action is what is due.
type Action uint8

// The actions.
const (
	None Action = iota
	Beat        // send a beat, and call Sent
	Dead        // two answers in a row are missing: give the connection up
)

// String is the action's name.
func (a Action) String() string {
	switch a {
	case Beat:
		return "beat"
	case Dead:
		return "dead"
	default:
		return "none"
	}
}

// beat is one that was sent. The zero value is none.
type beat struct {
	sequence string
	sent     time.Time
}

// Monitor watches one connection after another. The zero value is of no use; New makes one. It isn't safe for concurrent
// use.
type Monitor struct {
	interval time.Duration

	next     time.Time // when the next beat is due; zero before Start
	deadline time.Time // for the answer to the newest beat, or for sending it; zero where none is awaited
	unsent   bool      // the deadline is for sending
	// beats are the newest one and the one before, which may be answered late.
	beats  [2]beat
	missed int // answers in a row
	last   int64
}

// New makes a monitor that beats every interval. 0 means DefaultInterval, a negative interval never to beat.
func New(interval time.Duration) *Monitor {
	if interval == 0 {
		interval = DefaultInterval
	}
	return &Monitor{interval: interval}
}

// Start begins to watch a new connection, of which the first beat is due after one interval.
func (m *Monitor) Start(now time.Time) {
	m.next, m.deadline, m.unsent = now.Add(m.interval), time.Time{}, false
	m.beats, m.missed = [2]beat{}, 0
}

// Next is what is due now, and when to ask again; a zero time means never. A beat stays due until Sent, or until it is too
// late for it; Dead stays so until Start.
func (m *Monitor) Next(now time.Time) (Action, time.Time) {
	if m.next.IsZero() || m.interval < 0 {
		return None, time.Time{}
	}
	if !m.deadline.IsZero() && !now.Before(m.deadline) {
		m.missed++
		if m.unsent {
			m.next = m.deadline.Add(m.interval - m.patience())
		}
		m.deadline, m.unsent = time.Time{}, false
	}
	switch {
	case m.missed > 1:
		return Dead, time.Time{}
	case m.unsent:
		return Beat, m.deadline
	case now.Before(m.next):
		if m.deadline.IsZero() || m.next.Before(m.deadline) {
			return None, m.next
		}
		return None, m.deadline
	}
	m.deadline, m.unsent = now.Add(m.patience()), true
	return Beat, m.deadline
}

// patience is how long a beat waits for its answer.
func (m *Monitor) patience() time.Duration { return m.interval / 2 }

// Sequence names a beat: the time in Unix milliseconds, as 30 digits. Each is greater than the one before.
func (m *Monitor) Sequence(now time.Time) string {
	m.last = max(m.last+1, now.UnixMilli())
	var digits [sequenceDigits]byte
	text := strconv.AppendInt(digits[:0], m.last, 10)
	pad := sequenceDigits - len(text)
	copy(digits[pad:], text)
	for i := range pad {
		digits[i] = '0'
	}
	return string(digits[:])
}

// Sent reports that the beat that was due has been handed to the connection. Its answer is awaited from now on.
func (m *Monitor) Sent(sequence string, now time.Time) {
	m.beats[1], m.beats[0] = m.beats[0], beat{sequence, now}
	m.next, m.deadline, m.unsent = now.Add(m.interval), now.Add(m.patience()), false
}

// Answered reports the answer to a beat. It is false, and changes nothing, where no such beat is remembered, or where the
// connection was found dead. rtt is from Sent to now. An answer that comes late, also to the beat before the newest, is a
// sign of life like any other.
func (m *Monitor) Answered(sequence string, now time.Time) (rtt time.Duration, ok bool) {
	for i := range m.beats {
		b := &m.beats[i]
		if b.sent.IsZero() || b.sequence != sequence || m.missed > 1 {
			continue
		}
		rtt = now.Sub(b.sent)
		*b = beat{}
		if i == 0 {
			m.deadline = time.Time{}
		}
		m.missed = 0
		return rtt, true
	}
	return 0, false
}

// Stale says whether an answer is missing.
func (m *Monitor) Stale() bool { return m.missed > 0 }
