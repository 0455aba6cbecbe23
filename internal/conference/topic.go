package conference

import "fmt"

// Topic is a top-level member of the state document, or an event topic, which has no place in it.
type Topic uint8

// The topics, in the order in which a document lists them.
const (
	Link Topic = iota
	Info       // the document's member "conference"
	Participants
	Attendees
	Waiting
	Speakers
	Quality
	Interpreters
	Layout
	Invites       // event
	Subtitles     // event
	Vendor        // event
	NumTopics int = iota
)

var topicNames = [NumTopics]string{
	"link", "conference", "participants", "attendees", "waiting", "speakers", "quality",
	"interpreters", "layout", "invites", "subtitles", "vendor",
}

// String is the topic's name on the wire.
func (t Topic) String() string {
	if int(t) < NumTopics {
		return topicNames[t]
	}
	return fmt.Sprintf("topic(%d)", uint8(t))
}

// Event says whether the topic carries events, which leave no state behind.
func (t Topic) Event() bool { return t >= Invites }

// ParseTopic finds a topic by its name on the wire.
func ParseTopic(name string) (Topic, bool) {
	for i, n := range topicNames {
		if n == name {
			return Topic(i), true
		}
	}
	return 0, false
}

// Topics is a set of topics.
type Topics uint16

// AllTopics holds every topic, StateTopics those that have a place in the document.
const (
	AllTopics   Topics = 1<<NumTopics - 1
	StateTopics Topics = 1<<Invites - 1
)

// TopicSet makes a set.
func TopicSet(topics ...Topic) Topics {
	var s Topics
	for _, t := range topics {
		s |= 1 << t
	}
	return s
}

// Has says whether t is in the set.
func (s Topics) Has(t Topic) bool { return s&(1<<t) != 0 }

// Names lists the set's topics by their names, in document order.
func (s Topics) Names() []string {
	names := make([]string, 0, NumTopics)
	for i, n := range topicNames {
		if s.Has(Topic(i)) {
			names = append(names, n)
		}
	}
	return names
}

// Profile says which scopes beyond "read" a reader has: what redaction leaves of a document for it.
type Profile uint8

// The scopes that redaction knows; a Profile is a union of them, the zero Profile is "read" alone.
const (
	PII         Profile = 1 << iota // phone numbers, e-mail addresses, account names
	Secrets                         // passwords, join links, provider credentials, whatever isn't listed
	NumProfiles int     = iota * 2  // 4
)

// VisibleTopics are the topics of which a reader with profile p sees anything at all.
func (p Profile) VisibleTopics() Topics {
	if p&Secrets != 0 {
		return AllTopics
	}
	return AllTopics &^ TopicSet(Vendor)
}

// View names a pair of topics and redaction, the same on every worker: a position may be resumed only under the view it
// was reached with. It is opaque to clients.
func View(topics Topics, p Profile) string {
	return fmt.Sprintf("%c%x", "rpsa"[p&3], uint16(topics|1<<Link))
}
