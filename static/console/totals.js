// The numbers at the top (templates/console/_totals.html), and what stands in their place while nothing ever came.

import { setNumber, setText, written } from "./dom.js";
import { setTime } from "./time.js";

export function showTotals(totals) {
  for (const [name, value] of Object.entries(totals)) if (typeof value === "number") setTotal(name, value);
  const { alerts_24h: alerts, resources_24h: resources } = totals;
  // The words are those of storms/figures.py.
  setText(total("reduction"), alerts ? percent(Math.max(1 - resources / alerts, 0)) : "—");
  setText(total("each"), resources ? `${ratio(alerts / resources)} to 1` : "");
  if (totals.last_alert_at) noteAlert(totals.last_alert_at);
}

function percent(part) {
  const ofHundred = 100 * part;
  if (part === 0 || part === 1 || (ofHundred >= 9.95 && ofHundred < 98.95)) return `${rounded(ofHundred, 0).toFixed(0)} %`;
  if (ofHundred < 0.05) return "<0.1 %";
  return ofHundred < 99.95 ? `${rounded(ofHundred, 1).toFixed(1)} %` : ">99.9 %";
}

function ratio(number) {
  return number < 99.95 ? rounded(number, 1).toFixed(1) : written(rounded(number, 0));
}

// Halves go up, as in storms/figures.py: toFixed sees them a little above or below.
function rounded(number, digits) {
  const scale = 10 ** digits;
  return Math.floor(number * scale + 0.5) / scale;
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
