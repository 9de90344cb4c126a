/** Talk: the conversation that is shown, with all that is said in it. What others need of it is at the top. */

import { Asked } from "./approval.js";
import { Composer } from "./composer.js";
import { Line } from "./line.js";
import { by, h } from "./node.js";
import { saidIn } from "./message.js";
import { askPerson } from "./person.js";
import { reach } from "./reach.js";
import { Thread } from "./thread.js";
import { agentName, isGone, problemText, usageWords } from "./words.js";

const NEWEST = Number.MAX_SAFE_INTEGER;

/** @param {{latchkey: import("../latchkey.js").Latchkey, root: HTMLElement}} given */
export function mountTalk({ latchkey, root }) {
  return new Talk(latchkey, root);
}

class Talk {
  /** @type {any} The last one that was read. */
  session = null;
  /** @type {string | null} Null: the next message begins it. */
  sessionId = null;
  /** Of the last turn that ended. @type {any} */
  #usage = null;
  #visit = 0;
  /** @type {string | null} */
  #readOnly = null;
  /** @type {Set<(session: any) => void>} */
  #listeners = new Set();
  /** @type {(message: any) => {label: string, run: () => any}[]} */
  #actions = () => [];
  #first = "";

  /** @param {import("../latchkey.js").Latchkey} latchkey @param {HTMLElement} root */
  constructor(latchkey, root) {
    this.latchkey = latchkey;
    this.root = root;
    const around = {
      announce: (text) => this.announce(text),
      tell: (error) => this.tell(error),
      ask: (approval) => this.asked.ask(approval),
      role: () => this.session?.role ?? "owner",
      decided: (approval) => this.#decided(approval),
      page: (query) => this.latchkey.messages({ ...query, sessionId: this.sessionId ?? undefined }),
      under: (message) => this.#under(message),
      speaks: (agent) => (by("with").textContent = agentName(agent)),
      changed: () => this.#changed(),
      planned: () => this.#read(),
      ended: (turn) => this.#ended(turn),
      began: (id) => this.#began(id),
      gone: (error, text) => this.#gone(error, text),
      signIn: (error) => this.#signIn(error),
      edit: (text) => (text && this.composer.add(text), this.focus()),
      say: (text, onBusy) => (this.tell(null), this.line.say(text, onBusy)),
      stop: () => this.#stop(),
    };
    this.thread = new Thread(around);
    this.asked = new Asked(latchkey, around);
    this.line = new Line(latchkey, this.thread, around);
    this.composer = new Composer(around);
    this.#listen();
  }

  get isBusy() {
    return this.line.isBusy;
  }

