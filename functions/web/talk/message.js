/** Messages: bubbles of people and agents, and beside them quiet lines on what agents did. */

import { h, when } from "./node.js";
import { inline, Prose } from "./prose.js";
import { agentName, plain, toolWords } from "./words.js";

/** @param {any[]} content */
export function saidIn(content) {
  return content
    .map((block) => (block.type === "text" ? block.text : ["image", "document"].includes(block.type) ? `[${block.type}]` : ""))
    .filter(Boolean)
    .join("\n\n");
}

/** What stands under a bubble. @param {any[]} parts */
const foot = (...parts) => parts.length > 0 && h("div", { class: "foot faint" }, ...parts);

/** @param {string} text @param {any[]} under */
export function mine(text, ...under) {
  return h("li", { class: "msg mine" }, h("span", { class: "hidden-text" }, "You: "), h("div", { class: "bubble", dir: "auto" }, inline(text)), foot(...under));
}

/** @param {string | null} agent @param {string} text @param {any[]} under @returns {{node: HTMLElement, prose: Prose}} */
export function theirs(agent, text, ...under) {
  const prose = new Prose();
  const name = h("div", { class: "who" }, h("span", { class: "face", "aria-hidden": true }, agentName(agent)[0]), agentName(agent));
  const node = h("li", { class: "msg theirs" }, name, h("div", { class: "bubble" }, prose.show(text)), foot(...under));
  return { node, prose };
}

/** @param {string} text @param {string} [kind] */
export function note(text, kind = "note") {
  return h("li", { class: kind }, text);
}

/** @param {string | null} from @param {string | null} to */
export function handOff(from, to) {
  return note(`${agentName(from)} handed you over to ${agentName(to)}`, "note handoff");
}

/** What the service says in the model's ear, and no person has said. */
const TOLD = /^\[(What came of the call [\s\S]*)\]$/;

/** Arguments as they are, each on its line; what is nested is indented. @param {any} given */
export function table(given) {
  const rows = Object.entries(given ?? {});
  if (!rows.length) return h("p", { class: "faint" }, "Without any details.");
  const shown = (value) =>
    value !== null && typeof value === "object" ? h("pre", { tabindex: "0" }, JSON.stringify(value, null, 2)) : String(value);
  return h("table", {}, h("tbody", {}, rows.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, plain(name)), h("td", {}, shown(value))))));
}

/** What a tool does or did: a line that can be opened. */
export class ToolLine {
  #name;
  #words = h("span");
  #body = h("div", { class: "tool-body" });
  node = h("li", { class: "tool" }, h("details", {}, h("summary", {}, this.#words), this.#body));

  /** @param {string} name @param {string} status @param {any} [given] */
  constructor(name, status, given) {
    this.#name = name;
    if (given) this.#body.append(table(given));
    this.#body.append(h("p", { class: "faint" }, h("code", {}, name)));
    this.settle(status);
  }

  /** @param {string} status @param {string} [said] what it returned */
  settle(status, said) {
    this.#words.textContent = toolWords(this.#name, status);
    this.node.dataset.status = status;
    if (said) this.#body.append(h("pre", { tabindex: "0" }, said));
  }
}

/** What a tool returned, as text. @param {any} block */
function returned({ content }) {
  return typeof content === "string" ? content : saidIn(content ?? []);
}

/** How it ended, by what the model was told: the one thing that is kept of it in what was said. @param {any} block */
function statusOf(block) {
  if (!block.is_error) return "done";
  const said = returned(block);
  if (/did not allow this call|Nobody said yes in time/.test(said)) return "denied";
  return /outcome of this call is unknown/.test(said) ? "unknown" : "failed";
}

/** Messages as they are stored, one after another, to nodes. */
export class Stored {
  /** @type {Map<string, ToolLine>} */
  #lines = new Map();
  /** By their calls: of those on a page that is read later, too. @type {Map<string, any>} */
  #results = new Map();
  /** @type {Map<string, HTMLElement>} */
  #handOffs = new Map();

  /** @param {(message: any) => any} under what stands under a bubble, such as its actions */
  constructor(under) {
    this.under = under;
  }

  /** @param {any} message @returns {HTMLElement[]} */
  draw(message) {
    const { role, agent, content, created_at: at } = message;
    const blocks = (type) => content.filter((block) => block.type === type);
    blocks("tool_result").forEach((block) => this.#hear(block));
    const nodes = blocks("tool_use").map((block) => this.#did(block, agent));
    // Messages that were joined are one, and were said apart.
    const texts = role === "user" ? content.map((block) => saidIn([block])).filter(Boolean) : [saidIn(content)].filter(Boolean);
    const isLast = (place) => place === texts.length - 1;
    nodes.unshift(...texts.map((text, place) => this.#said(message, text, isLast(place) ? when(at) : null)));
    nodes.forEach((node) => {
      node.dataset.seq = message.seq;
      node.dataset.turn = message.turn_id;
      node.classList.toggle("left-out", message.left_out);
    });
    return nodes;
  }

  /** @param {any} message @param {string} text @param {HTMLElement | null} at null: there is more of it */
  #said(message, text, at) {
    const under = at ? [at, message.left_out ? " · taken back" : null, this.under(message)] : [];
    if (message.role !== "user") return theirs(message.agent, text, ...under).node;
    const told = text.match(TOLD);
    return told ? note(told[1]) : mine(text, ...under);
  }

  /** @param {any} block @param {string | null} agent */
  #did(block, agent) {
    const isHandOver = block.name === "hand_over";
    const line = isHandOver ? handOff(agent, block.input?.to ?? null) : new ToolLine(block.name, "started", block.input);
    if (line instanceof ToolLine) this.#lines.set(block.id, line);
    else {
      line.hidden = true;
      this.#handOffs.set(block.id, line);
    }
    const result = this.#results.get(block.id);
    if (result) this.#hear(result);
    return line instanceof ToolLine ? line.node : line;
  }

  /** What a tool returned goes to its line. @param {any} block */
  #hear(block) {
    const handOver = this.#handOffs.get(block.tool_use_id);
    if (handOver) handOver.hidden = !!block.is_error;
    this.#lines.get(block.tool_use_id)?.settle(statusOf(block), returned(block));
    this.#results.set(block.tool_use_id, block);
  }
}
