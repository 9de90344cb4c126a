/** One conversation: its head, what an operator may do to it, and its picture. Nobody's words are in any of it. */

import { ACTIONS, asked, cameOf } from "./actions.js";
import { byId, el, fill, time } from "./nodes.js";
import { picture } from "./picture.js";
import { agentName, clock, count, full, money } from "./readable.js";

const A_PAGE = 25;
const NOT_FOUND = "No conversation has this ID. It has ended, or expired (then the archive may have it), or this is the ID of a turn or a device.";

export class Conversation {
  #session = null;

  constructor(place, api) {
    this.place = place;
    this.api = api;
  }

  async open(id) {
    this.#session = { id };
    this.#frame(id, el("p.faint", { role: "status" }, "Looking…"));
    this.place.querySelector("h2").focus();
    await this.#look("");
  }

  close() {
    this.#session = null;
    fill(this.place);
  }

  /** What is focused may be drawn anew: then its heading is. */
  #frame(id, ...children) {
    const hadFocus = this.place.contains(document.activeElement);
    fill(this.place, el("p", {}, el("a", { href: "#figures" }, "← All figures")), el("h2", { tabindex: -1 }, "Conversation ", el("code", {}, id)), children);
    if (hadFocus) this.place.querySelector("h2").focus({ preventScroll: true });
  }

  /** `said`: what came of what was done before. `older`: what is here stays, and what was before it comes. */
  async #look(said, older) {
    const now = this.#session;
    const place = older && { before: now.next_turns, audit_before: now.next_audit };
    try {
      const session = await this.api.get(`/sessions/${encodeURIComponent(now.id)}`, { turns: A_PAGE, ...place });
      if (this.#session !== now) return;
      this.#show(!older ? session : {
        ...session, turns: merged(session.turns, now.turns), audit: merged(session.audit, now.audit),
        // Of what has no older ones, the page began at the newest.
        next_turns: now.next_turns && session.next_turns, next_audit: now.next_audit && session.next_audit,
      }, said);
    } catch (error) {
      if (this.#session !== now) return;
      if (now.turns && !error.isMissing) fill(byId("came-of-it"), error.message);
      else this.#frame(now.id, el("p.notice", { role: "alert" }, error.isMissing ? NOT_FOUND : error.message));
    }
  }

  #show(session, said) {
    this.#session = session;
    this.#frame(session.id,
      el("p.faint", {}, `As of ${clock(session.as_of)}. Operators see what happened, and nobody's words, reasons or notes.`),
      el("dl.facts", {}, facts(session).map(([name, ...value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
      el("div.row", { role: "group", "aria-label": "What you can do" },
        ACTIONS.map((action) => el(action.isEnd ? "button.bad" : "button", { onclick: () => this.#act(action) }, action.name)),
        el("button.quiet", { onclick: () => this.#look("") }, "Look again")),
      el("p", { role: "status", id: "came-of-it" }, said),
      el("h3", {}, "What happened"),
      (session.next_turns || session.next_audit) && el("button", { onclick: () => this.#look("", true) }, "Older turns"),
      picture(session), el("p", {}, now(session)));
  }

  async #act(action) {
    const { id } = this.#session;
    const answer = await asked(action, id, () => this.api.ask(action.method, `/sessions/${id}${action.path}`, action.body));
    if (answer === undefined || this.#session?.id !== id) return;
    if (answer) await this.#look(cameOf(answer));
    else this.#frame(id, el("p.notice", { role: "status", id: "came-of-it" }, cameOf(answer)));
  }
}

/** Each once, as the newer look has it. */
const merged = (older, newer) => [...new Map([...older, ...newer].map((one) => [one.id, one])).values()];

function facts(session) {
  const { usage, org_id: org, forked_from: source, merged_into: target, members } = session;
  const lock = session.lock_is_held ? time(session.lock_expires_at, `until ${full(session.lock_expires_at)}`) : session.active_agent ? "its time is over" : "nobody's";
  const lease = session.lease_is_held ? `held until ${clock(session.lease_expires_at)}` : session.lease_expires_at ? "its holder is dead" : "free";
  const link = (id) => el("a", { href: `#session=${id}` }, el("code", {}, id));
  return [
    ["Answers next", agentName(session.lock_is_held && session.active_agent)],
    ["Lock", lock], ["Lease", `epoch ${session.lease_epoch}, ${lease}`],
    ["Open turns", count(session.open_turns)],
    ["Used", `${count(usage.input_tokens + usage.output_tokens)} tokens, ${money(usage.cost_usd)}`],
    ["Turns and messages", `${count(session.turn_seq)} and ${count(session.message_seq)}`],
    ["Last used", full(session.last_active_at)],
    [session.is_alive ? "Expires" : "Expired", full(session.expires_at)],
    ["Owner", el("code", {}, session.user_id)],
    members && ["Members", count(members)], org && ["Organisation", el("code", {}, org)],
    source && ["Forked from", link(source)], target && ["Merged into", link(target)],
  ].filter(Boolean);
}

function now({ lease_is_held: isHeld, lease_epoch: epoch, open_turns: open, turns }) {
  if (isHeld) return `Now: a function is at work on it, under epoch ${epoch}.`;
  if (turns.some((turn) => ["queued", "running"].includes(turn.status))) return "Now: a turn is open, and nobody is at work on it. Recover?";
  return open ? "Now: it waits for a person." : "Now: nothing is open.";
}
