// A storm's course: its charts, the numbers at one moment, and the replay that moves that moment. The page has the data in it;
// while a live storm is quiet, only time goes on, and the data is fetched now and then.

import { CourseCharts } from "./charts.js";
import { written } from "./dom.js";
import { ask, whenSeen } from "./requests.js";

const LIVE_AGAIN = 20000;
const SPEEDS = [1, 5, 20, 60, 300, 1800, 7200, 43200];
const USUAL_SECONDS = 25;
const LONGEST_SECONDS = 900;

const panel = document.getElementById("course");
const at = document.getElementById("replay-at");
const play = document.getElementById("replay-play");
const speed = document.getElementById("replay-speed");
const end = document.getElementById("replay-end");
const charts = new CourseCharts(document.getElementById("chart-state"), document.getElementById("chart-new"), point);
const part = (name) => document.getElementById(`moment-${name}`);

let course = null;
let pointed = null;
let position = 0;
let frame = 0;
let before = 0;
let told = "";
let waiting = 0;

// What the page has, if it is not shown yet.
function read() {
  const text = document.querySelector("#course-data script").textContent;
  if (text === told) return;
  told = text;
  take(JSON.parse(text));
  goOn();
}

function goOn() {
  clearTimeout(waiting);
  if (course.live) waiting = setTimeout(() => whenSeen(load), LIVE_AGAIN);
}

async function load() {
  try {
    const { version } = document.getElementById("head").dataset;
    const headers = { Accept: "application/json", "X-Console-Version": version, "X-Console-Held": version };
    const response = await ask(panel.dataset.course, { headers });
    if (response.ok) take(await response.json());
  } catch {
    // The next change or the timer tries again.
  }
  goOn();
}

function take(fresh) {
  const followed = !course || position >= last();
  const moment = course && course.start + position * course.step;
  course = fresh;
  at.max = last();
  offerSpeeds();
  // The moment that was looked at stays, even where the steps became longer.
  position = followed ? last() : Math.min(Math.max((moment - course.start) / course.step, 0), last());
  document.getElementById("replay").hidden = document.getElementById("moment").hidden = false;
  charts.show(course);
  show();
}

function last() {
  return course.new.length - 1;
}

function offerSpeeds() {
  const span = course.new.length * course.step;
  const fitting = SPEEDS.filter((factor) => span / factor <= LONGEST_SECONDS && (factor === 1 || span / factor >= 2));
  if (String(fitting) === speed.dataset.offered) return;
  speed.dataset.offered = fitting;
  const usual = fitting.find((factor) => span / factor <= USUAL_SECONDS) ?? fitting.at(-1);
  const chosen = fitting.includes(Number(speed.value)) && speed.dataset.chosen ? Number(speed.value) : usual;
  speed.replaceChildren(...fitting.map((factor) => new Option(`${factor}×`, factor, false, factor === chosen)));
}

function point(index) {
  pointed = index;
  show();
}

function show() {
  if (!course) return;
  const index = Math.round(position);
  const replaying = index < last();
  if (document.activeElement !== at || Number(at.value) !== index) at.value = index;
  charts.mark(replaying ? index : null);
  panel.classList.toggle("replaying", replaying);
  end.disabled = !replaying;
  describe(pointed ?? index, replaying);
  fade(replaying ? momentOf(index) : Infinity);
}

// The end of a step, in seconds.
function momentOf(index) {
  return course.start + (index + 1) * course.step;
}

function describe(index, replaying) {
  const seconds = momentOf(index);
  const iso = new Date(seconds * 1000).toISOString();
  const severity = ["critical", "warning", "info"].find((name) => course.severities[name]?.[index] > 0);
  set("time", `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC`);
  part("time").dateTime = iso;
  set("severity", severity ?? "quiet");
  document.getElementById("moment").dataset.severity = severity ?? "none";
  for (const name of ["firing", "resolved", "new"]) set(name, written(course[name][index]));
  at.setAttribute("aria-valuetext", `${iso.slice(11, 19)} UTC: ${written(course.firing[index])} firing, ${written(course.resolved[index])} resolved`);
  part("names").closest("table").hidden = !replaying;
  if (replaying) nameBars(index);
  const event = course.events.findLast((one) => one.at <= seconds);
  set("event", event ? `${new Date(event.at * 1000).toISOString().slice(11, 19)} ${event.message}` : "");
}

function set(name, words) {
  if (part(name).textContent !== words) part(name).textContent = words;
}

function nameBars(index) {
  const lines = [...course.names, ...(course.rest.length ? [{ name: "all others", firing: course.rest }] : [])];
  const most = Math.max(...lines.map((line) => Math.max(...line.firing)), 1);
  const rows = part("names");
  if (rows.children.length !== lines.length) rows.replaceChildren(...lines.map(nameRow));
  lines.forEach((line, i) => {
    const [title, bar, number] = rows.children[i].children;
    title.textContent = line.name || "(no name)";
    bar.querySelector("rect").setAttribute("width", (100 * line.firing[index]) / most);
    number.textContent = written(line.firing[index]);
  });
}

function nameRow() {
  const row = document.createElement("tr");
  const title = document.createElement("th");
  title.scope = "row";
  const bar = document.createElement("td");
  bar.className = "bar-cell";
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 4");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  rect.setAttribute("class", "bar-fill");
  rect.setAttribute("height", "4");
  svg.append(rect);
  bar.append(svg);
  const number = document.createElement("td");
  number.className = "number";
  row.append(title, bar, number);
  return row;
}

// Events of the timeline that had not happened yet.
function fade(seconds) {
  for (const event of document.querySelectorAll("#timeline [data-event]")) {
    event.classList.toggle("not-yet", Date.parse(event.querySelector("time").dateTime) / 1000 > seconds);
  }
}

function step(now) {
  position = Math.min(position + ((now - before) / 1000) * (Number(speed.value) / course.step), last());
  before = now;
  show();
  if (position >= last()) pause();
  else frame = requestAnimationFrame(step);
}

function start() {
  if (Math.round(position) >= last()) position = 0;
  play.textContent = "Pause";
  before = performance.now();
  frame = requestAnimationFrame(step);
}

function pause() {
  cancelAnimationFrame(frame);
  frame = 0;
  play.textContent = "Play";
}

play.addEventListener("click", () => (frame ? pause() : start()));
end.addEventListener("click", () => {
  pause();
  position = last();
  show();
  at.focus();
});
speed.addEventListener("change", () => (speed.dataset.chosen = "1"));
at.addEventListener("input", () => {
  pause();
  position = Number(at.value);
  show();
});
// static/console/storm.js says when parts of the page are new; what had not happened yet fades there too.
document.addEventListener("storm:changed", () => {
  read();
  show();
});
read();
