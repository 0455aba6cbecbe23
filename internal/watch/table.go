package watch

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// table draws one picture of a conference: lines of at most width cells, at most height of them.
type table struct {
	width, height int
	colour        bool
	now           time.Time
	lines         []string
}

// document is what the table shows of a state document. Values that a provider sent outside the documented ones are
// strings where others stand, so nothing is decoded more strictly than it is shown.
type document struct {
	Link         map[string]any            `json:"link"`
	Conference   map[string]any            `json:"conference"`
	Participants map[string]map[string]any `json:"participants"`
	Waiting      map[string]map[string]any `json:"waiting"`
	Attendees    map[string]map[string]any `json:"attendees"`
	Speakers     []map[string]any          `json:"speakers"`
	Quality      map[string]map[string]any `json:"quality"`
	Interpreters map[string]map[string]any `json:"interpreters"`
}

// SGR codes of a terminal; colour always comes with a word or a symbol.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (t *table) paint(code, s string) string {
	if !t.colour || code == "" || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// line adds a line that is one text of one colour.
func (t *table) line(code, format string, args ...any) {
	t.lines = append(t.lines, t.paint(code, strings.TrimRight(fit(fmt.Sprintf(format, args...), t.width), " ")))
}

// draw makes the picture. The roster gets the lines that the rest leaves.
func (t *table) draw(r Report, events []happening, captions []caption, step Notice) []string {
	var d document
	if err := json.Unmarshal(r.Document, &d); err != nil {
		t.line(red, "✖ %v", err)
		return t.lines
	}
	t.head(r, d, step)
	head := t.lines
	t.lines = nil
	t.foot(r, d, events, captions)
	foot := t.lines
	t.lines = nil
	t.roster(d, t.height-len(head)-len(foot))
	all := slices.Concat(head, t.lines, foot)
	return all[:min(len(all), max(t.height, 1))]
}

var linkLooks = map[string][2]string{
	"live": {"●", green}, "stale": {"◐", yellow}, "connecting": {"◌", yellow}, "waiting": {"◷", yellow},
	"unavailable": {"✖", red}, "ended": {"■", dim},
}

func (t *table) head(r Report, d document, step Notice) {
	title := text(d.Conference, "title")
	if title == "" {
		title = text(d.Conference, "id")
	}
	t.line(bold, "%s", cmp.Or(title, "(nothing known yet)"))
	link := text(d.Link, "state")
	look, known := linkLooks[link]
	if !known {
		look = [2]string{"◌", yellow}
	}
	word := look[0] + " " + cmp.Or(link, "no word yet")
	if reason := text(d.Link, "reason"); reason != "" {
		word += ": " + strings.ReplaceAll(reason, "_", " ")
	}
	if since, ok := number(d.Link, "since"); ok {
		word += " for " + age(t.now, int64(since))
	}
	t.line(look[1], "%s", word+flags(d.Conference))
	switch {
	case step.State == Waiting && step.Err != nil:
		t.line(red, "✖ %s; trying again", strings.TrimPrefix(step.Err.Error(), "watch: "))
	case !r.Connected:
		t.line(yellow, "◌ connecting")
	case !r.Fresh:
		t.line(yellow, "◐ the worker doesn't vouch for this: %s, for %s", r.Stale, age(t.now, r.StaleSince))
	}
}

// flags are what is unusual about a conference.
func flags(c map[string]any) string {
	var b strings.Builder
	for _, f := range [][2]string{
		{"locked", "locked"},
		{"muted", "muted on entry"},
		{"recording", "recording"},
		{"sharingLocked", "sharing locked"},
		{"subtitlesOn", "subtitles"},
		{"chairPolling", "polling"},
	} {
		if on(c, f[0]) {
			b.WriteString(" · " + f[1])
		}
	}
	if mode := text(c, "mode"); mode != "" && mode != "free" {
		b.WriteString(" · " + mode)
	}
	return b.String()
}

