/** An exchange: a message that is not over yet, and what has been said and done about it so far. */

import { textOf } from "../events.js";
import { h, when } from "./node.js";
import { handOff, mine, theirs, ToolLine } from "./message.js";
import { agentName, toolWords } from "./words.js";

const SENTENCES = /^[\s\S]*[.!?…:。！？\n](?=\s)/;

export class Exchange {
  /** @type {AbortController | null} */
  control = null;
  /** @type {string | null} */
  turn;
  /** Nobody reads along: another one is ahead of it. */
  isParked = false;
  isWaiting = false;
  /** @type {Map<string, {node: HTMLElement, order: number, [more: string]: any}>} */
  #parts = new Map();
  #top = 0;
  /** @type {string | null} */
  #agent = null;
  /** How much of each message was announced. @type {Map<number, number>} */
  #announced = new Map();
  #isDirty = false;
  #state = h("span", { class: "state" });
  #list = h("ol");
  #thinking = h("li", { class: "thinking", hidden: true }, h("span", { class: "dots", "aria-hidden": true }, h("i"), h("i"), h("i")), h("span"));
  node = h("li", { class: "exchange" }, this.#list);

  /**
   * @param {Partial<import("./outbox.js").Entry>} entry without a key: of a turn that somebody else began
   * @param {{announce(text: string): void, ask(approval: any): void, speaks(agent: string): void}} around
   */
  constructor(entry, around) {
    this.entry = entry;
    this.turn = entry.turn ?? null;
    this.around = around;
    if (entry.text !== undefined) this.#list.append(mine(entry.text, when(entry.at ?? ""), " ", this.#state));
    this.#list.append(this.#thinking);
    this.node.dataset.key = entry.key ?? "";
  }

  /** Whether what was said stands among these; then it is not shown a second time here. @param {HTMLElement[]} nodes */
  isStoredIn(nodes) {
    const said = (node) => node.querySelector(".bubble")?.textContent;
    const own = this.#list.querySelector(".mine");
    if (!own || !nodes.some((node) => node.matches(".mine") && said(node) === said(own))) return false;
    own.remove();
    return true;
  }

  /** What becomes of it, in words, with what can be done. @param {string} text @param {HTMLElement[]} actions */
  say(text, ...actions) {
    if (this.#state.textContent !== text || actions.length) this.#state.replaceChildren(text, ...actions);
  }

  /** @param {boolean} isShown that somebody is at it, while nothing else shows it */
  #think(isShown) {
    this.#thinking.hidden = !isShown;
    (this.#thinking.lastChild).textContent = this.#agent ? `${agentName(this.#agent)} is answering` : "";
  }

  /** @param {import("../latchkey.js").Heard} heard */
  hear({ event, data, messages }) {
    if (event === "turn_started") {
      this.say("");
      this.#think(true);
    } else if (event === "agent_changed") this.#changed(data);
    else if (event === "text_delta") this.#said(messages, data.message_seq);
    else if (event === "text_discarded") this.#drop(`m${data.message_seq}`);
    else if (event.startsWith("tool_")) this.#did(data);
    else if (event === "approval_asked") this.around.ask(data);
    if (event === "turn_waiting" || event === "turn_ended") this.#over();
  }

  /** @param {{agent: string, previous: string | null}} data */
  #changed({ agent, previous }) {
    this.#agent = agent;
    this.#think(true);
    this.around.speaks(agent);
    if (!previous) return;
    this.#part(`${previous}>${agent}`, () => ({ node: handOff(previous, agent) }));
    this.around.announce(`${agentName(previous)} handed you over to ${agentName(agent)}.`);
  }

  /** @param {import("../events.js").Message[]} messages @param {number} seq */
  #said(messages, seq) {
    const message = messages.find((one) => one.seq === seq);
    if (!message) return;
    if (seq > this.#top) {
      this.#announceRest();
      this.#top = seq;
    }
    const part = this.#part(`m${seq}`, () => theirs(message.agent, ""), seq);
    Object.assign(part, { text: textOf(message), agent: message.agent, seq });
    this.#think(false);
    this.#draw();
    this.#announce(part, SENTENCES);
  }

  /** Once a frame, however many pieces come in it. */
  #draw() {
    if (this.#isDirty) return;
    this.#isDirty = true;
    requestAnimationFrame(() => this.#drawNow());
  }

  #drawNow() {
    this.#isDirty = false;
    for (const part of this.#parts.values()) part.prose?.show(part.text);
  }

  /** @param {{id: string, name: string, status: string}} data */
  #did({ id, name, status }) {
    if (name === "hand_over") return;
    this.#announceRest();
    const part = this.#part(id, () => {
      const line = new ToolLine(name, status);
      return { line, node: line.node };
    });
    part.line.settle(status);
    this.#think(status !== "started");
    if (status !== "done") this.around.announce(toolWords(name, status));
  }

  #over() {
    this.#announceRest();
    this.#think(false);
    this.#drawNow();
  }

  /** @param {any} part @param {RegExp | null} upto null: all of it */
  #announce(part, upto) {
    const done = this.#announced.get(part.seq) ?? 0;
    const rest = part.text.slice(done);
    const fresh = upto ? (rest.match(upto)?.[0] ?? "") : rest;
    if (!fresh.trim()) return;
    this.#announced.set(part.seq, done + fresh.length);
    this.around.announce(done ? fresh : `${agentName(part.agent)}: ${fresh}`);
  }

  #announceRest() {
    for (const part of this.#parts.values()) if (part.prose) this.#announce(part, null);
  }

  /** What has this name, in its order; made where it is not there yet. @param {string} name @param {() => any} make @param {number} [order] */
  #part(name, make, order = this.#top + 0.5) {
    const known = this.#parts.get(name);
    if (known) return known;
    const part = { order, ...make() };
    const next = [...this.#parts.values()].filter((one) => one.order > order).sort((a, b) => a.order - b.order)[0];
    this.#list.insertBefore(part.node, next?.node ?? this.#thinking);
    this.#parts.set(name, part);
    return part;
  }

  /** @param {string} name */
  #drop(name) {
    this.#parts.get(name)?.node.remove();
    this.#parts.delete(name);
  }
}
