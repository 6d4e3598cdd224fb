/* global htmx */
// One storm's page: counts and states come with the message; its parts are fetched again, rendered and escaped by the
// server, which costs a page. So a storm that changes all the time is fetched rarely, for it may have many readers.

import { numberIn, setNumber, setText } from "./dom.js";
import { ask, whenSeen } from "./requests.js";
import { setPills } from "./row.js";
import { LiveSocket } from "./socket.js";
import { learnServerTime, refreshTimes, setTime } from "./time.js";

// From one answer to the next request: short after a quiet time, then longer while the storm goes on changing.
const SHORTEST = 1000;
const LONGEST = 5000;
const QUIET = 15000;
// A server that takes long has much to do: ten times what it took, but the page must not stand still.
const BY_COST = 10;
const RAREST = 30000;
// All pages of a storm hear of a change in the same moment.
const SPREAD = 600;
const PATIENCE = 30000;

const id = document.querySelector("[data-storm]").dataset.storm;
let shown = Number(document.querySelector("[data-storm]").dataset.version);
let latest = null;
let wanted = false;
let urgent = false;
let asking = false;
let timer = 0;
let answeredAt = -Infinity;
let pause = SHORTEST;
let heldBack = null;

function receive(message) {
  if (message.at) learnServerTime(message.at);
  const storm = message.type === "snapshot" ? message.storms[0] : message.storm;
  if (!storm || storm.version <= (latest?.version ?? 0)) return;
  // A message in which nothing is new tells of what no message carries: a note, an alert that was split out.
  const untold = message.type !== "snapshot" && latest !== null && told(storm) === told(latest);
  const turned = untold || (latest !== null && turningPoint(storm) !== turningPoint(latest));
  latest = storm;
  if (storm.version <= shown) return;
  tell(storm);
  want(turned);
}

// What readers must see at once. Not the state of its resource, which changes with each alert.
function turningPoint(storm) {
  return JSON.stringify([storm.state, storm.close_reason, storm.acknowledged_by, storm.assignee, storm.remediation_request?.phase]);
}

function told(storm) {
  return JSON.stringify({ ...storm, version: 0, refreshed_at: "", recent: [] });
}

function tell(storm) {
  const head = document.getElementById("head");
  const field = (name) => document.querySelector(`:is(#head, #resource) [data-field="${name}"]`);
  head.dataset.severity = storm.severity;
  head.dataset.state = storm.state;
  setText(field("severity"), storm.severity);
  setText(field("state"), storm.state);
  field("state").dataset.tone = `state-${storm.state}`;
  const counts = { firing: storm.firing_count, resolved: storm.resolved_count, alerts: storm.alert_count };
  for (const number of head.querySelectorAll("[data-number]")) setNumber(number, counts[number.dataset.number], false);
  setTime(field("last").firstElementChild, storm.last_alert_at);
  if (field("sync")) setPills(field, storm.remediation_request);
}

function want(soon) {
  wanted = true;
  urgent ||= soon;
  if (soon || !timer) plan();
}

function plan() {
  if (!wanted || asking) return;
  const now = performance.now();
  const rested = urgent ? now : answeredAt + pause * (0.8 + 0.4 * Math.random());
  clearTimeout(timer);
  timer = setTimeout(() => whenSeen(refresh), Math.max(rested - now, SPREAD * Math.random()));
}

async function refresh() {
  clearTimeout(timer); // one that was planned in a hidden tab, after the one that is due now
  timer = 0;
  asking = true;
  wanted = urgent = false;
  const asked = performance.now();
  try {
    const headers = { Accept: "text/html", "X-Console-Refresh": "1" };
    const response = await ask(location.href, { headers, signal: AbortSignal.timeout(PATIENCE) });
    if (response.ok) replace(new DOMParser().parseFromString(await response.text(), "text/html"));
  } catch {
    // The next change or snapshot tries again.
  }
  const longer = asked - answeredAt > QUIET ? SHORTEST : Math.min(pause * 2, LONGEST);
  answeredAt = performance.now();
  pause = Math.max(longer, Math.min((answeredAt - asked) * BY_COST, RAREST));
  asking = false;
  plan();
}

function replace(fresh) {
  shown = Math.max(shown, Number(fresh.querySelector("[data-storm]")?.dataset.version ?? 0));
  heldBack = null;
  for (const part of document.querySelectorAll("[data-refresh]")) {
    const successor = fresh.getElementById(part.id);
    if (!successor || successor.isEqualNode(part)) continue;
    // What the reader opened stays open, and what has the focus is left alone until it is left.
    for (const details of part.querySelectorAll("details[open][data-keep]")) {
      const twin = successor.querySelector(`details[data-keep="${details.dataset.keep}"]`);
      if (twin) twin.open = true;
    }
    if (part.contains(document.activeElement)) {
      heldBack = fresh;
      continue;
    }
    keepTyped(part, successor);
    markRisen(part, successor);
    part.replaceWith(document.adoptNode(successor));
    htmx.process(document.getElementById(successor.id));
  }
  // The answer may be older than what a message has told meanwhile.
  if (latest?.version > shown) tell(latest);
  refreshTimes();
  document.dispatchEvent(new Event("storm:changed"));
}

// What was typed or chosen and not sent yet goes on to the successor's controls.
function keepTyped(before, after) {
  for (const control of before.querySelectorAll("textarea[id], input[id], select[id]")) {
    const twin = after.querySelector(`#${control.id}`);
    const touched = control.matches("select") ? control.value : control.value !== control.defaultValue;
    if (twin && touched) twin.value = control.value;
  }
}

function markRisen(before, after) {
  for (const number of after.querySelectorAll("[data-number]")) {
    const old = before.querySelector(`[data-number="${number.dataset.number}"]`);
    if (old && numberIn(number) > numberIn(old)) number.classList.add("bump");
  }
}

// The focus has gone on only after the event.
document.addEventListener("focusout", () => setTimeout(() => heldBack && replace(heldBack)));
new LiveSocket(`/ws/storms/${id}/`, receive, document.getElementById("connection"));
