// One WebSocket that comes back: with growing pauses, at once when the network does, and never for who is logged out.

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 5000;
// The server pings every ten seconds; two missed pings and a connection is dead, whatever the network says.
const SILENCE = 25000;
const FINAL = {
  4401: "Logged out",
  4403: "Not allowed",
  4404: "Gone",
};

export class LiveSocket {
  // `onMessage` gets every message; `indicator` is the element that says how things stand.
  constructor(path, onMessage, indicator) {
    this.url = new URL(path, location.href);
    this.url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    this.onMessage = onMessage;
    this.indicator = indicator;
    this.attempts = 0;
    addEventListener("online", () => this.open());
    addEventListener("offline", () => this.drop());
    // A sleeping tab's timers sleep too: look again when somebody does.
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible" && !this.alive()) this.open();
    });
    // A page from the back-forward cache has lost its connection.
    addEventListener("pageshow", (event) => event.persisted && this.open());
    addEventListener("pagehide", () => this.socket?.close());
    this.open();
  }

  alive() {
    return this.socket?.readyState === WebSocket.OPEN && Date.now() - this.heardAt < SILENCE;
  }

  open() {
    if (this.alive() || this.final) return;
    clearTimeout(this.retry);
    clearInterval(this.countdown);
    this.abandon();
    this.show("connecting", this.attempts ? "Reconnecting" : "Connecting");
    const socket = new WebSocket(this.url);
    this.socket = socket;
    this.watch();
    socket.addEventListener("message", (event) => this.hear(socket, event));
    socket.addEventListener("close", (event) => this.lose(socket, event.code));
  }

  hear(socket, event) {
    if (socket !== this.socket) return;
    this.watch();
    this.attempts = 0;
    this.show("live", "Live");
    this.onMessage(JSON.parse(event.data));
  }

  watch() {
    this.heardAt = Date.now();
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.drop(), SILENCE);
  }

  // Give the present connection up without waiting for its goodbye.
  drop() {
    const socket = this.socket;
    if (socket) this.lose(socket, 0);
  }

  abandon() {
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }

  lose(socket, code) {
    if (socket !== this.socket) return;
    clearTimeout(this.silence);
    this.abandon();
    if (code in FINAL) {
      this.final = true;
      this.show("final", FINAL[code]);
      return;
    }
    const pause = Math.min(FIRST_PAUSE * 2 ** this.attempts, LONGEST_PAUSE) * (0.75 + Math.random() / 2);
    this.attempts += 1;
    this.wait(Date.now() + pause);
    this.retry = setTimeout(() => this.open(), pause);
  }

  wait(until) {
    const state = navigator.onLine ? "reconnecting" : "offline";
    const words = navigator.onLine ? "Reconnecting" : "Offline, trying again";
    const tell = () => this.show(state, `${words} in ${Math.max(Math.ceil((until - Date.now()) / 1000), 0)} s`);
    clearInterval(this.countdown);
    tell();
    this.countdown = setInterval(tell, 1000);
  }

  show(state, words) {
    if (state !== "reconnecting" && state !== "offline") clearInterval(this.countdown);
    document.body.dataset.connection = state;
    if (!this.indicator) return;
    this.indicator.dataset.state = state;
    const text = this.indicator.querySelector("[data-text]");
    if (text.textContent !== words) text.textContent = words;
  }
}
