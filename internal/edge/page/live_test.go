package page

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

const world = `{
 "link":{"state":"live","since":1611993595000},
 "conference":{"id":"900487914","displayId":"900487914","title":"张三的会议","locked":true,"recording":true,"mode":"free","owner":{"name":"张三"},"pictures":16},
 "participants":{
  "p1":{"name":"张三","role":"chair","state":"joined","muted":false,"camera":true,"client":"desktop","joinedAt":1611988486336},
  "p2":{"name":"Ana Lovelace","role":"guest","cohost":true,"state":"joined","muted":true,"camera":false,"video":true,"client":"mobile","handRaised":true},
  "p3":{"name":"Bo","phone":"+861","role":"guest","state":"joined","muted":true,"client":"pad","sharing":true,"recordingLocally":true},
  "p4":{"name":"Cleo","role":"audience","state":"joined","client":"other"},
  "p5":{"name":"Dee","userId":"u5","role":"guest","state":"calling"}},
 "waiting":{"w1":{"name":"Lobby Larry","client":"mobile","joinedAt":1611993500000},
  "w2":{"name":"Wilhelmina Featherstonehaugh-Cholmondeley of Somewhere","client":"desktop","joinedAt":1611993500001,"admitted":true}},
 "attendees":{"a1":{"name":"张三","role":"chair","pid":"p1"},"a2":{"name":"Mia Missing","role":"guest","department":"Sales"},
  "a3":{"name":"Bo","phone":"+861"},"a5":{"name":"Dee","userId":"u5"},"a4":{"name":"Wilhelmina Featherstonehaugh-Cholmondeley of Somewhere","role":"chair","department":"Department of Rather Long Names"}},
 "speakers":[{"pid":"p1","name":"张三","volume":45},{"pid":"p2","volume":20}],
 "quality":{"p1":{"rating":"good","rttMs":37,"audio":{"upLossPct":0,"downLossPct":0.5}},"p2":{"rating":"poor","rttMs":320,"video":{"downLossPct":12.25}}},
 "interpreters":{"g1":{"name":"Main","languages":["en","zh"],"type":"manual","people":[{"id":"i1","name":"Ines"},{"id":"i2"},{"name":"Wilhelmina Featherstonehaugh-Cholmondeley"}]}},
 "layout":{"pictures":4,"intervalSeconds":10,"cells":[{"index":1,"participants":["p1"]},{"index":2,"participants":["p2","p3"],"share":true}]}}`

// start opens the page and lets it subscribe to a conference in the given state.
func start(t *testing.T, state string) (*gateway, *tab, *peer) {
	t.Helper()
	g := newGateway(t, Config{Auth: "none", Conferences: func() []string { return []string{"900487914", "900487915"} }})
	b := newTab(t, 1200, 800)
	b.open(g)
	p := g.accept(t)
	p.subscribed(state)
	return g, b, p
}

// rows are the names of the roster, in order.
const rows = `[...document.querySelectorAll("#roster .who")].map((e) => e.textContent).join("|")`

// cell is a part of a participant's row.
func cell(pid, selector string) string {
	return fmt.Sprintf(`document.querySelector('#roster [data-key="%s"] %s')`, pid, selector)
}

