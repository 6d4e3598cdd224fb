// The alert explorer: completion, the histogram, and what htmx leaves to do. Without this file the form still works.

import { Combobox } from "./combobox.js";
import { drawHistogram } from "./histogram.js";
import { refreshTimes } from "./time.js";

const form = document.getElementById("filters");
const results = document.getElementById("results");
const field = document.getElementById("q");
const range = document.getElementById("range");
const between = document.getElementById("between");
const zone = document.getElementById("tz");

new Combobox(field, document.getElementById("q-list"), () => form.requestSubmit());
if (range.value !== "between") useZoneOfTheReader();
showBetween();
showResults();

range.addEventListener("change", showBetween);
form.addEventListener("htmx:configRequest", (event) => {
  const parameters = event.detail.parameters;
  const isBetween = parameters.get("range") === "between";
  for (const [name, value] of [...parameters.entries()]) {
    if (!value || (!isBetween && ["from", "to", "tz"].includes(name))) parameters.delete(name);
  }
});
// Choosing "Between…" alone asks for nothing yet.
form.addEventListener("htmx:confirm", (event) => {
  const incomplete = range.value === "between" && !form.elements.from.value && !form.elements.to.value;
  if (incomplete && event.detail.triggeringEvent?.target === range) event.preventDefault();
});
document.body.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target === results) showResults();
  refreshTimes();
});

function showResults() {
  const error = document.getElementById("q-error");
  field.toggleAttribute("aria-invalid", Boolean(error));
  if (error) field.setAttribute("aria-invalid", "true");
  field.setAttribute("aria-describedby", error ? "q-error q-help" : "q-help");
  drawHistogram(document.getElementById("histogram"), narrow);
}

// A part of the histogram was chosen: seconds since 1970.
function narrow(from, to) {
  useZoneOfTheReader();
  form.elements.from.value = localTime(Math.floor(from));
  form.elements.to.value = localTime(Math.ceil(to));
  range.value = "between";
  showBetween();
  form.requestSubmit();
}

function localTime(seconds) {
  const at = new Date(seconds * 1000);
  const local = new Date(at.getTime() - at.getTimezoneOffset() * 60000);
  return local.toISOString().slice(0, 19);
}

function useZoneOfTheReader() {
  zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  for (const name of between.querySelectorAll(".zone")) name.textContent = zone.value;
}

function showBetween() {
  between.hidden = range.value !== "between";
}
