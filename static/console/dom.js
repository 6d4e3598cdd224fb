// Small things that the live pages share. What comes from outside goes into the page as text, never as markup.

export function element(className, text) {
  const span = document.createElement("span");
  span.className = className;
  if (text !== undefined) span.textContent = text;
  return span;
}

export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

// As `intcomma` writes it, whatever the reader's language: numberIn reads it back.
export function written(number) {
  return number.toLocaleString("en");
}

export function numberIn(element) {
  return Number(element.textContent.replaceAll(",", ""));
}

// `quietly`: without the highlight of a number that rises.
export function setNumber(target, value, quietly) {
  const text = written(value);
  if (target.textContent === text) return;
  const before = numberIn(target);
  target.textContent = text;
  if (!quietly && value > before) bump(target);
}

function bump(target) {
  target.classList.remove("bump");
  void target.offsetWidth; // restarts the animation
  target.classList.add("bump");
}

export function setLabels(target, labels) {
  const key = JSON.stringify(labels);
  if (target.dataset.labels === key) return;
  target.dataset.labels = key;
  const shown = Object.entries(labels).map(([name, value]) => label(element("label-name", name), element("label-value", value || "(none)")));
  if (!shown.length) shown.push(label(element("label-value", "all alerts")));
  // What says the same stays: a click whose button is down on it would be lost with it.
  const isSame = target.children.length === shown.length && shown.every((one, place) => one.isEqualNode(target.children[place]));
  if (!isSame) target.replaceChildren(...shown);
}

function label(...parts) {
  const span = element("label");
  span.append(...parts);
  return span;
}
