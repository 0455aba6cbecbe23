package simulator

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// A new password shows in the frames, and doesn't end what the old one opened.
func TestSetPassword(t *testing.T) {
	t.Parallel()
	b := serve(t, Config{})
	conf := b.first()
	cl, _ := b.linked(conf)
	b.SetPassword(conf.ID, secret("new-password"))
	if f := cl.next(); f.Action != "ConfBasicInfoNotify" || !bytes.Contains(f.raw, []byte("new-password")) {
		t.Errorf("got %s, want the basic information with the new password", f.Action)
	}
	wantCode(t, b.Handler(), conf, 400, "MMC.111072065")
	conf.Password = secret("new-password")
	logIn(t, b.Handler(), conf)
	cl.subscribeAll()
}

// What is planted comes out where it should, and in the first conference only.
func TestCanary(t *testing.T) {
	t.Parallel()
	canary := Canary{
		Password: secret("canary-password"), Token: secret("canary-token"), JoinLink: secret("https://canary.example/join"),
		AuthInfo: secret("canary-auth"), Phone: "+999000111", Email: "canary@example.com", Account: "canary-account",
	}
	b := serve(t, Config{Canary: canary})
	conf := b.first()
	if conf.Password.Reveal() != "canary-password" {
		t.Error("the chair password isn't the canary's")
	}
	cl, frames := b.linked(conf)
	b.Step(conf.ID, 2000)
	frames = append(frames, cl.subscribeAll()...)
	for action, wants := range map[string][]string{
		"ConfBasicInfoNotify":    {"canary-password", "https://canary.example/join"},
		"ParticipantsNotify":     {"+999000111", "canary-account"},
		"AttendeesNotify":        {"+999000111", "canary@example.com", "canary-account"},
		"InviteResultNotify":     {"+999000111"},
		"InterpreterGroupNotify": {"canary-auth"},
	} {
		for _, want := range wants {
			i := slices.IndexFunc(frames[len(frames)-kindsWithFulls:], func(f frame) bool {
				return f.Action == action && f.MsgMode == 0 && bytes.Contains(f.raw, []byte(want))
			})
			if i < 0 {
				t.Errorf("after 2000 steps no full %s holds %q", action, want)
			}
		}
	}
	for _, token := range []string{cl.token, wsTokenOf(t, b.Handler(), conf.ID, cl.token)} {
		if !strings.Contains(token, "canary-token") {
			t.Error("a token doesn't hold the canary")
		}
	}
	_, others := b.linked(b.Conferences()[1])
	for _, f := range others {
		if bytes.Contains(f.raw, []byte("canary")) {
			t.Errorf("the second conference's %s holds a canary", f.Action)
		}
	}
}
