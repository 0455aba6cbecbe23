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
		o = Overview{Position: f.pos, Summary: f.doc.Summary(), Readers: f.readers, Fresh: f.status.fresh}
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
	json := f.doc.AppendJSON(nil, key.topics, key.profile)
	if len(f.documents.json) < maxSnapshots {
		f.documents.json[key] = json
	}
	return json
}
