// Drawing of a conference document: small, keyed updates of the page's elements. Whatever comes from the conference becomes
// text or an attribute's value, never markup.

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function el(tag, className = "", text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  return node;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setData(node, key, value) {
  if (node.dataset[key] !== value) node.dataset[key] = value;
}

// icon is a drawn symbol with a name for those who can't see it. Name "" draws nothing.
function setIcon(cell, symbol, label, tone = "") {
  const key = symbol + "|" + label + "|" + tone;
  if (cell.dataset.icon === key) return;
  cell.dataset.icon = key;
  cell.replaceChildren();
  if (!symbol) return;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  if (tone) svg.dataset.tone = tone;
  const title = document.createElementNS(SVG, "title");
  title.textContent = label;
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", "#i-" + symbol);
  svg.append(title, use);
  cell.append(svg);
}

function badge(text, tone = "", title = "") {
  const b = el("span", "badge", text);
  if (tone) b.dataset.tone = tone;
  if (title) b.title = title;
  return b;
}

// setBadges redraws a list of [text, tone, title] only when it differs.
function setBadges(node, list) {
  const key = JSON.stringify(list);
  if (node.dataset.badges === key) return;
  node.dataset.badges = key;
  node.replaceChildren(...list.map((b) => badge(...b)));
}

const CAPTION_MS = 10_000; // how long the last caption of a silent speaker stays

const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });

export function duration(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min";
  if (s < 86400) return Math.floor(s / 3600) + " h " + (Math.floor(s / 60) % 60) + " min";
  return Math.floor(s / 86400) + " d";
}

const title = (pid, p) => p?.name || p?.phone || pid;

// KeyedList keeps the children of a parent in step with an object: one element a key, in the order of their sort keys.
class KeyedList {
  #parent;
  #make;
  #update;
  #sortKey;
  #rows = new Map();

  // make() gives a new element; update(element, key, value) draws it; sortKey(key, value) orders it.
  constructor(parent, make, update, sortKey) {
    this.#parent = parent;
    this.#make = make;
    this.#update = update;
    this.#sortKey = sortKey;
  }

