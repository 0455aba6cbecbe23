package api

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func validator(t *testing.T, strictness Strictness) *Validator {
	t.Helper()
	v, err := NewValidator(strictness)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestServerMessages(t *testing.T) {
	t.Parallel()
	const delta = `{"type":"delta","conference":"c","seq":2,"prev":1,"time":1,"topic":`
	const snapshot = `{"type":"snapshot","conference":"c","epoch":"e","seq":1,"state":`
	tests := []struct {
		name, frame       string
		published, strict bool // whether they accept it
	}{
		{"heartbeat", `{"type":"heartbeat","time":1}`, true, true},
		{"array", `[{"type":"heartbeat","time":1},{"type":"pong"}]`, true, true},
		{"array with a bad one", `[{"type":"heartbeat","time":1},{"type":"heartbeat"}]`, false, false},
		{"empty array", `[]`, false, false},
		{"unknown type", `{"type":"confetti"}`, false, false},
		{"client's type", `{"type":"ping"}`, false, false},
		{"not an object", `7`, false, false},
		{"not JSON", `{"type":"pong"`, false, false},
		{"unknown member", `{"type":"pong","pid":"1"}`, true, false},
		{"flag", delta + `"participants","patch":{"p":{"muted":true}}}`, true, true},
		{"flag kept raw", delta + `"participants","patch":{"p":{"muted":"maybe"}}}`, true, false},
		{"flag as number", delta + `"participants","patch":{"p":{"muted":1}}}`, false, false},
		{"word", delta + `"participants","patch":{"p":{"role":"chair"}}}`, true, true},
		{"word kept raw", delta + `"participants","patch":{"p":{"role":"7"}}}`, true, false},
		{"unknown member of a participant", delta + `"participants","patch":{"p":{"muetd":true}}}`, true, false},
		{"nulls in a patch", delta + `"participants","patch":{"p":{"muted":null,"extra":null},"q":null}}`, true, true},
		{"topic removed", delta + `"layout","patch":null}`, true, true},
		{"emptied by redaction", delta + `"conference","patch":{}}`, true, true},
		{"speakers", delta + `"speakers","patch":[{"pid":"p","name":"n","volume":4}]}`, true, true},
		{"speakers as object", delta + `"speakers","patch":{}}`, false, false},
		{"patch of another type", delta + `"participants","patch":[]}`, false, false},
		{"patch of another topic", delta + `"link","patch":{"state":"joined"}}`, false, false},
		{"reason gone", delta + `"link","patch":{"state":"live","since":4,"reason":null}}`, true, true},
		{"delta of an event topic", delta + `"invites","patch":{}}`, false, false},
		{"delta without patch", delta + `"participants"}`, false, false},
		{"attendee key", delta + `"attendees","patch":{"a12":{"name":"x"}}}`, true, true},
		{"attendee key is a phone number", delta + `"attendees","patch":{"+49123":{"name":"x"}}}`, false, false},
		{"quality", delta + `"quality","patch":{"p":{"rttMs":3,"video":{"upLossPct":0.5,"upBps":100}}}}`, true, true},
		{"loss above all", delta + `"quality","patch":{"p":{"video":{"upLossPct":101}}}}`, false, false},
		{"passwords of any role", delta + `"conference","patch":{"passwords":{"chair":"1","panelist":"2"}}}`, true, true},
		{"event", `{"type":"event","conference":"c","topic":"invites","seq":2,"prev":0,"time":1,"data":{"code":"0","ok":true,"reason":"success"}}`, true, true},
		{"event without its data", `{"type":"event","conference":"c","topic":"invites","seq":2,"prev":0,"time":1,"data":{}}`, false, false},
		{"event of a state topic", `{"type":"event","conference":"c","topic":"link","seq":2,"prev":0,"time":1,"data":{}}`, false, false},
		{"snapshot", snapshot + `{"link":{"state":"live","since":1}}}`, true, true},
		{"snapshot with null", snapshot + `{"participants":{"p":null}}}`, false, false},
		{"snapshot with a deep null", snapshot + `{"conference":{"id":"c","extra":{"basic":{"a":[{"b":null}]}}}}}`, false, false},
		{"snapshot with an unknown topic", snapshot + `{"polls":{}}}`, true, false},
		{"snapshot with an event topic", snapshot + `{"invites":{}}}`, true, false},
		{"snapshot with half a link", snapshot + `{"link":{"state":"live"}}}`, false, false},
		{"snapshot with missed events", snapshot + `{},"events":[{"type":"event","conference":"c","topic":"vendor","seq":1,"prev":0,"time":1,"data":{"action":"A","mode":"full","data":{}}}]}`, true, true},
		{"snapshot with no missed events", snapshot + `{},"events":[]}`, false, false},
		{"fresh", `{"type":"status","conference":"c","fresh":true,"since":1}`, true, true},
		{"not fresh without a reason", `{"type":"status","conference":"c","fresh":false,"since":1}`, false, false},
		{"conference id", `{"type":"unsubscribed","conference":"a b","reason":"asked"}`, false, false},
	}
	published, strict := validator(t, Published), validator(t, Strict)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range []struct {
				name string
				v    *Validator
				want bool
			}{{"published", published, tt.published}, {"strict", strict, tt.strict}} {
				err := c.v.Server([]byte(tt.frame))
				if (err == nil) != c.want || err != nil && !errors.Is(err, ErrInvalid) {
					t.Errorf("%s: Server(%s) = %v, want accepted: %t", c.name, tt.frame, err, c.want)
				}
			}
		})
	}
}

