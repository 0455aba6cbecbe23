package fanout

import (
	"context"
	"slices"

	"confgate/internal/conference"
)

// Document is a conference's state at one position, for a reader that doesn't follow it. It is shared and must not be
// changed.
type Document struct {
	conference.Position
	JSON  []byte // the redacted document; nil where the position is one that the caller has
	Fresh bool   // this worker vouches for it
}

// Overview is what a list says of a conference.
type Overview struct {
	conference.Position
	conference.Summary
	Readers int  // on this worker
	Fresh   bool // this worker vouches for it
}

// Document is the present state, restricted to topics and redacted for p. It waits as Subscribe does, with the same errors.
// have are positions of which the reader has the document already: it is never shown an older one of the same epoch, so the
// newest of them is waited for.
func (s *Feeds) Document(
	ctx context.Context, conf string, topics conference.Topics, p conference.Profile, have []conference.Position,
) (Document, error) {
	var newest *conference.Position
	for i := range have {
		if newest == nil || have[i].Seq > newest.Seq {
			newest = &have[i]
		}
	}
	var d Document
	err := s.look(ctx, conf, newest, func(f *Feed) {
		d = Document{Position: f.pos, Fresh: f.status.fresh}
		if !slices.Contains(have, f.pos) {
			d.JSON = f.document(snapshotKey{topics: topics | conference.TopicSet(conference.Link), profile: p})
		}
	})
	if err != nil {
		return Document{}, err
	}
	return d, nil
}

// Overview sums the present state up, likewise.
func (s *Feeds) Overview(ctx context.Context, conf string) (Overview, error) {
	var o Overview
	err := s.look(ctx, conf, nil, func(f *Feed) {
		o = Overview{Position: f.pos, Summary: f.state.document().Summary(), Readers: f.readers, Fresh: f.status.fresh}
	})
	if err != nil {
		return Overview{}, err
	}
	return o, nil
}

// look has a conference's feed call do, in its own goroutine, as soon as it has a document and is as far as since, where
// that is of its epoch. After an error do may still be called, so what it has written must not be read.
func (s *Feeds) look(ctx context.Context, conf string, since *conference.Position, do func(*Feed)) error {
	if s.opts.Known != nil && !s.opts.Known(conf) {
		return ErrNotFound
	}
	ctx, cancel := context.WithTimeoutCause(ctx, subscribeWait, ErrUnavailable)
	defer cancel()
	sl, err := s.acquire(ctx, conf)
	if err != nil {
		return err
	}
	defer s.release(sl)
	return attachTo(ctx, sl.feed, &attachment{req: Request{Resume: since}, look: do, done: make(chan struct{})})
}

// documents are the encoded documents of one position, so that a storm of requests shares them.
type documents struct {
	pos  conference.Position
	json map[snapshotKey][]byte
}

// document encodes the state, unless that was just done.
func (f *Feed) document(key snapshotKey) []byte {
	if f.documents.pos != f.pos || f.documents.json == nil {
		f.documents = documents{f.pos, make(map[snapshotKey][]byte)}
	}
	if json, ok := f.documents.json[key]; ok {
		return json
	}
	json := f.state.document().AppendJSON(nil, key.topics, key.profile)
	if len(f.documents.json) < maxSnapshots {
		f.documents.json[key] = json
	}
	return json
}

const (
	// lateChanges and lateBytes bound what a replica's document may lack.
	lateChanges = 16
	lateBytes   = 16 << 10
)

// replica is a conference's document, to which changes are applied together: when somebody looks at it, or some are there.
// One that was quiet for a second is in no cache of the processor, and to fetch its parts costs more than all else that a
// change is to its feed.
type replica struct {
	doc   *conference.Doc // nil: nothing was ever known
	late  []conference.Checked
	bytes int // of the entries that late is from
}

func (r *replica) known() bool { return r.doc != nil }

// extend takes an entry. What doesn't fit is noticed here.
func (r *replica) extend(entry []conference.Stamped) error {
	for i := range entry {
		c := &entry[i]
		r.bytes += len(c.Body)
		if c.Topic.Event() {
			continue
		}
		checked, err := c.Check()
		if err != nil {
			return err
		}
		r.late = append(r.late, checked)
	}
	if len(r.late) >= lateChanges || r.bytes >= lateBytes {
		r.document()
	}
	return nil
}

// document is what all changes have made of it. It may be read until the next one comes.
func (r *replica) document() *conference.Doc {
	for _, c := range r.late {
		r.doc.Merge(c)
	}
	clear(r.late)
	if r.late, r.bytes = r.late[:0], 0; cap(r.late) > lateChanges {
		r.late = nil
	}
	return r.doc
}
