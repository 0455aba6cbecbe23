package simulator

import (
	"slices"
	"strconv"
	"strings"

	"confgate/internal/confctl"
)

// measure gives p figures of a quality that is good mostly, and reports which of them changed.
func (w *world) measure(p *person) mask {
	if p.quality == nil {
		q := newRecord(w.dialect.quality)
		q.set(qAudioCodec, "AACLD")
		q.set(qVideoCodec, "H264HP")
		q.set(qBandwidth, "61440")
		p.quality = &q
	}
	q := p.quality
	var m mask
	set := func(k, v int) {
		if q.setInt(k, int64(v)) {
			m |= keys(k)
		}
	}
	poor := w.chance(15)
	loss, delay := 0, 20+w.rng.IntN(60)
	if w.chance(30) {
		loss = w.rng.IntN(60)
	}
	if poor {
		loss, delay = 300+w.rng.IntN(2500), 200+w.rng.IntN(900)
		if q.set(qBandwidth, "10240") {
			m |= keys(qBandwidth)
		}
	} else if w.chance(20) && q.set(qBandwidth, "61440") {
		m |= keys(qBandwidth)
	}
	if q.set(qRating, map[bool]string{false: "good", true: "poor"}[poor]) {
		m |= keys(qRating)
	}
	set(qDelay, delay)
	set(qJitter, w.rng.IntN(1+delay/8))
	set(qOutJitter, w.rng.IntN(1+delay/8))
	set(qLoss, loss)
	set(qAudioOutLoss, loss/2)
	set(qVideoInLoss, loss+loss/3)
	set(qVideoOutLoss, loss*2/3)
	set(qFluxIn, 480+w.rng.IntN(80))
	set(qFluxOut, 480+w.rng.IntN(80))
	videoOut := 0
	if p.info.flag(pCamera) {
		videoOut = 9000 + w.rng.IntN(6000)
	}
	set(qVideoFluxIn, 9000+w.rng.IntN(9000))
	set(qVideoFluxOut, videoOut)
	shareOut := 0
	if p.info.flag(pShare) {
		shareOut = 6000 + w.rng.IntN(4000)
	}
	set(qShareFluxIn, w.rng.IntN(2)*7000)
	set(qShareFluxOut, shareOut)
	set(qShareInLoss, min(loss, shareOut))
	set(qShareOutLoss, loss/4)
	return m
}

// networks measures a few people anew. Most rows carry all figures as the sample does, some only what changed.
func (w *world) networks() {
	body := []byte(`"data":[`)
	seen := make(map[*person]bool)
	for range 1 + w.rng.IntN(3) {
		p := w.pick(present)
		if p == nil || seen[p] {
			continue
		}
		first := p.quality == nil
		m := w.measure(p)
		if first || w.chance(70) {
			m = allKeys
		}
		if m == 0 {
			continue
		}
		if len(seen) > 0 {
			body = append(body, ',')
		}
		seen[p] = true
		body = appendQualityRow(body, p, m)
	}
	if len(seen) > 0 {
		w.emit(confctl.NetCondition, confctl.Increment, append(body, ']'))
	}
}

func appendQualityRow(dst []byte, p *person, m mask) []byte {
	dst = append(dst, `{"mode":0,"participantID":`...)
	dst = append(appendString(dst, p.pid), ',')
	return append(p.quality.appendMembers(dst, m), '}')
}

func appendQualityGone(dst []byte, pid string) []byte {
	dst = append(dst, `"data":[{"mode":1,"participantID":`...)
	return append(appendString(dst, pid), `}]`...)
}

// speak makes up to three people the speakers, or now and then nobody.
func (w *world) speak() {
	n := []int{0, 1, 1, 1, 2, 2, 3}[w.rng.IntN(7)]
	var next []Speaker
	volume := int64(40 + w.rng.IntN(60))
	for range n {
		p := w.pick(func(p *person) bool { return present(p) && !p.info.flag(pMute) })
		if p == nil || slices.ContainsFunc(next, func(s Speaker) bool { return s.PID == p.pid }) {
			continue
		}
		next = append(next, Speaker{PID: p.pid, Name: p.info.vals[pName], Volume: volume})
		volume -= int64(1 + w.rng.IntN(12)) // distinct, so that "loudest first" is one order only
	}
	w.setSpeakers(next)
}

