package conference

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
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
			for _, c := range m.Members() {
				for i := range c.Body {
					c.Body[i] = '#'
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