func (t *table) foot(r Report, d document, events []happening, captions []caption) {
	if len(d.Speakers) > 0 {
		var parts []string
		for _, s := range d.Speakers {
			volume, _ := number(s, "volume")
			bars := strings.Repeat("▮", min(10, max(0, int(volume/10))))
			name := cmp.Or(text(s, "name"), text(d.Participants[text(s, "pid")], "name"), text(s, "pid"))
			if bars != "" {
				name += " " + bars
			}
			parts = append(parts, strings.TrimSpace(name+" "+text(s, "volume")))
		}
		t.line(cyan, "speaking  %s", strings.Join(parts, ", "))
	}
	if len(d.Waiting) > 0 {
		t.line("", "waiting   %d: %s", len(d.Waiting), names(d.Waiting))
	}
	if len(d.Attendees) > 0 {
		t.line("", "invited   %d: %s", len(d.Attendees), names(d.Attendees))
	}
	if len(d.Interpreters) > 0 {
		t.line("", "interpret %d: %s", len(d.Interpreters), names(d.Interpreters))
	}
	for _, e := range events {
		t.line(dim, "%s  %s", time.UnixMilli(e.time).Format("15:04:05"), sayEvent(e))
	}
	for _, c := range captions {
		code := ""
		if !c.final {
			code = dim
		}
		t.line(code, "❝ %s: %s", cmp.Or(text(d.Participants[c.pid], "name"), c.pid), c.text)
	}
	t.line(dim, "epoch %s  seq %d  %d messages  %d snapshots  %d connects  worker %s",
		cmp.Or(r.Epoch, "–"), r.Seq, r.Messages, r.Counts.Snapshots, r.Connects, cmp.Or(r.Worker, "–"))
}

// column is a column of the roster; the name, which is the first, gets what the others leave.
type column struct {
	title string
	width int
	right bool
}

var rosterColumns = []column{
	{"ROLE", 8, false},
	{"STATE", 9, false},
	{"HAND", 5, false},
	{"MIC", 4, false},
	{"CAM", 4, false},
	{"SHARE", 6, false},
	{"NET", 6, false},
	{"DELAY", 8, true},
	{"LOSS", 8, true},
}

const minName = 12

// cell is one field of the roster.
type cell struct{ text, colour string }

// shown are the columns that fit, and the width that is left for the name.
func (t *table) shown() ([]column, int) {
	left := t.width
	for i, c := range rosterColumns {
		if left-c.width < minName {
			return rosterColumns[:i], left
		}
		left -= c.width
	}
	return rosterColumns, left
}

// rosterLine adds a line of the roster; cells are of the columns, and those that have no room are left out.
func (t *table) rosterLine(name cell, cells []cell) {
	columns, width := t.shown()
	var b strings.Builder
	b.WriteString(t.paint(name.colour, fit(name.text, width-1)) + " ")
	for i, c := range columns {
		text := fit(cells[i].text, c.width-1)
		if c.right {
			trimmed := strings.TrimRight(text, " ")
			text = text[len(trimmed):] + trimmed
		}
		b.WriteString(t.paint(cells[i].colour, text) + " ")
	}
	t.lines = append(t.lines, strings.TrimRight(b.String(), " "))
}

func (t *table) roster(d document, height int) {
	hands := 0
	for _, p := range d.Participants {
		if on(p, "handRaised") {
			hands++
		}
	}
	t.line(bold, "%d participants, %d hands up", len(d.Participants), hands)
	if height < 3 || len(d.Participants) == 0 {
		return
	}
	titles := make([]cell, len(rosterColumns))
	for i, c := range rosterColumns {
		titles[i] = cell{c.title, dim}
	}
	t.rosterLine(cell{"NAME", dim}, titles)
	speaking := make(map[string]bool)
	for _, s := range d.Speakers {
		speaking[text(s, "pid")] = true
	}
	pids := slices.SortedFunc(maps.Keys(d.Participants), func(a, b string) int {
		pa, pb := d.Participants[a], d.Participants[b]
		return cmp.Or(cmp.Compare(rank(pa), rank(pb)), cmp.Compare(text(pa, "name"), text(pb, "name")), cmp.Compare(a, b))
	})
	room := height - 2
	for i, pid := range pids {
		if i == room-1 && len(pids) > room {
			t.line(dim, "… and %d more", len(pids)-i)
			return
		}
		p := d.Participants[pid]
		t.rosterLine(cell{cmp.Or(text(p, "name"), pid), ""}, participantCells(p, d.Quality[pid], speaking[pid]))
	}
}

