/* global htmx */
// The first page: starts from what the server rendered, then follows /ws/storms/.
// Labels and messages come from outside: they go into the page as text, never as markup.

import "./act.js";
import { numberIn, setText, written } from "./dom.js";
import { showHeld } from "./held.js";
import { whenSeen } from "./requests.js";
import { fill, showRate } from "./row.js";
import { sift } from "./sieve.js";
import { LiveSocket } from "./socket.js";
import { learnServerTime } from "./time.js";
import { noteAlert, setTotal, showTotals, total } from "./totals.js";

const RATE_PAUSE = 5000;
const HEARD_PAUSE = 30000;
const MOST = Number(document.getElementById("now").dataset.most); // storms that a snapshot holds
const template = document.getElementById("storm-row").content.firstElementChild;
const sections = new Map([...document.querySelectorAll("[data-section]")].map((s) => [s.dataset.section, s]));
const rows = new Map();
for (const row of document.querySelectorAll(".storm[data-id]")) rows.set(row.dataset.id, row);

const title = document.title;
const icon = document.querySelector('link[rel="icon"]');
const calmIcon = icon.getAttribute("href");
const announcement = document.getElementById("announcement");
const numberOf = (state) => Number(sections.get(state).dataset.number);
let isCut = document.querySelectorAll('.storm[data-id]:not([data-state="closed"])').length >= MOST;
let inSight = { open: numberOf("open"), settled: numberOf("settled"), firing: numberIn(total("firing")) };

function receive(message) {
  if (message.at) learnServerTime(message.at);
  if (message.type === "snapshot") takeSnapshot(message.storms);
  if (message.type === "update") for (const storm of message.storms ?? []) takeStorm(storm);
  if (message.totals) takeTotals(message.totals);
  if (message.held) showHeld(message.held);
  summarise();
  sift();
}

function takeTotals(totals) {
  inSight = { open: totals.open_storms, settled: totals.settled_storms, firing: totals.firing_in_storms };
  showTotals(totals);
}

// A snapshot holds all that belongs on the page.
function takeSnapshot(storms) {
  isCut = storms.filter((storm) => storm.state !== "closed").length >= MOST;
  const seen = new Set(storms.map((storm) => storm.id));
  for (const id of rows.keys()) {
    if (!seen.has(id)) forget(id);
  }
  for (const storm of storms) show(storm);
}

function takeStorm(storm) {
  // Two messages may overtake each other; the version says which one has seen more.
  const known = rows.get(storm.id);
  if (known && Number(known.dataset.version) > storm.version) return;
  if (!known && storm.state === "open") announce(`New storm: ${storm.group}, ${storm.alert_count} alerts`);
  show(storm);
}

function show(storm) {
  let row = rows.get(storm.id);
  const isNew = !row;
  if (isNew) {
    row = template.cloneNode(true);
    rows.set(storm.id, row);
  }
  fill(row, storm, isNew);
  noteAlert(storm.last_alert_at);
  place(row, storm.state);
  if (isNew) row.classList.add("arrived");
}

const SEVERITIES = ["critical", "warning", "info"];

// Whether `a` stands above `b`. Open storms: the most trouble on top, as storms/live.py has them (`TROUBLE`); settled ones
// by opening, ended ones by closing, the newest first.
function before(a, b, state) {
  if (state === "open") {
    const severity = SEVERITIES.indexOf(a.dataset.severity) - SEVERITIES.indexOf(b.dataset.severity);
    if (severity) return severity < 0;
    const firing = Number(a.dataset.firing) - Number(b.dataset.firing);
    if (firing) return firing > 0;
  }
  const key = (row) => Date.parse(state === "closed" ? row.dataset.closedAt : row.dataset.openedAt) || 0;
  return key(a) > key(b);
}

function place(row, state) {
  const arrived = row.dataset.state !== state || !row.isConnected;
  row.dataset.state = state;
  const list = sections.get(state).querySelector("ul");
  if (!arrived && (inOrder(row, state) || inUse(list))) return;
  row.classList.remove("arrived"); // moving would play it again
  const next = [...list.children].find((other) => other !== row && before(row, other, state));
  list.insertBefore(row, next ?? null);
}

