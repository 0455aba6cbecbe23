// The page: picks a conference, keeps a connection and says how it stands. Drawing is in view.js, the protocol in client.js.

import { Client } from "./client.js";
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);
const CONFERENCE = /^[A-Za-z0-9_-]{1,64}$/;
const TOKEN_KEY = "confgate.token"; // sessionStorage: gone with the tab, never in the address
const CONFIG_EVERY_MS = 10_000;
const LIST_EVERY_MS = 60_000; // the server looks at each conference for it

const view = new View();
let config = { conferences: [], auth: "jwt" };
let listed = []; // what the token may see, where the configuration tells nobody
let client;
let sub = null;
let notice = ""; // about the token
let messages = 0;
const rates = [];

function wanted() {
  const id = new URLSearchParams(location.hash.slice(1)).get("conf") ?? "";
  return CONFERENCE.test(id) ? id : "";
}

async function loadConfig() {
  try {
    const answer = await fetch("page/config.json", { cache: "no-cache", credentials: "same-origin" });
    if (answer.ok) config = await answer.json();
  } catch {
    // The server is away: the connection says so, and what was known stays.
  }
  offer();
  $("auth").hidden = config.auth === "none";
}

async function loadList() {
  const token = sessionStorage.getItem(TOKEN_KEY);
  if (config.conferences?.length > 0 || !token) return;
  try {
    const answer = await fetch("v1/conferences", {
      headers: { Authorization: "Bearer " + token }, cache: "no-cache", credentials: "omit",
    });
    if (!answer.ok) return; // an id can be typed all the same
    const list = await answer.json();
    if (token === sessionStorage.getItem(TOKEN_KEY)) listed = list.conferences ?? [];
  } catch {
    return; // as above
  }
  offer();
}

// offer fills the picker: a list where there is one to choose from, else a field to type into.
function offer() {
  const known = config.conferences?.length > 0 ? config.conferences.map((id) => ({ id })) : listed;
  const select = $("conf-select");
  const current = wanted();
  const all = current && !known.some((c) => c.id === current) ? [{ id: current }, ...known] : known;
  const options = all.map((c) => new Option(c.title ? c.title + " (" + c.id + ")" : c.id, c.id));
  if (!current && known === listed) options.unshift(new Option("choose one", "")); // nothing is chosen for whoever has a token
  const some = known.length > 0;
  for (const id of ["conf-select", "conf-select-label"]) $(id).hidden = !some;
  for (const id of ["conf-input", "conf-input-label", "conf-go"]) $(id).hidden = some;
  const lines = (list) => list.map((o) => o.value + " " + o.text).join("\n");
  if (lines([...select.options]) !== lines(options)) select.replaceChildren(...options);
  select.value = current;
  $("conf-input").required = !some;
}

function choose(id) {
  if (id !== wanted()) location.hash = "conf=" + id;
}

function follow() {
  const id = wanted();
  if (sub && sub.conference === id) return;
  if (sub) client.unsubscribe(sub.conference);
  sub = null;
  $("hint").hidden = id !== "";
  $("main").hidden = true;
  $("conf-input").value = id;
  $("conf-select").value = id;
  document.title = "confgate";
  if (!id) return;
  const mine = client.subscribe(id);
  sub = mine;
  view.show(() => mine.state);
  mine.addEventListener("change", (e) => {
    $("main").hidden = false;
    view.mark(e.detail.topic, e.detail.patch);
  });
  mine.addEventListener("happened", (e) => view.happened(e.detail));
  mine.addEventListener("status", tell);
  mine.addEventListener("state", tell);
  tell();
}

const CONNECTIONS = {
  connecting: ["◌", "connecting", "wait"],
  open: ["●", "connected", "good"],
  waiting: ["◔", "reconnecting", "warn"],
  token: ["✖", "token needed", "bad"],
  stopped: ["✖", "refused", "bad"],
  closed: ["■", "closed", "quiet"],
};

