// Loaded by the admin right after its htmx: what would need a looser content security policy is off, as in base.html.

Object.assign(htmx.config, { allowEval: false, allowScriptTags: false, includeIndicatorStyles: false, historyCacheSize: 0, refreshOnHistoryMiss: true });

// Unfold would remember a choice of its own, and prefer it to the one that the server has rendered (stormconsole/theme.py).
localStorage.removeItem("adminTheme");

// Django's two-column choice labels an icon that has no role; it is made when the page has loaded.
addEventListener("load", () => setTimeout(() => {
  for (const icon of document.querySelectorAll("span.help-tooltip[aria-label]")) icon.setAttribute("role", "img");
}));
