// What all requests of scripts have in common, htmx's and others: they wait while nobody looks, who is logged out is led to
// the login and back, and what failed is said in words.

// `fetch` for the console's own addresses. To who is logged out the server says where to log in (stormconsole/background.py).
export async function ask(address, options = {}) {
  const headers = { ...options.headers, "HX-Current-URL": location.href };
  const response = await fetch(address, { redirect: "error", ...options, headers });
  if (response.status !== 401) return response;
  location.assign(response.headers.get("HX-Redirect"));
  return new Promise(() => {}); // the page goes: nothing is to be done with an answer
}

export function csrfToken() {
  return JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRFToken"];
}

// What forms are sent with from now on: the page may be older than the login.
export function keepCsrfToken(token) {
  if (!token) return;
  document.body.setAttribute("hx-headers", JSON.stringify({ "X-CSRFToken": token }));
  for (const field of document.getElementsByName("csrfmiddlewaretoken")) field.value = token;
}

const waiting = new Map();

// Now, or in a hidden tab once when it is looked at again, however often it was asked for meanwhile.
export function whenSeen(work, key = work) {
  if (document.hidden) waiting.set(key, work);
  else work();
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  const due = [...waiting.values()];
  waiting.clear();
  for (const work of due) work();
});
document.addEventListener("htmx:confirm", (event) => {
  if (!document.hidden) return;
  event.preventDefault();
  const { elt, issueRequest } = event.detail;
  whenSeen(() => elt.isConnected && issueRequest(), elt);
});

// Why nothing came, and what to do.
function failure(status) {
  if (!status) return "The console did not answer. Check the network, then try again.";
  if (status === 403) return "You may not see this any more. Ask an administrator for the permission, then reload the page.";
  if (status === 404) return "This is gone. Reload the page.";
  if (status < 500) return `The console refused this (error ${status}). Reload the page, then try again.`;
  return `The console failed with error ${status}, so this is not up to date. Try again in a moment; its log has the cause.`;
}

// Into the part that did not come, so that the next answer takes it away.
function tell({ elt, target }, status) {
  if (elt.matches("[data-polls]")) return; // asks again by itself
  const place = target.matches("tr") ? target.cells[0] : target;
  place.querySelector(":scope > [data-failed]")?.remove();
  const words = document.createElement("p");
  words.setAttribute("role", "alert");
  words.dataset.failed = status;
  words.textContent = failure(status);
  place.prepend(words);
}

document.addEventListener("htmx:responseError", ({ detail }) => tell(detail, detail.xhr.status));
document.addEventListener("htmx:sendError", ({ detail }) => tell(detail, 0));
