package conference

import (
	"bytes"
	"math"
	"strconv"
	"sync"

	"confgate/internal/rawjson"
)

// builder holds what one frame is turned into before it is compared with what is known. Everything in it lives until the
// next reset.
type builder struct {
	buf   []byte // texts that aren't parts of the frame
	pool  []*object
	used  int
	patch []byte // the patch under construction
	edit  edit   // that it belongs to
}

// builders are those that no State has. A thousand conferences that change in turn use the same one, which stays in the
// processor's cache.
var builders = sync.Pool{New: func() any { return new(builder) }}

func borrow() *builder {
	b := builders.Get().(*builder) //nolint:forcetypeassert // the pool holds nothing else
	b.reset()
	return b
}

// giveBack ends the use of the builder. One that a large frame has grown isn't kept.
func (s *State) giveBack() {
	const most = 64 << 10 // bytes
	b := s.scratch
	s.scratch, b.edit = nil, edit{}
	if cap(b.buf) <= most && cap(b.patch) <= most && len(b.pool) <= most>>10 {
		builders.Put(b)
	}
}

func (b *builder) reset() {
	b.buf = b.buf[:0]
	b.used = 0
}

// object is an empty object from the pool.
func (b *builder) object() *object {
	if b.used == len(b.pool) {
		b.pool = append(b.pool, &object{})
	}
	o := b.pool[b.used]
	b.used++
	o.members = o.members[:0]
	return o
}

// put sets a member of o, or of its member sub where that isn't empty. Text that is an object becomes one, so that a patch
// of it merges here as it does at a client.
func (b *builder) put(o *object, sub, name string, raw []byte) {
	if raw == nil {
		return
	}
	if sub != "" {
		v := o.at(sub)
		if v.obj == nil {
			v.obj = b.object()
			o.set(sub, v)
		}
		o = v.obj
	}
	if rawjson.IsObject(raw) {
		o.set(name, parse(raw))
		return
	}
	o.set(name, value{raw: raw})
}

// tail is what was appended to the buffer since it was n long.
func (b *builder) tail(n int) []byte { return b.buf[n:len(b.buf):len(b.buf)] }

// convert turns a provider's value into the document's JSON. It is given checked values that aren't null; the result is
// static, a part of the frame or a part of the builder. nil means that nothing was said.
type convert func(b *builder, v []byte) []byte

var (
	jsonTrue  = []byte("true")
	jsonFalse = []byte("false")
	jsonNull  = []byte("null")
)

// asText makes a string, in one spelling: escapes only where JSON needs them. What isn't a scalar is kept verbatim.
func asText(b *builder, v []byte) []byte {
	n := len(b.buf)
	switch {
	case rawjson.IsObject(v) || rawjson.IsArray(v):
		b.buf = rawjson.AppendCompact(b.buf, v)
	case !rawjson.IsString(v):
		b.buf = rawjson.AppendString(b.buf, v)
	case bytes.IndexByte(v, '\\') < 0:
		return v
	default:
		t, _ := rawjson.Text(v)
		b.buf = rawjson.AppendString(b.buf, t)
	}
	return b.tail(n)
}

// verbatim keeps a value of which nothing is known.
func verbatim(b *builder, v []byte) []byte {
	if !rawjson.IsObject(v) && !rawjson.IsArray(v) {
		return v
	}
	n := len(b.buf)
	b.buf = rawjson.AppendCompact(b.buf, v)
	return b.tail(n)
}

// scalar is a value's text without blanks around it; "" where it is none.
func scalar(v []byte) []byte {
	t, _ := rawjson.Text(v)
	return bytes.TrimSpace(t)
}

// asNumber makes a number of one that may be quoted.
func asNumber(b *builder, v []byte) []byte { return scaled(b, v, 1) }

// asBps makes bits per second of the provider's units of 100 bit/s (chapter 6.1.3.8).
func asBps(b *builder, v []byte) []byte { return scaled(b, v, 100) }