// participantCells are the fields of rosterColumns.
func participantCells(p, q map[string]any, speaking bool) []cell {
	role := cell{text(p, "role"), ""}
	switch {
	case role.text == "chair":
		role = cell{"★ host", bold}
	case on(p, "cohost"):
		role = cell{"co-host", bold}
	}
	mic := cell{mark(p, "muted", "off", "on"), ""}
	switch {
	case speaking:
		mic = cell{"◉", cyan}
	case mic.text == "on":
		mic.colour = green
	}
	net := cell{text(q, "rating"), ""}
	if net.text == "poor" {
		net = cell{"▲poor", red}
	}
	var rtt, loss cell
	if v, ok := number(q, "rttMs"); ok {
		rtt.text = fmt.Sprintf("%.0f ms", v)
	}
	if v, ok := worstLoss(q); ok {
		loss.text = fmt.Sprintf("%.1f %%", v)
	}
	return []cell{
		role,
		{text(p, "state"), ""},
		{mark(p, "handRaised", "✋", ""), yellow},
		mic,
		{mark(p, "camera", "on", "off"), ""},
		{mark(p, "sharing", "▣", ""), cyan},
		net, rtt, loss,
	}
}

func rank(p map[string]any) int {
	switch {
	case text(p, "role") == "chair":
		return 0
	case on(p, "cohost"):
		return 1
	case text(p, "role") == "audience":
		return 3
	}
	return 2
}

// worstLoss is the highest loss of any media, either way, in per cent.
func worstLoss(q map[string]any) (worst float64, known bool) {
	for _, media := range []string{"audio", "video", "share"} {
		m, _ := q[media].(map[string]any)
		for _, way := range []string{"upLossPct", "downLossPct"} {
			if v, ok := number(m, way); ok && (!known || v > worst) {
				worst, known = v, true
			}
		}
	}
	return worst, known
}

// text is a member as it reads; "" where it is absent.
func text(m map[string]any, key string) string {
	switch v := m[key].(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	}
	return "?"
}

func number(m map[string]any, key string) (float64, bool) {
	v, ok := m[key].(float64)
	return v, ok
}

func on(m map[string]any, key string) bool { return m[key] == true }

// mark is a flag's text; "" where the flag is unknown.
func mark(m map[string]any, key, yes, no string) string {
	switch m[key] {
	case true:
		return yes
	case false:
		return no
	}
	return ""
}

func names(people map[string]map[string]any) string {
	list := make([]string, 0, len(people))
	for key, p := range people {
		list = append(list, cmp.Or(text(p, "name"), key))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

func age(now time.Time, since int64) string {
	d := max(0, now.Sub(time.UnixMilli(since)))
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

func sayEvent(e happening) string {
	var data map[string]any
	if json.Unmarshal(e.data, &data) != nil {
		return e.topic
	}
	if e.topic != "invites" {
		return strings.TrimSpace(e.topic + " " + text(data, "action"))
	}
	who := cmp.Or(text(data, "phone"), "invitation")
	if on(data, "ok") {
		return "✔ " + who + ": answered"
	}
	return "✖ " + who + ": " + strings.ReplaceAll(cmp.Or(text(data, "reason"), "failed"), "_", " ")
}

// readCaption takes the caption in the language that was spoken, else the first one.
func readCaption(data []byte) (caption, bool) {
	type line struct{ Language, Text string }
	var e struct {
		PID   string
		Final bool
		Lines []line
	}
	if json.Unmarshal(data, &e) != nil || len(e.Lines) == 0 {
		return caption{}, false
	}
	spoken := max(0, slices.IndexFunc(e.Lines, func(l line) bool { return l.Language == "original" }))
	return caption{e.PID, e.Lines[spoken].Text, e.Final}, true
}
