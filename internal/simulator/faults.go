package simulator

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// FaultPlan is what goes wrong, and how often. The zero value is a provider without faults. Drop, Repeat and Swap spoil
// increments only: full frames and answers always arrive.
type FaultPlan struct {
	Drop    float64 // probability, per increment and link, that it is lost
	Repeat  float64 // … that it comes twice
	Swap    float64 // … that it changes places with the next frame of its link
	Garbage float64 // … that a frame that can't be decoded comes before it
	Unknown float64 // … that a notify of a type outside the documented ten comes before it
	Restart float64 // probability, per increment, that the numbers begin at 1 again, as after a fail-over

	Cut      time.Duration // a link is cut about so long after it was made
	Silent   time.Duration // so long after it was made a link falls silent: it reads, and sends nothing any more
	HalfOpen time.Duration // … it neither reads nor sends, though the connection stays
	Deaf     time.Duration // … it goes on pushing, and answers no request any more

	Refuse int           // so many of the next REST calls for tokens are answered with 5xx
	Expire time.Duration // control tokens are void after so long, whatever they promise
	Slow   time.Duration // answers, and the full frames after a Subscribe, take up to so much longer

	Seed uint64 // of the faults' own dice, apart from the world's
}

type faultSpec struct {
	name, example, help string
	probability         func(*FaultPlan) *float64
	duration            func(*FaultPlan) *time.Duration
	count               func(*FaultPlan) *int
}

// fault indexes the counters of what fired.
type fault int

const (
	faultDrop fault = iota
	faultRepeat
	faultSwap
	faultGarbage
	faultUnknown
	faultRestart
	faultCut
	faultSilent
	faultHalfOpen
	faultDeaf
	faultRefuse
	faultExpire
	faultSlow
	numFaults
)

// faultSpecs lists the faults in the order of their numbers.
func faultSpecs() []faultSpec {
	return []faultSpec{
		{
			name: "drop", example: "1%", help: "an increment is lost",
			probability: func(p *FaultPlan) *float64 { return &p.Drop },
		},
		{
			name: "repeat", example: "1%", help: "an increment comes twice",
			probability: func(p *FaultPlan) *float64 { return &p.Repeat },
		},
		{
			name: "swap", example: "1%", help: "an increment changes places with the next frame",
			probability: func(p *FaultPlan) *float64 { return &p.Swap },
		},
		{
			name: "garbage", example: "0.1%", help: "a frame that can't be decoded comes in between",
			probability: func(p *FaultPlan) *float64 { return &p.Garbage },
		},
		{
			name: "unknown", example: "0.1%", help: "a notify of an unknown type comes in between",
			probability: func(p *FaultPlan) *float64 { return &p.Unknown },
		},
		{
			name: "restart", example: "0.01%", help: "increments are numbered from 1 again",
			probability: func(p *FaultPlan) *float64 { return &p.Restart },
		},
		{
			name: "cut", example: "2s", help: "a link is cut about this long after it was made",
			duration: func(p *FaultPlan) *time.Duration { return &p.Cut },
		},
		{
			name: "silent", example: "30s", help: "a link sends nothing any more from this age on",
			duration: func(p *FaultPlan) *time.Duration { return &p.Silent },
		},
		{
			name: "halfopen", example: "30s", help: "a link neither reads nor sends from this age on",
			duration: func(p *FaultPlan) *time.Duration { return &p.HalfOpen },
		},
		{
			name: "deaf", example: "30s", help: "a link answers no request from this age on, but pushes",
			duration: func(p *FaultPlan) *time.Duration { return &p.Deaf },
		},
		{
			name: "refuse", example: "3", help: "so many token requests are answered with 5xx",
			count: func(p *FaultPlan) *int { return &p.Refuse },
		},
		{
			name: "expire", example: "5s", help: "control tokens are void after this time, whatever they promise",
			duration: func(p *FaultPlan) *time.Duration { return &p.Expire },
		},
		{
			name: "slow", example: "200ms", help: "answers take up to this much longer",
			duration: func(p *FaultPlan) *time.Duration { return &p.Slow },
		},
	}
}

