package watch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Message is one message from the server, as far as its type uses it. Fields that the wire leaves out are zero.
type Message struct {
	Type       string `json:"type"`
	ID         string `json:"id"`
	Conference string `json:"conference"`

	// delta, event
	Topic string          `json:"topic"`
	Seq   uint64          `json:"seq"`  // also of a snapshot
	Prev  uint64          `json:"prev"` // the seq of the message before it on the topic, 0: none
	Time  int64           `json:"time"` // Unix milliseconds
	Patch json.RawMessage `json:"patch"`
	Data  json.RawMessage `json:"data"`

	// snapshot
	Epoch  string                     `json:"epoch"`
	State  map[string]json.RawMessage `json:"state"`
	Events []Message                  `json:"events"`

	// subscribed
	Topics    []string `json:"topics"`
	View      string   `json:"view"`
	Recovered bool     `json:"recovered"`

	// status, unsubscribed, error
	Fresh  bool   `json:"fresh"`
	Reason string `json:"reason"`
	Since  int64  `json:"since"` // Unix milliseconds
	Code   string `json:"code"`
	Text   string `json:"message"`

	// welcome
	Worker      string   `json:"worker"`
	Session     string   `json:"session"`
	HeartbeatMs int64    `json:"heartbeatMs"`
	Scopes      []string `json:"scopes"`
	Expires     int64    `json:"expires"` // Unix milliseconds, 0: never
}

var errNotMessages = errors.New("watch: frame is neither a message nor an array of messages")

// split parts a frame into its messages. The result shares the frame's bytes.
func split(frame []byte) ([]json.RawMessage, error) {
	frame = bytes.TrimSpace(frame)
	switch {
	case !json.Valid(frame):
		return nil, errNotMessages
	case frame[0] == '{':
		return []json.RawMessage{frame}, nil
	case frame[0] == '[':
		var list []json.RawMessage
		if err := json.Unmarshal(frame, &list); err != nil {
			return nil, errNotMessages
		}
		for _, m := range list {
			if m[0] != '{' {
				return nil, errNotMessages
			}
		}
		return list, nil
	}
	return nil, errNotMessages
}

// decode reads one message. The error carries nothing of the content.
func decode(raw []byte) (*Message, error) {
	var m Message
	if err := json.Unmarshal(raw, &m); err != nil {
		if bad, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return nil, fmt.Errorf("watch: message with a wrong %s", bad.Field)
		}
		return nil, errNotMessages
	}
	return &m, nil
}

// Messages from the client.

type subscribeMessage struct {
	Type       string   `json:"type"` // subscribe
	ID         string   `json:"id"`
	Conference string   `json:"conference"`
	Topics     []string `json:"topics,omitempty"`
	Resume     *Resume  `json:"resume,omitempty"`
}

// Resume is a place to go on from.
type Resume struct {
	Epoch string `json:"epoch"`
	View  string `json:"view"`
	Seq   uint64 `json:"seq"`
}

type authMessage struct {
	Type  string `json:"type"` // auth
	ID    string `json:"id"`
	Token string `json:"token"`
}
