// Keys for every page: `/` search, `j` `k` rows, `g` and a letter for a page, `?` help, Escape. Pages take part through
// attributes (docs/console.md): `data-search` on a field, `data-row` on what `j` and `k` go over, `data-key` on a link.

const CHORD_PAUSE = 1500;
const help = document.getElementById("keys");
let chord = 0;

// Each says whether it did something.
const KEYS = {
  "/": focusSearch,
  j: () => step(1),
  k: () => step(-1),
  "?": showHelp,
};

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") return leave(event);
  if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
  const inChord = Date.now() < chord;
  chord = 0;
  if (inChord) return follow(event, document.querySelector(`nav [data-key="${CSS.escape(event.key)}"]`));
  if (event.key === "g") {
    chord = Date.now() + CHORD_PAUSE;
    return;
  }
  // What does nothing leaves the key to the browser.
  if (Object.hasOwn(KEYS, event.key) && KEYS[event.key]()) event.preventDefault();
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-help]")) showHelp();
  if (event.target === help) help.close(); // its backdrop
});

// A select takes letters too.
function isTyping(target) {
  const text = "input:not([type=checkbox], [type=radio], [type=range], [type=button], [type=submit], [type=reset])";
  return target.isContentEditable || target.matches(`${text}, textarea, select`);
}

function showHelp() {
  help?.showModal();
  return Boolean(help);
}

// The page's own; where there is none in sight, the alert explorer's.
function focusSearch() {
  const field = [...document.querySelectorAll("[data-search]")].find((one) => one.checkVisibility());
  const explorer = document.querySelector('nav [data-key="a"]');
  field?.focus();
  field?.select();
  if (!field && explorer) location.assign(`${explorer.href}#q`); // the browser focuses what the fragment names
  return Boolean(field ?? explorer);
}

function follow(event, link) {
  if (!link) return;
  event.preventDefault();
  link.click();
}

// Focuses the next row's link, so that Enter opens it, or a row that leads nowhere itself, so that a screen reader says it.
function step(by) {
  const rows = [...document.querySelectorAll("[data-row]")].filter((row) => row.checkVisibility());
  if (!rows.length) return false;
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const next = at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + by, 0), rows.length - 1);
  const row = rows[next];
  const link = row.matches("a[href]") ? row : row.querySelector("a[href]");
  if (!link) row.tabIndex = -1;
  (link ?? row).focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
  return true;
}

function leave(event) {
  const popup = event.target.closest?.("details[open]:is([data-popup], .menu)");
  if (popup) {
    popup.open = false;
    popup.querySelector("summary").focus();
  } else if (event.target.matches?.("[data-search]")) {
    event.target.blur();
  }
}
