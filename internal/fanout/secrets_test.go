package fanout_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"confgate/internal/conference"
	"confgate/internal/fanout"
	"confgate/internal/fanout/fanouttest"
)

const otherKeyFile = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE= # the next one\n"

const (
	chairPassword = "canary-chair-password"
	joinLink      = "https://canary.example/join"
	vendorSecret  = "canary-vendor"
	phone         = "+861380000canary"
)

// secretive are changes with secrets in them: a part, the whole, and a phone number, which is none here.
func secretive() []conference.Change {
	return []conference.Change{
		{Topic: conference.Info, Time: 1, Body: fmt.Appendf(nil,
			`{"guestJoinUri":%q,"passwords":{"chair":%q},"title":"Open"}`, joinLink, chairPassword)},
		{Topic: conference.Vendor, Time: 2, Body: fmt.Appendf(nil, `{"action":"X","mode":"full","data":%q}`, vendorSecret)},
		{Topic: conference.Participants, Time: 3, Body: fmt.Appendf(nil, `{"p1":{"phone":%q,"shoe":%q}}`, phone, vendorSecret)},
		{Topic: conference.Vendor, Time: 4, Body: fmt.Appendf(nil, `{"action":"Y","mode":"full","data":%q}`, vendorSecret)},
	}
}

// spy collects what is published for a conference.
func spy(t *testing.T, conf string) <-chan *redis.Message {
	t.Helper()
	ps := connect(t, shared.URL()).Subscribe(t.Context(), "confgate:{"+conf+"}:pub")
	t.Cleanup(func() { _ = ps.Close() })
	if _, err := ps.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	messages := make(chan *redis.Message)
	done := t.Context().Done()
	go func() {
		for {
			m, err := ps.ReceiveMessage(t.Context())
			if err != nil {
				return
			}
			select {
			case messages <- m:
			case <-done:
				return
			}
		}
	}()
	return messages
}

func TestSecretsLieSealedOrNowhere(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		keys *fanout.Keyring
	}{{"with a key", keyring(t, keyFile)}, {"without", nil}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			log := runLog(t, shared.URL(), tt.keys, fanout.LogOptions{})
			conf := fanouttest.Conf(t)
			published := spy(t, conf)
			o := fanouttest.StartOwner(t, log, conf)
			tail := fanouttest.StartTail(t, log, conf, conference.Position{})
			tail.WaitAt(t, o.Pos)
			o.Append(t, secretive()...)
			seen := tail.WaitAt(t, o.Pos)
			doc := conference.NewDoc()
			for _, c := range append(secretive(), fanouttest.Set("p0", "Null")) {
				if err := doc.Patch(c); err != nil {
					t.Fatal(err)
				}
			}
			if err := o.Store(t, conference.Checkpoint{Position: o.Pos, Doc: doc}); err != nil {
				t.Fatal(err)
			}
			r := raw{t, connect(t, shared.URL()), conf}
			lies := strings.Builder{}
			for range 2 {
				lies.WriteString((<-published).Payload)
			}
			for _, key := range []string{"meta", "ckpt"} {
				for _, v := range r.HGetAll(t.Context(), r.key(key)).Val() {
					lies.WriteString(v)
				}
			}
			for _, m := range r.XRange(t.Context(), r.key("log"), "-", "+").Val() {
				fmt.Fprint(&lies, m.Values)
			}
			for _, secret := range []string{chairPassword, joinLink, vendorSecret} {
				if strings.Contains(lies.String(), secret) {
					t.Errorf("%s lies in Redis", secret)
				}
			}
			if n := strings.Count(lies.String(), phone); n != 3 {
				t.Errorf("the phone number lies in Redis %d times, want in the message, the stream and the checkpoint", n)
			}
			cp, err := log.Load(t.Context(), conf)
			if err != nil {
				t.Fatal(err)
			}
			want := fanouttest.JSON(doc)
			vendor := secretive()[1].Body
			if tt.keys == nil {
				want = string(doc.AppendJSON(nil, conference.StateTopics, conference.PII))
				vendor = nil
			}
			if got := fanouttest.JSON(cp.Doc); got != want || cp.Secretless != (tt.keys == nil) {
				t.Errorf("Load gave %s, secretless %v, want %s", got, cp.Secretless, want)
			}
			if seen.Doc != want {
				t.Errorf("follower has %s, want %s", seen.Doc, want)
			}
			if got := seen.Entries[0][1]; string(got.Body) != string(vendor) || got.Prev != 0 {
				t.Errorf("vendor event = %q with prev %d, want %q with none", got.Body, got.Prev, vendor)
			}
			wantPrev := uint64(2)
			if tt.keys == nil {
				wantPrev = 0 // what is withheld is in no chain
			}
			if got := seen.Entries[0][3]; got.Prev != wantPrev {
				t.Errorf("second vendor event has prev %d, want %d", got.Prev, wantPrev)
			}
		})
	}
}

