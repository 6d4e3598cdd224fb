// The box that narrows the storms on the first page, by text, severity and person. What is chosen stands in the address,
// so that a reload or a link shows the same.

import { setText } from "./dom.js";

const form = document.getElementById("sieve");
const user = form.dataset.user;

// Hides every row that does not fit; rows that arrive or change are asked again.
export function sift() {
  const wanted = choice();
  let hidden = 0;
  const rows = document.querySelectorAll(".storm, .counting");
  for (const row of rows) {
    const fits = fitsAll(row, wanted);
    row.classList.toggle("sifted", !fits);
    if (!fits) hidden += 1;
  }
  form.hidden = !rows.length && !wanted.narrows;
  setText(document.getElementById("sieve-result"), hidden ? `${rows.length - hidden} of ${rows.length} rows shown` : "");
  form.querySelector('[type="reset"]').hidden = !wanted.narrows;
}

function choice() {
  const data = new FormData(form);
  const words = data.get("q").toLowerCase().split(/\s+/).filter(Boolean);
  const severities = data.getAll("severity");
  const mine = data.has("mine");
  const nobody = data.has("nobody");
  return { words, severities, mine, nobody, narrows: Boolean(words.length || severities.length || mine || nobody) };
}

function fitsAll(row, { words, severities, mine, nobody }) {
  if (severities.length && !severities.includes(row.dataset.severity)) return false;
  const owner = row.dataset.owner ?? "";
  if ((mine || nobody) && !((mine && owner === user) || (nobody && !owner))) return false;
  const text = words.length ? textOf(row) : "";
  return words.every((word) => text.includes(word));
}

// `namespace=payments` as it is read, though the sign between is the stylesheet's.
function textOf(row) {
  const labels = [...row.querySelectorAll(".label")].map((label) => [...label.children].map((part) => part.textContent).join("="));
  return `${labels.join(" ")} ${row.textContent}`.toLowerCase();
}

function remember() {
  const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  history.replaceState(history.state, "", query.size ? `?${query}` : location.pathname);
}

function recall() {
  const query = new URLSearchParams(location.search);
  for (const control of form.elements) {
    if (control.type === "checkbox") control.checked = query.getAll(control.name).includes(control.value);
    if (control.type === "search") control.value = query.get(control.name) ?? "";
  }
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", () => {
  remember();
  sift();
});
form.addEventListener("reset", () =>
  setTimeout(() => {
    remember();
    sift();
  }),
);
recall();
