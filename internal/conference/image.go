package conference

import "sync"

// Image is a document as it was at one moment, encoded. It shares nothing with the document, and its memory is used again:
// a checkpoint of a busy conference is some hundred kilobytes. One goroutine has it at a time.
type Image struct{ room *imageRoom } // nil once it is freed, so that no later image can be touched through it

type imageRoom struct {
	text    []byte
	members []Change // their bodies lie in text
}

// imageRooms are those that nobody has.
var imageRooms = sync.Pool{New: func() any { return new(imageRoom) }}

// keptImage bounds those whose memory is used again, in bytes.
const keptImage = 1 << 20

// Image takes an image of the document. Who has it frees it; one that is forgotten is left to the collector.
func (d *Doc) Image() *Image {
	r := imageRooms.Get().(*imageRoom) //nolint:forcetypeassert // the pool holds nothing else
	r.text, r.members = r.text[:0], r.members[:0]
	var ends [Invites]int
	for t := range Invites {
		var ok bool
		if r.text, ok = d.AppendTopic(r.text, t, full); ok {
			ends[len(r.members)] = len(r.text)
			r.members = append(r.members, Change{Topic: t})
		}
	}
	start := 0 // text has moved while it grew
	for i := range r.members {
		r.members[i].Body, start = r.text[start:ends[i]:ends[i]], ends[i]
	}
	return &Image{r}
}

// Members are the document's members, each as a change from nothing, in document order. They are the image's: whoever keeps
// one copies it.
func (m *Image) Members() []Change { return m.room.members }

// Doc is a document that says what the image shows.
func (m *Image) Doc() *Doc {
	d := NewDoc()
	for _, c := range m.room.members {
		d.topics[c.Topic] = parse(c.Body)
	}
	return d
}

// Free gives the image's memory back: nobody may have its members any more. Freeing it again does nothing.
func (m *Image) Free() {
	r := m.room
	if m.room = nil; r != nil && cap(r.text) <= keptImage {
		imageRooms.Put(r)
	}
}