func TestClientMessages(t *testing.T) {
	t.Parallel()
	v := validator(t, Published)
	for message, want := range map[string]bool{
		`{"type":"subscribe","conference":"c"}`:                                                true,
		`{"type":"subscribe","conference":"c","resume":{"epoch":"e","view":"v","seq":0}}`:      true,
		`{"type":"subscribe","conference":"c","resume":{"epoch":"e","seq":0}}`:                 false,
		`{"type":"subscribe","conference":"c","topics":["participants","of a later version"]}`: true,
		`{"type":"subscribe","conference":"c","topics":"participants"}`:                        false,
		`{"type":"subscribe"}`:                    false,
		`{"type":"unsubscribe","conference":"c"}`: true,
		`{"type":"ping","id":"1"}`:                true,
		`{"type":"ping","id":1}`:                  false,
		`{"type":"auth","token":"x"}`:             true,
		`{"type":"auth"}`:                         false,
		`{"type":"welcome"}`:                      false,
		`[{"type":"ping"}]`:                       false,
	} {
		if err := v.Client([]byte(message)); (err == nil) != want {
			t.Errorf("Client(%s) = %v, want accepted: %t", message, err, want)
		}
	}
}

func TestStateAndTopics(t *testing.T) {
	t.Parallel()
	v := validator(t, Strict)
	if err := v.State([]byte(`{"participants":{}}`)); err != nil {
		t.Errorf("State = %v, want nil", err)
	}
	if err := v.State([]byte(`[]`)); err == nil {
		t.Error("State([]) = nil, want an error")
	}
	if err := v.Topic("subtitles", []byte(`{"final":true,"lines":[{"text":"x"}]}`)); err != nil {
		t.Errorf("Topic = %v, want nil", err)
	}
	if err := v.Topic("polls", []byte(`{}`)); err == nil {
		t.Error("Topic of an unknown name = nil, want an error")
	}
}

// The schemas for any message are for others than this package; they must know the same messages.
func TestChoicesAreComplete(t *testing.T) {
	t.Parallel()
	v := validator(t, Published)
	for name, types := range map[string][]string{"server-message": serverTypes, "client-message": clientTypes} {
		var choice struct {
			OneOf []struct {
				Ref string `json:"$ref"`
			} `json:"oneOf"`
		}
		data, err := files.ReadFile("schemas/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &choice); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range choice.OneOf {
			got = append(got, strings.TrimSuffix(c.Ref, ".json"))
		}
		if !slices.Equal(got, types) {
			t.Errorf("%s.json is of %v, want %v", name, got, types)
		}
	}
	frame := `[{"type":"pong"},{"type":"heartbeat","time":1}]`
	if err := v.check("server-frame", []byte(frame)); err != nil {
		t.Errorf("server-frame.json refuses %s: %v", frame, err)
	}
	if err := v.check("server-frame", []byte(`[{"type":"confetti"}]`)); err == nil {
		t.Error("server-frame.json accepts an unknown message")
	}
}

// asyncapi.yaml mentions every message once on the channel and in an operation, its references lead somewhere, and its
// examples are valid.
func TestAsyncAPI(t *testing.T) {
	t.Parallel()
	data, err := files.ReadFile("asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	if doc["asyncapi"] != "3.0.0" {
		t.Errorf("asyncapi = %v, want 3.0.0", doc["asyncapi"])
	}
	references := make(map[string]int)
	collect(doc, references)
	for ref := range references {
		if local, ok := strings.CutPrefix(ref, "#/"); ok {
			if at(doc, strings.Split(local, "/")) == nil {
				t.Errorf("reference to nothing: %s", ref)
			}
		} else if _, err := fs.Stat(files, path.Clean(ref)); err != nil {
			t.Errorf("reference to nothing: %s", ref)
		}
	}
	v := validator(t, Strict)
	all := slices.Concat(serverTypes, clientTypes)
	for _, name := range all {
		for _, ref := range []string{"#/components/messages/" + name, "#/channels/ws/messages/" + name, "./schemas/" + name + ".json"} {
			if references[ref] == 0 {
				t.Errorf("nothing refers to %s", ref)
			}
		}
		examples, _ := at(doc, []string{"components", "messages", name, "examples"}).([]any)
		if len(examples) == 0 {
			t.Errorf("no example of %s", name)
		}
		for _, e := range examples {
			example, err := json.Marshal(at(e, []string{"payload"}))
			if err != nil {
				t.Fatal(err)
			}
			if err := v.check(name, example); err != nil {
				t.Errorf("example of %s: %v", name, err)
			}
		}
	}
	if messages, _ := at(doc, []string{"components", "messages"}).(map[string]any); len(messages) != len(all) {
		t.Errorf("%d messages, want %d", len(messages), len(all))
	}
}

// collect counts the references below a value.
func collect(value any, references map[string]int) {
	switch v := value.(type) {
	case map[string]any:
		for key, item := range v {
			if ref, ok := item.(string); ok && key == "$ref" {
				references[ref]++
			}
			collect(item, references)
		}
	case []any:
		for _, item := range v {
			collect(item, references)
		}
	}
}

// at follows keys into a value; nil where they lead nowhere.
func at(value any, keys []string) any {
	for _, key := range keys {
		m, _ := value.(map[string]any)
		value = m[key]
	}
	return value
}
