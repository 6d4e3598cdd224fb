// Groups that count towards a storm: the rows of templates/console/_held.html, with their countdown.

import { setLabels, setNumber, setText, written } from "./dom.js";
import { setUntil } from "./time.js";
import { setTotal } from "./totals.js";

const COUNTED = 1000; // storms/held.py looks at so many

const section = document.getElementById("held");
const list = section.querySelector("ul");
const template = document.getElementById("held-row").content.firstElementChild;

// The groups come in their order: the one nearest to its threshold first.
export function showHeld({ groups, more, alerts }) {
  const known = new Map([...list.children].map((row) => [row.dataset.key, row]));
  const rows = groups.map((group) => fill(known.get(group.key) ?? template.cloneNode(true), group));
  const focused = document.activeElement;
  const gone = [...known.values()].filter((row) => !rows.includes(row));
  for (const row of gone) row.remove();
  rows.forEach((row, place) => list.children[place] !== row && list.insertBefore(row, list.children[place] ?? null));
  // A row that moved has lost the focus.
  if (rows.includes(focused) && focused !== document.activeElement) focused.focus({ preventScroll: true });
  section.hidden = !groups.length;
  if (alerts < COUNTED) setTotal("held", alerts); // sooner than the totals say it
  setText(section.querySelector("[data-how-many]"), written(groups.length + more));
  section.querySelector("[data-more]").hidden = !more;
  setText(section.querySelector("[data-more] span"), written(more));
}

function fill(row, group) {
  const field = (name) => row.querySelector(`[data-field="${name}"]`);
  const isNew = row.dataset.key !== group.key;
  row.dataset.key = group.key;
  row.dataset.severity = group.severity;
  setLabels(field("group"), group.group_labels);
  setNumber(field("counted"), group.counted, isNew);
  setText(field("threshold"), written(group.threshold));
  field("share").setAttribute("width", Math.min((100 * group.counted) / group.threshold, 100));
  setText(field("held"), written(group.held));
  setUntil(field("release").firstElementChild, group.release_at);
  setText(field("policy"), group.policy);
  return row;
}
