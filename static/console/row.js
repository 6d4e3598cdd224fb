// One storm's row: the elements of templates/console/_storm.html, by data-field.

import { element, setLabels, setNumber, setText, written } from "./dom.js";
import { rateOf, sparkPath } from "./rate.js";
import { serverNow, setTime } from "./time.js";

export function fill(row, storm, quietly) {
  const field = (name) => row.querySelector(`[data-field="${name}"]`);
  row.dataset.id = storm.id;
  row.dataset.version = storm.version;
  row.dataset.severity = storm.severity;
  row.dataset.firing = storm.firing_count;
  row.dataset.owner = storm.assignee || storm.acknowledged_by;
  row.dataset.openedAt = storm.opened_at;
  row.dataset.closedAt = storm.closed_at ?? "";
  setText(field("severity"), storm.severity);
  field("group").setAttribute("href", storm.url);
  setLabels(field("group"), storm.group_labels);
  setNames(field("names"), storm);
  setNumber(field("firing"), storm.firing_count, quietly);
  setNumber(field("alerts"), storm.alert_count, quietly);
  field("share").setAttribute("width", storm.alert_count ? (100 * storm.firing_count) / storm.alert_count : 0);
  setTime(field("opened").firstElementChild, storm.opened_at);
  setTime(field("last").firstElementChild, storm.last_alert_at);
  setTime(field("closed").firstElementChild, storm.closed_at);
  setText(field("reason"), storm.close_reason);
  row.querySelector('[data-when="running"]').hidden = storm.state !== "open";
  row.querySelector('[data-when="ended"]').hidden = storm.state === "open";
  setText(field("policy"), storm.policy);
  setOwner(row, field("who"), storm);
  setResource(field, storm.remediation_request);
  row.querySelector(".storm-rate").dataset.recent = JSON.stringify(storm.recent);
  showRate(row);
}

// Also called as time passes: a storm that gets no more alerts calms down without a message.
export function showRate(row) {
  const box = row.querySelector(".storm-rate");
  const rate = rateOf(JSON.parse(box.dataset.recent), serverNow() / 1000);
  box.dataset.trend = rate.trend;
  setText(row.querySelector('[data-field="trend"]'), rate.trend);
  setText(row.querySelector('[data-field="per-minute"]'), written(rate.perMinute));
  row.querySelector('[data-field="spark"]').setAttribute("d", sparkPath(rate.bars));
}

// The words are those of storms/templatetags/console.py.
function who(storm) {
  if (storm.assignee) return `assigned to ${storm.assignee}`;
  if (storm.acknowledged_by) return `acknowledged by ${storm.acknowledged_by}`;
  return storm.state === "closed" ? "" : "nobody has it yet";
}

function setOwner(row, target, storm) {
  setText(target, who(storm));
  target.dataset.nobody = storm.assignee || storm.acknowledged_by ? 0 : 1;
  const form = row.querySelector('[data-act="acknowledge"]');
  if (!form) return;
  form.setAttribute("action", `${storm.url}acknowledge/`);
  form.querySelector("button").setAttribute("aria-label", `Acknowledge ${storm.group}`);
  form.hidden = Boolean(storm.acknowledged_by) || storm.state === "closed";
}

// The elements of templates/console/_pills.html.
export function setPills(field, request) {
  const sync = field("sync");
  setText(sync, request?.sync_state ?? "no resource yet");
  sync.dataset.tone = request?.sync_state ?? "none";
  const phase = field("phase");
  setText(phase, request?.phase ?? "");
  phase.dataset.tone = `phase-${request?.phase || "none"}`;
  phase.hidden = !request?.phase;
}

function setResource(field, request) {
  setPills(field, request);
  const name = request ? `${request.namespace}/${request.name}` : "";
  setText(field("resource"), name);
  field("resource").title = name;
  const error = request?.last_error ?? "";
  setText(field("error"), error);
  field("error").title = error;
  field("error").hidden = !error;
}

function setNames(paragraph, storm) {
  const key = JSON.stringify([storm.alert_names, storm.alert_names_more]);
  if (paragraph.dataset.names === key) return;
  paragraph.dataset.names = key;
  const names = storm.alert_names.map(({ name, count }) => {
    const span = element("name", `${name} `);
    span.append(Object.assign(document.createElement("b"), { textContent: written(count) }));
    return span;
  });
  if (storm.alert_names_more) names.push(element("name more", `+${written(storm.alert_names_more)} more`));
  paragraph.replaceChildren(...names);
}