  /** @param {string | null} sessionId null: the one that the device is in */
  async show(sessionId) {
    const visit = ++this.#visit;
    const isOther = sessionId !== this.sessionId || sessionId === null;
    this.#leave(isOther, sessionId);
    if (isOther) this.composer.enter(sessionId);
    this.sessionId = sessionId;
    const where = { sessionId: sessionId ?? undefined };
    try {
      const [session, page, todos, approvals] = await Promise.all([
        this.latchkey.session(where),
        this.latchkey.messages({ ...where, before: NEWEST, limit: 30 }),
        this.latchkey.todos(where),
        this.latchkey.approvals().catch(() => ({ items: [] })),
      ]);
      if (visit !== this.#visit) return;
      this.sessionId = session.id;
      if (sessionId === null) this.composer.rename(session.id);
      this.line.enter(session.id);
      const asked = approvals.items.filter((one) => one.session_id === session.id);
      await this.#findOpen(page.items, session.busy || asked.length > 0);
      if (visit !== this.#visit) return;
      this.thread.show(page, this.line.isShown, this.line.before());
      this.#first = page.next === null ? saidIn(page.items[0]?.content ?? []) : "";
      this.#told(session, todos.items);
      asked.forEach((approval) => this.asked.ask(approval));
      this.line.goOn();
      this.thread.toEnd();
    } catch (error) {
      if (visit === this.#visit) this.#notShown(sessionId, error);
    }
  }

  /** @param {{all?: boolean}} [what] */
  async refresh({ all = false } = {}) {
    if (all || !this.sessionId) return this.show(this.sessionId);
    await this.#lookForNew();
    await this.#read();
  }

  /** @param {(session: any) => void} listener */
  onChange(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** @param {string} text */
  announce(text) {
    const told = by("told");
    told.append(h("p", {}, text));
    while (told.children.length > 100) told.firstChild.remove();
  }

  /** @param {any} error null takes away what was told */
  tell(error) {
    const place = by("trouble");
    place.hidden = !error;
    if (!error) return place.replaceChildren();
    const { text, requestId } = problemText(error);
    if (!error.code) console.warn(error);
    place.replaceChildren(
      h("p", {}, text),
      requestId ? h("details", {}, h("summary", {}, "Details"), h("p", { class: "faint" }, `Request ${requestId}`)) : "",
      h("button", { type: "button", class: "small", "aria-label": "Dismiss", onclick: () => this.tell(null) }, "✕"),
    );
    this.announce(text);
  }

  /** @param {string | null} reason */
  readOnly(reason) {
    this.#readOnly = reason;
    const shown = reason ?? (this.session?.role === "viewer" ? "You may read along here. Who may write, the owner decides." : null);
    by("composer").hidden = shown !== null;
    by("read-only").hidden = shown === null;
    by("read-only").textContent = shown ?? "";
  }

  /** @param {(message: any) => {label: string, run: () => any}[]} actions */
  setMessageActions(actions) {
    this.#actions = actions;
  }

  /** Another conversation was asked for, and is not there yet. */
  hold() {
    this.composer.hold();
  }

  /** @param {boolean} isThere whether it is shown now */
  release(isThere) {
    this.composer.release(this.sessionId, isThere);
  }

  focus() {
    this.composer.focus();
  }

  // ---- another conversation

  /** @param {boolean} isOther @param {string | null} [next] */
  #leave(isOther, next = null) {
    this.line.leave(next);
    this.thread.clear();
    this.asked.clear();
    this.tell(null);
    this.drawer(false);
    if (!isOther) return;
    [this.session, this.#usage, this.#first] = [null, null, ""];
    by("origin").hidden = true;
    this.readOnly(null);
    this.#todos([]);
  }

  /** @param {string | null} sessionId @param {any} error */
  #notShown(sessionId, error) {
    if (error?.status === 401) return this.#signIn(error);
    if (isGone(error) && sessionId !== null) return this.#gone(error, null);
    // What could not be read may be written to still.
    this.line.enter(sessionId);
    if (isGone(error)) this.#told(null, []);
    else this.tell(error);
    this.line.goOn();
  }

  /** What runs and was not said from here. @param {any[]} items @param {boolean} isBusy */
  async #findOpen(items, isBusy) {
    const last = items.at(-1);
    if (!last || !isBusy || this.line.open.some((one) => one.turn === last.turn_id)) return;
    const turn = await this.latchkey.turn(last.turn_id);
    if (["queued", "running", "waiting"].includes(turn.status)) this.line.follow(turn.id);
  }

  /** Others may have said something, too. */
  async #lookForNew() {
    const visit = this.#visit;
    try {
      const where = { sessionId: this.sessionId ?? undefined };
      const page = await this.latchkey.messages({ ...where, after: this.thread.last });
      const fresh = page.items.filter((one) => !this.line.isShown(one));
      if (visit !== this.#visit || !fresh.length) return;
      await this.#findOpen(fresh, true);
      if (visit !== this.#visit) return;
      const drawn = this.thread.add(page.items, this.line.isShown, this.line.before());
      for (const { role, agent, content } of drawn) {
        const text = saidIn(content);
        if (text) this.announce(`${role === "user" ? "Somebody" : agentName(agent)}: ${text}`);
      }
    } catch (error) {
      if (visit === this.#visit && isGone(error)) this.#gone(error, null);
    }
  }

  /** @param {any} error @param {string | null} text what was to be said */
  #gone(error, text) {
    this.#visit++;
    for (const one of [...this.line.open]) if (one.entry.key) this.line.drop(one);
    this.#leave(true);
    this.sessionId = null;
    this.line.enter(null);
    this.composer.rename(null);
    if (text) this.composer.add(text);
    this.tell(error.code === "turn_not_found" ? { code: "session_not_found" } : error);
    this.#told(null, []);
  }

  /** @param {any} error */
  #signIn(error) {
    if (error.code === "device_barred") {
      this.latchkey.forget();
      return this.tell(error);
    }
    askPerson(problemText(error).text, () => this.show(this.sessionId));
    this.announce("Sign in first.");
  }

  // ---- what happens

  /** @param {string} id */
  #began(id) {
    this.sessionId = id;
    this.composer.rename(id);
  }

  /** @param {any} turn */
  async #ended(turn) {
    this.#usage = turn.usage;
    if (this.asked.over(turn.id)) this.focus();
    await this.#read();
  }