// hush takes p off the speakers: it left or was muted.
func (w *world) hush(p *person) {
	i := slices.IndexFunc(w.speakers, func(s Speaker) bool { return s.PID == p.pid })
	if i >= 0 {
		w.setSpeakers(slices.Delete(slices.Clone(w.speakers), i, i+1))
	}
}

func (w *world) setSpeakers(next []Speaker) {
	if slices.Equal(next, w.speakers) {
		return
	}
	w.speakers = next
	w.emit(confctl.SpeakerChange, confctl.Full, w.appendSpeakers(nil))
}

// appendSpeakers appends the list, without "data" where nobody speaks. The wire promises no order, so it isn't always the
// loudest who comes first, and volumes are numbers or texts.
func (w *world) appendSpeakers(dst []byte) []byte {
	if len(w.speakers) == 0 {
		return dst
	}
	dst = append(dst, `"data":[`...)
	quoted, backwards := w.speakers[0].Volume%4 == 1, w.speakers[0].Volume%3 == 1
	for i := range w.speakers {
		if i > 0 {
			dst = append(dst, ',')
		}
		s := w.speakers[i]
		if backwards {
			s = w.speakers[len(w.speakers)-1-i]
		}
		dst = append(dst, `{"pid":`...)
		dst = append(appendString(dst, s.PID), `,"name":`...)
		dst = append(appendString(dst, s.Name), `,"speakingVolume":`...)
		if v := strconv.FormatInt(s.Volume, 10); quoted {
			dst = appendString(dst, v)
		} else {
			dst = append(dst, v...)
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// subtitle says some more words of the sentence being spoken, or begins the next one. Subtitles are switched on first.
func (w *world) subtitle() {
	if !w.dynamic.flag(dSubtitle) {
		w.setDynamic(keys(dSubtitle), func() { w.dynamic.set(dSubtitle, "1") })
		return
	}
	if w.caption == nil {
		p := w.pick(func(p *person) bool { return present(p) && !p.info.flag(pMute) })
		if p == nil {
			return
		}
		sentences := sentences()
		w.caption = &caption{
			id: w.uuid(), pid: p.pid, begin: w.now - w.began, secondTrack: w.chance(40),
			words: strings.Fields(sentences[w.rng.IntN(len(sentences))]),
		}
	}
	c := w.caption
	c.said = min(c.said+1+w.rng.IntN(4), len(c.words))
	final := c.said == len(c.words)
	mode := confctl.Increment
	if w.dialect.subtitlesFull {
		mode = confctl.Full
	}
	w.emit(confctl.RealTimeSubtitle, mode, w.appendSubtitle(nil, c, final))
	w.subtitled++
	if final {
		w.caption = nil
	}
}

func (w *world) appendSubtitle(dst []byte, c *caption, final bool) []byte {
	d := w.dialect
	line := func(id, lang, text string) {
		dst = append(dst, `{"subtitleLang":`...)
		dst = append(appendString(dst, lang), `,"translateText":`...)
		dst = append(appendString(dst, text), ',')
		dst = appendKey(dst, d.captionID)
		dst = append(appendString(dst, id), '}')
	}
	text := strings.Join(c.words[:c.said], " ")
	dst = append(dst, `"data":{`...)
	dst = append(appendKey(dst, d.msgsKey), '[')
	line(c.id, "Original", text)
	if c.secondTrack {
		dst = append(dst, ',')
		line(c.id, "English", "["+text+"]")
	}
	dst = append(dst, `],"isFinal ":`...)
	dst = strconv.AppendBool(dst, final)
	dst = append(dst, `,"timestamp ":`...)
	dst = strconv.AppendInt(dst, w.now, 10)
	dst = append(dst, `,"beginTime":`...)
	dst = strconv.AppendInt(dst, c.begin, 10)
	dst = append(dst, `,"endTime":`...)
	dst = strconv.AppendInt(dst, max(w.now-w.began, c.begin), 10)
	dst = append(dst, `,"participantID":`...)
	return append(appendString(dst, c.pid), '}')
}
