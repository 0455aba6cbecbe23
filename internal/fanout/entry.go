package fanout

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"confgate/internal/conference"
)

// What lies in the stream and goes over pub/sub is a message: a header line that the script writes, then a body that the
// owner packed and nothing in Redis looks into.
//
//	EPOCH SP FIRST SP COUNT { SP TOPIC:PREV } LF body
//
// FIRST is the seq of the body's first change, PREV the last seq of a topic before the entry, for the topics in it. A
// message with COUNT 0 has no body: an epoch begins. A checkpoint's body is packed alike: each topic's whole member, as a
// change from nothing.
//
// A body is: version (1), flags, count, then per change topic (1 byte), time (zigzag), length + 1 of what may lie in the
// open (0: nothing may) and those bytes; the rest is the sealed part, empty where there is none. Numbers are varints.
// The sealed part, once opened, is: per change with secrets its index, length, and bytes.

const bodyVersion = 1

const flagSecretless = 1 // secrets were left out, since there was no key

// errEntry: bytes from Redis that aren't a message of this version.
var errEntry = errors.New("fanout: undecodable entry")

// header is a message's first line.
type header struct {
	epoch string
	first uint64
	count int
	prev  [conference.NumTopics]uint64 // of the topics in the entry
}

// splitMessage parts a message into its header and its body.
func splitMessage(msg string) (header, string, error) {
	line, body, ok := strings.Cut(msg, "\n")
	if !ok {
		return header{}, "", fmt.Errorf("%w: no header", errEntry)
	}
	var h header
	var first, count string
	h.epoch, line, _ = strings.Cut(line, " ")
	first, line, _ = strings.Cut(line, " ")
	count, line, ok = strings.Cut(line, " ")
	if h.epoch == "" {
		return header{}, "", fmt.Errorf("%w: short header", errEntry)
	}
	var err1, err2 error
	h.first, err1 = strconv.ParseUint(first, 10, 53)
	h.count, err2 = strconv.Atoi(count)
	if err1 != nil || err2 != nil || h.count < 0 {
		return header{}, "", fmt.Errorf("%w: bad header", errEntry)
	}
	for ok {
		var field string
		field, line, ok = strings.Cut(line, " ")
		topic, prev, _ := strings.Cut(field, ":")
		t, err1 := strconv.Atoi(topic)
		p, err2 := strconv.ParseUint(prev, 10, 53)
		if err1 != nil || err2 != nil || t < 0 || t >= conference.NumTopics {
			return header{}, "", fmt.Errorf("%w: bad header", errEntry)
		}
		h.prev[t] = p
	}
	return h, body, nil
}

// packed is a body and what the script has to know about it.
type packed struct {
	body   []byte
	topics [conference.NumTopics]int // for each topic in it the place of its last change, from 1
}

// place is what a body is bound to: it can't be opened anywhere else.
type place struct {
	conf    string
	purpose purpose
	conference.Position
}

func (p place) associated() []byte {
	return fmt.Appendf(nil, "%s\x00%s\x00%s/%d", p.conf, p.purpose, p.Epoch, p.Seq)
}

// packing is a body that is being encoded.
type packing struct {
	packed
	keys    *Keyring
	n       int // parts that are in it
	secrets []byte
}

// startPacking begins a body of n parts, of size bytes or a little more, in the room that there is or else in its own. A nil
// keyring leaves secrets out.
func startPacking(room []byte, keys *Keyring, n, size int) packing {
	p := packing{keys: keys}
	p.body = append(slices.Grow(room[:0], 64+size+16*n), bodyVersion, 0)
	p.body = binary.AppendUvarint(p.body, uint64(n))
	return p
}

// add encodes a part. An event that is nothing but secret only takes its place where there is no keyring, so that an owner
// can tell where its append leads; it isn't part of its topic's chain.
func (p *packing) add(part conference.Part, time int64) {
	switch {
	case part.Secret == nil:
	case p.keys == nil:
		p.body[1] |= flagSecretless
	default:
		p.secrets = binary.AppendUvarint(p.secrets, uint64(p.n))
		p.secrets = appendBytes(p.secrets, part.Secret)
	}
	p.n++
	p.body = append(p.body, byte(part.Topic))
	p.body = binary.AppendVarint(p.body, time)
	if part.Open == nil {
		p.body = append(p.body, 0)
	} else {
		p.body = binary.AppendUvarint(p.body, uint64(len(part.Open))+1)
		p.body = append(p.body, part.Open...)
	}
	if part.Open != nil || p.keys != nil {
		p.topics[part.Topic] = p.n
	}
}

// finish seals the secrets for their place.
func (p *packing) finish(at place) packed {
	if len(p.secrets) > 0 {
		p.body = p.keys.Seal(p.body, p.secrets, at.associated())
	}
	return p.packed
}

// pack encodes changes.
func pack(room []byte, keys *Keyring, at place, changes []conference.Change) packed {
	size := 0
	for _, c := range changes {
		size += len(c.Body)
	}
	p := startPacking(room, keys, len(changes), size)
	for _, c := range changes {
		open, secret := conference.SplitSecrets(c)
		p.add(conference.Part{Topic: c.Topic, Open: open, Secret: secret}, c.Time)
	}
	return p.finish(at)
}

