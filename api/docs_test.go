package api

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"confgate/internal/confctl"
	"confgate/internal/conference"
	"confgate/internal/watch"
)

var jsonBlock = regexp.MustCompile("(?s)```json\n(.*?)```")

func protocolExamples(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	var examples []string
	for _, m := range jsonBlock.FindAllStringSubmatch(string(data), -1) {
		examples = append(examples, m[1])
	}
	return examples
}

// Every JSON example of docs/PROTOCOL.md is valid, and each message of a server but three plain ones has one.
func TestProtocolExamples(t *testing.T) {
	t.Parallel()
	v := validator(t, Strict)
	seen := make(map[string]int)
	for _, example := range protocolExamples(t) {
		var one struct {
			Type string `json:"type"`
		}
		isArray := json.Unmarshal([]byte(example), &one) != nil
		check := v.Server
		switch {
		case !isArray && one.Type == "":
			check = v.State
		case slices.Contains(clientTypes, one.Type):
			check = v.Client
		}
		if err := check([]byte(example)); err != nil {
			t.Errorf("%v in\n%s", err, example)
		}
		seen[one.Type]++
	}
	for _, name := range slices.Concat(serverTypes, []string{"subscribe", "auth"}) {
		if seen[name] == 0 && !slices.Contains([]string{"unsubscribed", "heartbeat", "pong"}, name) {
			t.Errorf("no example of %s", name)
		}
	}
}

// The session of docs/PROTOCOL.md, taken by the reference client: its document is the one that the page shows.
func TestProtocolSession(t *testing.T) {
	t.Parallel()
	replica := watch.NewReplica()
	shown, resumed := 0, 0
	for _, example := range protocolExamples(t) {
		var list []*watch.Message
		if json.Unmarshal([]byte(example), &list) != nil {
			var m watch.Message
			if err := json.Unmarshal([]byte(example), &m); err != nil {
				t.Fatal(err)
			}
			list = []*watch.Message{&m}
		}
		for _, m := range list {
			switch m.Type {
			case "subscribed":
				replica.Subscribed(m)
			case "snapshot":
				if _, err := replica.Snapshot(m); err != nil {
					t.Fatal(err)
				}
			case "delta":
				if outcome, err := replica.Change(m); outcome != watch.Applied || err != nil {
					t.Fatalf("Change(%d) = %v, %v, want Applied", m.Seq, outcome, err)
				}
			case "":
				shown++
				compareJSON(t, example, string(replica.AppendDocument(nil)))
			case "subscribe":
				var asked struct {
					Resume *watch.Resume `json:"resume"`
				}
				if err := json.Unmarshal([]byte(example), &asked); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(replica.Resume(), asked.Resume); diff != "" {
					t.Errorf("resume (-the client's +the page's):\n%s", diff)
				}
				if asked.Resume != nil {
					resumed++
				}
			}
		}
		if resumed > 0 && len(list) == 1 && list[0].Type == "delta" {
			break // the session ends here; what follows are single examples
		}
	}
	if shown != 1 || resumed != 1 {
		t.Errorf("the session shows %d documents and %d resumes, want one of each", shown, resumed)
	}
	if got := replica.Violations(); len(got) != 0 {
		t.Errorf("the session breaks the protocol: %q", got)
	}
}

func compareJSON(t *testing.T, want, got string) {
	t.Helper()
	var w, g any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
}

// places are where README.md lists keys of extra: how a change of the topic looks that has them.
var places = map[string]struct {
	topic conference.Topic
	patch string // %s: the members of extra
}{
	"`conference` (`extra.basic`)":      {conference.Info, `{"extra":{"basic":{%s}}}`},
	"`conference` (`extra.dynamic`)":    {conference.Info, `{"extra":{"dynamic":{%s}}}`},
	"`participants`":                    {conference.Participants, `{"p":{"extra":{%s}}}`},
	"`waiting`":                         {conference.Waiting, `{"p":{"extra":{%s}}}`},
	"`attendees`":                       {conference.Attendees, `{"a1":{"extra":{%s}}}`},
	"`interpreters` (`people[].extra`)": {conference.Interpreters, `{"g":{"people":[{"extra":{%s}}]}}`},
}

