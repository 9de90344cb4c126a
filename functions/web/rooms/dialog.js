/** A dialog: asks one thing, says what is wrong with it, and gives the focus back to where it was. */

import { LatchkeyProblem } from "../latchkey.js";
import { h } from "../talk/node.js";
import { problemText } from "../talk/words.js";

let count = 0;

/** @param {string} label @param {() => any} onclick @param {Record<string, any>} [given] */
export const button = (label, onclick, given = {}) => h("button", { type: "button", onclick, ...given }, label);

/** @param {string} label @param {[value: string, words: string][]} options @param {string} [chosen] @param {Record<string, any>} [given] */
export function select(label, options, chosen, given = {}) {
  const choices = options.map(([value, words]) => h("option", { value, selected: value === chosen }, words));
  return h("label", {}, label, " ", h("select", given, ...choices));
}

/** @param {number} number @param {string} noun */
export const many = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

export class Dialog {
  #said = h("p", { class: "said", role: "status" });

  /** @param {string} title @param {...(Node | string | null)} nodes */
  constructor(title, ...nodes) {
    const id = `dialog-${++count}`;
    const close = button("×", () => this.close(), { class: "close", "aria-label": "Close" });
    this.body = h("div", {}, ...nodes);
    this.node = h("dialog", { class: "box", "aria-labelledby": id }, h("header", { class: "row" }, h("h2", { id }, title), close), this.body);
    this.node.append(this.#said);
    this.closed = new Promise((closed) => this.node.addEventListener("close", closed, { once: true }));
    this.closed.then(() => this.node.remove());
    document.body.append(this.node);
    this.node.showModal();
    // What it is about, and not what leaves it.
    (this.body.querySelector("input, select, button") ?? close).focus();
  }

  close() {
    this.node.close();
  }

  /** @param {string} words */
  say(words) {
    this.#said.textContent = words;
  }

  /** What the service says no with is said. @param {HTMLElement | null} by what does it, once at a time @param {() => Promise<any>} run */
  async attempt(by, run) {
    if (by?.ariaDisabled) return;
    this.say("");
    if (by) by.ariaDisabled = "true"; // disabled, it would lose the focus
    try {
      await run();
    } catch (problem) {
      if (!(problem instanceof LatchkeyProblem)) throw problem;
      this.say(problemText(problem).text);
    } finally {
      if (by) by.ariaDisabled = null;
    }
  }

  /** A button that does something. @param {string} label @param {() => Promise<any>} run @param {Record<string, any>} [given] */
  does(label, run, given = {}) {
    const made = button(label, () => this.attempt(made, run), given);
    return made;
  }
}

/** @param {string} title @param {string} words @param {string} label @param {() => Promise<any>} run it closes when that is done */
export function confirm(title, words, label, run) {
  const dialog = new Dialog(title, h("p", {}, words));
  const act = dialog.does(label, async () => (await run(), dialog.close()), { class: "bad" });
  const keep = button("Cancel", () => dialog.close());
  dialog.body.append(h("p", { class: "row" }, keep, act));
  keep.focus();
}