  /** @param {any} approval */
  async #decided(approval) {
    if (approval.kind === "call") return this.line.follow(approval.turn_id);
    await this.#lookForNew();
  }

  async #stop() {
    try {
      await this.line.stop();
    } catch (error) {
      this.tell(error);
    }
  }

  async #read() {
    const visit = this.#visit;
    const where = { sessionId: this.sessionId ?? undefined };
    try {
      const [session, todos] = await Promise.all([this.latchkey.session(where), this.latchkey.todos(where)]);
      if (visit === this.#visit) this.#told(session, todos.items);
    } catch (error) {
      if (visit === this.#visit && isGone(error) && this.sessionId) this.#gone(error, null);
    }
  }

  /** How the conversation stands. @param {any} session @param {any[]} todos */
  #told(session, todos) {
    this.session = session;
    if (!this.#first) this.#first = document.querySelector("#messages .mine .bubble")?.textContent ?? "";
    const title = session?.metadata.title || this.#first.slice(0, 60) || "New conversation";
    by("title").textContent = title;
    document.title = `${title} · Latchkey`;
    by("with").textContent = agentName(session?.active_agent ?? null);
    this.#todos(todos);
    this.readOnly(this.#readOnly);
    this.#showUsage();
    this.#changed();
    this.#listeners.forEach((listener) => listener(session));
  }

  #changed() {
    const { running, open, isBusy } = this.line;
    by("stop").hidden = !running;
    by("messages").setAttribute("aria-busy", String(isBusy && open.some((one) => !one.isWaiting)));
    const isOffline = navigator.onLine === false;
    const words = isOffline ? "You are offline. What you write is kept, and sent when you are back." : "Connection lost. Trying again…";
    const banner = by("banner");
    banner.hidden = !reach.isLost && !isOffline;
    if (!banner.hidden && banner.textContent !== words) banner.textContent = words;
  }

  /** @param {any[]} todos */
  #todos(todos) {
    by("todos").hidden = !todos.length;
    const done = todos.filter((one) => one.status === "completed").length;
    by("todos-count").textContent = `${done} of ${todos.length} done`;
    const marks = { pending: ["○", "to do"], in_progress: ["◐", "in progress"], completed: ["●", "done"] };
    const item = (/** @type {any} */ { content, status }) => {
      const [mark, words] = marks[(status)] ?? marks.pending;
      return h("li", { "data-status": status }, h("span", { "aria-hidden": true }, `${mark} `), content, h("span", { class: "hidden-text" }, ` (${words})`));
    };
    by("todos").querySelector("ul").replaceChildren(...todos.map(item));
  }

  #showUsage() {
    const line = (about, usage) => h("p", {}, h("strong", {}, about), h("br"), usageWords(usage));
    by("usage").hidden = !this.session;
    if (!this.session) return;
    by("usage-told").replaceChildren(line("This conversation", this.session.usage), this.#usage ? line("The last answer", this.#usage) : "");
  }

  /** What can be done with a message. @param {any} message */
  #under(message) {
    const { seq, turn_id: turnId, role, agent, left_out: leftOut, origin } = message;
    const place = h("div", { class: "acts-list" });
    const run = (action) => async () => {
      details.open = false;
      try {
        await action.run();
      } catch (error) {
        this.tell(error);
      }
    };
    const details = (
      h("details", { class: "acts" }, h("summary", { "aria-label": "More about this message", title: "More" }, "⋯"), place)
    );
    details.addEventListener("toggle", () => {
      if (!details.open || place.childElementCount) return;
      const given = { seq, turnId, role, agent, text: saidIn(message.content), leftOut, origin };
      const cost = h("button", { type: "button", onclick: () => this.#showCost(cost, turnId) }, "Tokens and cost");
      place.append(...this.#actions(given).map((action) => h("button", { type: "button", onclick: run(action) }, action.label)), cost);
    });
    return details;
  }

  /** @param {HTMLElement} button @param {string} turnId */
  async #showCost(button, turnId) {
    try {
      const turn = await this.latchkey.turn(turnId);
      button.replaceWith(h("p", { class: "faint", role: "status" }, usageWords(turn.usage)));
    } catch (error) {
      this.tell(error);
    }
  }

  // ---- the page around

  /** Of conversations, on narrow screens. @param {boolean} isOpen */
  drawer(isOpen) {
    const rooms = by("rooms");
    if (rooms.classList.contains("open") === isOpen) return;
    rooms.classList.toggle("open", isOpen);
    by("shade").hidden = !isOpen;
    by("open-rooms").setAttribute("aria-expanded", String(isOpen));
    if (isOpen) rooms.querySelector("button, a")?.focus();
    else if (rooms.contains(document.activeElement)) by("open-rooms").focus();
  }

  #listen() {
    by("open-rooms").addEventListener("click", () => this.drawer(!by("rooms").classList.contains("open")));
    by("shade").addEventListener("click", () => this.drawer(false));
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.#escape(event));
    reach.onChange(() => this.#changed());
    document.addEventListener("visibilitychange", () => {
      const isIdle = document.visibilityState === "visible" && this.session && !this.isBusy && !reach.isLost;
      if (isIdle) this.#lookForNew();
    });
  }

  /** The innermost thing that is open; else what is being answered. @param {KeyboardEvent} event */
  #escape(event) {
    if (event.isComposing || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const menu = (document.querySelector("details.menu[open], details.acts[open]"));
    if (menu) {
      menu.open = false;
      menu.querySelector("summary")?.focus();
    } else if (by("rooms").classList.contains("open")) this.drawer(false);
    else if (this.line.running) this.#stop();
  }
}
