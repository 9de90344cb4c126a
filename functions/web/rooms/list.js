/** The list: conversations of this user, the newest first, each with what it is about. */

import { by, h, when } from "../talk/node.js";
import { saidIn } from "../talk/message.js";
import { agentName } from "../talk/words.js";
import { button, many } from "./dialog.js";

const PAGE = 20;
const MOST = 100;
const LONGEST = 60;
const HELD = { viewer: " · you read along", editor: " · shared with you" };

export class List {
  items = [];
  /** @type {Promise<void> | null} */
  loading = null;
  /** What was said first, by conversation: it does not change. @type {Map<string, {words: string, origin: string | null}>} */
  #firsts = new Map();
  #isLooking = false;
  #asked = 0;
  #next = null;
  #places = h("ul", {});
  #more = button("Show more", () => this.rooms.tried(() => this.#page()));

  /** @param {any} rooms @param {Element} root */
  constructor(rooms, root) {
    this.rooms = rooms;
    root.append(this.#places, this.#more);
    this.#show();
    by("open-rooms").addEventListener("click", () => setTimeout(() => this.look()));
  }

  /** All of it, as far as it is shown. */
  reload() {
    return (this.loading = this.#reload());
  }

  async #reload() {
    const limit = Math.min(MOST, Math.max(PAGE, this.items.length));
    const asked = ++this.#asked;
    const page = await this.rooms.latchkey.sessions({ limit });
    if (asked !== this.#asked) return this.loading; // what was asked for later is newer, whichever came first
    [this.items, this.#next] = [page.items, page.next];
    this.#show();
  }

  async #page() {
    const page = await this.rooms.latchkey.sessions({ limit: PAGE, cursor: this.#next });
    const length = this.items.length;
    this.items.push(...page.items);
    this.#next = page.next;
    this.#show();
    this.#places.children[length]?.firstChild.focus();
    this.rooms.talk.announce(many(page.items.length, "more conversation"));
  }

  /** @param {string} id */
  find(id) {
    return this.items.find((item) => item.id === id);
  }

  /** As far as it is known. @param {{id: string, metadata: any}} item */
  titleOf({ id, metadata: { title } }) {
    return (typeof title === "string" && title.trim()) || this.#firsts.get(id)?.words || "New conversation";
  }

  /** @param {string} [id] */
  isNamed(id) {
    return !id || Boolean(this.find(id)?.metadata.title) || this.#firsts.has(id);
  }

  /** What was said first in it, and where that was. @param {string} id */
  async first(id) {
    const known = this.#firsts.get(id);
    if (known) return known;
    const [message] = (await this.rooms.latchkey.messages({ sessionId: id, limit: 1 })).items;
    if (!message) return null;
    const line = [...saidIn(message.content).trim().replace(/\s+/g, " ")];
    const words = line.length > LONGEST ? `${line.slice(0, LONGEST).join("")}…` : line.join("");
    const first = { words, origin: message.origin?.session_id ?? null };
    this.#firsts.set(id, first);
    return first;
  }

  /** Without asking the service. */
  #show() {
    const focused = document.activeElement?.dataset.room;
    this.#places.replaceChildren(...this.items.map((item) => this.#place(item)));
    this.#more.hidden = !this.#next;
    this.mark();
    this.look();
    if (focused) this.#places.querySelector(`[data-room="${focused}"]`)?.focus();
  }

  /** @param {any} item */
  #place(item) {
    const held = HELD[item.role];
    const about = h("small", { class: "faint" }, `${agentName(item.active_agent)} · `, when(item.created_at), held);
    const open = button("", () => this.rooms.tried(() => this.rooms.show(item.id)), { "data-room": item.id });
    open.append(h("span", {}, this.titleOf(item)), about);
    return h("li", {}, open);
  }

  /** What those without a title are about: one after another, and only while somebody can see them. */
  async look() {
    if (this.#isLooking || getComputedStyle(this.#places).visibility === "hidden") return;
    this.#isLooking = true;
    const tried = new Set();
    const next = () => this.items.find(({ id }) => !this.isNamed(id) && !tried.has(id));
    for (let item = next(); item; item = next()) {
      tried.add(item.id);
      await this.first(item.id).catch(() => {}); // it may be gone by now: the next list says so
      const place = this.#places.querySelector(`[data-room="${item.id}"] span`);
      if (place) place.textContent = this.titleOf(item);
    }
    this.#isLooking = false;
  }

  /** Which one is shown. */
  mark() {
    for (const open of this.#places.querySelectorAll("button")) {
      if (open.dataset.room === this.rooms.talk.sessionId) open.setAttribute("aria-current", "true");
      else open.removeAttribute("aria-current");
    }
  }
}
