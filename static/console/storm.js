/* global htmx */
// One storm's page: when the storm changes, its parts are fetched again, rendered and escaped by the server.

import { numberIn } from "./dom.js";
import { ask, whenSeen } from "./requests.js";
import { LiveSocket } from "./socket.js";
import { learnServerTime, refreshTimes } from "./time.js";

const PAUSE = 1500;
const id = document.querySelector("[data-storm]").dataset.storm;
let shown = Number(document.querySelector("[data-storm]").dataset.version);
let busy = false;
let again = false;
let stale = false;

function receive(message) {
  if (message.at) learnServerTime(message.at);
  const storm = message.type === "snapshot" ? message.storms[0] : message.storm;
  if (storm && storm.version > shown) whenSeen(follow);
}

// A connection that was let go in a hidden tab comes back with a snapshot, which asks for the page.
function follow() {
  if (document.body.dataset.connection !== "paused") refresh();
}

// One request at a time and a pause after it: a storm may change every second, for many open pages.
async function refresh() {
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  again = false;
  try {
    const response = await ask(location.href, { headers: { Accept: "text/html", "X-Console-Refresh": "1" } });
    if (response.ok) replace(new DOMParser().parseFromString(await response.text(), "text/html"));
  } catch {
    // The next change or snapshot tries again.
  }
  setTimeout(() => {
    busy = false;
    if (again) whenSeen(follow);
  }, PAUSE);
}

function replace(fresh) {
  for (const part of document.querySelectorAll("[data-refresh]")) {
    const successor = fresh.getElementById(part.id);
    if (!successor || successor.isEqualNode(part)) continue;
    // What the reader opened stays open, and what has the focus is left alone until it is left.
    for (const details of part.querySelectorAll("details[open][data-keep]")) {
      const twin = successor.querySelector(`details[data-keep="${details.dataset.keep}"]`);
      if (twin) twin.open = true;
    }
    if (part.contains(document.activeElement)) {
      stale = true;
      continue;
    }
    keepTyped(part, successor);
    markRisen(part, successor);
    part.replaceWith(document.adoptNode(successor));
    htmx.process(document.getElementById(successor.id));
  }
  shown = Number(document.querySelector("[data-storm]").dataset.version);
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

document.addEventListener("focusout", () => {
  if (stale) refresh();
  stale = false;
});
new LiveSocket(`/ws/storms/${id}/`, receive, document.getElementById("connection"));
