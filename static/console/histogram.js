// How many alerts match over time, stacked by severity; dragging over a part narrows the search to it.

import uPlot from "../vendor/uplot-1.6.32/uPlot.esm.js";

import { ask } from "./requests.js";

const HEIGHT = 124;
const SEVERITIES = ["critical", "warning", "info"];
let shown = null;
let request = null;

addEventListener("resize", () => shown?.resize());
document.addEventListener("themechange", () => shown?.draw());

// `onNarrow(from, to)` is called with seconds since 1970.
export async function drawHistogram(figure, onNarrow) {
  request?.abort();
  shown?.chart?.destroy();
  shown = null;
  if (!figure) return;
  figure.hidden = false;
  const sum = figure.querySelector(".sum");
  sum.textContent = "Counting…";
  request = new AbortController();
  try {
    const response = await ask(figure.dataset.url, { signal: request.signal, headers: { Accept: "application/json" } });
    const answer = await response.json();
    if (answer.error) {
      sum.textContent = answer.error;
      return;
    }
    sum.textContent = summary(answer);
    shown = new Histogram(figure.querySelector(".plot"), answer, onNarrow);
    shown.draw();
  } catch (error) {
    if (error.name !== "AbortError") sum.textContent = "The histogram could not be read.";
  }
}

function summary({ total, exact, step }) {
  const number = total.toLocaleString("en");
  const words = total === 1 ? "alert matches" : "alerts match";
  return `${exact ? "" : "About "}${number} ${words}${exact ? "" : " (from a sample)"}; each bar is ${span(step)}.`;
}

function span(seconds) {
  for (const [size, name] of [[86400, "day"], [3600, "hour"], [60, "minute"]]) {
    if (seconds >= size) return `${seconds / size} ${name}${seconds === size ? "" : "s"}`;
  }
  return `${seconds} s`;
}

// In the reader's zone, as the times that are chosen here; a day's first one names the day.
function moments(splits, incr) {
  let day = "";
  return splits.map((seconds) => {
    const at = new Date(seconds * 1000);
    const date = at.toLocaleDateString("en", { day: "numeric", month: "short" });
    if (incr >= 86400) return date;
    const time = at.toTimeString().slice(0, incr < 60 ? 8 : 5);
    const fresh = date !== day;
    day = date;
    return fresh ? `${time}\n${date}` : time;
  });
}

class Histogram {
  constructor(place, answer, onNarrow) {
    Object.assign(this, { place, answer, onNarrow });
    this.width = place.clientWidth;
  }

  draw() {
    this.chart?.destroy();
    const { start, step, bars } = this.answer;
    const x = bars.critical.map((_, number) => start + number * step);
    // Drawn from the back: all, then without info, then critical alone.
    const info = bars.critical.map((critical, at) => critical + bars.warning[at] + bars.info[at]);
    const warning = bars.critical.map((critical, at) => critical + bars.warning[at]);
    this.chart = new uPlot(this.options(), [x, info, warning, bars.critical], this.place);
  }

  options() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const paths = uPlot.paths.bars({ align: 1, size: [0.92, 60], gap: 0 });
    const bar = (name) => ({ label: name, fill: colour(name), stroke: colour(name), width: 0, paths, points: { show: false } });
    const axis = { stroke: colour("muted"), font: "11px system-ui, sans-serif", grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } };
    const { start, step, bars } = this.answer;
    return {
      width: this.width,
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false, dist: 4 } },
      scales: { x: { range: () => [start, start + step * bars.critical.length] }, y: { range: (_, low, high) => [0, Math.max(high, 1)] } },
      axes: [{ ...axis, size: 38, space: 70, values: (_, splits, __, ___, incr) => moments(splits, incr) }, { ...axis, size: 48, space: 26, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5] }],
      series: [{}, bar("info"), bar("warning"), bar("critical")],
      hooks: { setSelect: [(chart) => this.narrow(chart)], setCursor: [(chart) => this.tell(chart)] },
    };
  }

  narrow(chart) {
    const { left, width } = chart.select;
    if (width < 4) return;
    this.onNarrow(chart.posToVal(left, "x"), chart.posToVal(left + width, "x"));
  }

  tell(chart) {
    const { start, step, bars } = this.answer;
    const { left } = chart.cursor;
    const at = left >= 0 ? Math.floor((chart.posToVal(left, "x") - start) / step) : -1;
    const total = SEVERITIES.reduce((sum, name) => sum + (bars[name][at] ?? 0), 0);
    chart.over.title = at < 0 ? "" : `${new Date((start + at * step) * 1000).toLocaleString()}: ${total.toLocaleString("en")}`;
  }

  resize() {
    const width = this.place.clientWidth;
    if (!width || width === this.width) return;
    this.width = width;
    this.chart.setSize({ width, height: HEIGHT });
  }
}