  // Draws the named keys of items, or all with keys null.
  draw(items, keys) {
    let moved = false;
    if (keys === null) keys = new Set([...Object.keys(items), ...this.#rows.keys()]);
    for (const key of keys) {
      const value = items[key];
      let row = this.#rows.get(key);
      if (value === undefined) {
        row?.node.remove();
        this.#rows.delete(key);
        continue;
      }
      if (!row) {
        row = { node: this.#make(), sort: null };
        row.node.dataset.key = key;
        this.#rows.set(key, row);
      }
      this.#update(row.node, key, value);
      const sort = this.#sortKey(key, value);
      if (sort !== row.sort) moved = true;
      row.sort = sort;
    }
    if (moved) this.#place();
  }

  // Moves only the elements that stand in the wrong place.
  #place() {
    const rows = [...this.#rows.values()].sort((a, b) => (a.sort < b.sort ? -1 : a.sort > b.sort ? 1 : 0));
    let at = this.#parent.firstElementChild;
    for (const { node } of rows) {
      if (node === at) at = at.nextElementSibling;
      else this.#parent.insertBefore(node, at);
    }
  }
}

const CLIENTS = { desktop: ["desktop", "desktop client"], mobile: ["mobile", "phone"], pad: ["pad", "tablet"], other: ["room", "room or other device"] };

function roleOf(p) {
  if (p.role === "chair") return ["★ host", "host", 0];
  if (p.cohost) return ["☆ co-host", "cohost", 1];
  if (p.role === "audience") return ["audience", "quiet", 3];
  return ["guest", "quiet", 2];
}

function makeRosterRow() {
  const tr = el("tr");
  const name = el("th", "name");
  name.scope = "row";
  name.append(el("span", "client"), el("span", "who"), el("span", "badges"));
  tr.append(name, el("td", "role"));
  for (const c of ["hand", "mic", "cam", "share"]) tr.append(el("td", "icon-col " + c));
  tr.append(el("td", "net"), el("td", "num wide rtt"), el("td", "num wide loss"));
  return tr;
}

// The worst loss of a participant's media, either way, in per cent; undefined where none is known.
export function worstLoss(q) {
  let worst;
  for (const media of [q?.audio, q?.video, q?.share]) {
    for (const v of [media?.upLossPct, media?.downLossPct]) if (v !== undefined && !(v <= worst)) worst = v;
  }
  return worst;
}

function drawRosterRow(tr, pid, p, quality, speaking) {
  const [name, role, hand, mic, cam, share, net, rtt, loss] = tr.children;
  const [client, who, badges] = name.children;
  setIcon(client, ...(CLIENTS[p.client] ?? ["", ""]));
  setText(who, title(pid, p));
  who.title = pid;
  const extra = [];
  if (p.state === "calling") extra.push(["calling …", "wait"]);
  if (p.state === "joining") extra.push(["joining …", "wait"]);
  if (p.anonymous) extra.push(["anonymous", "quiet", "joined without an account"]);
  if (p.broadcasting) extra.push(["on air", "accent", "is being broadcast"]);
  if (p.rollCalled) extra.push(["roll call", "accent"]);
  if (p.recordingLocally) extra.push(["● rec", "bad", "records locally"]);
  setBadges(badges, extra);
  const [label, tone] = roleOf(p);
  setBadges(role, [[label, tone]]);
  if (p.handRaised) setIcon(hand, "hand", "hand raised", "warn");
  else setIcon(hand, "", "");
  if (p.muted === undefined) setIcon(mic, "", "");
  else if (p.muted) setIcon(mic, "mic-off", "muted", "off");
  else setIcon(mic, "mic", speaking ? "speaking" : "microphone on", speaking ? "speak" : "good");
  if (p.camera === undefined && !p.video) setIcon(cam, "", "");
  else if (p.camera) setIcon(cam, "cam", "camera on", "good");
  else setIcon(cam, "cam-off", "camera off", "off");
  if (p.sharing) setIcon(share, "share", "shares the screen", "accent");
  else setIcon(share, "", "");
  drawQuality(net, rtt, loss, quality);
  tr.classList.toggle("pending", p.state !== undefined && p.state !== "joined");
}

function drawQuality(net, rtt, loss, q) {
  const rating = q?.rating;
  if (rating === undefined) setBadges(net, []);
  else if (rating === "good") setBadges(net, [["● good", "good"]]);
  else setBadges(net, [["▲ " + rating, "bad"]]);
  setText(rtt, q?.rttMs === undefined ? "" : Math.round(q.rttMs) + " ms");
  const worst = worstLoss(q);
  setText(loss, worst === undefined ? "" : worst.toFixed(worst < 10 ? 1 : 0) + " %");
  setData(rtt, "tone", q?.rttMs > 250 ? "bad" : "");
  setData(loss, "tone", worst > 5 ? "bad" : "");
}

function makeRow() {
  const li = el("li");
  li.append(el("span", "client"), el("span", "who"), el("span", "note muted"), el("span", "badges"));
  return li;
}

function drawPerson(li, key, p, note, badges) {
  const [client, who, noteNode, badgeNode] = li.children;
  setIcon(client, ...(CLIENTS[p.client] ?? ["", ""]));
  setText(who, title(key, p));
  setText(noteNode, note);
  setBadges(badgeNode, badges);
}

const LINKS = {
  live: ["●", "live", "good"],
  stale: ["◐", "stale", "warn"],
  connecting: ["◌", "connecting", "wait"],
  waiting: ["◷", "waiting", "wait"],
  unavailable: ["✖", "unavailable", "bad"],
  ended: ["■", "ended", "quiet"],
};
const REASONS = {
  not_started: "the conference has not started",
  credentials: "the password was refused",
  locked: "control is locked at the provider",
  network: "the provider can't be reached",
  provider: "the provider answers with errors",
  gap: "increments were lost, catching up",
  heartbeat: "a heartbeat was not answered",
  limit: "too many calls to the provider",
};

// View draws one conference. Changes are gathered by mark and drawn once a frame.
export class View {
  #doc = () => ({});
  #dirty = new Map(); // topic -> Set of keys, or null for the whole topic
  #scheduled = false;
  #speaking = new Set();
  #captions = new Map();
  #lists;

  constructor() {
    this.#lists = {
      participants: new KeyedList($("roster"), makeRosterRow,
        (tr, pid, p) => drawRosterRow(tr, pid, p, this.#doc().quality?.[pid], this.#speaking.has(pid)),
        (pid, p) => roleOf(p)[2] + "\u0000" + title(pid, p).toLowerCase() + "\u0000" + pid),
      waiting: new KeyedList($("waiting"), makeRow,
        (li, pid, p) => drawPerson(li, pid, p, p.joinedAt ? "since " + clock(p.joinedAt) : "", p.admitted ? [["✔ admitted", "good"]] : []),
        (pid, p) => String(p.joinedAt ?? 0).padStart(16, "0") + pid),
      attendees: new KeyedList($("attendees"), makeRow, (li, key, a) => this.#drawAttendee(li, key, a),
        (key, a) => (a.role === "chair" ? "0" : "1") + title(key, a).toLowerCase() + "\u0000" + key),
      interpreters: new KeyedList($("interpreters"), makeRow, (li, key, g) => {
        const people = (g.people ?? []).map((x) => x.name || x.id).filter(Boolean).join(", ");
        drawPerson(li, key, { name: g.name || (g.languages ?? []).join(" ⇄ ") }, people,
          [...(g.name ? [[(g.languages ?? []).join(" ⇄ "), "quiet"]] : []), ...(g.type === "ai" ? [["AI", "accent"]] : [])]);
      }, (key, g) => (g.name ?? "") + "\u0000" + key),
    };
  }

  // Shows another document: doc() gives the present one whenever something is drawn.
  show(doc) {
    this.#doc = doc;
    this.#captions.clear();
    $("events").replaceChildren();
    $("events-card").hidden = true;
    this.#drawCaptions();
    this.mark(null);
  }

  // Notes what has to be drawn: everything (null), or what a patch of a topic touches.
  mark(topic, patch) {
    const all = ["link", "conference", "participants", "waiting", "attendees", "speakers", "interpreters", "layout"];
    if (topic === null) for (const t of all) this.#dirty.set(t, null);
    else if (topic === "quality") this.#markKeys("participants", patch);
    else {
      this.#markKeys(topic, patch);
      // What shows others' names and whether they are there is drawn with them.
      const shown = (p) => p === null || ["name", "state", "userId", "phone"].some((key) => key in p);
      if (topic === "participants" && (patch === null || Object.values(patch).some(shown))) {
        for (const t of ["attendees", "layout", "speakers"]) this.#dirty.set(t, null);
      }
    }
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => this.#draw());
  }

  #markKeys(topic, patch) {
    const known = this.#dirty.get(topic);
    if (known === null) return;
    if (patch === null || typeof patch !== "object" || Array.isArray(patch)) this.#dirty.set(topic, null);
    else this.#dirty.set(topic, new Set([...(known ?? []), ...Object.keys(patch)]));
  }

  #draw() {
    this.#scheduled = false;
    const dirty = this.#dirty;
    this.#dirty = new Map();
    const doc = this.#doc();
    if (dirty.has("speakers")) this.#drawSpeakers(doc, dirty);
    for (const [topic, list] of Object.entries(this.#lists)) {
      if (dirty.has(topic)) list.draw(doc[topic] ?? {}, dirty.get(topic));
    }
    if (dirty.has("participants")) this.#drawCounts(doc);
    if (dirty.has("waiting")) count($("waiting-card"), $("waiting-count"), doc.waiting);
    if (dirty.has("attendees")) count($("attendees-card"), $("attendees-count"), doc.attendees);
    if (dirty.has("interpreters")) $("interpreters-card").hidden = Object.keys(doc.interpreters ?? {}).length === 0;
    if (dirty.has("layout")) drawLayout(doc);
    if (dirty.has("conference")) drawConference(doc.conference ?? {});
    if (dirty.has("link") || dirty.has("conference")) this.#drawLink();
  }

  #drawLink() {
    const link = this.#doc().link;
    const [symbol, word, tone] = LINKS[link?.state] ?? ["◌", link?.state ?? "no word yet", "wait"];
    const why = [];
    if (link?.reason) why.push(REASONS[link.reason] ?? link.reason);
    if (link?.since) why.push("for " + duration(Date.now() - link.since));
    setData($("link"), "tone", tone);
    setText(document.querySelector("#link .link-symbol"), symbol);
    setText(document.querySelector("#link .link-state"), word);
    setText(document.querySelector("#link .link-why"), why.join(", "));
  }

  #drawSpeakers(doc, dirty) {
    const speakers = doc.speakers ?? [];
    const now = new Set(speakers.map((s) => s.pid));
    if (dirty.get("participants") !== null) {
      const changed = [...now].filter((p) => !this.#speaking.has(p)).concat([...this.#speaking].filter((p) => !now.has(p)));
      if (changed.length > 0) dirty.set("participants", new Set([...(dirty.get("participants") ?? []), ...changed]));
    }
    this.#speaking = now;
    const list = $("speakers");
    while (list.children.length > speakers.length) list.lastElementChild.remove();
    while (list.children.length < speakers.length) {
      const li = el("li", "speaker");
      const meter = el("span", "meter");
      meter.setAttribute("role", "meter");
      meter.setAttribute("aria-valuemin", "0");
      meter.append(el("span", "fill"));
      li.append(el("span", "who"), meter, el("span", "num volume muted"));
      list.append(li);
    }
    // The provider doesn't say how loud is loud: the bars are of 100, or of the loudest where that is more.
    const top = Math.max(100, ...speakers.map((s) => Number(s.volume) || 0));
    speakers.forEach((s, i) => {
      const [who, meter, volume] = list.children[i].children;
      const value = Math.max(0, Number(s.volume) || 0);
      const name = s.name || title(s.pid, doc.participants?.[s.pid]);
      setText(who, name);
      meter.setAttribute("aria-label", "volume of " + name);
      meter.setAttribute("aria-valuemax", String(top));
      meter.setAttribute("aria-valuenow", String(value));
      meter.firstElementChild.style.width = (100 * value) / top + "%";
      setText(volume, String(value));
    });
    $("speakers-empty").hidden = speakers.length > 0;
  }

  #drawCounts(doc) {
    const people = Object.values(doc.participants ?? {});
    const n = (test) => people.filter(test).length;
    const parts = [people.length + " in the conference"];
    const hands = n((p) => p.handRaised);
    const cameras = n((p) => p.camera);
    if (hands) parts.push(hands + (hands === 1 ? " hand up" : " hands up"));
    parts.push(n((p) => p.muted === false) + " unmuted", cameras + (cameras === 1 ? " camera on" : " cameras on"));
    setText($("roster-counts"), parts.join(" · "));
    $("roster-empty").hidden = people.length > 0 || doc.participants === undefined;
  }

