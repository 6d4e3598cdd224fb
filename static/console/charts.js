// The two charts of a storm's course, on one time axis: what fires and has resolved, and what is new.

import uPlot from "../vendor/uplot-1.6.32/uPlot.esm.js";

const STATE_HEIGHT = 200;
const NEW_HEIGHT = 96;
const AXIS_WIDTH = 46;
const DAY = 86400;
const BAD = ["sync_failed", "severity_raised", "drift"];
const GOOD = ["closed", "settled"];

const clock = (seconds) => new Date(seconds * 1000).toISOString();

export class CourseCharts {
  // `onPoint(index | null)` is told where the pointer is.
  constructor(stateElement, newElement, onPoint) {
    this.places = [stateElement, newElement];
    this.onPoint = onPoint;
    this.marked = null;
    new ResizeObserver(() => this.resize()).observe(stateElement);
    // Colours are read once for each drawing: another scheme needs another.
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    new MutationObserver(() => this.draw()).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  show(course) {
    this.course = course;
    this.draw();
  }

  draw() {
    if (!this.course) return;
    this.charts?.forEach((chart) => chart.destroy());
    const course = this.course;
    const x = course.new.map((_, i) => course.start + i * course.step);
    const total = course.firing.map((firing, i) => firing + course.resolved[i]);
    const colour = palette();
    this.charts = [
      new uPlot(this.options(STATE_HEIGHT, colour, stateSeries(colour), true), [x, total, course.firing], this.places[0]),
      new uPlot(this.options(NEW_HEIGHT, colour, newSeries(colour, course.step), false), [x, course.new], this.places[1]),
    ];
    this.lines = this.charts.map((chart) => {
      const line = document.createElement("div");
      line.className = "replay-line";
      chart.over.append(line);
      return line;
    });
    this.mark(this.marked);
  }

  options(height, colour, series, withEvents) {
    return {
      width: this.places[0].clientWidth,
      height,
      legend: { show: false },
      // The charts are pictures beside a table; only the pointer uses the cursor.
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false }, sync: { key: "course" } },
      scales: { x: { time: false, range: (_, low, high) => [low, Math.max(high, low + this.course.step) + this.course.step] }, y: { range: (_, low, high) => [0, Math.max(high * 1.08, 4)] } },
      axes: [
        { ...axis(colour), values: (_, splits, __, ___, step) => times(splits, step), incrs: STEPS, space: 80, size: 30 },
        { ...axis(colour), size: AXIS_WIDTH, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000], space: 28 },
      ],
      series: [{}, ...series],
      hooks: {
        setCursor: [(chart) => chart.cursor.event && this.onPoint(chart.cursor.idx ?? null)],
        draw: withEvents ? [(chart) => drawEvents(chart, this.course.events, colour)] : [],
      },
    };
  }

  // A line at a moment that is not the end, and everything after it faded.
  mark(index) {
    this.marked = index;
    this.charts?.forEach((chart, i) => {
      const line = this.lines[i];
      line.hidden = index === null;
      if (index !== null) line.style.left = `${chart.valToPos(this.course.start + (index + 1) * this.course.step, "x")}px`;
    });
  }

  resize() {
    const width = this.places[0].clientWidth;
    if (!width || !this.charts || this.charts[0].width === width) return;
    this.charts[0].setSize({ width, height: STATE_HEIGHT });
    this.charts[1].setSize({ width, height: NEW_HEIGHT });
    this.mark(this.marked);
  }
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, DAY, 2 * DAY, 7 * DAY, 30 * DAY];

function palette() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(`--${name}`).trim();
  return Object.fromEntries(["critical", "critical-soft", "ok", "ok-soft", "link", "muted", "line", "text"].map((name) => [name, read(name)]));
}

function axis(colour) {
  return { stroke: colour.muted, font: "11px system-ui, sans-serif", grid: { stroke: colour.line, width: 1 }, ticks: { stroke: colour.line, width: 1, size: 4 } };
}

function stateSeries(colour) {
  const paths = uPlot.paths.stepped({ align: 1 });
  return [
    { stroke: colour.ok, fill: colour["ok-soft"], width: 1.5, paths, points: { show: false } },
    { stroke: colour.critical, fill: colour["critical-soft"], width: 1.5, paths, points: { show: false } },
  ];
}

function newSeries(colour) {
  return [{ stroke: colour.link, fill: colour.link, width: 0, paths: uPlot.paths.bars({ align: 1, size: [0.9, 40] }), points: { show: false } }];
}

// In UTC, as everything on the page that is not relative.
function times(splits, step) {
  let day = "";
  return splits.map((seconds) => {
    const iso = clock(seconds);
    if (step >= DAY) return iso.slice(5, 10);
    const words = step < 60 ? iso.slice(11, 19) : iso.slice(11, 16);
    const fresh = day && day !== iso.slice(5, 10);
    day = iso.slice(5, 10);
    return fresh ? day : words;
  });
}

function drawEvents(chart, events, colour) {
  const { ctx, bbox } = chart;
  const size = 4 * devicePixelRatio;
  ctx.save();
  ctx.lineWidth = devicePixelRatio;
  for (const event of events) {
    const left = Math.round(chart.valToPos(event.at, "x", true));
    if (left < bbox.left || left > bbox.left + bbox.width) continue;
    const tone = BAD.includes(event.kind) ? colour.critical : GOOD.includes(event.kind) ? colour.ok : event.actor ? colour.link : colour.muted;
    ctx.strokeStyle = ctx.fillStyle = tone;
    ctx.globalAlpha = 0.55;
    ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(left, bbox.top);
    ctx.lineTo(left, bbox.top + bbox.height);
    ctx.stroke();
    ctx.globalAlpha = 1;
    ctx.beginPath();
    ctx.moveTo(left - size, bbox.top);
    ctx.lineTo(left + size, bbox.top);
    ctx.lineTo(left, bbox.top + size * 1.6);
    ctx.fill();
  }
  ctx.restore();
}