var keyList = regexp.MustCompile("`([A-Za-z_]+)`")

// README.md lists exactly the keys of extra that a reader without the scope secrets sees: each listed one passes, none of
// those that are listed elsewhere or that the provider is known to send does.
func TestReadableExtra(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := make(map[string][]string)
	candidates := map[string]bool{"pwd": true, "USER_AGENT": true, "aiDigitalInfo": true, "localAuthInfo": true, "type": true}
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(line, " | ")
		if len(cells) != 2 || !strings.HasPrefix(line, "| `") {
			continue
		}
		place := strings.TrimPrefix(cells[0], "| ")
		if _, ok := places[place]; !ok {
			t.Errorf("README.md lists keys of %q, of which this test knows nothing", place)
			continue
		}
		for _, m := range keyList.FindAllStringSubmatch(cells[1], -1) {
			listed[place] = append(listed[place], m[1])
			candidates[m[1]] = true
		}
	}
	for key := range sampleKeys(t) {
		candidates[key] = true
	}
	if len(listed) != len(places) || len(candidates) < 60 {
		t.Fatalf("README.md lists keys of %d places, and there are %d keys to try: too few", len(listed), len(candidates))
	}
	for place, at := range places {
		for key := range candidates {
			member := fmt.Sprintf(`%q:1`, key)
			body := fmt.Sprintf(at.patch, member)
			seen := strings.Contains(string(conference.Redact(conference.Change{Topic: at.topic, Body: []byte(body)}, conference.PII)), member)
			if want := slices.Contains(listed[place], key); seen != want {
				t.Errorf("%s: a reader without secrets sees %s: %t, but README.md says %t", place, key, seen, want)
			}
		}
	}
}

// sampleKeys are all member names in the provider's samples.
func sampleKeys(t *testing.T) map[string]bool {
	t.Helper()
	keys := make(map[string]bool)
	for _, frame := range sampleFrames(t) {
		for _, m := range regexp.MustCompile(`"([A-Za-z_]+) ?"\s*:`).FindAllStringSubmatch(string(frame), -1) {
			keys[m[1]] = true
		}
	}
	return keys
}

func sampleFrames(t *testing.T) [][]byte {
	t.Helper()
	dir := "../internal/confctl/testdata/"
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var frames [][]byte
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), "-full.json") && !strings.HasSuffix(e.Name(), "-incremental.json") {
			continue
		}
		data, err := os.ReadFile(dir + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, data)
	}
	if len(frames) < 10 {
		t.Fatalf("%s has %d samples, want at least one of each kind", dir, len(frames))
	}
	return frames
}

// What the provider's own samples become fits the strict schemas, for every reader.
func TestSamplesFitTheSchemas(t *testing.T) {
	t.Parallel()
	v := validator(t, Strict)
	for _, profile := range []conference.Profile{0, conference.PII, conference.Secrets, conference.PII | conference.Secrets} {
		state := conference.New("900487914")
		changes := state.SetLink(conference.LinkLive, conference.ReasonNone, 1)
		for _, data := range sampleFrames(t) {
			frame, err := confctl.Decode(data)
			if err != nil {
				t.Fatal(err)
			}
			more, err := state.Apply(frame)
			if err != nil {
				t.Fatal(err)
			}
			changes = append(changes, more...)
		}
		topics := make(map[conference.Topic]bool)
		for _, c := range changes {
			topics[c.Topic] = true
			if err := v.Topic(c.Topic.String(), conference.Redact(c, profile)); err != nil {
				t.Errorf("profile %d: %v in %s", profile, err, conference.Redact(c, profile))
			}
		}
		document := state.Doc().AppendJSON(nil, conference.AllTopics, profile)
		if err := v.State(document); err != nil {
			t.Errorf("profile %d: %v in %s", profile, err, document)
		}
		if len(topics) < 10 {
			t.Errorf("the samples changed %d topics, want all but layout and vendor", len(topics))
		}
	}
}
