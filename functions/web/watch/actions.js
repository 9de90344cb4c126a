/** What an operator may do to a conversation. Each is asked about first, and says what came of it. */

import { el } from "./nodes.js";
import { clock, many } from "./readable.js";

const SAID = {
  cleared: () => "The lock is cleared: the manager answers from the next message on.",
  nothing_to_clear: () => "Nobody held the lock.",
  cancelled: ({ turns }) => `${many(turns, "turn was", "turns were")} cancelled.`,
  stopping: ({ turns }) => `${many(turns, "turn was", "turns were")} told to stop, at the next safe point.`,
  nothing_to_cancel: () => "There was nothing to cancel.",
  woken: () => "It was woken: a worker goes on with it.",
  is_held: ({ held_until: until }) => `A function is at work on it${until ? ` until ${clock(until)}, unless it renews its lease` : ""}: nothing was done.`,
  nothing_to_recover: () => "There was nothing to recover.",
};

export function cameOf(answer) {
  if (!answer) return "The conversation is ended, and gone.";
  return SAID[answer.outcome]?.(answer) ?? `It answered: ${answer.outcome}.`;
}

export const ACTIONS = [
  { name: "Clear the lock", method: "DELETE", path: "/lock",
    does: "Its agent loses it: the manager answers from the next message on. What runs now is not stopped." },
  { name: "Cancel its turns", method: "POST", path: "/cancel", body: {},
    does: "What runs stops at its next safe point; what is queued or waits for a person is cancelled." },
  { name: "Recover", method: "POST", path: "/recover", body: {},
    does: "A turn whose function died, or that nobody was woken for, is gone on with now. What runs is let alone." },
  { name: "End it", method: "DELETE", path: "", isEnd: true,
    does: "The conversation is deleted with all that was said in it, and with its audit. It is not archived, and cannot be had back." },
];

/** Asks, and does it if that is wanted; gives what was answered, or undefined. What is refused is said in the dialog, which stays. */
export function asked({ name, does, isEnd }, id, act) {
  return new Promise((resolve) => {
    let answer;
    const said = el("p.said", { role: "alert" });
    const typed = el("input", { id: "typed", autocomplete: "off", autocapitalize: "none", spellcheck: "false", maxlength: 4 });
    const yes = el(isEnd ? "button.bad" : "button.main", {}, name);
    const no = el("button", { type: "button", onclick: () => dialog.close() }, "Leave it");
    const submit = async (event) => {
      event.preventDefault();
      if (isEnd && typed.value.trim().toLowerCase() !== id.slice(0, 4)) return void (said.textContent = "These are not the first 4 characters of its ID.");
      yes.disabled = true;
      try {
        answer = await act();
        dialog.close();
      } catch (error) {
        said.textContent = error.code === "session_not_found" ? "It has ended meanwhile." : error.message;
        yes.disabled = false;
      }
    };
    const dialog = el("dialog.card", { "aria-labelledby": "asked", onclose: () => (dialog.remove(), resolve(answer)) },
      el("form", { onsubmit: submit }, el("h2", { id: "asked" }, `${name}?`), el("p", {}, does), el("p.id.faint", {}, id),
        isEnd && [el("label", { for: "typed" }, `To be sure, type the first 4 characters of its ID (${id.slice(0, 4)})`), typed],
        said, el("div.row", {}, no, yes)));
    document.body.append(dialog);
    dialog.showModal();
    (isEnd ? typed : no).focus();
  });
}
