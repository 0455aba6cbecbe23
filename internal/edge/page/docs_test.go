package page

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

var jsBlock = regexp.MustCompile("(?s)```js\n(export function follow.*?)```")

// The client that docs/PROTOCOL.md shows works as it says: patches, a loss, a resume, missed events, back-off.
func TestDocumentedClient(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	block := jsBlock.FindSubmatch(doc)
	if block == nil {
		t.Fatal("docs/PROTOCOL.md shows no client")
	}
	if lines := strings.Count(string(block[1]), "\n"); lines > 45 {
		t.Errorf("the client has %d lines, want about 40", lines)
	}
	g := newGateway(t, Config{Auth: "none"})
	g.mux.HandleFunc("/documented.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = w.Write(block[1])
	})
	b := newTab(t, 400, 300)
	b.do(chromedp.Navigate(g.URL + "/"))
	_ = g.accept(t).conn.Close(4403, "") // the page's own connection
	b.eval(`Math.random = () => 0; window.seen = [];
		import("/documented.js").then((m) => m.follow(location.origin.replace("http", "ws") + "/v1/ws", "900487914", "a.b.c",
			(state, message) => { window.state = state; seen.push(message.type + (message.events ?? []).map((e) => e.seq).join()); }))
			.then(() => null)`)
	document := func(want string) {
		t.Helper()
		b.until(fmt.Sprintf(`JSON.stringify(window.state) === %q`, want))
	}

	p := g.accept(t)
	if got := strings.Join(p.tokens, ","); got != "confgate.v1, bearer.a.b.c" {
		t.Errorf("subprotocols = %q, want the token among them", got)
	}
	p.subscribed(`{"participants":{"p1":{"name":"Ana"}}}`)
	p.send(`[` + delta("participants", 41, 0, `{"p2":{"name":"Bo"},"p1":null}`) + `,` + delta("speakers", 42, 7, `[]`) + `]`)
	p.send(delta("participants", 41, 0, `{"p9":{}}`), delta("speakers", 43, 42, `null`))
	document(`{"participants":{"p2":{"name":"Bo"}}}`)

	p.send(delta("participants", 45, 44, `{"p8":{}}`), delta("participants", 46, 45, `{"p7":{}}`)) // 44 was lost
	m := p.want(`{"type":"subscribe","conference":"900487914"}`)
	p.send(fmt.Sprintf(`{"type":"error","id":%q,"code":"unavailable","message":"later"}`, m["id"]))
	m = p.want(`{"type":"subscribe","conference":"900487914"}`)
	p.granted(m, false)
	p.send(`{"type":"snapshot","conference":"900487914","epoch":"e1","seq":46,"state":{"participants":{}},"events":[` +
		event("invites", 39, 0, `{}`) + `,` + event("invites", 43, 39, `{}`) + `]}`)
	document(`{"participants":{}}`)
	b.until(`seen.includes("snapshot43")`) // 39 was before the first snapshot

	_ = p.conn.Close(1001, "")
	p = g.accept(t)
	p.welcome()
	m = p.want(`{"type":"subscribe","conference":"900487914","resume":{"epoch":"e1","view":"p3","seq":46}}`)
	p.granted(m, true)
	p.send(delta("participants", 50, 46, `{"__proto__":{"name":"Eve"}}`), event("invites", 51, 43, `{"ok":true}`))
	b.until(`seen.at(-1) === "event"`)
	b.until(`Object.keys(window.state.participants).join() === "__proto__" && ({}).name === undefined`)

	_ = p.conn.Close(4403, "")
	b.until(`seen.at(-1) === "closed"`)
	if got := len(g.conns); got != 0 {
		t.Errorf("connections after 4403 = %d, want none", got)
	}
}
