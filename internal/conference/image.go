package conference

import "sync"

// Image is a document as it was at one moment, encoded. It shares nothing with the document, and its memory is used again:
// a checkpoint of a busy conference is some hundred kilobytes. One goroutine has it at a time.
type Image struct{ room *imageRoom } // nil once it is freed, so that no later image can be touched through it

// Part is what changes in a topic, parted as by SplitSecrets. In an image it is a member of the document, which changes from
// nothing, and Open is never nil: of each member every reader may see something.
type Part struct {
	Topic        Topic
	Open, Secret []byte
}

type imageRoom struct {
	open, secret []byte
	parts        []Part // which lie in open and secret
}

// imageRooms are those that nobody has.
var imageRooms = sync.Pool{New: func() any { return new(imageRoom) }}

// keptImage bounds those whose memory is used again, in bytes.
const keptImage = 1 << 20

// Image takes an image of the document. Who has it frees it; one that is forgotten is left to the collector.
func (d *Doc) Image() *Image {
	r := imageRooms.Get().(*imageRoom) //nolint:forcetypeassert // the pool holds nothing else
	r.open, r.secret, r.parts = r.open[:0], r.secret[:0], r.parts[:0]
	for t := range Invites {
		v := d.topics[t]
		if !v.exists() {
			continue
		}
		r.open, r.secret, _ = rules[t].split(r.open, r.secret, v)
		// The memory moves while it grows: of these only the ends are true.
		r.parts = append(r.parts, Part{t, r.open, r.secret})
	}
	openFrom, secretFrom := 0, 0
	for i := range r.parts {
		p := &r.parts[i]
		p.Open, openFrom = cut(r.open, openFrom, len(p.Open))
		p.Secret, secretFrom = cut(r.secret, secretFrom, len(p.Secret))
	}
	return &Image{r}
}

// cut is text between two places, nil where nothing is, and the end of it.
func cut(text []byte, from, to int) ([]byte, int) {
	if from == to {
		return nil, to
	}
	return text[from:to:to], to
}

// Parts are the document's members, in document order. They are the image's: whoever keeps one copies it.
func (m *Image) Parts() []Part { return m.room.parts }

// Doc is a document that says what the image shows.
func (m *Image) Doc() *Doc {
	d := NewDoc()
	for _, p := range m.room.parts {
		v := parse(p.Open)
		if p.Secret != nil {
			v = mergePatch(v, p.Secret) // no value of a document is null
		}
		d.topics[p.Topic] = v
	}
	return d
}

// Free gives the image's memory back: nobody may use its parts any more. Freeing it again does nothing.
func (m *Image) Free() {
	r := m.room
	if m.room = nil; r != nil && cap(r.open)+cap(r.secret) <= keptImage {
		imageRooms.Put(r)
	}
}