function inOrder(row, state) {
  const above = row.previousElementSibling;
  const below = row.nextElementSibling;
  return !(above && before(row, above, state)) && !(below && before(below, row, state));
}

// Rows do not move under somebody's pointer or away with the focus: they wait until it has left.
function inUse(list) {
  return list.matches(":hover") || list.contains(document.activeElement);
}

function tidy() {
  const list = sections.get("open").querySelector("ul");
  if (inUse(list)) return;
  const wanted = [...list.children].sort((a, b) => before(b, a, "open") - before(a, b, "open"));
  if (wanted.every((row, index) => row === list.children[index])) return;
  for (const row of wanted) row.classList.remove("arrived");
  list.append(...wanted);
}

function forget(id) {
  rows.get(id)?.remove();
  rows.delete(id);
}

function summarise() {
  const counts = { open: 0, settled: 0, closed: 0 };
  let firing = 0;
  for (const row of rows.values()) {
    counts[row.dataset.state] += 1;
    if (row.dataset.state !== "closed") firing += Number(row.dataset.firing);
  }
  trim(sections.get("closed"));
  // The rows say it at once, the totals some seconds later: they count where the page does not hold all.
  const number = (name, shown) => (isCut ? Math.max(shown, inSight[name]) : shown);
  for (const [state, section] of sections) {
    const all = number(state, counts[state]);
    section.hidden = state !== "open" && !all;
    if (state !== "closed") showNumber(section, all, counts[state]);
  }
  const open = number("open", counts.open);
  showQuiet(!open);
  setTotal("open", open);
  setTotal("firing", number("firing", firing));
  showInTab(open);
}

function showNumber(section, all, shown) {
  setText(section.querySelector("[data-how-many]"), written(all));
  section.querySelector("[data-more]").hidden = all <= shown;
  setText(section.querySelector("[data-more] span"), written(all - shown));
}

function showQuiet(isQuiet) {
  const empty = document.getElementById("empty");
  const isNew = empty.hidden && isQuiet;
  empty.hidden = !isQuiet;
  if (isNew) whenSeen(askWhoWasHeard);
}

function askWhoWasHeard() {
  const heard = document.getElementById("heard");
  if (heard.checkVisibility()) htmx.trigger(heard, "refresh");
}

// The tab tells how many storms are open, and its icon how bad the worst is.
function showInTab(open) {
  document.title = open ? `(${open}) ${title}` : title;
  const severities = new Set([...sections.get("open").querySelectorAll(".storm")].map((row) => row.dataset.severity));
  const worst = SEVERITIES.find((severity) => severities.has(severity));
  const href = worst ? calmIcon.replace("favicon", `favicon-${worst}`) : calmIcon;
  if (icon.getAttribute("href") !== href) icon.setAttribute("href", href);
}

function trim(section) {
  const list = section.querySelector("ul");
  while (list.children.length > Number(section.dataset.limit)) forget(list.lastElementChild.dataset.id);
}

function announce(words) {
  announcement.textContent = words;
}

// The server rendered the times that rows are sorted by into their <time> elements.
for (const row of rows.values()) {
  row.dataset.openedAt = row.querySelector('[data-field="opened"] time').getAttribute("datetime");
  row.dataset.closedAt = row.querySelector('[data-field="closed"] time').getAttribute("datetime");
}
for (const left of ["pointerleave", "focusout"]) {
  sections.get("open").querySelector("ul").addEventListener(left, () => setTimeout(tidy));
}
setInterval(() => {
  if (!document.hidden) for (const row of sections.get("open").querySelectorAll(".storm")) showRate(row);
}, RATE_PAUSE);
setInterval(() => whenSeen(askWhoWasHeard), HEARD_PAUSE);
summarise();
sift();
new LiveSocket("/ws/storms/", receive, document.getElementById("connection"));
