/** The composer: what is being written, kept by conversation, and what becomes of it while something is answered. */

import { by, kept } from "./node.js";

const POLICY = "latchkey:policy";

export class Composer {
  #text = by("say");
  #policy = by("busy");
  #draft = "new";

  /** @param {{say(text: string, onBusy: string): void, stop(): void}} around */
  constructor(around) {
    const form = by("composer");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.#text.value.trim();
      if (!text) return this.focus();
      this.#write("");
      around.say(text, this.#policy.value);
    });
    this.#text.addEventListener("keydown", (event) => {
      // What ends a composition (Japanese, Chinese, ...) is not meant for the form.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      form.requestSubmit();
    });
    this.#text.addEventListener("input", () => this.#keep());
    by("stop").addEventListener("click", () => around.stop());
    this.#policy.value = kept.get(POLICY) ?? "queue";
    if (!this.#policy.value) this.#policy.value = "queue";
    this.#policy.addEventListener("change", () => kept.set(POLICY, this.#policy.value));
  }

  /** The draft of this conversation. @param {string | null} session */
  enter(session) {
    this.#draft = session ?? "new";
    // What was typed while the page was still asking which conversation it is in stays.
    const draft = kept.get(`latchkey:draft:${this.#draft}`);
    this.#write(draft ?? "");
  }

  /** It has a name now, or is another one: what is being written goes along. @param {string | null} session */
  rename(session) {
    const text = this.#text.value;
    kept.set(`latchkey:draft:${this.#draft}`, null);
    this.#draft = session ?? "new";
    if (text) this.#keep();
    else this.#write(kept.get(`latchkey:draft:${this.#draft}`) ?? "");
  }

  /** Behind what stands there. @param {string} text */
  add(text) {
    this.#write([this.#text.value.trim(), text].filter(Boolean).join("\n"));
  }

  focus() {
    this.#text.focus();
  }

  /** @param {string} text */
  #write(text) {
    this.#text.value = text;
    this.#keep();
  }

  #keep() {
    kept.set(`latchkey:draft:${this.#draft}`, this.#text.value || null);
    // Where a field does not grow by itself.
    if (CSS.supports("field-sizing", "content")) return;
    this.#text.style.height = "auto";
    this.#text.style.height = `${this.#text.scrollHeight + 2}px`;
  }
}