func TestSnapshotIsShown(t *testing.T) {
	t.Parallel()
	_, b, _ := start(t, world)
	b.until(rows + ` === "张三|Ana Lovelace|Bo|Dee|Cleo"`)
	label := func(pid, selector, want string) {
		t.Helper()
		got := b.eval(cell(pid, selector+" svg") + `?.getAttribute("aria-label") ?? ""`)
		if got != want {
			t.Errorf("%s of %s = %q, want %q", selector, pid, got, want)
		}
	}
	text := func(selector, want string) {
		t.Helper()
		if got := b.eval(fmt.Sprintf(`document.querySelector(%q)?.innerText.replace(/\s+/g, " ").trim()`, selector)); got != want {
			t.Errorf("text of %s = %q, want %q", selector, got, want)
		}
	}
	label("p1", ".mic", "speaking")
	label("p1", ".cam", "camera on")
	label("p1", ".client", "desktop client")
	label("p1", ".hand", "")
	label("p2", ".hand", "hand raised")
	label("p2", ".mic", "muted")
	label("p2", ".cam", "camera off")
	label("p2", ".client", "phone")
	label("p3", ".share", "shares the screen")
	label("p3", ".client", "tablet")
	label("p4", ".mic", "") // the provider never said
	text(`#roster [data-key="p1"] .role`, "★ host")
	text(`#roster [data-key="p2"] .role`, "☆ co-host")
	text(`#roster [data-key="p4"] .role`, "audience")
	text(`#roster [data-key="p3"] .badges`, "● rec")
	text(`#roster [data-key="p5"] .badges`, "calling …")
	text(`#roster [data-key="p1"] .net`, "● good")
	text(`#roster [data-key="p1"] .rtt`, "37 ms")
	text(`#roster [data-key="p1"] .loss`, "0.5 %")
	text(`#roster [data-key="p2"] .net`, "▲ poor")
	text(`#roster [data-key="p2"] .loss`, "12 %")
	text("#title", "张三的会议")
	text("#link .link-state", "Live")
	text("#flags", "locked ● recording 16 pictures")
	text("#roster-counts", "5 in the conference · 1 hand up · 1 unmuted · 1 camera on")
	text("#waiting .who", "Lobby Larry")
	text("#waiting-count", "2")
	text(`#attendees [data-key="a3"]`, "Bo ✔ here") // by the phone number, where that can be seen
	text(`#attendees [data-key="a1"]`, "张三 ★ host ✔ here")
	text(`#attendees [data-key="a2"]`, "Mia Missing Sales not here")
	text(`#attendees [data-key="a5"]`, "Dee calling …")
	text("#speakers", "张三 45 Ana Lovelace 20")
	text("#interpreters", "Main Ines, i2, Wilhelmina Featherstonehaugh-Cholmondeley en ⇄ zh")
	text("#layout-info", "4 pictures, every 10 s")
	text("#layout", "张三 Ana Lovelace, Bo share")
	text("#connection", "● connected")
	if got := b.eval(`document.querySelector("#speakers .fill").style.width`); got != "45%" {
		t.Errorf("width of the loudest bar = %v, want 45%%", got)
	}
	if got := b.eval(`document.querySelector("#speakers [role=meter]").ariaValueNow`); got != "45" {
		t.Errorf("value of the loudest meter = %v, want 45", got)
	}
	if got := b.eval(`[...document.querySelector("#conf-select").options].map((o) => o.value).join()`); got != "900487914,900487915" {
		t.Errorf("offered conferences = %v, want both", got)
	}
	b.until(`document.querySelector("#f-seq").textContent === "40" && document.querySelector("#f-epoch").textContent === "e1"`)
}

func TestDeltasChangeRows(t *testing.T) {
	t.Parallel()
	_, b, p := start(t, world)
	b.until(rows + ` === "张三|Ana Lovelace|Bo|Dee|Cleo"`)
	b.eval(`window.kept = ` + cell("p3", ".who") + `; null`)

	// Several messages in one frame, a removal, a newcomer, an unmuting; then one that is known already, and an unknown type.
	p.send(
		`[`+delta("participants", 41, 39, `{"p2":null,"p3":{"muted":false},"p6":{"name":"Abe","role":"guest","state":"joined"}}`)+`,`+
			delta("quality", 42, 20, `{"p2":null,"p3":{"rating":"good","rttMs":12}}`)+`,`+
			delta("speakers", 43, 0, `[{"pid":"p3","name":"Bo","volume":70}]`)+`]`,
		delta("participants", 41, 39, `{"p1":{"name":"wrong"}}`),
		`{"type":"confetti","conference":"900487914"}`,
		delta("link", 44, 1, `{"state":"stale","since":1611993595000,"reason":"gap"}`),
		delta("conference", 45, 3, `{"locked":null,"recording":false}`),
		delta("waiting", 46, 0, `{"w1":null,"w2":null}`),
		delta("layout", 47, 0, `null`),
		event("invites", 48, 0, `{"code":"11076010","ok":false,"reason":"hung_up"}`),
		event("subtitles", 49, 0, `{"pid":"p3","final":false,"lines":[{"id":"c1","language":"english","text":"Bonjour"},{"id":"c1","language":"original","text":"Hello wor"}]}`),
		event("subtitles", 50, 49, `{"pid":"p3","final":true,"lines":[{"id":"c1","language":"mandarin","text":"Hello world."}]}`),
	)
	b.until(`document.querySelector("#subtitles").innerText.includes("Hello world.")`)
	b.until(rows + ` === "张三|Abe|Bo|Dee|Cleo"`)
	p.send(delta("participants", 51, 41, `{"p5":{"state":"joined"},"p1":{"name":"Zhang"}}`))
	b.until(`document.querySelector('#attendees [data-key="a5"]').innerText.includes("✔ here")`)
	b.until(rows + ` === "Zhang|Abe|Bo|Dee|Cleo"`)
	for expression, want := range map[string]any{
		cell("p3", ".mic svg") + `.getAttribute("aria-label")`:                           "speaking",
		cell("p1", ".mic svg") + `.getAttribute("aria-label")`:                           "microphone on",
		cell("p3", ".rtt") + `.textContent`:                                              "12 ms",
		cell("p3", ".who") + ` === window.kept`:                                          true, // not drawn anew
		`document.querySelector("#link .link-state").textContent`:                        "stale",
		`document.querySelector("#link").dataset.tone`:                                   "warn",
		`document.querySelector("#link .link-why").textContent.startsWith("increments")`: true,
		`document.querySelector("#flags").innerText`:                                     "16 pictures",
		`document.querySelector("#waiting-card").hidden`:                                 true,
		`document.querySelector("#layout-card").hidden`:                                  true,
		`document.querySelector("#events .who").textContent`:                             "Invitation hung up",
		`document.querySelectorAll("#subtitles li").length`:                              1.0,
		`document.querySelector("#subtitles li").className`:                              "final",
		`document.querySelectorAll("#speakers li").length`:                               1.0,
		`document.querySelector("#banner").hidden`:                                       true,
	} {
		if got := b.eval(expression); got != want {
			t.Errorf("%s = %v, want %v", expression, got, want)
		}
	}
	b.until(`document.querySelector("#f-seq").textContent === "51"`)
	b.until(`document.querySelector("#f-snapshots").textContent === "1"`)

	// A caption doesn't stay for ever.
	b.eval(`(() => { const now = Date.now; Date.now = () => now() + 11_000; })()`)
	b.until(`document.querySelector("#subtitles-card").hidden`)
}