// FaultHelp lists the faults that ParseFaults knows, one a line.
func FaultHelp() string {
	var b strings.Builder
	for _, s := range faultSpecs() {
		fmt.Fprintf(&b, "%-18s %s\n", s.name+"="+s.example, s.help)
	}
	return b.String()
}

// ParseFaults reads a plan such as "drop=1%,swap=0.5%,cut=2s,refuse=3". An empty text is the plan without faults.
func ParseFaults(text string) (FaultPlan, error) {
	var p FaultPlan
	seen := make(map[string]bool)
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return FaultPlan{}, fmt.Errorf("simulator: fault %q has no value, want name=value", part)
		}
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if seen[name] {
			return FaultPlan{}, fmt.Errorf("simulator: fault %q is named twice", name)
		}
		seen[name] = true
		if err := p.assign(name, value); err != nil {
			return FaultPlan{}, err
		}
	}
	return p, p.validate()
}

func (p *FaultPlan) assign(name, value string) error {
	if name == "seed" {
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return fmt.Errorf("simulator: seed %q of the faults is not a whole number", value)
		}
		p.Seed = n
		return nil
	}
	specs := faultSpecs()
	i := slices.IndexFunc(specs, func(s faultSpec) bool { return s.name == name })
	if i < 0 {
		names := make([]string, 0, len(specs))
		for _, s := range specs {
			names = append(names, s.name)
		}
		return fmt.Errorf("simulator: unknown fault %q, known are %s", name, strings.Join(names, ", "))
	}
	switch s := specs[i]; {
	case s.probability != nil:
		f, err := parseProbability(value)
		if err != nil {
			return fmt.Errorf("simulator: %q for fault %s is not a probability such as 1%% or 0.01", value, name)
		}
		*s.probability(p) = f
	case s.duration != nil:
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return fmt.Errorf("simulator: %q for fault %s is not a time such as 2s or 300ms", value, name)
		}
		*s.duration(p) = d
	default:
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return fmt.Errorf("simulator: %q for fault %s is not a count such as 3", value, name)
		}
		*s.count(p) = n
	}
	return nil
}

func parseProbability(text string) (float64, error) {
	number, percent := strings.CutSuffix(text, "%")
	f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil {
		return 0, err
	}
	if percent {
		f /= 100
	}
	if math.IsNaN(f) || f < 0 || f > 1 {
		return 0, strconv.ErrRange
	}
	return f, nil
}

func (p FaultPlan) validate() error {
	for _, s := range faultSpecs() {
		switch {
		case s.probability != nil:
			if f := *s.probability(&p); math.IsNaN(f) || f < 0 || f > 1 {
				return fmt.Errorf("simulator: fault %s is %v, allowed is 0 to 1", s.name, f)
			}
		case s.duration != nil:
			if d := *s.duration(&p); d < 0 {
				return fmt.Errorf("simulator: fault %s is %v, allowed is a positive time", s.name, d)
			}
		default:
			if n := *s.count(&p); n < 0 {
				return fmt.Errorf("simulator: fault %s is %d, allowed is 0 or more", s.name, n)
			}
		}
	}
	return nil
}

// String is the plan as ParseFaults reads it.
func (p FaultPlan) String() string {
	var parts []string
	for _, s := range faultSpecs() {
		switch {
		case s.probability != nil:
			if f := *s.probability(&p); f > 0 {
				parts = append(parts, s.name+"="+strconv.FormatFloat(f, 'g', -1, 64))
			}
		case s.duration != nil:
			if d := *s.duration(&p); d > 0 {
				parts = append(parts, s.name+"="+d.String())
			}
		default:
			if n := *s.count(&p); n > 0 {
				parts = append(parts, s.name+"="+strconv.Itoa(n))
			}
		}
	}
	if p.Seed != 0 {
		parts = append(parts, "seed="+strconv.FormatUint(p.Seed, 10))
	}
	return strings.Join(parts, ",")
}

// tally counts how often each fault fired.
type tally [numFaults]atomic.Int64

func (t *tally) add(f fault) { t[f].Add(1) }

func (t *tally) counts() map[string]int {
	m := make(map[string]int, numFaults)
	for i, s := range faultSpecs() {
		m[s.name] = int(t[i].Load())
	}
	return m
}
