package edge

import "encoding/binary"

// Close codes of confgate.v1. What a client should do follows from the code alone.
const (
	codeLeaving      = 1001 // reconnect and resume
	codeFull         = 1013 // back off, then reconnect and resume
	codeUnauthorized = 4401 // get a new token first
	codeForbidden    = 4403 // don't reconnect
	codeTooSlow      = 4408 // reconnect and resume
	codeProtocol     = 4409 // don't reconnect
	codeTooMany      = 4429 // back off, then reconnect and resume
)

// closeCause says why a connection ends. The first cause that a connection is given stands.
type closeCause uint32

const (
	causeNone closeCause = iota
	causeLeaving
	causeFull
	causeSubject
	causeToken
	causeExpired
	causeForbidden
	causeSlow
	causeSubprotocol
	causeBinary
	causeTooLarge
	causeFraming
	causeFlood
	causeClient   // the client closed
	causeLost     // the connection broke
	causeReleased // the only conference of an event stream was released
	numCauses     = iota
)

// closeCauses gives each cause its close code (0: none is sent), the reason on the wire (at most 123 bytes, no internals)
// and the value of the metric's label.
var closeCauses = [numCauses]struct {
	code           uint16
	reason, metric string
}{
	causeLeaving:     {codeLeaving, "worker is leaving, reconnect and resume", "leaving"},
	causeFull:        {codeFull, "worker is full, try again later", "full"},
	causeSubject:     {codeFull, "too many connections of this subject, try again later", "subject"},
	causeToken:       {codeUnauthorized, "token missing or not accepted", "unauthorized"},
	causeExpired:     {codeUnauthorized, "token has expired", "expired"},
	causeForbidden:   {codeForbidden, "renewed token does not allow a live subscription", "forbidden"},
	causeSlow:        {codeTooSlow, "client reads nothing, reconnect and resume", "too_slow"},
	causeSubprotocol: {codeProtocol, "subprotocol confgate.v1 was not offered", "protocol"},
	causeBinary:      {codeProtocol, "binary frames are not part of confgate.v1", "protocol"},
	causeTooLarge:    {codeProtocol, "message is larger than this worker takes", "protocol"},
	causeFraming:     {codeProtocol, "broken WebSocket framing", "protocol"},
	causeFlood:       {codeTooMany, "too many messages, back off", "too_many"},
	causeClient:      {0, "", "client"},
	causeLost:        {0, "", "lost"},
	causeReleased:    {0, "", "released"},
}

func (c closeCause) metric() string { return closeCauses[c].metric }

// payload is what the cause's close frame carries; nil where the cause sends none.
func (c closeCause) payload() []byte {
	cc := closeCauses[c]
	if cc.code == 0 {
		return nil
	}
	return append(binary.BigEndian.AppendUint16(nil, cc.code), cc.reason...)
}