func TestGapSubscribesWithoutResume(t *testing.T) {
	t.Parallel()
	_, b, p := start(t, `{"participants":{"p1":{"name":"Ana"}}}`)
	p.send(
		delta("participants", 42, 41, `{"p2":{"name":"out of order"}}`), // 41 never came
		delta("participants", 43, 42, `{"p3":{"name":"neither"}}`),
	)
	m := p.want(`{"type":"subscribe","conference":"900487914"}`)
	p.granted(m, false)
	p.snapshot(43, `{"participants":{"p1":{"name":"Ana"},"p4":{"name":"Whole"}}}`)
	b.until(rows + ` === "Ana|Whole"`)
	// One question only: the next message of the page would be another subscribe.
	p.send(delta("participants", 44, 43, `{"p4":null}`))
	b.until(rows + ` === "Ana"`)
	b.do(chromedp.Evaluate[chromedp.Void](`location.hash = "conf=other"`))
	if got := p.next(); got["type"] != "unsubscribe" || got["conference"] != "900487914" {
		t.Errorf("after another hash: %v, want unsubscribe of 900487914", got)
	}
	if got := p.next(); got["type"] != "subscribe" || got["conference"] != "other" {
		t.Errorf("after another hash: %v, want subscribe of other", got)
	}
}

func TestReconnectResumes(t *testing.T) {
	t.Parallel()
	g, b, p := start(t, `{"participants":{"p1":{"name":"Ana"}}}`)
	p.send(delta("participants", 41, 40, `{"p2":{"name":"Bo"}}`), event("invites", 44, 12, `{"code":"0","ok":true}`))
	b.until(rows + ` === "Ana|Bo"`)
	b.until(`document.querySelector("#events .who")?.textContent === "Invitation answered"`)
	b.eval(`window.kept = ` + cell("p1", ".who") + `; null`)
	_ = p.conn.Close(1001, "worker leaving")

	p = g.accept(t)
	p.welcome()
	m := p.want(`{"type":"subscribe","conference":"900487914","resume":{"epoch":"e1","view":"p3","seq":44}}`)
	p.granted(m, true)
	p.send(delta("participants", 45, 41, `{"p3":{"name":"Cleo"}}`))
	b.until(rows + ` === "Ana|Bo|Cleo"`)
	if got := b.eval(cell("p1", ".who") + ` === window.kept`); got != true {
		t.Error("the roster was drawn anew on a resume")
	}
	b.until(`document.querySelector("#f-snapshots").textContent === "1"`)

	// A resume that isn't granted brings a snapshot, and a break before that snapshot must not resume the old document.
	_ = p.conn.CloseNow()
	p = g.accept(t)
	p.welcome()
	m = p.want(`{"type":"subscribe","conference":"900487914","resume":{"epoch":"e1","view":"p3","seq":45}}`)
	p.granted(m, false)
	_ = p.conn.CloseNow()
	p = g.accept(t)
	p.subscribed(`{"participants":{"p9":{"name":"Zoe"}}}`)
	b.until(rows + ` === "Zoe"`)
}

