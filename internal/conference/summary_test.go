package conference

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDocSummary(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, doc string
		want      Summary
	}{
		{"nothing known", `{}`, Summary{Counts: map[Topic]int{}}},
		{
			"waiting", `{"link":{"reason":"not_started","since":1611993595000,"state":"waiting"}}`,
			Summary{LinkState: "waiting", LinkReason: "not_started", LinkSince: 1611993595000, Counts: map[Topic]int{}},
		},
		{
			"live",
			`{"link":{"since":7,"state":"live"},"conference":{"title":"a \"b\""},"participants":{"p":{},"q":{}},"waiting":{},"speakers":[{}]}`,
			Summary{Title: `a "b"`, LinkState: "live", LinkSince: 7, Counts: map[Topic]int{Participants: 2, Waiting: 0}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, err := ParseDoc([]byte(tt.doc))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, d.Summary()); diff != "" {
				t.Errorf("Summary() (-want +got):\n%s", diff)
			}
		})
	}
}
