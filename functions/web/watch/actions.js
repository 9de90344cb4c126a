/** What an operator may do to a conversation. Each is asked about first, in one sentence, and says what came of it. */

import { el } from "./nodes.js";
import { clock, many } from "./readable.js";

/**
 * @typedef {{name: string, does: string, method: string, path: string, isEnd?: boolean, said: (answer: any) => string}} Action
 */

/** @type {Record<string, (answer: any) => string>} */
const SAID = {
  cleared: () => "The lock is cleared: the manager answers from the next message on.",
  nothing_to_clear: () => "Nobody held the lock: the manager answers already.",
  cancelled: ({ turns }) => `${many(turns, "turn was", "turns were")} cancelled.`,
  stopping: ({ turns }) => `${many(turns, "turn was", "turns were")} told to stop; what runs stops at its next safe point.`,
  nothing_to_cancel: () => "No turn was open: there was nothing to cancel.",
  woken: () => "It was woken: a worker goes on with it.",
  is_held: ({ held_until: until }) => `A function is at work on it${until ? `, until ${clock(until)} unless it renews its lease` : ""}: nothing was done.`,
  nothing_to_recover: () => "There is nothing to recover: no turn is open that could go on.",
};

/** @param {any} answer */
const outcome = (answer) => SAID[answer.outcome]?.(answer) ?? `It answered: ${answer.outcome}.`;

/** @type {Action[]} */
export const ACTIONS = [
  { name: "Clear the lock", method: "DELETE", path: "/lock", said: outcome,
    does: "The agent that holds this conversation loses it: the manager answers from the next message on. What runs now is not stopped." },
  { name: "Cancel its turns", method: "POST", path: "/cancel", said: outcome,
    does: "The turn that runs stops at its next safe point, and all that are queued or wait for a person are cancelled. What tools have done stays done." },
  { name: "Recover", method: "POST", path: "/recover", said: outcome,
    does: "A turn whose function died, or that nobody was woken for, is gone on with now, as the clean-up would within a minute. What runs is let alone." },
  { name: "End it", method: "DELETE", path: "", isEnd: true, said: () => "The conversation is ended: its rows, its cache and its streams are gone.",
    does: "The conversation and all that was said in it is deleted, with its audit, as if its owner had ended it. It is not archived, and cannot be brought back." },
];

/**
 * Asks, and does it if that is wanted.
 *
 * @param {Action} action @param {string} id of the conversation @param {() => Promise<any>} act
 * @returns {Promise<any>} what was answered; undefined: it was not wanted. What is refused is said in the dialog, and thrown by nobody
 */
export function asked(action, id, act) {
  const { promise, resolve } = Promise.withResolvers();
  const said = el("p.said", { role: "alert" });
  const typed = el("input", { id: "typed", autocomplete: "off", autocapitalize: "none", spellcheck: "false", maxlength: 4, "aria-describedby": "typed-why" });
  const yes = el(action.isEnd ? "button.bad" : "button.main", { type: "submit" }, action.name);
  const no = el("button", { type: "button", onclick: () => dialog.close() }, "Leave it");
  let answer = /** @type {any} */ (undefined);
  const form = el("form", { onsubmit: async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    if (action.isEnd && typed.value.trim().toLowerCase() !== id.slice(0, 4)) {
      said.textContent = "These are not the first four characters of its ID.";
      typed.focus();
      return;
    }
    yes.disabled = true;
    said.textContent = "";
    try {
      answer = await act();
      dialog.close();
    } catch (error) {
      said.textContent = refused(/** @type {any} */ (error));
      yes.disabled = false;
    }
  } },
  el("h2", { id: "asked-head" }, `${action.name}?`), el("p", { id: "asked-does" }, action.does), el("p.id.faint", {}, id),
  action.isEnd && [el("label", { for: "typed", id: "typed-why" }, `To be sure, type the first four characters of its ID (${id.slice(0, 4)})`), typed],
  said, el("div.row", {}, no, yes));
  const dialog = el("dialog.card", { "aria-labelledby": "asked-head", "aria-describedby": "asked-does", onclose: () => {
    dialog.remove();
    resolve(answer);
  } }, form);
  document.body.append(dialog);
  dialog.showModal();
  (action.isEnd ? typed : no).focus();
  return promise;
}

/** @param {import("./api.js").Refusal} error */
function refused({ status, code, message }) {
  if (code === "session_not_found") return "There is no such conversation any more: it has ended.";
  if (status === 404 || status === 405) return "This release of the service cannot do that.";
  return `${message} (${code})`;
}