// Workers that lack the key see everything but the secrets, and every change has its place.
func TestKeysDiffer(t *testing.T) {
	t.Parallel()
	conf := fanouttest.Conf(t)
	o := fanouttest.StartOwner(t, runLog(t, shared.URL(), keyring(t, keyFile), fanout.LogOptions{}), conf)
	begin := o.Pos
	doc := conference.NewDoc()
	for _, c := range append(secretive(), fanouttest.Set("p0", "Null")) {
		if err := doc.Patch(c); err != nil {
			t.Fatal(err)
		}
	}
	o.Append(t, secretive()...)
	for _, tt := range []struct {
		name string
		keys *fanout.Keyring
		open bool
	}{
		{"no key", nil, false},
		{"another key", keyring(t, otherKeyFile), false},
		{"the key among others", keyring(t, otherKeyFile+keyFile), true},
	} {
		want, vendor := fanouttest.JSON(doc), string(secretive()[1].Body)
		if !tt.open {
			want, vendor = string(doc.AppendJSON(nil, conference.StateTopics, conference.PII)), ""
		}
		core, logs := observer.New(zap.ErrorLevel)
		log := runLog(t, shared.URL(), tt.keys, fanout.LogOptions{Logger: zap.New(core)})
		for _, from := range []string{"entries", "checkpoint"} {
			cp, err := log.Load(t.Context(), conf)
			if err != nil {
				t.Fatal(err)
			}
			if got := fanouttest.JSON(cp.Doc); got != want || cp.Secretless == tt.open {
				t.Errorf("%s: Load from the %s gave %s, secretless %v, want %s", tt.name, from, got, cp.Secretless, want)
			}
			tail := fanouttest.StartTail(t, log, conf, begin)
			seen := tail.WaitAt(t, o.Pos)
			if got := string(seen.Entries[0][1].Body); got != vendor || len(seen.Entries[0]) != 4 {
				t.Errorf("%s: vendor event = %q, want %q, in an entry of 4", tt.name, got, vendor)
			}
			tail.Stop()
			if from == "entries" {
				cp.Doc = doc
				if err := o.Store(t, cp); err != nil {
					t.Fatal(err)
				}
			}
		}
		if complained := logs.Len() > 0; complained == tt.open {
			t.Errorf("%s: logged %v", tt.name, logs.All())
		}
	}
}

// A message is bound to its conference and place: one that somebody with access to Redis puts elsewhere isn't opened.
func TestSealsAreBoundToTheirPlace(t *testing.T) {
	t.Parallel()
	log := runLog(t, shared.URL(), keyring(t, keyFile), fanout.LogOptions{})
	from := fanouttest.StartOwner(t, log, fanouttest.Conf(t))
	to := fanouttest.StartOwner(t, log, fanouttest.Conf(t))
	from.Append(t, secretive()...)
	r := raw{t, connect(t, shared.URL()), from.Conf}
	for _, part := range []string{"meta", "log", "ckpt"} {
		r.do("COPY", r.key(part), raw{t, nil, to.Conf}.key(part), "REPLACE")
	}
	cp, err := log.Load(t.Context(), to.Conf)
	if err != nil || cp.Seq != 4 || !cp.Secretless || strings.Contains(fanouttest.JSON(cp.Doc), chairPassword) {
		t.Errorf("Load of a transplanted log = %v, %v, %s, want it without its secrets", cp.Position, err, fanouttest.JSON(cp.Doc))
	}
}

