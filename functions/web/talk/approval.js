/** Approvals: what waits for a person's decision, as cards with exactly what would be done. */

import { by, h, when } from "./node.js";
import { table } from "./message.js";
import { agentName, plain, problemText } from "./words.js";

const RANKS = ["viewer", "editor", "owner"];
const SAID = {
  approve: "You allowed it",
  deny: "You did not allow it",
  happened: "You said that it happened",
  did_not_happen: "You said that it did not happen",
};

export class Asked {
  /** @type {Map<string, HTMLElement>} */
  #cards = new Map();
  #place = by("asked");

  /**
   * @param {import("../latchkey.js").Latchkey} latchkey
   * @param {{role(): string, decided(approval: any): void, announce(text: string): void}} around
   */
  constructor(latchkey, around) {
    this.latchkey = latchkey;
    this.around = around;
  }

  clear() {
    this.#cards.clear();
    this.#place.replaceChildren();
  }

  /** Those of this turn are over. @param {string} turnId */
  over(turnId) {
    let hadFocus = false;
    for (const [id, card] of this.#cards) {
      if (card.dataset.turn !== turnId || (card.dataset.kind === "outcome" && !card.dataset.decided)) continue;
      hadFocus ||= card.contains(document.activeElement);
      card.remove();
      this.#cards.delete(id);
    }
    return hadFocus;
  }

  /** @param {any} approval */
  ask(approval) {
    if (approval.status !== "pending" || this.#cards.has(approval.id)) return;
    const card = this.#card(approval);
    this.#cards.set(approval.id, card);
    this.#place.append(card);
    this.around.announce(`${card.querySelector("h2")?.textContent} Waiting for your decision.`);
  }

  /** @param {any} approval */
  #card(approval) {
    const isOutcome = approval.kind === "outcome";
    const what = plain(approval.tool).toLowerCase();
    const title = isOutcome ? `Did this happen: ${what}?` : `${agentName(approval.agent)} asks: ${what}?`;
    const words = isOutcome
      ? "It was begun and broken off, so nobody here knows. If you can find out, say so."
      : "It is not done before you allow it. This is exactly what would be done:";
    const card = h(
      "section",
      { class: "card", "aria-label": title, "data-turn": approval.turn_id, "data-kind": approval.kind, "data-id": approval.id },
      h("h2", {}, title),
      h("p", {}, words),
      table(approval.arguments),
    );
    const mayDecide = RANKS.indexOf(this.around.role()) >= RANKS.indexOf(approval.role);
    card.append(mayDecide ? this.#form(card, approval, isOutcome) : h("p", { class: "faint" }, `Waiting for the ${approval.role} of this conversation.`));
    return card;
  }

  /** @param {HTMLElement} card @param {any} approval @param {boolean} isOutcome */
  #form(card, approval, isOutcome) {
    const note = (h("input", { maxlength: "500", autocomplete: "off" }));
    const choices = isOutcome
      ? [["happened", "It happened", "main"], ["did_not_happen", "It did not happen", ""]]
      : [["approve", "Approve", "main"], ["deny", "Deny", ""]];
    const buttons = choices.map(([decision, text, kind]) =>
      h("button", { type: "button", class: kind, onclick: () => this.#decide(card, approval, decision, note.value.trim()) }, text),
    );
    const about = isOutcome ? "How you know (optional)" : "If you deny it, why (optional)";
    return h(
      "div",
      { class: "decision" },
      h("label", {}, h("span", { class: "faint" }, about), note),
      h("div", { class: "row" }, buttons, isOutcome ? null : h("span", { class: "faint" }, "Until ", when(approval.expires_at))),
    );
  }

  /** @param {HTMLElement} card @param {any} approval @param {string} decision @param {string} note */
  async #decide(card, approval, decision, note) {
    const buttons = card.querySelectorAll("button");
    buttons.forEach((button) => (button.disabled = true));
    const isYes = decision === "approve";
    try {
      const options = { inputDigest: isYes ? approval.input_digest : undefined, note: isYes || !note ? undefined : note };
      await this.latchkey.decide(approval.id, (decision), options);
      this.#close(card, `${SAID[(decision)]}: ${plain(approval.tool).toLowerCase()}.`);
      this.around.decided(approval);
    } catch (error) {
      const { text } = problemText(error);
      const isOver = [404, 409, 410].includes((error)?.status);
      if (isOver) {
        this.#close(card, text);
        this.around.decided(approval);
        return;
      }
      buttons.forEach((button) => (button.disabled = false));
      card.querySelector(".decision")?.append(h("p", { class: "bad", role: "alert" }, text));
    }
  }

  /** What came of it, where the buttons were; and whoever pressed one of them is there still. @param {HTMLElement} card @param {string} text */
  #close(card, text) {
    const hadFocus = card.contains(document.activeElement) || document.activeElement === document.body;
    const came = h("p", { class: "came", tabindex: "-1" }, text);
    card.querySelector(".decision")?.replaceWith(came);
    card.dataset.decided = "yes";
    if (hadFocus) came.focus();
    this.around.announce(text);
  }
}
