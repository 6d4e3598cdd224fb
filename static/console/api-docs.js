// swagger-ui's page in the light or dark that was chosen, and with the names that its fields lack. Loaded before the page is drawn.

const dark = matchMedia("(prefers-color-scheme: dark)");
const { theme } = document.documentElement.dataset;

function shade() {
  document.documentElement.classList.toggle("dark-mode", theme === "dark" || (theme === "system" && dark.matches));
}

// A field is named by the row that it is in; what scrolls must be reached by keyboard.
function complete() {
  for (const control of document.querySelectorAll("#swagger-ui :is(select, input, textarea):not([aria-label], [id])")) {
    const row = control.closest("tr[data-param-name]");
    control.setAttribute("aria-label", row ? row.dataset.paramName : "Value");
  }
  for (const code of document.querySelectorAll("#swagger-ui pre:not([tabindex])")) code.tabIndex = 0;
}

dark.addEventListener("change", shade);
shade();
new MutationObserver(complete).observe(document, { childList: true, subtree: true });
