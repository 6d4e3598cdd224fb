// A text field that completes what is typed before the caret (ARIA: combobox with a listbox). The server says what fits.

import { ask } from "./requests.js";

const PAUSE = 120;

export class Combobox {
  // `onDone()` is called for Enter when nothing of the list is chosen.
  constructor(field, list, onDone) {
    Object.assign(this, { field, list, onDone, items: [], at: -1, asked: 0 });
    field.setAttribute("role", "combobox");
    field.setAttribute("aria-autocomplete", "list");
    field.setAttribute("aria-controls", list.id);
    field.setAttribute("aria-expanded", "false");
    field.addEventListener("input", () => this.askSoon());
    field.addEventListener("click", () => this.askSoon());
    field.addEventListener("keydown", (event) => this.key(event));
    field.addEventListener("blur", () => this.close());
    // Not to lose the focus, which would close the list before the click.
    list.addEventListener("mousedown", (event) => event.preventDefault());
    list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) this.take([...list.children].indexOf(option));
    });
  }

  askSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), PAUSE);
  }

  async ask() {
    const number = ++this.asked;
    const caret = this.field.selectionStart;
    const text = this.field.value.slice(0, caret);
    const address = new URL(this.field.dataset.complete, location.href);
    address.searchParams.set("q", text);
    let answer;
    try {
      const response = await ask(address, { headers: { Accept: "application/json" } });
      answer = response.ok ? await response.json() : { items: [] };
    } catch {
      answer = { items: [] }; // no network: nothing to offer
    }
    const isLate = number !== this.asked || this.field.value.slice(0, caret) !== text;
    if (!isLate && document.activeElement === this.field) this.show(answer.items, answer.from, caret);
  }

  show(items, from, caret) {
    const typed = this.field.value.slice(from, caret);
    Object.assign(this, { items, from, caret, at: -1 });
    if (!items.length || (items.length === 1 && items[0].insert === typed)) return this.close();
    this.list.replaceChildren(...items.map((item, number) => this.option(item, number)));
    this.list.hidden = false;
    this.list.scrollTop = 0;
    this.field.setAttribute("aria-expanded", "true");
    this.field.removeAttribute("aria-activedescendant");
  }

  option(item, number) {
    const option = document.createElement("li");
    option.id = `${this.list.id}-${number}`;
    option.setAttribute("role", "option");
    option.setAttribute("aria-selected", "false");
    option.textContent = item.text;
    return option;
  }

  key(event) {
    const isOpen = !this.list.hidden;
    if (event.isComposing) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!isOpen) return void this.ask();
      this.choose(this.at + (event.key === "ArrowDown" ? 1 : -1));
    } else if (event.key === "Escape" && isOpen) {
      event.preventDefault();
      this.close();
    } else if ((event.key === "Enter" || event.key === "Tab") && isOpen && this.at >= 0) {
      event.preventDefault();
      this.take(this.at);
    } else if (event.key === "Enter") {
      event.preventDefault();
      this.close();
      this.onDone();
    }
  }

  // Over the ends: nothing is chosen, then it begins again at the other end.
  choose(at) {
    const count = this.items.length;
    this.list.children[this.at]?.setAttribute("aria-selected", "false");
    this.at = at >= count ? -1 : at < -1 ? count - 1 : at;
    const option = this.list.children[this.at];
    if (!option) return this.field.removeAttribute("aria-activedescendant");
    option.setAttribute("aria-selected", "true");
    option.scrollIntoView({ block: "nearest" });
    this.field.setAttribute("aria-activedescendant", option.id);
  }

  take(number) {
    const { insert } = this.items[number];
    const rest = this.field.value.slice(this.caret);
    // A quote that stands there already is not doubled.
    const behind = insert.endsWith('"') && rest.startsWith('"') && !insert.endsWith('="') ? rest.slice(1) : rest;
    this.field.value = this.field.value.slice(0, this.from) + insert + behind;
    const caret = this.from + insert.length;
    this.field.setSelectionRange(caret, caret);
    this.field.focus();
    this.close();
    if (insert.endsWith('="')) this.ask();
  }

  close() {
    clearTimeout(this.timer);
    this.asked++;
    this.list.hidden = true;
    this.list.replaceChildren();
    this.at = -1;
    this.field.setAttribute("aria-expanded", "false");
    this.field.removeAttribute("aria-activedescendant");
  }
}
