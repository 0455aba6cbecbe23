package conference

// LinkState is the state of the link to the provider, as clients see it in the topic "link".
type LinkState string

// The link states of the contract, section 4.
const (
	LinkWaiting     LinkState = "waiting" // the conference hasn't started
	LinkConnecting  LinkState = "connecting"
	LinkLive        LinkState = "live"
	LinkStale       LinkState = "stale" // the document may be incomplete
	LinkUnavailable LinkState = "unavailable"
	LinkEnded       LinkState = "ended"
)

// LinkReason says why a link isn't live; empty when it is.
type LinkReason string

// The reasons of the contract, section 4.
const (
	ReasonNone        LinkReason = ""
	ReasonNotStarted  LinkReason = "not_started"
	ReasonCredentials LinkReason = "credentials"
	ReasonLocked      LinkReason = "locked"
	ReasonNetwork     LinkReason = "network"
	ReasonProvider    LinkReason = "provider"
	ReasonGap         LinkReason = "gap"
	ReasonHeartbeat   LinkReason = "heartbeat"
	ReasonLimit       LinkReason = "limit"
)

// SetLink changes the topic "link". While state and reason stay the same nothing changes, so since says when they began.
// now is in Unix milliseconds.
func (s *State) SetLink(state LinkState, reason LinkReason, now int64) []Change {
	if have, why := s.Link(); have == state && why == reason {
		return nil
	}
	s.scratch = borrow()
	defer s.giveBack()
	b := s.scratch
	o := b.object()
	b.put(o, "", "state", quoted(b, string(state)))
	if reason != ReasonNone {
		b.put(o, "", "reason", quoted(b, string(reason)))
	}
	b.put(o, "", "since", decimal(b, now))
	return s.replaceTopic(nil, Link, o, now)
}

// Link is the present state of the topic "link"; both empty where SetLink was never called.
func (s *State) Link() (LinkState, LinkReason) {
	o := s.doc.topics[Link].obj
	if o == nil {
		return "", ""
	}
	return LinkState(o.at("state").text()), LinkReason(o.at("reason").text())
}
