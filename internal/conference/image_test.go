package conference

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"confgate/internal/rawjson"
)

// An image shows the document as it was, whatever becomes of the document and of other images; what becomes of an image
// changes neither the document nor what was read from it.
func TestImagesShareNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s, replica := New("c"), NewDoc()
		var images []*Image
		var texts []string
		history(rt, s, func(changes []Change) {
			images, texts = append(images, replica.Image()), append(texts, jsonOf(replica))
			for _, c := range changes {
				if err := replica.Patch(c); err != nil {
					rt.Fatal(err)
				}
			}
		})
		parsed := make([]*Doc, len(images))
		for i, m := range images {
			parsed[i] = m.Doc()
		}
		for _, m := range images {
			for _, p := range m.Parts() {
				for _, text := range [][]byte{p.Open, p.Secret} {
					for i := range text {
						text[i] = '#'
					}
				}
			}
			m.Free()
		}
		for i, d := range parsed {
			if diff := cmp.Diff(texts[i], jsonOf(d)); diff != "" {
				rt.Fatalf("what image %d of %d showed (-want +got):\n%s", i, len(images), diff)
			}
		}
		if got := jsonOf(replica); got != jsonOf(s.Doc()) {
			rt.Fatalf("document after its images were freed = %s, want %s", got, jsonOf(s.Doc()))
		}
	})
}

// An image is parted as the changes are that make its document of nothing.
func TestImagePartsSecrets(t *testing.T) {
	t.Parallel()
	open, secret := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		s := New("c")
		history(rt, s, func([]Change) {})
		d := s.Doc()
		// What no provider has sent yet: any shape where the rules know one.
		for topic := range Invites {
			if text := shaped(rt, rules[topic], 0); rapid.Bool().Draw(rt, "strange topic") && rawjson.IsObject([]byte(text)) {
				d.topics[topic] = parse([]byte(text))
			}
		}
		var want []Part
		for topic := range Invites {
			if body, ok := d.AppendTopic(nil, topic, full); ok {
				p := Part{Topic: topic}
				p.Open, p.Secret = SplitSecrets(Change{Topic: topic, Body: body})
				want = append(want, p)
				open, secret = open+min(len(p.Open), 1), secret+min(len(p.Secret), 1)
			}
		}
		m := d.Image()
		if diff := cmp.Diff(want, m.Parts()); diff != "" {
			rt.Errorf("parts of %s (-want +got):\n%s", jsonOf(d), diff)
		}
		if diff := cmp.Diff(jsonOf(d), jsonOf(m.Doc())); diff != "" {
			rt.Errorf("the image's document (-want +got):\n%s", diff)
		}
		m.Free()
	})
	if open == 0 || secret == 0 {
		t.Errorf("%d open parts, %d secret ones, want both", open, secret)
	}
}

// What one has freed can't be freed again where another has it meanwhile.
func TestImageIsFreedOnce(t *testing.T) {
	t.Parallel()
	d := NewDoc()
	if err := d.Patch(Change{Link, 0, []byte(`{"state":"live"}`)}); err != nil {
		t.Fatal(err)
	}
	m := d.Image()
	m.Free()
	for range 100 { // until one of them has the memory
		a := d.Image()
		m.Free()
		b := NewDoc().Image()
		if got := jsonOf(a.Doc()); got != `{"link":{"state":"live"}}` {
			t.Fatalf("an image that is in use shows %s", got)
		}
		a.Free()
		b.Free()
	}
}
