// Keys for every page: `/` search, `j` `k` rows, `g` and a letter for a page, `?` help, Escape. Pages take part through
// attributes (docs/console.md): `data-search` on a field, `data-row` on what `j` and `k` go over, `data-key` on a link.

const CHORD_PAUSE = 1500;
const help = document.getElementById("keys");
let chord = 0;

const KEYS = {
  "/": focusSearch,
  j: () => step(1),
  k: () => step(-1),
  "?": () => help?.showModal(),
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
  if (!Object.hasOwn(KEYS, event.key)) return;
  event.preventDefault();
  KEYS[event.key]();
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-help]")) help?.showModal();
  if (event.target === help) help.close(); // its backdrop
});

function isTyping(target) {
  return target.isContentEditable || target.matches("input, textarea, select");
}

function focusSearch() {
  const field = document.querySelector("[data-search]");
  field?.focus();
  field?.select?.();
}

function follow(event, link) {
  if (!link) return;
  event.preventDefault();
  link.click();
}

// Focuses the next row's link (or the row itself, if it is one), so that Enter opens it and a screen reader says it.
function step(by) {
  const rows = [...document.querySelectorAll("[data-row]")].filter((row) => row.checkVisibility());
  if (!rows.length) return;
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const next = at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + by, 0), rows.length - 1);
  const row = rows[next];
  const link = row.matches("a[href]") ? row : row.querySelector("a[href]");
  if (!link) return;
  link.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
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
