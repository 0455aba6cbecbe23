package conference

import "strconv"

// Summary is the little of a document that a list of conferences shows. All of it is for every reader: the scope "read"
// is enough.
type Summary struct {
	Title string // empty: not known
	// LinkState is empty where the document has no link yet. LinkReason is empty where the link is live.
	LinkState, LinkReason string
	LinkSince             int64 // Unix milliseconds
	// Counts is how many members the topics have that are keyed by people; one that is absent isn't counted.
	Counts map[Topic]int
}

// Summary sums the document up.
func (d *Doc) Summary() Summary {
	s := Summary{Title: d.text(Info, "title"), LinkState: d.text(Link, "state"), LinkReason: d.text(Link, "reason")}
	s.LinkSince, _ = strconv.ParseInt(d.text(Link, "since"), 10, 64)
	s.Counts = make(map[Topic]int)
	for _, t := range [...]Topic{Participants, Attendees, Waiting} {
		if o := d.topics[t].obj; o != nil {
			s.Counts[t] = len(o.members)
		}
	}
	return s
}

// text is the content of a topic's member that is a string or a number; empty where there is none.
func (d *Doc) text(t Topic, key string) string {
	if o := d.topics[t].obj; o != nil {
		return o.at(key).text()
	}
	return ""
}
