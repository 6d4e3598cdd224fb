// Asks for the page's changing part every few seconds, while somebody looks at it.

import { whenSeen } from "./requests.js";
import { refreshTimes } from "./time.js";

const EVERY = 5000;
const connection = document.getElementById("connection");
const open = new Set();
let focused = null;

const part = () => document.getElementById("system");

function show(state, text) {
  connection.dataset.state = state;
  connection.querySelector("[data-text]").textContent = text;
}

// What is being chosen may not be taken away; everything else has the focus again afterwards.
function isChoosing() {
  return document.activeElement.matches("#system :is(input, select, textarea)");
}

function refresh() {
  if (isChoosing()) show("paused", "Waits while you choose");
  else window.htmx.trigger(part(), "refresh");
}

// What the keyboard stands on: a link by where it leads, a button by what it does, a list by its title.
function keyOf(element) {
  const address = element.getAttribute("href") ?? element.form?.getAttribute("action");
  return address ?? element.closest("details")?.dataset.keep ?? element.getAttribute("aria-labelledby");
}

function focusAgain() {
  const twin = [...part().querySelectorAll("a[href], button, summary, [tabindex]")].find((element) => keyOf(element) === focused);
  twin?.focus({ preventScroll: true });
  focused = null;
}

document.addEventListener("htmx:beforeSwap", (event) => {
  // Not allowed any more: the page itself says so.
  if (event.detail.xhr.status === 403) {
    event.detail.shouldSwap = false;
    location.reload();
    return;
  }
  open.clear();
  for (const details of part().querySelectorAll("details[data-keep][open]")) open.add(details.dataset.keep);
  focused = part().contains(document.activeElement) ? keyOf(document.activeElement) : null;
});
document.addEventListener("htmx:afterSwap", () => {
  for (const details of part().querySelectorAll("details[data-keep]")) details.open = open.has(details.dataset.keep);
  if (focused) focusAgain();
  refreshTimes();
  show("live", "Live");
});
document.addEventListener("htmx:responseError", (event) => show("reconnecting", `Not up to date: the server answered ${event.detail.xhr.status}`));
document.addEventListener("htmx:sendError", () => show("offline", "Not up to date: the server does not answer"));

show("live", "Live");
setInterval(() => whenSeen(refresh), EVERY);
