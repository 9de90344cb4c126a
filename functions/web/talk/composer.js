/** The composer: what is being written, kept by conversation, and what becomes of it while something is answered. */

import { by, kept } from "./node.js";

const POLICY = "latchkey:policy";

export class Composer {
  #text = by("say");
  #policy = by("busy");
  #draft = "new";
  /** Between two conversations: what is written now is for the one that comes. */
  #isHeld = false;
  #isWanted = false;

  /** @param {{say(text: string, onBusy: string): void, stop(): void, announce(text: string): void}} around */
  constructor(around) {
    const form = by("composer");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.#text.value.trim();
      if (!text) return this.focus();
      if (this.#isHeld) {
        this.#isWanted = true;
        return around.announce("It is sent when the conversation is there.");
      }
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

  /** Another conversation is on its way: nothing is sent into the one that is left, and what stands there is its draft. */
  hold() {
    if (this.#isHeld) return;
    this.#isHeld = true;
    this.#draft = "next";
    this.#write("");
  }

  /** @param {string | null} session the one that is shown now @param {boolean} isThere whether it is the one that was wanted */
  release(session, isThere) {
    if (this.#isHeld) this.enter(session);
    const isWanted = this.#isWanted && isThere;
    this.#isWanted = false;
    if (isWanted) by("composer").requestSubmit();
  }

  /** The draft of this conversation. @param {string | null} session */
  enter(session) {
    const text = this.#isHeld ? this.#text.value.trim() : "";
    if (this.#isHeld) kept.set(`latchkey:draft:${this.#draft}`, null);
    this.#isHeld = false;
    this.#draft = session ?? "new";
    const draft = kept.get(`latchkey:draft:${this.#draft}`);
    this.#write([draft, text].filter(Boolean).join("\n"));
  }

  /** It has a name now, or is another one: what is being written goes along. @param {string | null} session */
  rename(session) {
    if (this.#isHeld) return;
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
