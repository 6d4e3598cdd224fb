// The page of open storms: starts from what the server rendered, then follows /ws/storms/.
// Labels and messages come from outside: they go into the page as text, never as markup.

import { LiveSocket } from "./socket.js";
import { learnServerTime, setTime } from "./time.js";

const template = document.getElementById("storm-row").content.firstElementChild;
const sections = new Map([...document.querySelectorAll("[data-section]")].map((s) => [s.dataset.section, s]));
const rows = new Map();
for (const row of document.querySelectorAll(".storm[data-id]")) rows.set(row.dataset.id, row);

const title = document.title;
const announcement = document.getElementById("announcement");

function receive(message) {
  if (message.at) learnServerTime(message.at);
  if (message.type === "snapshot") takeSnapshot(message.storms);
  if (message.type === "storm") takeStorm(message.storm);
  if (message.totals) for (const [name, value] of Object.entries(message.totals)) setTotal(name, value);
  summarise();
}

// A snapshot holds all that belongs on the page.
function takeSnapshot(storms) {
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
  place(row, storm.state);
  if (isNew) row.classList.add("arrived");
}

function fill(row, storm, quietly) {
  const field = (name) => row.querySelector(`[data-field="${name}"]`);
  row.dataset.id = storm.id;
  row.dataset.version = storm.version;
  row.dataset.severity = storm.severity;
  row.dataset.firing = storm.firing_count;
  row.dataset.openedAt = storm.opened_at;
  row.dataset.closedAt = storm.closed_at ?? "";
  setText(field("severity"), storm.severity);
  setLabels(field("group"), storm);
  setNames(field("names"), storm);
  setNumber(field("firing"), storm.firing_count, quietly);
  setNumber(field("alerts"), storm.alert_count, quietly);
  field("share").setAttribute("width", storm.alert_count ? (100 * storm.firing_count) / storm.alert_count : 0);
  setTime(field("opened").firstElementChild, storm.opened_at);
  setTime(field("last").firstElementChild, storm.last_alert_at);
  setTime(field("closed").firstElementChild, storm.closed_at);
  setText(field("reason"), storm.close_reason);
  row.querySelector('[data-when="running"]').hidden = storm.state !== "open";
  row.querySelector('[data-when="ended"]').hidden = storm.state === "open";
  setText(field("who"), who(storm));
  row.querySelector('[data-when="owned"]').hidden = !who(storm);
  setText(field("policy"), storm.policy);
  setResource(field, storm.remediation_request);
}

// The words are those of storms/templatetags/console.py.
function who(storm) {
  if (storm.assignee) return `assigned to ${storm.assignee}`;
  if (storm.acknowledged_by) return `acknowledged by ${storm.acknowledged_by}`;
  return storm.state === "closed" ? "" : "nobody has it yet";
}

function setResource(field, request) {
  const sync = field("sync");
  setText(sync, request?.sync_state ?? "no resource yet");
  sync.dataset.tone = request?.sync_state ?? "none";
  const phase = field("phase");
  setText(phase, request?.phase ?? "");
  phase.dataset.tone = `phase-${request?.phase || "none"}`;
  phase.hidden = !request?.phase;
  const name = request ? `${request.namespace}/${request.name}` : "";
  setText(field("resource"), name);
  field("resource").title = name;
  const error = request?.last_error ?? "";
  setText(field("error"), error);
  field("error").title = error;
  field("error").hidden = !error;
}

function setLabels(link, storm) {
  link.setAttribute("href", storm.url);
  if (link.dataset.group === storm.group) return;
  link.dataset.group = storm.group;
  const labels = Object.entries(storm.group_labels);
  const shown = labels.map(([name, value]) => label(element("label-name", name), element("label-value", value || "(none)")));
  link.replaceChildren(...(shown.length ? shown : [label(element("label-value", "all alerts"))]));
}

function label(...parts) {
  const span = element("label");
  span.append(...parts);
  return span;
}

function setNames(paragraph, storm) {
  const names = storm.alert_names.map(({ name, count }) => {
    const span = element("name", `${name} `);
    span.append(Object.assign(document.createElement("b"), { textContent: count }));
    return span;
  });
  if (storm.alert_names_more) names.push(element("name more", `+${storm.alert_names_more} more`));
  paragraph.replaceChildren(...names);
}

function element(className, text) {
  const span = document.createElement("span");
  span.className = className;
  if (text !== undefined) span.textContent = text;
  return span;
}

function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

function setNumber(target, value, quietly) {
  const before = Number(target.textContent);
  if (before === value) return;
  target.textContent = value;
  if (!quietly && value > before) bump(target);
}

function bump(target) {
  target.classList.remove("bump");
  void target.offsetWidth; // restarts the animation
  target.classList.add("bump");
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
    if (row.dataset.state !== "closed") firing += Number(row.querySelector('[data-field="firing"]').textContent);
  }
  trim(sections.get("closed"));
  for (const [state, section] of sections) {
    section.hidden = state !== "open" && !counts[state];
    const howMany = section.querySelector("[data-how-many]");
    if (howMany) setText(howMany, String(counts[state]));
  }
  document.getElementById("empty").hidden = counts.open > 0;
  setTotal("open", counts.open);
  setTotal("settled", counts.settled);
  setTotal("firing", firing);
  document.title = counts.open ? `(${counts.open}) ${title}` : title;
}

function trim(section) {
  const list = section.querySelector("ul");
  while (list.children.length > Number(section.dataset.limit)) forget(list.lastElementChild.dataset.id);
}

function setTotal(name, value) {
  const target = document.querySelector(`[data-total="${name}"]`);
  if (!target) return;
  setNumber(target, value, false);
  const box = target.parentElement;
  if ("alarm" in box.dataset) box.dataset.alarm = value;
  if ("warn" in box.dataset) box.dataset.warn = value;
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
summarise();
new LiveSocket("/ws/storms/", receive, document.getElementById("connection"));