func TestParseKeyFile(t *testing.T) {
	t.Parallel()
	const hexKey = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	for _, tt := range []struct {
		name, file string
		want       string // in the error; empty: none
	}{
		{"hex", hexKey, ""},
		{"upper case, windows", strings.ToUpper(hexKey) + "\r\n", ""},
		{"base64", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", ""},
		{"base64 for URLs, not padded", "__________________________________________8", ""},
		{"comments", "# one\n\n  " + hexKey + "   # the key\n" + otherKeyFile, ""},
		{"nothing", "", "no key"},
		{"comments only", "# " + hexKey, "no key"},
		{"short hex", "# x\n" + hexKey[2:], "line 2: want 32 bytes"},
		{"long base64", hexKey + "AAAA", "line 1: want 32 bytes"},
		{"words", "correct horse battery staple", "line 1: want 32 bytes"},
		{"twice", hexKey + "\n" + hexKey, "line 2: the same key"},
	} {
		k, err := fanout.ParseKeyFile([]byte(tt.file))
		switch {
		case tt.want == "" && (err != nil || k == nil):
			t.Errorf("%s: ParseKeyFile = %v", tt.name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: ParseKeyFile = %v, want %q in it", tt.name, err, tt.want)
		case err != nil && (strings.Contains(err.Error(), hexKey[:8]) || strings.Contains(err.Error(), "horse")):
			t.Errorf("%s: the error shows the key: %v", tt.name, err)
		}
		if k != nil {
			if got := fmt.Sprintf("%v %+v %#v %s %d", k, k, k, k, k); got != "*** *** *** *** ***" {
				t.Errorf("%s: a keyring prints as %s", tt.name, got)
			}
		}
	}
}

func TestKeyring(t *testing.T) {
	t.Parallel()
	first, both := keyring(t, keyFile), keyring(t, otherKeyFile+keyFile)
	sealed := first.Seal([]byte("x"), []byte("plain"), []byte("here"))[1:]
	if got, err := both.Open(sealed, []byte("here")); err != nil || string(got) != "plain" {
		t.Errorf("Open with the key among others = %q, %v", got, err)
	}
	if again := first.Seal(nil, []byte("plain"), []byte("here")); string(again) == string(sealed) {
		t.Error("sealing twice gives the same bytes")
	}
	rotated := both.Seal(nil, []byte("plain"), nil)
	flip := func(i int) []byte {
		b := []byte(string(sealed))
		b[i] ^= 1
		return b
	}
	for _, tt := range []struct {
		name   string
		keys   *fanout.Keyring
		sealed []byte
		place  string
		want   error
	}{
		{"elsewhere", first, sealed, "there", fanout.ErrSeal},
		{"with a flipped nonce", first, flip(10), "here", fanout.ErrSeal},
		{"with a flipped tag", first, flip(len(sealed) - 1), "here", fanout.ErrSeal},
		{"with another key's id", first, flip(0), "here", fanout.ErrNoKey},
		{"cut short", first, sealed[:20], "here", fanout.ErrSeal},
		{"cut to nothing", first, nil, "here", fanout.ErrSeal},
		{"with a newer first key", first, rotated, "", fanout.ErrNoKey},
		{"without keys", nil, sealed, "here", fanout.ErrNoKey},
	} {
		if got, err := tt.keys.Open(tt.sealed, []byte(tt.place)); !errors.Is(err, tt.want) || got != nil {
			t.Errorf("Open %s = %q, %v, want %v", tt.name, got, err, tt.want)
		}
	}
}