// asPercent makes per cent of the provider's losses in 1/10000 (chapter 6.1.3.8).
func asPercent(b *builder, v []byte) []byte { return scaled(b, v, 0.01) }

func scaled(b *builder, v []byte, by float64) []byte {
	t := scalar(v)
	if len(t) == 0 {
		return unless(b, v)
	}
	n := len(b.buf)
	if i, err := strconv.ParseInt(string(t), 10, 64); err == nil && by >= 1 && i < math.MaxInt64/100 && i > math.MinInt64/100 {
		b.buf = strconv.AppendInt(b.buf, i*int64(by), 10)
		return b.tail(n)
	}
	x, err := strconv.ParseFloat(string(t), 64)
	if err != nil || math.IsInf(x, 0) || math.IsNaN(x) || math.IsInf(x*by, 0) {
		return asText(b, v)
	}
	if by < 1 {
		x /= math.Round(1 / by) // 29 is 0.29, not 0.29000000000000004
	} else {
		x *= by
	}
	format := byte('f')
	if math.Abs(x) >= 1e21 {
		format = 'e'
	}
	b.buf = strconv.AppendFloat(b.buf, x, format, -1, 64)
	return b.tail(n)
}

// unless is what a value without text stands for: nothing where it is an empty string, itself where it isn't a scalar.
func unless(b *builder, v []byte) []byte {
	if rawjson.IsString(v) {
		return nil
	}
	return asText(b, v)
}

// asFlag makes a boolean of 0 and 1, quoted or not.
func asFlag(b *builder, v []byte) []byte {
	switch t := scalar(v); string(t) {
	case "1", "true":
		return jsonTrue
	case "0", "false":
		return jsonFalse
	case "":
		return unless(b, v)
	default:
		return asText(b, v)
	}
}

// asNonZero makes a boolean of a number of which only 0 means no.
func asNonZero(b *builder, v []byte) []byte {
	if x, err := strconv.ParseFloat(string(scalar(v)), 64); err == nil {
		if x == 0 {
			return jsonFalse
		}
		return jsonTrue
	}
	return asFlag(b, v)
}

// asNumbers makes an array of a comma-separated list of numbers; what isn't a number in it stays a string.
func asNumbers(b *builder, v []byte) []byte {
	if rawjson.IsArray(v) || rawjson.IsObject(v) {
		return verbatim(b, v)
	}
	n := len(b.buf)
	b.buf = append(b.buf, '[')
	for part := range bytes.SplitSeq(scalar(v), []byte{','}) {
		if part = bytes.TrimSpace(part); len(part) == 0 {
			continue
		}
		if len(b.buf) > n+1 {
			b.buf = append(b.buf, ',')
		}
		if i, err := strconv.ParseInt(string(part), 10, 64); err == nil {
			b.buf = strconv.AppendInt(b.buf, i, 10)
		} else {
			b.buf = rawjson.AppendString(b.buf, part)
		}
	}
	b.buf = append(b.buf, ']')
	return b.tail(n)
}

// asLower makes a lower-case string.
func asLower(b *builder, v []byte) []byte {
	t := scalar(v)
	if len(t) == 0 {
		return unless(b, v)
	}
	n := len(b.buf)
	b.buf = rawjson.AppendString(b.buf, bytes.ToLower(t))
	return b.tail(n)
}

// asWord makes the words of an enumeration: pairs of the provider's value and ours. A value outside of it is kept as its
// raw string.
func asWord(pairs ...string) convert {
	words := make(map[string][]byte, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		words[pairs[i]] = rawjson.AppendString(nil, pairs[i+1])
	}
	return func(b *builder, v []byte) []byte {
		t := scalar(v)
		if w, ok := words[string(t)]; ok {
			return w
		}
		if len(t) == 0 {
			return unless(b, v)
		}
		return asText(b, v)
	}
}
