// Buttons in rows: the form is sent in the background, and the live message shows what came of it. Without this script
// the same form posts and leads back to the page.

import { ask } from "./requests.js";

const notice = document.getElementById("notice");

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-act]");
  if (!form) return;
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    tell(await send(form));
  } catch {
    tell("It was not sent: the console did not answer. Try again.");
  }
  button.disabled = false;
});

// What was refused, in words; "" if it was done.
async function send(form) {
  const headers = { Accept: "application/json", "X-Console-Action": "1" };
  const response = await ask(form.action, { method: "POST", body: new FormData(form), headers });
  if (response.ok) return "";
  if (response.status === 404) return "That storm is gone.";
  if (response.headers.get("Content-Type") === "application/json") return (await response.json()).detail;
  if (response.status === 403) return "You may not do this: ask an administrator for the permission.";
  return `The console failed with error ${response.status}: perhaps it was not done. Reload the page to see, then try again.`;
}

function tell(words) {
  notice.textContent = words;
  notice.hidden = !words;
}
