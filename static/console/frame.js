// The frame around every page: the account's menu and the choice of colours, without a reload.

const dark = document.getElementById("dark");
// As in stormconsole/theme.py.
const MEDIA = { system: "screen and (prefers-color-scheme: dark)", light: "not all", dark: "screen" };

for (const element of document.querySelectorAll("[data-needs-script]")) element.hidden = false;

document.addEventListener("submit", (event) => {
  const form = event.target.closest("[data-theme-form]");
  const theme = event.submitter?.value;
  if (!form || !(theme in MEDIA)) return;
  event.preventDefault();
  document.documentElement.dataset.theme = theme;
  dark.media = MEDIA[theme];
  for (const button of form.elements.theme) button.setAttribute("aria-pressed", String(button.value === theme));
  document.dispatchEvent(new CustomEvent("themechange")); // charts draw themselves anew
  fetch(form.action, { method: "POST", body: new FormData(form, event.submitter), redirect: "manual" });
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new CustomEvent("themechange")));

// A popup closes when the pointer or the focus goes elsewhere; on Escape, keyboard.js closes it.
for (const kind of ["pointerdown", "focusin"]) {
  document.addEventListener(kind, (event) => {
    for (const popup of document.querySelectorAll("details[data-popup][open]")) {
      if (!popup.contains(event.target)) popup.open = false;
    }
  });
}