  #drawAttendee(li, key, a) {
    const people = this.#doc().participants ?? {};
    const same = (p) => (a.userId && p.userId === a.userId) || (a.phone && p.phone === a.phone);
    const here = (a.pid && people[a.pid]) || Object.values(people).find(same);
    const joined = here && (here.state ?? "joined") === "joined";
    const badges = [joined ? ["✔ here", "good"] : here ? ["calling …", "wait"] : ["not here", "quiet"]];
    if (a.role === "chair") badges.unshift(["★ host", "host"]);
    drawPerson(li, key, a, a.department ?? "", badges);
  }

  // Something of an event topic happened.
  happened({ topic, data, time }) {
    if (topic === "subtitles") this.#caption(data);
    else if (topic === "invites") {
      const who = data.phone ? data.phone + ": " : "Invitation ";
      this.#event(time, data.ok ? "✔" : "✖", data.ok ? "good" : "bad", who + (data.ok ? "answered" : (data.reason ?? "failed").replaceAll("_", " ")));
    } else if (topic === "vendor") this.#event(time, "◆", "quiet", (data.action ?? "frame") + " of an unknown kind");
  }

  #event(time, symbol, tone, text) {
    const li = el("li");
    const mark = el("span", "symbol", symbol);
    mark.dataset.tone = tone;
    li.append(mark, el("span", "who", text), el("time", "note muted", clock(time)));
    $("events").prepend(li);
    if ($("events").children.length > 30) $("events").lastElementChild.remove();
    $("events-card").hidden = false;
  }

  // A caption is corrected until it is final; the last two speakers' stay on the screen, for a while, in the language that
  // was spoken where that is among them.
  #caption({ pid, final, lines = [] }) {
    const text = (lines.find((l) => l.language === "original") ?? lines[0])?.text ?? "";
    this.#captions.delete(pid);
    this.#captions.set(pid, { final, text, at: Date.now() });
    if (this.#captions.size > 2) this.#captions.delete(this.#captions.keys().next().value);
    this.#drawCaptions();
  }

  // What changes by time alone: how long the link is what it is, and captions that are over.
  tick() {
    this.#drawLink();
    const before = this.#captions.size;
    for (const [pid, c] of this.#captions) if (Date.now() - c.at > CAPTION_MS) this.#captions.delete(pid);
    if (this.#captions.size < before) this.#drawCaptions();
  }

  #drawCaptions() {
    const rows = [...this.#captions].map(([pid, c]) => {
      const li = el("li", c.final ? "final" : "interim");
      li.append(el("b", "", title(pid ?? "", this.#doc().participants?.[pid])), document.createTextNode(" " + c.text));
      return li;
    });
    $("subtitles").replaceChildren(...rows);
    $("subtitles-card").hidden = rows.length === 0;
  }
}

function count(card, label, items) {
  const n = Object.keys(items ?? {}).length;
  card.hidden = n === 0;
  setText(label, String(n));
}

function drawLayout(doc) {
  const layout = doc.layout;
  $("layout-card").hidden = !layout;
  if (!layout) return;
  const info = [];
  if (layout.pictures !== undefined) info.push(layout.pictures + " pictures");
  if (layout.intervalSeconds) info.push("every " + layout.intervalSeconds + " s");
  setText($("layout-info"), info.join(", "));
  const cells = (layout.cells ?? []).map((c) => {
    const names = (c.participants ?? []).map((pid) => title(pid, doc.participants?.[pid])).join(", ");
    const li = el("li", "", names || "empty");
    if (c.share) li.append(" ", badge("share", "accent"));
    return li;
  });
  $("layout").replaceChildren(...cells);
}

function drawConference(c) {
  const name = c.title || c.displayId || c.id || "Conference";
  setText($("title"), name);
  document.title = name + " · confgate";
  const parts = [];
  if (c.displayId || c.id) parts.push(c.displayId || c.id);
  if (c.owner?.name) parts.push("by " + c.owner.name);
  if (c.startsAt) parts.push("began " + new Date(c.startsAt).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }));
  if (c.state && c.state !== "created") parts.push(c.state);
  setText($("subtitle"), parts.join(" · "));
  const chips = [];
  if (c.locked) chips.push(["locked", "warn", "nobody else can join"]);
  if (c.muted) chips.push(["muted on entry", "warn"]);
  if (c.muted && c.selfUnmuteAllowed === false) chips.push(["only hosts unmute", "warn"]);
  if (c.recording) chips.push(["● recording", "bad"]);
  if (c.mode && c.mode !== "free") chips.push([c.mode, "accent", "how pictures are chosen"]);
  if (c.voiceActivated) chips.push(["voice activated", "quiet"]);
  if (c.sharingLocked) chips.push(["sharing locked", "warn"]);
  if (c.subtitlesOn) chips.push(["subtitles", "accent"]);
  if (c.chatForbidden) chips.push(["chat off", "quiet"]);
  if (c.media) chips.push([c.media, "quiet"]);
  if (c.pictures) chips.push([c.pictures + " pictures", "quiet"]);
  if (c.watermark) chips.push(["watermark", "quiet"]);
  const flags = $("flags");
  const key = JSON.stringify(chips);
  if (flags.dataset.badges === key) return;
  flags.dataset.badges = key;
  flags.replaceChildren(...chips.map((b) => {
    const li = el("li");
    li.append(badge(...b));
    return li;
  }));
}
