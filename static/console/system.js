// Asks for the page's changing part every few seconds, while somebody looks at it and does nothing in it.

import { refreshTimes } from "./time.js";

const EVERY = 5000;
const connection = document.getElementById("connection");
const open = new Set();

const part = () => document.getElementById("system");

function show(state, text) {
  connection.dataset.state = state;
  connection.querySelector("[data-text]").textContent = text;
}

// Neither what is being typed nor where the keyboard stands may be taken away.
function isBusy() {
  const inside = document.activeElement && part().contains(document.activeElement);
  return inside && (document.activeElement.matches("input, select, textarea") || document.activeElement.matches(":focus-visible"));
}

function refresh() {
  if (!document.hidden && !isBusy()) window.htmx.trigger(part(), "refresh");
}

document.addEventListener("htmx:beforeSwap", (event) => {
  // Logged out, or not allowed any more: the page itself says so.
  if (event.detail.xhr.status === 403 || !new URL(event.detail.xhr.responseURL).pathname.startsWith(location.pathname)) {
    event.detail.shouldSwap = false;
    location.reload();
    return;
  }
  open.clear();
  for (const details of part().querySelectorAll("details[data-keep][open]")) open.add(details.dataset.keep);
});
document.addEventListener("htmx:afterSwap", () => {
  for (const details of part().querySelectorAll("details[data-keep]")) details.open = open.has(details.dataset.keep);
  refreshTimes();
  show("live", "Live");
});
document.addEventListener("htmx:responseError", (event) => show("reconnecting", `Not up to date: the server answered ${event.detail.xhr.status}`));
document.addEventListener("htmx:sendError", () => show("offline", "Not up to date: the server does not answer"));
document.addEventListener("visibilitychange", refresh);

show("live", "Live");
setInterval(refresh, EVERY);