func appendBytes(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// unpacked is a body's content.
type unpacked struct {
	changes []conference.Stamped // not numbered yet
	// secretless says that something is missing: left out for want of a key, or not to be opened by this worker; then
	// opening says why.
	secretless bool
	opening    error
}

// unpack decodes what pack made. Secrets that aren't there, or can't be opened, are missing from the changes, which keep
// their places; an event that is nothing else has a nil body.
func unpack(keys *Keyring, at place, body []byte) (unpacked, error) {
	r := reader{rest: body}
	version, flags := r.byte(), r.byte()
	n := r.uvarint()
	// A change takes three bytes at least, so n can't make more room than the body justifies.
	if r.bad || version != bodyVersion || n > uint64(len(r.rest)/3) {
		return unpacked{}, fmt.Errorf("%w: bad body", errEntry)
	}
	u := unpacked{secretless: flags&flagSecretless != 0, changes: make([]conference.Stamped, n)}
	for i := range u.changes {
		t := r.byte()
		u.changes[i].Topic = conference.Topic(t)
		u.changes[i].Time = r.varint()
		if size := r.uvarint(); size > 0 {
			u.changes[i].Body = r.bytes(size - 1)
		}
		if r.bad || int(t) >= conference.NumTopics {
			return unpacked{}, fmt.Errorf("%w: bad change", errEntry)
		}
	}
	var secrets [][]byte
	if len(r.rest) > 0 {
		var err error
		if secrets, err = openSecrets(keys, at, r.rest, len(u.changes)); err != nil {
			u.secretless, u.opening = true, err
		}
	}
	for i := range u.changes {
		var secret []byte
		if secrets != nil {
			secret = secrets[i]
		}
		if err := join(&u.changes[i].Change, secret); err != nil {
			return unpacked{}, err
		}
	}
	return u, nil
}

// join puts a change's body together.
func join(c *conference.Change, secret []byte) error {
	switch {
	case secret != nil:
		body, err := conference.JoinSecrets(c.Topic, c.Body, secret)
		if err != nil {
			return fmt.Errorf("%w: %w", errEntry, err)
		}
		c.Body = body
	case c.Body == nil && !c.Topic.Event():
		c.Body = []byte("{}")
	}
	return nil
}

func openSecrets(keys *Keyring, at place, sealed []byte, n int) ([][]byte, error) {
	plain, err := keys.Open(sealed, at.associated())
	if err != nil {
		return nil, err
	}
	secrets := make([][]byte, n)
	r := reader{rest: plain}
	for len(r.rest) > 0 {
		i := r.uvarint()
		b := r.bytes(r.uvarint())
		if r.bad || i >= uint64(n) {
			return nil, ErrSeal
		}
		secrets[i] = b
	}
	return secrets, nil
}

// reader reads a body from its beginning; bad says that it went beyond the end.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.bad = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// bytes shares the body's memory, with no room to append.
func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// decodeEntry is the message of an append as the entry that it stands for.
func decodeEntry(keys *Keyring, conf, msg string) (entry, error) {
	h, body, err := splitMessage(msg)
	if err != nil {
		return entry{}, err
	}
	return decodeBody(keys, conf, h, body)
}

// entry is a decoded message.
type entry struct {
	epoch      string
	changes    []conference.Stamped // none where an epoch begins
	secretless bool
	opening    error
}

func decodeBody(keys *Keyring, conf string, h header, body string) (entry, error) {
	e := entry{epoch: h.epoch}
	if h.count == 0 {
		return e, nil
	}
	at := place{conf, forEntry, conference.Position{Epoch: h.epoch, Seq: h.first}}
	u, err := unpack(keys, at, unsafe.Slice(unsafe.StringData(body), len(body))) // nobody writes to a change's body
	if err != nil {
		return entry{}, err
	}
	if len(u.changes) != h.count || h.first == 0 {
		return entry{}, fmt.Errorf("%w: %d changes, header says %d", errEntry, len(u.changes), h.count)
	}
	e.secretless, e.opening = u.secretless, u.opening
	number(u.changes, h.first-1, &h.prev)
	e.changes = u.changes
	return e, nil
}

// checkpointRooms are where checkpoints are packed, each of which takes some hundred kilobytes for a moment, once a minute and
// conference.
var checkpointRooms = rooms{most: 1 << 20}

// packCheckpoint encodes a checkpoint's document in r.
func packCheckpoint(r *room, keys *Keyring, conf string, pos conference.Position, image *conference.Image) []byte {
	size := 0
	for _, part := range image.Parts() {
		size += len(part.Open) + len(part.Secret)
	}
	p := startPacking(r.bytes, keys, len(image.Parts()), size)
	for _, part := range image.Parts() {
		p.add(part, 0)
	}
	r.bytes = p.finish(place{conf, forCheckpoint, pos}).body
	return r.bytes
}

// unpackCheckpoint undoes packCheckpoint.
func unpackCheckpoint(
	keys *Keyring, conf string, pos conference.Position, body []byte,
) (*conference.Doc, unpacked, error) {
	u, err := unpack(keys, place{conf, forCheckpoint, pos}, body)
	if err != nil {
		return nil, u, err
	}
	doc := conference.NewDoc()
	for _, c := range u.changes {
		if err := doc.Patch(c.Change); err != nil {
			return nil, u, fmt.Errorf("%w: %w", errEntry, err)
		}
	}
	return doc, u, nil
}

// formatPrev and parsePrev put the last seq of every topic into one field.
func formatPrev(prev [conference.NumTopics]uint64) string {
	var b []byte
	for i, p := range prev {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendUint(b, p, 10)
	}
	return string(b)
}

func parsePrev(text string) (prev [conference.NumTopics]uint64, err error) {
	fields := strings.Fields(text)
	// A version that knows fewer topics wrote fewer.
	for i, f := range fields[:min(len(fields), len(prev))] {
		if prev[i], err = strconv.ParseUint(f, 10, 53); err != nil {
			return prev, fmt.Errorf("%w: bad prev", errEntry)
		}
	}
	return prev, nil
}
