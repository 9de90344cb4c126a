/** The thread: what was said and is stored, in pages, and where the reader is in it. What is not over yet stands behind it. */

import { by } from "./node.js";
import { Stored } from "./message.js";

const PAGE = 30;
const NEAR = 80;

export class Thread {
  /** Of the newest message that is drawn. */
  last = 0;
  /** @type {number | null} Before which there is more. */
  #before = null;
  #isReading = false;
  #isAtEnd = true;
  #top = 0;
  #stored;
  #scroll = by("scroll");
  #list = by("messages");
  /** One page at a time. @type {Promise<any>} */
  #turn = Promise.resolve();

  /** @param {{page(query: any): Promise<any>, under(message: any): any, tell(error: any): void}} around */
  constructor(around) {
    this.around = around;
    this.#stored = new Stored(around.under);
    this.#scroll.addEventListener("scroll", () => this.#scrolled());
    by("older").addEventListener("click", () => this.older());
    by("newest").addEventListener("click", () => {
      this.toEnd();
      by("say").focus();
    });
    // However it grows: whoever is at its end stays there, and whoever reads further up is left alone.
    const grown = new ResizeObserver(() => this.#isAtEnd && this.toEnd());
    [this.#scroll, this.#list, by("asked")].forEach((node) => grown.observe(node));
  }

  clear() {
    this.#list.replaceChildren();
    this.#stored = new Stored(this.around.under);
    [this.last, this.#before, this.#isAtEnd] = [0, null, true];
    by("older").hidden = true;
  }

  /** The newest page. @param {{items: any[], next: number | null}} page @param {(message: any) => boolean} isOpen @param {Node | null} before */
  show(page, isOpen, before) {
    this.#before = page.next;
    by("older").hidden = page.next === null;
    return this.add(page.items, isOpen, before);
  }

  /**
   * Messages behind those that are drawn, up to the first that an exchange shows as it goes on.
   *
   * @param {any[]} items @param {(message: any) => boolean} isOpen @param {Node | null} [before]
   */
  add(items, isOpen, before = null) {
    const drawn = [];
    for (const message of items) {
      if (message.seq <= this.last) continue;
      if (isOpen(message)) break;
      for (const node of this.#stored.draw(message)) this.#list.insertBefore(node, before);
      this.last = message.seq;
      drawn.push(message);
    }
    return drawn;
  }

  /** What was stored meanwhile. @param {(message: any) => boolean} isOpen @param {() => Node | null} before @returns {Promise<any[]>} */
  catchUp(isOpen, before) {
    const caught = this.#turn.then(async () => {
      const drawn = [];
      for (let more = true; more; ) {
        const page = await this.around.page({ after: this.last, limit: 200 });
        const added = this.add(page.items, isOpen, before());
        drawn.push(...added);
        more = page.next !== null && added.length === page.items.length;
      }
      return drawn;
    });
    this.#turn = caught.catch(() => {});
    return caught;
  }

  /** The page before; whoever reads stays where they are. */
  async older() {
    if (this.#isReading || this.#before === null) return;
    this.#isReading = true;
    try {
      const [first, last] = [this.#list.firstChild, this.last];
      const page = await this.around.page({ before: this.#before, limit: PAGE });
      if (first !== this.#list.firstChild || this.last < last) return; // another conversation is shown
      const height = this.#scroll.scrollHeight;
      for (const message of page.items) for (const node of this.#stored.draw(message)) this.#list.insertBefore(node, first);
      this.#before = page.next;
      by("older").hidden = page.next === null;
      this.#scroll.scrollTop += this.#scroll.scrollHeight - height;
    } catch (error) {
      this.around.tell(error);
    } finally {
      this.#isReading = false;
    }
  }

  /** What stands here of this turn as it is stored. @param {string} turnId @returns {HTMLElement[]} */
  of(turnId) {
    return [...this.#list.children].filter((node) => node.dataset.turn === turnId);
  }

  /** @param {Node} node */
  append(node) {
    this.#list.append(node);
  }

  toEnd() {
    this.#isAtEnd = true;
    this.#scroll.scrollTop = this.#scroll.scrollHeight;
    by("newest").hidden = true;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroll;
    // It is left by scrolling up, and not by what grows around it meanwhile.
    const isUp = scrollTop < this.#top;
    this.#top = scrollTop;
    this.#isAtEnd = scrollHeight - scrollTop - clientHeight < NEAR || (this.#isAtEnd && !isUp);
    by("newest").hidden = this.#isAtEnd;
    if (scrollTop < NEAR && !this.#isAtEnd) this.older();
  }
}
