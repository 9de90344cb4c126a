/** One conversation: its head, what an operator may do to it, and its picture. Nobody's words are in any of it. */

import { ACTIONS, asked } from "./actions.js";
import { el, fill, time } from "./nodes.js";
import { picture } from "./picture.js";
import { agentName, clock, count, full, money, seconds } from "./readable.js";

const A_PAGE = 25;
const NOT_FOUND = "No conversation has this ID. It has ended, or expired and was cleaned up (then it is in the archive, if there is one), "
  + "or the ID is of something else, such as a turn or a device.";

export class Conversation {
  /** @type {any} */
  #session = null;
  #said = "";

  /** @param {HTMLElement} place @param {import("./api.js").Api} api */
  constructor(place, api) {
    this.place = place;
    this.api = api;
  }

  get id() {
    return this.#session?.id ?? null;
  }

  /** @param {string} id */
  async open(id) {
    this.#session = { id };
    this.#said = "";
    this.#frame(id, el("p.faint", { role: "status" }, "Looking…"));
    this.place.querySelector("h2")?.focus();
    await this.#read();
  }

  close() {
    this.#session = null;
    fill(this.place);
  }

  /** @param {string} id @param {...any} children */
  #frame(id, ...children) {
    fill(this.place, el("p", {}, el("a", { href: "#figures" }, "← All figures")),
      el("h2", { tabindex: -1 }, "Conversation ", el("code", {}, id)), children);
  }

  async #read() {
    const { id } = this.#session;
    try {
      const session = await this.api.get(`/sessions/${encodeURIComponent(id)}`, { turns: A_PAGE });
      if (this.id === id) this.#show(session);
    } catch (error) {
      if (this.id === id) this.#frame(id, el("p.notice", { role: "alert" }, missing(/** @type {any} */ (error)) ? NOT_FOUND : String(/** @type {any} */ (error).message)));
    }
  }

  async #older() {
    const { id, next_turns: before, next_audit: audit_before } = this.#session;
    const older = await this.api.get(`/sessions/${id}`, { turns: A_PAGE, before, audit_before }).catch((error) => this.#tell(error.message));
    if (!older || this.id !== id) return;
    const now = this.#session;
    this.#show({
      ...older,
      turns: merged(older.turns, now.turns), audit: merged(older.audit, now.audit),
      // What had no more before has none now, whatever a page without a place says.
      next_turns: before === null ? null : older.next_turns, next_audit: audit_before === null ? null : older.next_audit,
    });
    this.place.querySelector("ol.timeline")?.scrollIntoView();
  }

  /** @param {any} session */
  #show(session) {
    this.#session = session;
    const hasOlder = session.next_turns || session.next_audit;
    this.#frame(session.id,
      el("p.faint", {}, `As of ${clock(session.as_of ?? new Date())}. What people and agents said is not here, nor the reasons and notes that they gave: operators see what happened, and nobody's words.`),
      el("dl.facts", {}, facts(session).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
      el("div.row.actions", { role: "group", "aria-label": "What you can do" },
        ACTIONS.map((action) => el(action.isEnd ? "button.bad" : "button", { type: "button", onclick: () => this.#act(action) }, action.name)),
        el("button.quiet", { type: "button", onclick: () => this.#read() }, "Look again")),
      el("p.said", { role: "status", id: "came-of-it" }, this.#said),
      el("h3", {}, "What happened"),
      hasOlder && el("button", { type: "button", onclick: () => this.#older() }, "Older turns"),
      picture(session),
      el("p.now", {}, now(session)));
  }

  /** @param {import("./actions.js").Action} action */
  async #act(action) {
    const { id } = this.#session;
    const answer = await asked(action, id, () => this.api.ask(action.method, `/sessions/${id}${action.path}`, action.method === "POST" ? {} : undefined));
    if (answer === undefined || this.id !== id) return;
    this.#said = action.said(answer);
    if (action.isEnd) this.#frame(id, el("p.notice", { role: "status", id: "came-of-it" }, this.#said));
    else await this.#read();
  }

  /** @param {string} text */
  #tell(text) {
    this.#said = text;
    fill(/** @type {Element} */ (this.place.querySelector("#came-of-it")), text);
  }
}

/** @param {any} error */
export const missing = (error) => error.status === 404 || error.status === 422;

/** The same thing once, the newer look at it. @param {any[]} older @param {any[]} newer */
function merged(older, newer) {
  return [...new Map([...older, ...newer].map((one) => [one.id, one])).values()];
}

/** @param {any} session @returns {[string, any][]} */
function facts(session) {
  const lockHeld = session.lock_is_held ?? (session.lock_expires_at && Date.parse(session.lock_expires_at) > Date.now());
  const open = session.open_turns ?? session.turns.filter((/** @type {any} */ turn) => !turn.ended_at).length;
  const { usage } = session;
  /** @type {[string, any][]} */
  const all = [
    ["Answers next", agentName(lockHeld ? session.active_agent : null)],
    ["Lock", lockHeld ? ["until ", time(session.lock_expires_at, full(session.lock_expires_at))] : session.active_agent ? "its time is over" : "nobody's"],
    ["Lease", lease(session)],
    ["Open turns", count(open)],
    ["Used", `${count(usage.input_tokens + usage.output_tokens)} tokens, ${money(usage.cost_usd)}`],
    ["Turns and messages", `${count(session.turn_seq)} and ${count(session.message_seq)}`],
    ["Last used", [time(session.last_active_at, full(session.last_active_at)), `, ${session.is_alive ? "expires" : "expired"} ${full(session.expires_at)}`]],
    ["Owner", el("code", {}, session.user_id)],
  ];
  if (session.members !== undefined) all.push(["Members", count(session.members)]);
  if (session.org_id) all.push(["Organisation", el("code", {}, session.org_id)]);
  for (const [name, id] of [["Forked from", session.forked_from], ["Merged into", session.merged_into]]) {
    if (id) all.push([name, el("a", { href: `#session=${id}` }, el("code", {}, id))]);
  }
  return all;
}

/** @param {any} session */
function lease(session) {
  const isHeld = session.lease_is_held ?? (session.lease_expires_at && Date.parse(session.lease_expires_at) > Date.now());
  return `epoch ${session.lease_epoch}, ${isHeld ? `held until ${clock(session.lease_expires_at)}` : session.lease_expires_at ? "its holder is dead" : "free"}`;
}

/** @param {any} session */
function now(session) {
  const open = session.turns.filter((/** @type {any} */ turn) => !turn.ended_at && turn.status !== "waiting");
  const isHeld = session.lease_is_held ?? (session.lease_expires_at && Date.parse(session.lease_expires_at) > Date.now());
  if (open.length && !isHeld) return `Now: nobody is at work on it, for ${seconds((Date.now() - Date.parse(open[0].created_at)) / 1000)} since it was asked. “Recover” wakes a worker.`;
  if (isHeld) return `Now: a function is at work on it, under epoch ${session.lease_epoch}.`;
  return session.turns.some((/** @type {any} */ turn) => turn.status === "waiting") ? "Now: it waits for a person." : "Now: nothing is open.";
}
