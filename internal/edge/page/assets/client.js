// A client of confgate.v1, the protocol of docs/PROTOCOL.md, as an ES module without dependencies.
//
//   const client = new Client({ url: "wss://gateway.example/v1/ws", token });
//   const sub = client.subscribe("900487914", ["participants", "speakers"]);
//   sub.addEventListener("change", (e) => draw(sub.state, e.detail.topic, e.detail.patch));
//   sub.addEventListener("happened", (e) => console.log(e.detail.topic, e.detail.data));
//   client.start();
//
// The client keeps sub.state equal to the server's document: it applies patches by position, asks for a snapshot when
// something was lost, resumes after a broken connection, and backs off as the close code says.

export const PROTOCOL = "confgate.v1";

const CONNECT_TIMEOUT_MS = 10_000; // from dialling to "welcome"
const DEFAULT_HEARTBEAT_MS = 25_000; // where "welcome" names none
const STABLE_MS = 10_000; // a connection that lived so long starts the back-off anew
const RETRY = { first: 250, most: 30_000 };
const RETRY_BUSY = { first: 2_000, most: 60_000 }; // the server said that it has too much to do
const SLOW_RETRY_MS = 30_000; // for a conference that nobody knows (yet)
const RENEW_BEFORE_MS = 60_000; // how long before a token's end "expiring" is raised
const MAX_TIMER_MS = 2 ** 31 - 1;

const isObject = (v) => v !== null && typeof v === "object" && !Array.isArray(v);

// mergePatch applies a JSON Merge Patch (RFC 7396) and returns the result. Objects are changed in place. New objects have
// no prototype, so that a key such as "__proto__" is a key like any other.
export function mergePatch(target, patch) {
  if (!isObject(patch)) return patch;
  const out = isObject(target) ? target : Object.create(null);
  for (const key of Object.keys(patch)) {
    if (patch[key] === null) delete out[key];
    else out[key] = mergePatch(out[key], patch[key]);
  }
  return out;
}

// Replica is a copy of one conference's document, and where in its history the copy is. It does no I/O.
export class Replica {
  state = Object.create(null);
  epoch = "";
  view = "";
  seq = 0; // the newest seq that was applied, whatever the topic
  snapshots = 0;
  #base = 0; // seq of the last snapshot
  #positions = new Map(); // topic -> seq, where newer than #base
  #whole = false; // false before the first snapshot and after a loss

  // Where a subscription may resume; undefined where only a snapshot helps.
  get resume() {
    return this.#whole ? { epoch: this.epoch, view: this.view, seq: this.seq } : undefined;
  }

  // The server granted a subscription. Unless it resumes, the document is of no use before the snapshot that follows.
  granted(view, recovered) {
    this.view = view;
    if (!recovered) this.#whole = false;
  }

  position(topic) {
    return this.#positions.get(topic) ?? this.#base;
  }

  // A snapshot sets all positions. Returns those of its events that are news.
  snapshot(message) {
    const known = this.epoch === message.epoch && this.snapshots > 0 ? (topic) => this.position(topic) : () => -1;
    const news = (message.events ?? []).filter((e) => e.seq > known(e.topic));
    this.state = mergePatch(undefined, message.state);
    this.epoch = message.epoch;
    this.seq = this.#base = message.seq;
    this.#positions.clear();
    this.#whole = true;
    this.snapshots++;
    return news;
  }

  // Takes a delta or an event: "applied", "ignored" (known already, or no snapshot yet), or "lost" where a message before
  // it is missing; then the caller subscribes without resume.
  apply(message) {
    if (!this.#whole) return "ignored";
    const { topic, seq, prev } = message;
    const position = this.position(topic);
    if (seq <= position) return "ignored";
    if (prev > position) {
      this.#whole = false;
      return "lost";
    }
    if (message.type === "delta") {
      if (message.patch === null) delete this.state[topic];
      else this.state[topic] = mergePatch(this.state[topic], message.patch);
    }
    this.#positions.set(topic, seq);
    this.seq = Math.max(this.seq, seq);
    return "applied";
  }
}

// Subscription is one conference of a Client. Events:
//   change      {topic, patch, time}: the document changed; topic null means that all of it may have (a snapshot)
//   happened    {topic, data, time, seq}: something of an event topic
//   status      {fresh, reason, since}: whether the worker vouches for the state
//   state       {state, code, message}: "pending", "subscribed", "refused" or "released"
export class Subscription extends EventTarget {
  replica = new Replica();
  status = { fresh: true };
  phase = { state: "pending" };
  scopes = "";
  request = ""; // the id of the subscribe message that wasn't answered yet
  attempt = 0;
  timer = 0;

  constructor(conference, topics) {
    super();
    this.conference = conference;
    this.topics = topics;
  }

  get state() {
    return this.replica.state;
  }

  emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  setPhase(phase) {
    this.phase = phase;
    this.emit("state", phase);
  }

  setStatus(status) {
    this.status = status;
    this.emit("status", status);
  }

  // Takes what the server says of this conference. True means: subscribe anew, without resume.
  take(message) {
    switch (message.type) {
      case "snapshot":
        for (const e of this.replica.snapshot(message)) this.#happened(e);
        this.emit("change", { topic: null });
        return false;
      case "delta":
      case "event": {
        const outcome = this.replica.apply(message);
        if (outcome === "applied" && message.type === "delta") this.emit("change", message);
        if (outcome === "applied" && message.type === "event") this.#happened(message);
        return outcome === "lost";
      }
      case "status":
        this.setStatus(message);
    }
    return false;
  }

  #happened(e) {
    this.emit("happened", { topic: e.topic, data: e.data, time: e.time, seq: e.seq });
  }
}

// backoff is the time to wait before try number attempt (0, 1, …): exponential, with full jitter.
export function backoff({ first, most }, attempt, random) {
  return random() * Math.min(most, first * 2 ** Math.min(attempt, 20));
}

// verdict says what to do after a close code: "retry", "busy" (retry, later), "token" (a new token first), "stop".
export function verdict(code) {
  switch (code) {
    case 1013: // full
    case 4429: // too many messages
      return "busy";
    case 4401:
      return "token";
    case 4403: // not allowed
    case 4409: // not this protocol
      return "stop";
    default: // among them 1001 (worker leaving), 1006 (broken), 4408 (too slow)
      return "retry";
  }
}

// Client is one connection, kept alive, and the subscriptions on it. Events:
//   connection  {state, code, retryAt}: "connecting", "open", "waiting" (until retryAt), "token", "stopped", "closed"
//   welcome     the message of that name: worker, session, scopes, expires
//   expiring    the token ends in a minute: call setToken
//   tokenrefused  the error message about a token that was to renew the connection; the old one goes on until it ends
//   message     every server message, as it came
export class Client extends EventTarget {
  connection = { state: "closed" };
  #url;
  #token;
  #random;
  #WebSocket;
  #subs = new Map();
  #socket = null;
  #running = false;
  #attempt = 0;
  #openedAt = 0;
  #heardAt = 0;
  #welcomed = false;
  #watchdog = 0;
  #retry = 0;
  #renew = 0;
  #lastId = 0;
  #authId = ""; // of the auth that wasn't answered yet

  constructor({ url, token = "", random = () => Math.random(), WebSocket = globalThis.WebSocket }) {
    super();
    this.#url = url;
    this.#token = token;
    this.#random = random;
    this.#WebSocket = WebSocket;
  }