func TestMarkupIsText(t *testing.T) {
	t.Parallel()
	evil := `<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>`
	quoted, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	name := string(quoted)
	_, b, p := start(t, strings.NewReplacer("EVIL", name).Replace(`{"conference":{"title":EVIL,"owner":{"name":EVIL},"mode":EVIL},
	 "link":{"state":EVIL,"reason":EVIL},
	 "participants":{"p1":{"name":EVIL,"client":EVIL,"role":EVIL,"state":EVIL},"__proto__":{"name":"proto"}},
	 "waiting":{"w1":{"name":EVIL}},"attendees":{"a1":{"name":EVIL,"department":EVIL}},
	 "speakers":[{"pid":"p1","name":EVIL,"volume":"x"}],"quality":{"p1":{"rating":EVIL}},
	 "interpreters":{"g":{"name":EVIL,"languages":[EVIL],"people":[{"name":EVIL}]}},
	 "layout":{"cells":[{"participants":["p1",EVIL]}]}}`))
	p.send(
		event("invites", 41, 0, `{"phone":`+name+`,"code":"1","ok":false,"reason":`+name+`}`),
		event("subtitles", 42, 0, `{"pid":"p1","final":true,"lines":[{"text":`+name+`}]}`),
		event("vendor", 43, 0, `{"action":`+name+`}`),
		delta("participants", 44, 0, `{"__proto__":{"muted":true}}`),
	)
	b.until(`document.querySelectorAll("#events li").length === 2`)
	b.until(`document.querySelector("#subtitles li") !== null`)
	for _, selector := range []string{
		"#title", "#roster .who", "#waiting .who", "#attendees .who", "#speakers .who", "#interpreters .who", "#layout li", "#subtitles li", "#events .who",
		"#link .link-state",
	} {
		if got, _ := b.eval(fmt.Sprintf(`document.querySelector(%q)?.textContent`, selector)).(string); !strings.Contains(got, evil) {
			t.Errorf("text of %s = %q, want the name as it is", selector, got)
		}
	}
	b.until(rows + `.endsWith("|proto") || ` + rows + `.startsWith("proto|")`)
	for expression, want := range map[string]any{
		`document.querySelectorAll("main img, main script, body > script").length`: 0.0,
		`window.pwned ?? 0`:     0.0,
		`({}).muted ?? "clean"`: "clean",
		`({}).name ?? "clean"`:  "clean",
	} {
		if got := b.eval(expression); got != want {
			t.Errorf("%s = %v, want %v", expression, got, want)
		}
	}
}

func TestTokenIsAskedForAndKeptOutOfTheAddress(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Config{Auth: "jwt"})
	b := newTab(t, 1200, 800)
	b.open(g)
	p := g.accept(t)
	if diff := cmp.Diff([]string{"confgate.v1"}, p.tokens); diff != "" {
		t.Errorf("subprotocols without a token (-want +got):\n%s", diff)
	}
	_ = p.conn.Close(4401, "unauthorized")
	b.until(`document.querySelector("#connection").innerText === "✖ token needed"`)
	b.until(`document.querySelector("#banner").innerText.includes("token")`)

	const token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ0In0.c2ln"
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), token+"\r"))
	p = g.accept(t)
	if diff := cmp.Diff([]string{"confgate.v1, bearer." + token}, p.tokens); diff != "" {
		t.Errorf("subprotocols with a token (-want +got):\n%s", diff)
	}
	p.subscribed(`{"participants":{"p1":{"name":"Ana"}}}`)
	b.until(rows + ` === "Ana"`)
	where, _ := b.eval(`location.href + document.querySelector("#token").value + JSON.stringify(localStorage) + document.cookie`).(string)
	if strings.Contains(where, token) {
		t.Errorf("the token is in the address, the field, the local storage or a cookie: %s", where)
	}
	if got := b.eval(`sessionStorage.getItem("confgate.token")`); got != token {
		t.Errorf("token in the session storage = %v, want it", got)
	}

	// Another token on a live connection renews it; one that isn't accepted is said so; other scopes are another view.
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), token+"2\r"))
	m := p.want(`{"type":"auth","token":"` + token + `2"}`)
	p.send(fmt.Sprintf(`{"type":"error","id":%q,"code":"unauthorized","message":"token has expired"}`, m["id"]))
	b.until(`document.querySelector("#banner").innerText.includes("not accepted: token has expired")`)
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), token+"3\r"))
	m = p.want(`{"type":"auth","token":"` + token + `3"}`)
	p.send(fmt.Sprintf(`{"type":"welcome","id":%q,"worker":"gw-0","session":"s1","time":1,"heartbeatMs":25000,"scopes":["pii","read"],"expires":%d}`,
		m["id"], time.Now().Add(30*time.Second).UnixMilli()))
	p.want(`{"type":"subscribe","conference":"900487914","resume":{"epoch":"e1","view":"p3","seq":40}}`)
	b.until(`document.querySelector("#banner").innerText.includes("ends within a minute")`)
}

