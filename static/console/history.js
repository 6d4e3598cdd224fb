// The calendar by keyboard: one tab stop, arrow keys from day to day with storms. Without this each day is a tab stop.

const days = [...document.querySelectorAll("[data-calendar] a[data-day]")];
const place = (day) => ({ x: Number(day.dataset.x), y: Number(day.dataset.y) });

// Left and right go through the weeks on the same weekday, or else on the nearest; up and down go through the days.
const STEPS = { ArrowUp: -1, ArrowDown: 1 };
const SIDES = { ArrowLeft: -1, ArrowRight: 1 };

function beside(from, side) {
  const { x, y } = place(from);
  const others = days.filter((day) => Math.sign(place(day).x - x) === side);
  const distance = (day) => Math.abs(place(day).x - x) * 8 + Math.abs(place(day).y - y);
  return others.reduce((best, day) => (!best || distance(day) < distance(best) ? day : best), undefined);
}

function target(from, key) {
  if (key in STEPS) return days[days.indexOf(from) + STEPS[key]];
  if (key in SIDES) return beside(from, SIDES[key]);
  return { Home: days[0], End: days.at(-1) }[key];
}

function rove(to) {
  for (const day of days) day.setAttribute("tabindex", day === to ? "0" : "-1");
}

if (days.length) {
  rove(days.find((day) => day.hasAttribute("aria-current")) ?? days.at(-1));
  document.querySelector("[data-calendar]").addEventListener("keydown", (event) => {
    const from = event.target.closest?.("a[data-day]");
    const to = from && !event.altKey && !event.ctrlKey && !event.metaKey && target(from, event.key);
    if (!to) return;
    event.preventDefault();
    rove(to);
    to.focus();
  });
}
