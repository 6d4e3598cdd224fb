/* global htmx */
// One storm's page: counts and states come with the message; its parts are fetched again, rendered and escaped by the
// server once for all readers who have heard of the same version. A storm that changes all the time is fetched rarely all the
// same, for it may have many readers.

import { numberIn, setNumber, setText } from "./dom.js";
import { ask, csrfToken, keepCsrfToken, whenSeen } from "./requests.js";
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
const MOST_DOUBLINGS = 4;

const id = document.querySelector("[data-storm]").dataset.storm;
let shown = Number(document.querySelector("[data-storm]").dataset.version);
let held = shown; // as the answer on the screen names itself; its rows were read a moment later, and may say more
let latest = null;
let wanted = false;
let urgent = false;
let insisting = false;
let asking = false;
let timer = 0;
let answeredAt = -Infinity;
let pause = SHORTEST;
let heldBack = null;
let following = 0;
const loaded = new Map(); // of the parts with an address of their own, by id: {version, at, failures}

function receive(message) {
  if (message.at) learnServerTime(message.at);
  const storm = message.type === "snapshot" ? message.storms[0] : message.storm;
  if (!storm || storm.version < (latest?.version ?? 0)) return;
  const turned = message.at_once || (latest !== null && turningPoint(storm) !== turningPoint(latest));
  latest = storm;
  if (storm.version <= shown) return;
  tell(storm);
  want(turned);
}

// What readers must see at once. Not the state of its resource, which changes with each alert.
function turningPoint(storm) {
  return JSON.stringify([storm.state, storm.close_reason, storm.acknowledged_by, storm.assignee, storm.remediation_request?.phase]);
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
  const headers = { Accept: "text/html", "X-Console-Version": latest?.version ?? shown, "X-Console-Held": held };
  // An answer that others were given a moment ago will do, unless a person did what it is asked for. A busy server may give one
  // all the same; then the next request insists too.
  insisting ||= urgent;
  if (insisting) headers["Cache-Control"] = "no-cache";
  wanted = urgent = false;
  const asked = performance.now();
  let refused = false;
  try {
    const response = await ask(location.href, { headers, signal: AbortSignal.timeout(PATIENCE) });
    refused = response.status >= 400 && response.status < 500;
    if (response.ok) {
      keepCsrfToken(response.headers.get("X-CSRFToken"));
      replace(new DOMParser().parseFromString(await response.text(), "text/html"));
      held = Math.max(held, Number(response.headers.get("X-Console-Version")));
      insisting &&= shown < headers["X-Console-Version"];
    }
  } catch {
    // Asked again below.
  }
  const longer = asked - answeredAt > QUIET ? SHORTEST : Math.min(pause * 2, LONGEST);
  answeredAt = performance.now();
  pause = Math.max(longer, Math.min((answeredAt - asked) * BY_COST, RAREST));
  asking = false;
  // The answer was late, or none came. Who may not see it any more, or that it is gone, is told by the next change.
  if (!refused && latest?.version > shown) want(false);
  else plan();
}

function replace(fresh) {
  const version = Number(fresh.querySelector("[data-storm]")?.dataset.version ?? 0);
  if (version < shown) return;
  shown = version;
  heldBack = null;
  makeOwn(fresh);
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
  // Also where the head is held back: the other parts of the page name it when they ask.
  document.getElementById("head").dataset.version = shown;
  // The answer may be older than what a message has told meanwhile.
  if (latest?.version > shown) tell(latest);
  refreshTimes();
  document.dispatchEvent(new Event("storm:changed"));
}

// The answer is that of all readers: whose page this is, and what its forms are sent with, is known here.
function makeOwn(fresh) {
  for (const field of fresh.querySelectorAll('[name="csrfmiddlewaretoken"]')) field.value = csrfToken();
  for (const form of fresh.querySelectorAll("form[data-assignee]")) form.hidden = form.dataset.assignee === document.body.dataset.user;
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

// What was typed into a search before the scripts were there is no change that htmx sees.
document.addEventListener("DOMContentLoaded", () => {
  for (const field of document.querySelectorAll("form[hx-get] [data-search]")) {
    if (field.value !== field.defaultValue) field.form.requestSubmit();
  }
});

// The focus has gone on only after the event.
document.addEventListener("focusout", () => setTimeout(() => heldBack && replace(heldBack)));

// Parts with a pace are asked for again when the storm has changed since, and not sooner than so many seconds; one that fails,
// ever later.
function follow() {
  const now = performance.now();
  let next = Infinity;
  for (const part of document.querySelectorAll("[data-pace]")) {
    const last = heldOf(part);
    if (last.version >= shown) continue;
    const due = last.at + part.dataset.pace * 1000 * 2 ** last.failures;
    if (due > now) next = Math.min(next, due);
    else {
      loaded.set(part.id, { ...last, at: now });
      htmx.trigger(part, "due");
    }
  }
  clearTimeout(following);
  if (next < Infinity) following = setTimeout(() => whenSeen(follow), next - now);
}

function heldOf(part) {
  return loaded.get(part.id) ?? { version: 0, at: 0, failures: 0 };
}

document.addEventListener("storm:changed", follow);
document.addEventListener("htmx:afterRequest", ({ detail: { target, xhr } }) => {
  const last = heldOf(target);
  const at = performance.now();
  if (xhr.status === 200) loaded.set(target.id, { version: Number(xhr.getResponseHeader("X-Console-Version")), at, failures: 0 });
  // Refused: nothing to ask for before the next change.
  else if (xhr.status >= 400 && xhr.status < 500) loaded.set(target.id, { ...last, version: shown, at });
  else loaded.set(target.id, { ...last, at, failures: Math.min(last.failures + 1, MOST_DOUBLINGS) });
  follow();
});
document.addEventListener("htmx:configRequest", ({ detail }) => {
  detail.headers["X-Console-Version"] = shown;
  detail.headers["X-Console-Held"] = heldOf(detail.target).version;
});
document.addEventListener("htmx:load", ({ detail }) => makeOwn(detail.elt));
new LiveSocket(`/ws/storms/${id}/`, receive, document.getElementById("connection"));
