// One WebSocket that comes back: with growing pauses, at once when the network does, and never for who is logged out.
// A tab that nobody sees has none: it gets a snapshot when it is looked at again.

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 5000;
// The server pings every ten seconds; two missed pings and a connection is dead, whatever the network says.
const SILENCE = 25000;
const HIDDEN_GRACE = 30000;
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
    document.addEventListener("visibilitychange", () => this.look());
    // A page from the back-forward cache has lost its connection.
    addEventListener("pageshow", (event) => event.persisted && this.open());
    addEventListener("pagehide", () => this.socket?.close());
    this.open();
    this.look();
  }

  // Seen again, it is connected at once (a sleeping tab's timers sleep too); hidden for a while, it lets go.
  look() {
    clearTimeout(this.hidden);
    if (document.visibilityState === "visible") this.open();
    else this.hidden = setTimeout(() => this.pause(), HIDDEN_GRACE);
  }

  pause() {
    if (this.final) return;
    for (const timer of [this.retry, this.silence]) clearTimeout(timer);
    this.abandon();
    this.show("paused", "Paused while hidden");
  }

  paused() {
    return document.body.dataset.connection === "paused" && document.visibilityState !== "visible";
  }

  // Or about to be: who looks at a page that is connecting must not make it begin anew.
  alive() {
    return this.socket?.readyState <= WebSocket.OPEN && Date.now() - this.heardAt < SILENCE;
  }

  open() {
    if (this.alive() || this.final || this.paused()) return;
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
    const pause = Math.min(FIRST_PAUSE * 2 ** this.attempts, LONGEST_PAUSE) * (0.5 + Math.random());
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