// Who has a token chooses from what it may see; markup in a title stays text.
func TestTokenListsConferences(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Config{Auth: "jwt"})
	g.mux.HandleFunc("/v1/conferences", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer e30.e30.c2ln" || r.URL.RawQuery != "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"worker":"w","conferences":[{"id":"900487914","title":"<b>Standup</b>"},{"id":"900487915"}]}`)
	})
	b := newTab(t, 1200, 800)
	b.open(g)
	p := g.accept(t)
	_ = p.conn.Close(4401, "unauthorized")
	b.until(`document.querySelector("#conf-select").hidden && !document.querySelector("#conf-input").hidden`)
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), "e30.e30.c2ln\r"))
	p = g.accept(t)
	p.subscribed(`{}`)
	b.until(`!document.querySelector("#conf-select").hidden && document.querySelector("#conf-input").hidden`)
	const options = `[...document.querySelector("#conf-select").options].map((o) => o.value + "=" + o.text).join()`
	if got := b.eval(options); !strings.HasSuffix(fmt.Sprint(got), "900487914=<b>Standup</b> (900487914),900487915=900487915") {
		t.Errorf("options = %v, want the two conferences of the list", got)
	}
	b.do(chromedp.SetValue(chromedp.CSS("#conf-select"), "900487915"))
	b.eval(`document.querySelector("#conf-select").dispatchEvent(new Event("change"))`)
	b.until(`location.hash === "#conf=900487915"`)
	for m := p.next(); ; m = p.next() { // the opened address had another one
		if m["type"] == "subscribe" && m["conference"] == "900487915" {
			break
		}
	}
}

func TestConnectionStates(t *testing.T) {
	t.Parallel()
	g, b, p := start(t, `{"participants":{"p1":{"name":"Ana"}}}`)
	b.until(rows + ` === "Ana"`)
	p.send(`{"type":"status","conference":"900487914","fresh":false,"reason":"log","since":1611993595100}`)
	b.until(`document.querySelector("#banner").innerText.includes("the log is away")`)
	p.send(`{"type":"status","conference":"900487914","fresh":true}`)
	b.until(`document.querySelector("#banner").hidden`)

	// Full: the page backs off and says so.
	b.eval(`Math.random = () => 0.6; window.seen = [];
		new MutationObserver(() => seen.push(document.querySelector("#connection").innerText, document.querySelector("#banner").innerText))
			.observe(document.body, {subtree: true, childList: true, characterData: true}); null`)
	_ = p.conn.Close(1013, "full")
	p = g.accept(t)
	for _, want := range []string{"◔ reconnecting in 2 s", "⚠ The connection is broken: what is shown may be old."} {
		b.until(fmt.Sprintf(`seen.includes(%q) || seen.includes(%q)`, want, strings.TrimPrefix(want, "⚠ ")))
	}

	// Silence of two heartbeats is a dead connection.
	b.eval(`Math.random = () => 0; null`)
	p.send(`{"type":"welcome","worker":"gw-1","session":"s1","time":1,"heartbeatMs":100,"scopes":["read"]}`)
	p.want(`{"type":"subscribe","conference":"900487914","resume":{"epoch":"e1","view":"p3","seq":40}}`)
	p = g.accept(t)
	p.welcome()
	m := p.want(`{"type":"subscribe","conference":"900487914","resume":{"epoch":"e1","view":"p3","seq":40}}`)
	p.send(fmt.Sprintf(`{"type":"error","id":%q,"code":"forbidden","message":"not yours"}`, m["id"]))
	b.until(`document.querySelector("#banner").innerText.includes("may not see")`)

	_ = p.conn.Close(4403, "forbidden")
	b.until(`document.querySelector("#connection").innerText === "✖ refused"`)
	b.until(`document.querySelector("#banner").innerText.includes("refuses this page (4403)")`)
	if got := len(g.conns); got != 0 {
		t.Errorf("connections after 4403 = %d, want none", got)
	}
}

func TestUnavailableIsAskedAgain(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Config{Auth: "none"})
	b := newTab(t, 1200, 800)
	b.open(g)
	p := g.accept(t)
	b.eval(`Math.random = () => 0.01; null`)
	p.welcome()
	for _, code := range []string{"unavailable", "internal", "rate_limited"} {
		m := p.want(`{"type":"subscribe","conference":"900487914"}`)
		p.send(fmt.Sprintf(`{"type":"error","id":%q,"code":%q,"message":"later"}`, m["id"], code))
	}
	m := p.want(`{"type":"subscribe","conference":"900487914"}`)
	p.granted(m, false)
	p.snapshot(1, `{"participants":{"p1":{"name":"Ana"}}}`)
	b.until(rows + ` === "Ana"`)
	p.send(`{"type":"unsubscribed","conference":"900487914","reason":"released"}`)
	b.until(`document.querySelector("#banner").innerText.includes("released")`)
}

// The client module alone, in the browser that runs it.
func TestClientModule(t *testing.T) {
	t.Parallel()
	g := newGateway(t, Config{Auth: "none"})
	b := newTab(t, 400, 300)
	b.do(chromedp.Navigate(g.URL + "/"))
	conn := g.accept(t)
	_ = conn.conn.Close(websocket.StatusCode(4403), "")
	module := func(expression string) any {
		t.Helper()
		return b.eval(`import("/page/client.js").then((m) => (` + expression + `))`)
	}
	for _, tt := range mergePatches {
		if got := module(fmt.Sprintf(`JSON.stringify(m.mergePatch(%s, %s))`, tt[0], tt[1])); got != tt[2] {
			t.Errorf("mergePatch(%s, %s) = %v, want %s", tt[0], tt[1], got, tt[2])
		}
	}
	for code, want := range map[int]string{
		1000: "retry", 1001: "retry", 1006: "retry", 1011: "retry", 4408: "retry",
		1013: "busy", 4429: "busy", 4401: "token", 4403: "stop", 4409: "stop",
	} {
		if got := module(fmt.Sprintf(`m.verdict(%d)`, code)); got != want {
			t.Errorf("verdict(%d) = %v, want %s", code, got, want)
		}
	}
	for attempt, want := range map[int]float64{0: 50, 1: 100, 3: 400, 9: 5000, 1000: 5000} {
		if got := module(fmt.Sprintf(`m.backoff({first: 100, most: 10000}, %d, () => 0.5)`, attempt)); got != want {
			t.Errorf("backoff(%d) = %v, want %v", attempt, got, want)
		}
	}
	// The events of a snapshot that are news: all at first, then those above the position, all of another epoch.
	got := module(`(() => {
		const r = new m.Replica();
		const seqs = (list) => list.map((e) => e.seq).join();
		const first = seqs(r.snapshot({epoch: "e", seq: 10, state: {}, events: [{topic: "invites", seq: 9}]}));
		const known = r.apply({type: "event", topic: "invites", seq: 10, prev: 9});
		const event = r.apply({type: "event", topic: "invites", seq: 12, prev: 9});
		const missed = seqs(r.snapshot({epoch: "e", seq: 20, state: {}, events: [{topic: "invites", seq: 12}, {topic: "invites", seq: 15}]}));
		const epoch = seqs(r.snapshot({epoch: "f", seq: 3, state: {}, events: [{topic: "invites", seq: 2}]}));
		return [first, known, event, missed, epoch].join(" ");
	})()`)
	if got != "9 ignored applied 15 2" {
		t.Errorf("events of snapshots = %v, want 9 ignored applied 15 2", got)
	}
}

// mergePatches are the test cases of RFC 7396, appendix A: document, patch, result.
var mergePatches = [][3]string{
	{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
	{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
	{`{"a":"b"}`, `{"a":null}`, `{}`},
	{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
	{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
	{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
	{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
	{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
	{`["a","b"]`, `["c","d"]`, `["c","d"]`},
	{`{"a":"b"}`, `["c"]`, `["c"]`},
	{`{"a":"foo"}`, `null`, `null`},
	{`{"a":"foo"}`, `"bar"`, `"bar"`},
	{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
	{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
	{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
}
