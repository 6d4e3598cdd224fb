// The numbers at the top (templates/console/_totals.html), and what stands in their place while nothing ever came.

import { setNumber, setText } from "./dom.js";
import { setTime } from "./time.js";

export function showTotals(totals) {
  for (const [name, value] of Object.entries(totals)) if (typeof value === "number") setTotal(name, value);
  const { alerts_24h: alerts, resources_24h: resources } = totals;
  // The words are those of storms/templatetags/console.py.
  setText(total("reduction"), alerts ? `${Math.max(Math.floor((100 * (alerts - resources)) / alerts), 0)} %` : "—");
  setText(total("each"), resources ? `${(alerts / resources).toFixed(1)} to 1` : "");
  if (totals.last_alert_at) noteAlert(totals.last_alert_at);
}

// When the newest alert came: the totals say it every few seconds, a storm's message at once.
export function noteAlert(iso) {
  const target = document.querySelector("#last-alert time");
  if (!(Date.parse(target.getAttribute("datetime")) >= Date.parse(iso))) setTime(target, iso);
  showEmpty("quiet");
}

// Which of the two: nothing burns, or nothing ever came.
function showEmpty(kind) {
  for (const box of document.querySelectorAll("[data-empty]")) box.hidden = box.dataset.empty !== kind;
}

export function setTotal(name, value) {
  const target = total(name);
  if (!target) return;
  setNumber(target, value, false);
  const box = target.closest("div");
  if ("alarm" in box.dataset) box.dataset.alarm = value;
  if ("warn" in box.dataset) box.dataset.warn = value;
}

export function total(name) {
  return document.querySelector(`[data-total="${name}"]`);
}
