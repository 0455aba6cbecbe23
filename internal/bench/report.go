package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// Window is what was seen in one stretch of time.
type Window struct {
	Seconds    float64 `json:"seconds"`
	Deliveries int64   `json:"deliveries"`
	Frames     int64   `json:"frames"`
	Bytes      int64   `json:"bytes"`
	Lost       int64   `json:"lost"`
	Snapshots  int64   `json:"snapshots"`
	Latency    Latency `json:"latency"`
	CPUSeconds float64 `json:"cpuSeconds,omitempty"`
	// CPUPerMillion is the server's CPU seconds, user and system, per million deliveries.
	CPUPerMillion float64 `json:"cpuPerMillion,omitempty"`
}

// Figure is a median of several runs, with the spread.
type Figure struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit,omitempty"`
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	Runs   []float64 `json:"runs"`
	// Limit is what the figure may be at most; 0: nobody said.
	Limit float64 `json:"limit,omitempty"`
}

// Met says whether the figure is within its limit.
func (f Figure) Met() bool { return f.Limit == 0 || f.Median <= f.Limit }

// Result is a scenario's outcome.
type Result struct {
	Scenario string    `json:"scenario"`
	Clients  int       `json:"clients"`
	Groups   int       `json:"conferences"`
	Windows  []Window  `json:"windows,omitempty"`
	Floors   []Window  `json:"floors,omitempty"`
	Figures  []*Figure `json:"figures"`
	// Documents says with what those at the end were compared.
	Documents string   `json:"documents,omitempty"`
	Faults    []string `json:"faults,omitempty"` // what must not be: losses, wrong documents
}

// add puts a run's value into a figure.
func (r *Result) add(name, unit string, limit, value float64) {
	i := slices.IndexFunc(r.Figures, func(f *Figure) bool { return f.Name == name })
	if i < 0 {
		i = len(r.Figures)
		r.Figures = append(r.Figures, &Figure{Name: name, Unit: unit, Limit: limit})
	}
	f := r.Figures[i]
	f.Runs = append(f.Runs, value)
	sorted := slices.Sorted(slices.Values(f.Runs))
	f.Min, f.Max = sorted[0], sorted[len(sorted)-1]
	f.Median = sorted[len(sorted)/2]
	if len(sorted)%2 == 0 {
		f.Median = (sorted[len(sorted)/2-1] + sorted[len(sorted)/2]) / 2
	}
}

// addPair adds a window of a server and the floor's to the figures; limit is of their ratio.
func (r *Result) addPair(w, f Window, limit float64) {
	r.add("server CPU per million deliveries", "s", 0, w.CPUPerMillion)
	r.add("floor CPU per million deliveries", "s", 0, f.CPUPerMillion)
	if f.CPUPerMillion > 0 { // the clock has ticks of 10 ms, which little work may not fill
		r.add("server CPU per delivery, in the floor's", "", limit, w.CPUPerMillion/f.CPUPerMillion)
	}
	r.add("messages a frame", "", 0, ratio(w.Deliveries, w.Frames))
	r.addLatency(w)
	r.add("floor's latency p99", "ms", 0, ms(f.Latency.P99))
}

func (r *Result) addLatency(w Window) {
	r.add("latency p50", "ms", 0, ms(w.Latency.P50))
	r.add("latency p99", "ms", 0, ms(w.Latency.P99))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (r *Result) fault(format string, args ...any) {
	r.Faults = append(r.Faults, fmt.Sprintf(format, args...))
}

// WriteJSON writes the result as one JSON object.
func (r *Result) WriteJSON(w io.Writer) error { return json.NewEncoder(w).Encode(r) }

// WriteText writes the result for people.
func (r *Result) WriteText(w io.Writer) error {
	b := fmt.Appendf(nil, "%s: %d clients over %d conferences\n", r.Scenario, r.Clients, r.Groups)
	for i, win := range r.Windows {
		b = fmt.Appendf(b, "  run   %d: %s\n", i+1, win)
		if i < len(r.Floors) {
			b = fmt.Appendf(b, "  floor %d: %s\n", i+1, r.Floors[i])
		}
	}
	for _, f := range r.Figures {
		b = fmt.Appendf(b, "  %-44s %s %s (%s to %s, %d runs)", f.Name, short(f.Median), f.Unit, short(f.Min), short(f.Max), len(f.Runs))
		if f.Limit != 0 {
			word := "met"
			if !f.Met() {
				word = "NOT met"
			}
			b = fmt.Appendf(b, ", at most %s: %s", short(f.Limit), word)
		}
		b = append(b, '\n')
	}
	if r.Documents != "" {
		b = fmt.Appendf(b, "  documents: %s\n", r.Documents)
	}
	for _, f := range r.Faults {
		b = fmt.Appendf(b, "  FAULT: %s\n", f)
	}
	_, err := w.Write(b)
	return err
}

func short(v float64) string {
	if v >= 1000 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// String is a window in a line.
func (w Window) String() string {
	b := fmt.Appendf(nil, "%d deliveries in %.1f s (%.2f a frame, %.0f bytes each), lost %d, p50 %v p99 %v max %v", w.Deliveries,
		w.Seconds, ratio(w.Deliveries, w.Frames), ratio(w.Bytes, w.Deliveries), w.Lost, w.Latency.P50, w.Latency.P99,
		w.Latency.Max.Round(step))
	if w.CPUSeconds > 0 {
		b = fmt.Appendf(b, ", CPU %.2f s, %.2f s per million", w.CPUSeconds, w.CPUPerMillion)
	}
	return string(b)
}

// progressEvery is how often a long window says how it goes.
const progressEvery = 10 * time.Second

// reporting says now and then how a window of length d goes, until the function that it returns is called.
func reporting(c *Crowd, d time.Duration, say func(format string, args ...any)) (stop func()) {
	before, start := c.Totals(), time.Now()
	ticker := time.NewTicker(progressEvery)
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer ticker.Stop()
		for {
			select {
			case <-over:
				return
			case <-ticker.C:
				t := c.Totals().minus(before)
				say("%v of %v: %d deliveries, %d lost, %d connections failed", time.Since(start).Round(time.Second), d, t.Deliveries, t.Lost, t.Failed)
			}
		}
	}()
	return func() {
		close(over)
		<-ended
	}
}

func ratio(a, b int64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// observe watches a crowd and a process while f runs, and until what was sent has arrived.
func observe(c *Crowd, pid int, f func() error) (Window, error) {
	before, cpuBefore := c.Totals(), time.Duration(0)
	var err error
	if pid != 0 {
		if cpuBefore, err = cpu(pid); err != nil {
			return Window{}, err
		}
	}
	c.latency.take()
	c.timing.Store(true)
	start := time.Now()
	if err := f(); err != nil {
		return Window{}, err
	}
	took := time.Since(start)
	c.timing.Store(false)
	t := c.Totals().minus(before)
	w := Window{
		Seconds: took.Seconds(), Deliveries: t.Deliveries, Frames: t.Frames, Bytes: t.Bytes, Lost: t.Lost,
		Snapshots: t.Snapshots, Latency: c.latency.take(),
	}
	if pid != 0 {
		now, err := cpu(pid)
		if err != nil {
			return Window{}, err
		}
		w.CPUSeconds = (now - cpuBefore).Seconds()
		if t.Deliveries > 0 {
			w.CPUPerMillion = w.CPUSeconds / float64(t.Deliveries) * 1e6
		}
	}
	return w, nil
}