  start() {
    if (this.#running) return;
    this.#running = true;
    this.#connect();
  }

  stop() {
    this.#running = false;
    this.#leave(1000);
    this.#setConnection({ state: "closed" });
  }

  // Connects at once where a retry is being waited for, as when the browser says that it is online again.
  retryNow() {
    if (this.connection.state !== "waiting") return;
    clearTimeout(this.#retry);
    this.#connect();
  }

  // Takes another token: renews the live connection, or connects where a token was what was missing.
  setToken(token) {
    this.#token = token;
    if (this.#welcomed) {
      this.#authId = this.#nextId();
      this.#send({ type: "auth", id: this.#authId, token });
    } else if (this.#running && ["token", "stopped", "waiting"].includes(this.connection.state)) {
      clearTimeout(this.#retry);
      this.#connect();
    }
  }

  // Follows a conference. topics left out means all that the token may see.
  subscribe(conference, topics) {
    this.unsubscribe(conference);
    const sub = new Subscription(conference, topics);
    this.#subs.set(conference, sub);
    this.#ask(sub);
    return sub;
  }

  unsubscribe(conference) {
    const sub = this.#subs.get(conference);
    if (!sub) return;
    clearTimeout(sub.timer);
    this.#subs.delete(conference);
    if (this.#welcomed) this.#send({ type: "unsubscribe", id: this.#nextId(), conference });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #setConnection(connection) {
    this.connection = connection;
    this.#emit("connection", connection);
  }

  #nextId() {
    return String(++this.#lastId);
  }

  #send(message) {
    this.#socket.send(JSON.stringify(message));
  }

  #connect() {
    this.#setConnection({ state: "connecting" });
    const protocols = this.#token ? [PROTOCOL, "bearer." + this.#token] : [PROTOCOL];
    let socket;
    try {
      socket = new this.#WebSocket(this.#url, protocols);
    } catch {
      this.#setConnection({ state: "token", message: "what was pasted is not a token" });
      return;
    }
    this.#socket = socket;
    this.#welcomed = false;
    this.#openedAt = this.#heardAt = Date.now();
    socket.onmessage = (e) => this.#socket === socket && this.#receive(e.data);
    socket.onclose = (e) => this.#socket === socket && this.#lost(e.code);
    this.#watch(CONNECT_TIMEOUT_MS);
  }

  #watch(limit) {
    clearInterval(this.#watchdog);
    this.#watchdog = setInterval(() => this.#checkSilence(limit), Math.min(limit / 4, 1000));
  }

  // A connection that died without a word is not reported by the browser for minutes: silence is what shows it.
  #checkSilence(limit) {
    if (Date.now() - this.#heardAt > limit) this.#lost(1006);
  }

  #leave(code) {
    clearInterval(this.#watchdog);
    clearTimeout(this.#retry);
    clearTimeout(this.#renew);
    for (const sub of this.#subs.values()) clearTimeout(sub.timer);
    const socket = this.#socket;
    this.#socket = null;
    this.#welcomed = false;
    if (socket) socket.close(code);
  }

  #lost(code) {
    if (this.#welcomed && Date.now() - this.#openedAt > STABLE_MS) this.#attempt = 0;
    this.#leave();
    const what = verdict(code);
    if (what === "token" || what === "stop") {
      this.#setConnection({ state: what === "token" ? "token" : "stopped", code });
      return;
    }
    const delay = backoff(what === "busy" ? RETRY_BUSY : RETRY, this.#attempt++, this.#random);
    this.#retry = setTimeout(() => this.#connect(), delay);
    this.#setConnection({ state: "waiting", code, retryAt: Date.now() + delay });
  }

  // A frame holds one message, or several in order.
  #receive(text) {
    this.#heardAt = Date.now();
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      this.#lost(1006);
      return;
    }
    for (const message of Array.isArray(frame) ? frame : [frame]) {
      if (this.#socket === null) return; // a listener stopped the client
      this.#emit("message", message);
      this.#take(message);
    }
  }

  #take(message) {
    switch (message.type) {
      case "welcome":
        this.#greeted(message);
        return;
      case "subscribed":
        this.#subscribed(message);
        return;
      case "unsubscribed":
        this.#unsubscribed(message);
        return;
      case "error":
        this.#refused(message);
        return;
    }
    const sub = this.#subs.get(message.conference);
    if (sub?.take(message)) this.#ask(sub);
  }

  // The server may greet anew after a renewed token; other scopes then need another view of the document.
  #greeted(message) {
    const first = !this.#welcomed;
    this.#welcomed = true;
    this.#authId = "";
    this.#watch(2 * (message.heartbeatMs || DEFAULT_HEARTBEAT_MS));
    clearTimeout(this.#renew);
    if (message.expires) {
      const left = message.expires - Date.now() - RENEW_BEFORE_MS;
      this.#renew = setTimeout(() => this.#emit("expiring", message), Math.min(Math.max(left, 0), MAX_TIMER_MS));
    }
    if (first) this.#setConnection({ state: "open" });
    this.#emit("welcome", message);
    const scopes = (message.scopes ?? []).join(" ");
    for (const sub of this.#subs.values()) {
      if (first || sub.scopes !== scopes) this.#ask(sub);
      sub.scopes = scopes;
    }
  }

  #ask(sub) {
    clearTimeout(sub.timer);
    if (!this.#welcomed) return;
    sub.request = this.#nextId();
    const { conference, topics } = sub;
    this.#send({ type: "subscribe", id: sub.request, conference, topics, resume: sub.replica.resume });
  }

  #subscribed(message) {
    const sub = this.#subs.get(message.conference);
    if (!sub || message.id !== sub.request) return;
    sub.request = "";
    sub.attempt = 0;
    sub.replica.granted(message.view, message.recovered);
    sub.setStatus({ fresh: true }); // a "status" follows where it isn't
    sub.setPhase({ state: "subscribed", recovered: message.recovered });
  }

  #unsubscribed(message) {
    const sub = this.#subs.get(message.conference);
    if (!sub || message.reason !== "released") return;
    sub.setPhase({ state: "released" });
    sub.timer = setTimeout(() => this.#ask(sub), SLOW_RETRY_MS);
  }

  #refused(message) {
    if (message.id !== undefined && message.id === this.#authId) this.#emit("tokenrefused", message);
    for (const sub of this.#subs.values()) {
      if (message.id === undefined || message.id !== sub.request) continue;
      sub.request = "";
      sub.setPhase({ state: "refused", code: message.code, message: message.message });
      if (["bad_request", "forbidden", "unauthorized", "too_many_subscriptions"].includes(message.code)) return;
      const slow = message.code === "not_found";
      const delay = slow ? SLOW_RETRY_MS : backoff(RETRY_BUSY, sub.attempt++, this.#random);
      sub.timer = setTimeout(() => this.#ask(sub), delay);
    }
  }
}
