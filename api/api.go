package api

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

//go:embed asyncapi.yaml openapi.yaml schemas/*.json
var files embed.FS

// Files are asyncapi.yaml, openapi.yaml and schemas/*.json.
func Files() fs.FS { return files }

// Strictness says how a Validator reads the schemas.
type Strictness bool

const (
	Published Strictness = false // as they are
	Strict    Strictness = true  // no members and no words beside those that are named
)

// ErrInvalid is what all complaints of a Validator are.
var ErrInvalid = errors.New("api: invalid")

// Validator checks messages and documents against the schemas.
type Validator struct {
	schemas map[string]*jsonschema.Schema
	rest    []operation
}

// NewValidator compiles the schemas.
func NewValidator(strictness Strictness) (*Validator, error) {
	compiler := jsonschema.NewCompiler()
	names, err := fs.Glob(files, "schemas/*.json")
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	for _, name := range names {
		doc, err := load(name)
		if err != nil {
			return nil, err
		}
		if strictness == Strict {
			tighten(doc)
		}
		if err := compiler.AddResource(address(name), doc); err != nil {
			return nil, fmt.Errorf("api: %s: %w", name, err)
		}
	}
	v := &Validator{schemas: make(map[string]*jsonschema.Schema, len(names))}
	for _, name := range names {
		schema, err := compiler.Compile(address(name))
		if err != nil {
			return nil, fmt.Errorf("api: %s: %w", name, err)
		}
		v.schemas[strings.TrimSuffix(path.Base(name), ".json")] = schema
	}
	if v.rest, err = operations(compiler); err != nil {
		return nil, err
	}
	return v, nil
}

// address is where a schema pretends to be, so that references between the files resolve; nothing is fetched.
func address(name string) string { return "file:///" + name }

func load(name string) (any, error) {
	data, err := files.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("api: %s: %w", name, err)
	}
	return doc, nil
}

// tighten closes every object whose members are named, and refuses values that are only kept raw. Each object is described
// in one place, so additionalProperties is enough.
func tighten(schema any) {
	switch s := schema.(type) {
	case []any:
		for _, item := range s {
			tighten(item)
		}
	case map[string]any:
		for _, item := range s {
			tighten(item)
		}
		if defs, ok := s["$defs"].(map[string]any); ok && defs["raw"] != nil {
			defs["raw"] = false
		}
		_, named := s["properties"].(map[string]any)
		_, decided := s["additionalProperties"]
		if named && !decided && s["type"] != nil {
			s["additionalProperties"] = false
		}
	}
}

// Server checks a frame that a server sent: one message, or an array of them.
func (v *Validator) Server(frame []byte) error {
	var list []json.RawMessage
	if json.Unmarshal(frame, &list) != nil {
		return v.message(frame, serverTypes)
	}
	if len(list) == 0 {
		return fmt.Errorf("%w: frame without a message", ErrInvalid)
	}
	for i, m := range list {
		if err := v.message(m, serverTypes); err != nil {
			return fmt.Errorf("message %d of %d: %w", i+1, len(list), err)
		}
	}
	return nil
}

// Client checks a message that a client sent.
func (v *Validator) Client(message []byte) error { return v.message(message, clientTypes) }

// State checks a state document.
func (v *Validator) State(document []byte) error { return v.check("state", document) }

// Topic checks the value of a topic's member of the document, the merge patch of one, or the data of an event.
func (v *Validator) Topic(topic string, value []byte) error { return v.check("topic-"+topic, value) }

// The message types of each side, which are the names of their schemas.
var (
	serverTypes = []string{
		"welcome", "subscribed", "snapshot", "delta", "event", "status", "unsubscribed", "heartbeat", "pong", "error",
	}
	clientTypes = []string{"subscribe", "unsubscribe", "ping", "auth"}
)

// message checks against the schema of the message's own type, which complains better than a choice of all types.
func (v *Validator) message(data []byte, types []string) error {
	var envelope struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(data, &envelope); err != nil {
		return fmt.Errorf("%w: not a message: %w", ErrInvalid, err)
	}
	for _, name := range types {
		if name == envelope.Type {
			return v.check(name, data)
		}
	}
	return fmt.Errorf("%w: no message has the type %q", ErrInvalid, envelope.Type)
}

func (v *Validator) check(name string, data []byte) error {
	schema, ok := v.schemas[name]
	if !ok {
		return fmt.Errorf("%w: no schema is called %s", ErrInvalid, name)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("%w: %s: not JSON: %w", ErrInvalid, name, err)
	}
	if err := schema.Validate(value); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrInvalid, name, err)
	}
	return nil
}
