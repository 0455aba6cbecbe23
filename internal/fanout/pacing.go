package fanout

import (
	"time"

	"confgate/internal/conference"
)

const (
	// DefaultWriteRate is how many frames a second a conference's readers are given when more than that come: then each
	// frame has what came in 1 ms. A write to a socket costs about the same whether it carries one message or five. With
	// appendWait this makes the 10 ms that a change may be held at the most.
	DefaultWriteRate = 1000
	// writeBurst is how many frames may come at once before anything is held: a person who joins makes a handful.
	writeBurst = 10
	// maxHeld is how many changes are held at the most.
	maxHeld = 1000
)

// pacing decides when a feed's readers are given a change: at once while the conference is quiet, else together with those
// that come within the next step. It is a bucket of tokens, one a frame; a change that finds none is held until there is
// one, which is a step, 1/rate, at the most. It is owned by the feed's goroutine.
type pacing struct {
	step   time.Duration // between two tokens; 0: nothing is ever held
	tokens float64
	at     time.Time // as of when tokens are counted

	held  []conference.Stamped
	since time.Time // when the first of held was received
	until time.Time // when they are due
	timer *time.Timer
}

// newPacing makes a full bucket. late is called when what is held is due.
func newPacing(rate int, late func()) pacing {
	p := pacing{tokens: writeBurst, timer: time.AfterFunc(time.Hour, late)}
	p.timer.Stop()
	if rate > 0 {
		p.step = time.Second / time.Duration(rate)
	}
	return p
}

// refill counts the tokens as of now.
func (p *pacing) refill(now time.Time) {
	p.tokens = min(p.tokens+float64(now.Sub(p.at))/float64(p.step), writeBurst)
	p.at = now
}

// hold keeps an entry back, and says whether that is possible.
func (p *pacing) hold(entry []conference.Stamped, received, now time.Time) bool {
	if p.step == 0 {
		return false
	}
	if len(p.held) == 0 {
		if p.refill(now); p.tokens >= 1 {
			p.tokens--
			return false
		}
		wait := time.Duration((1 - p.tokens) * float64(p.step))
		p.since, p.until = received, now.Add(wait)
		p.timer.Reset(wait)
	}
	p.held = append(p.held, entry...)
	return true
}

// release gives what is held; nil: nothing.
func (p *pacing) release() []conference.Stamped {
	held := p.held
	p.held = nil
	return held
}

// flush puts what is held into the list. It comes before everything that looks at the list or adds to it.
func (f *Feed) flush() {
	if held := f.pacing.release(); held != nil {
		f.pacing.timer.Stop()
		f.push(f.pacing.since, newContent(f.conf, f.opts.Encoder, held, f.pacing.since))
		f.wake()
	}
}

// due ends a step, if it is over: what is held goes out, for a token.
func (f *Feed) due() {
	if len(f.pacing.held) == 0 {
		return
	}
	now := time.Now()
	if now.Before(f.pacing.until) {
		return
	}
	f.pacing.refill(now)
	f.pacing.tokens-- // may leave a little less than nothing: timers are no clocks
	f.flush()
}
