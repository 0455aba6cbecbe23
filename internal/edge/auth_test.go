package edge

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAuth(t *testing.T) {
	t.Parallel()
	base := Claims{Scopes: ScopeRead | ScopePII, Conferences: []string{"900", "901"}}
	tests := []struct {
		name  string
		renew Claims
		raw   string // instead of renew
		code  string // of the error
		close int
	}{
		{"longer", Claims{Scopes: base.Scopes, Conferences: base.Conferences, Expires: time.Now().Add(3 * time.Hour)}, "", "", 0},
		{"more", Claims{Scopes: base.Scopes | ScopeSecrets, Conferences: []string{"*"}}, "", "", 0},
		{"less, but what is used", Claims{Scopes: base.Scopes, Conferences: []string{"900"}}, "", "", 0},
		{"without the conference", Claims{Scopes: base.Scopes, Conferences: []string{"901"}}, "", "", 4403},
		{"without the redaction", Claims{Scopes: ScopeRead}, "", "", 4403},
		{"not to read", Claims{Scopes: ScopePII}, "", "", 4403},
		{"another subject", Claims{Scopes: base.Scopes, Subject: "bob"}, "", errForbidden, 0},
		{"expired", Claims{Scopes: base.Scopes, Expires: time.Now().Add(-time.Hour)}, "", errUnauthorized, 0},
		{"garbage", Claims{}, "x.y.z", errUnauthorized, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := loopback(t, nil)
			c := w.dial(nil, subprotocol, bearerPrefix+token(t, base))
			c.greet()
			c.send(`{"type":"subscribe","conference":"900"}`)
			c.next()
			sub := <-w.src.subs
			tok := tt.raw
			if tok == "" {
				tok = token(t, tt.renew)
			}
			c.send(`{"type":"auth","id":"4","token":"` + tok + `"}`)
			switch {
			case tt.close != 0:
				c.wantClosed(tt.close)
				<-sub.done
				return
			case tt.code != "":
				c.wantError("4", tt.code)
			default:
				session := c.welcome["session"]
				c.greet()
				want := []any{}
				for _, n := range tt.renew.Scopes.Names() {
					want = append(want, n)
				}
				if diff := cmp.Diff(want, c.welcome["scopes"]); diff != "" || c.welcome["id"] != "4" || c.welcome["session"] != session {
					t.Errorf("welcome = %v, want the id, the same session and new scopes (-want +got):\n%s", c.welcome, diff)
				}
			}
			sub.put(text("delta", `{"on":1}`)) // the subscription goes on
			c.want(`{"on":1}`)
		})
	}
}

// The new token decides what can be subscribed to from then on.
func TestAuthChangesRights(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	c := w.connect(ScopeRead, "900")
	c.send(`{"type":"subscribe","id":"1","conference":"901"}`)
	c.wantError("1", errForbidden)
	c.send(`{"type":"auth","token":"` + token(t, Claims{Scopes: ScopeRead | ScopePII, Conferences: []string{"901"}}) + `"}`)
	c.greet()
	c.send(`{"type":"subscribe","id":"2","conference":"901","topics":[]}`)
	c.want(`{"type":"subscribed","id":"2","conference":"901","topics":["link"],"view":"p1","recovered":false}`)
	c.send(`{"type":"subscribe","id":"3","conference":"900"}`)
	c.wantError("3", errForbidden)
}

// A subscribe that waits while its token is replaced by one that doesn't allow it, comes to nothing.
func TestAuthOvertakesSubscribe(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	arrived, goOn := make(chan struct{}), make(chan struct{})
	w.src.answer("900", func(context.Context, Request) (*fakeSub, error) {
		close(arrived)
		<-goOn
		return &fakeSub{frames: []Frame{text("snapshot", `{"secret":1}`)}}, nil
	})
	c := w.connect(ScopeRead|ScopeSecrets, "900")
	c.send(`{"type":"subscribe","id":"1","conference":"900"}`)
	<-arrived
	c.send(`{"type":"auth","token":"` + token(t, Claims{Scopes: ScopeRead, Conferences: []string{"900"}}) + `"}`)
	c.greet()
	close(goOn)
	c.wantError("1", errForbidden)
	<-(<-w.src.subs).done
	c.alive()
}