// tell shows how the connection and the subscription stand: the pill, and a banner where the reader must know.
function tell() {
  const { state, code, retryAt, message } = client.connection;
  const [symbol, word, tone] = CONNECTIONS[state];
  const pill = $("connection");
  pill.dataset.tone = tone;
  pill.querySelector(".dot").textContent = symbol;
  const wait = state === "waiting" ? Math.ceil((retryAt - Date.now()) / 1000) : 0;
  pill.querySelector(".text").textContent = wait > 1 ? word + " in " + wait + " s" : word;

  let text = "";
  let bad = false;
  if (state === "token") {
    text = message ?? "The token is missing, wrong or expired. Paste another one above.";
    bad = true;
    $("auth").hidden = false;
  } else if (state === "stopped") {
    text = "The server refuses this page (" + code + ").";
    bad = true;
  } else if (sub?.phase.state === "refused") {
    text = { not_found: "Nobody here knows this conference. Trying again.", forbidden: "This token may not see this conference." }[sub.phase.code]
      ?? "The server says: " + sub.phase.message;
    bad = true;
  } else if (sub?.phase.state === "released") {
    text = "This conference was released; what is shown is its last state.";
  } else if (state === "waiting" && sub?.replica.snapshots > 0) {
    text = "The connection is broken: what is shown may be old.";
  } else if (notice) {
    text = notice;
  } else if (sub && !sub.status.fresh) {
    const why = { log: "the log is away", owner: "no worker holds the conference" }[sub.status.reason] ?? sub.status.reason;
    text = "The state may be old: " + why + ", since " + new Date(sub.status.since).toLocaleTimeString() + ".";
  }
  const banner = $("banner");
  if (banner.textContent !== text) banner.textContent = text;
  banner.hidden = text === "";
  banner.dataset.tone = bad ? "bad" : "warn";
}

function askForToken(why) {
  notice = why;
  $("auth").hidden = false;
  tell();
}

function everySecond() {
  rates.push(messages);
  messages = 0;
  if (rates.length > 5) rates.shift();
  $("f-rate").textContent = (rates.reduce((a, b) => a + b, 0) / rates.length).toFixed(1);
  $("f-epoch").textContent = sub?.replica.epoch || "–";
  $("f-seq").textContent = sub ? String(sub.replica.seq) : "–";
  $("f-snapshots").textContent = String(sub?.replica.snapshots ?? 0);
  if (sub) view.tick();
  if (client.connection.state === "waiting") tell();
}

async function main() {
  const url = new URL("v1/ws", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  url.hash = url.search = "";
  client = new Client({ url: url.href, token: sessionStorage.getItem(TOKEN_KEY) ?? "" });
  client.addEventListener("connection", tell);
  client.addEventListener("message", (e) => {
    if (e.detail.type !== "heartbeat") messages++;
  });
  client.addEventListener("welcome", (e) => {
    $("f-worker").textContent = e.detail.worker;
    notice = "";
    tell();
  });
  client.addEventListener("expiring", () => askForToken("The token ends within a minute. Paste another one above."));
  client.addEventListener("tokenrefused", (e) => askForToken("That token was not accepted: " + e.detail.message + "."));
  $("picker").addEventListener("submit", (e) => {
    e.preventDefault();
    choose($("conf-input").value.trim());
  });
  $("conf-select").addEventListener("change", (e) => choose(e.target.value));
  $("auth").addEventListener("submit", (e) => {
    e.preventDefault();
    const token = $("token").value.trim();
    if (!token) return;
    sessionStorage.setItem(TOKEN_KEY, token);
    $("token").value = "";
    notice = "";
    client.setToken(token);
    loadList();
    tell();
  });
  addEventListener("hashchange", follow);
  addEventListener("online", () => client.retryNow());
  setInterval(everySecond, 1000);
  await loadConfig();
  setInterval(loadConfig, CONFIG_EVERY_MS);
  loadList();
  setInterval(loadList, LIST_EVERY_MS);
  if (!wanted() && config.conferences?.length > 0) {
    history.replaceState(null, "", "#conf=" + config.conferences[0]);
    $("conf-select").value = config.conferences[0];
  }
  client.start(); // without a token, where one is needed, the server says so
  follow();
}

main();
