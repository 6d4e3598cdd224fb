// Relative times, kept true. The words are those of storms/templatetags/console.py.

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86400;
const exactly = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });

// The server's clock minus ours, in milliseconds: a laptop that is wrong must not show alerts from the future.
let offset = 0;

export function learnServerTime(iso) {
  const at = Date.parse(iso);
  if (!Number.isNaN(at)) offset = at - Date.now();
}

// The server's clock, in milliseconds since the epoch.
export function serverNow() {
  return Date.now() + offset;
}

export function span(seconds) {
  const whole = Math.max(Math.floor(seconds), 0);
  if (whole < MINUTE) return `${whole} s`;
  if (whole < HOUR) return `${Math.floor(whole / MINUTE)} min`;
  if (whole < DAY) return two(whole, HOUR, "h", MINUTE, "min");
  return two(whole, DAY, "d", HOUR, "h");
}

function two(whole, big, bigName, small, smallName) {
  const rest = Math.floor((whole % big) / small);
  return `${Math.floor(whole / big)} ${bigName}${rest ? ` ${rest} ${smallName}` : ""}`;
}

export function setTime(element, iso) {
  if (element.getAttribute("datetime") === (iso ?? "")) return;
  element.setAttribute("datetime", iso ?? "");
  refresh(element);
}

function refresh(element) {
  const at = Date.parse(element.getAttribute("datetime"));
  const words = Number.isNaN(at) ? "" : `${span((serverNow() - at) / 1000)} ago`;
  if (element.textContent !== words) element.textContent = words;
}

export function setUntil(element, iso) {
  element.setAttribute("datetime", iso ?? "");
  countDown(element);
}

function countDown(element) {
  const left = (Date.parse(element.getAttribute("datetime")) - serverNow()) / 1000;
  const words = Number.isNaN(left) ? "" : left >= 1 ? `in ${span(left)}` : "now";
  if (element.textContent !== words) element.textContent = words;
}

export function refreshTimes() {
  for (const element of document.querySelectorAll("time[data-ago]")) refresh(element);
  for (const element of document.querySelectorAll("time[data-until]")) countDown(element);
}

// Every time tells the exact moment in the reader's time zone; without this script, in UTC.
document.addEventListener("pointerover", (event) => {
  const element = event.target.closest("time[datetime]");
  const at = Date.parse(element?.getAttribute("datetime"));
  if (!Number.isNaN(at)) element.title = exactly.format(at);
});

refreshTimes();
setInterval(() => document.hidden || refreshTimes(), 1000);
document.addEventListener("visibilitychange", () => document.hidden || refreshTimes());
