/** What happened in a conversation, in the order of time: turns with their steps, and between them what belonged to none. Said in words; drawn elsewhere. */

import { agentName, full, many, seconds } from "./readable.js";

/**
 * @typedef {{at: string, mark: string, tone: string, text: string, more?: string}} Step
 * @typedef {{at: string, kind: "turn", turn: any, steps: Step[]} | ({kind: "step"} & Step)} Entry
 */

const STATUS = {
  asked: "asked for", ready: "may run", started: "started", done: "done", failed: "failed", unknown: "nobody knows what came of it",
  denied: "denied", dropped: "not run",
};
const CALL_TONE = { failed: "bad", unknown: "bad", denied: "warn", asked: "warn" };
const STOPS = { end_turn: "its answer is whole", max_tokens: "cut at its most tokens", refusal: "refused", pause_turn: "a pause", stop_sequence: "stopped by a sequence" };
const NOTES = {
  lock_set: "Lock set", lock_cleared: "Lock cleared", lock_expired: "Lock expired", agent_missing: "The lock's agent is not in this release",
  approval_approved: "Approved", approval_denied: "Denied", approval_expired: "Question expired", approval_withdrawn: "Question withdrawn",
  outcome_settled: "An unknown outcome was settled", turn_cancelled: "Stopped by an operator", session_woken: "Woken by an operator",
  session_restored: "Restored from the archive", forked: "Forked from another", rewound: "Rewound", merge: "Merged",
};

/** @param {any} session as the service shows it, pages merged @returns {Entry[]} */
export function entriesOf(session) {
  const known = new Set(session.turns.map((/** @type {any} */ turn) => turn.id));
  const loose = session.audit.filter((/** @type {any} */ line) => !line.turn_id || !known.has(line.turn_id));
  /** @type {Entry[]} */
  const entries = [
    ...session.turns.map((/** @type {any} */ turn) => ({
      at: turn.created_at, kind: /** @type {const} */ ("turn"), turn,
      steps: stepsOf(turn, session.audit.filter((/** @type {any} */ line) => line.turn_id === turn.id)),
    })),
    ...loose.map((/** @type {any} */ line) => ({ kind: /** @type {const} */ ("step"), ...note(line) })),
    ...(session.compactions ?? []).map((/** @type {any} */ one) => ({
      at: one.created_at, kind: /** @type {const} */ ("step"), mark: "≡", tone: "plain",
      text: `History up to message ${one.upto_seq} was put together`, more: one.left_out ? "taken back since" : undefined,
    })),
  ];
  const isWhole = !session.next_turns && !session.next_audit;
  if (isWhole) {
    const from = session.forked_from ? ` as a fork of ${session.forked_from}` : "";
    entries.push({ at: session.created_at, kind: "step", mark: "•", tone: "plain", text: `The conversation began${from}` });
  }
  return byTime(entries);
}

/** @template {{at: string}} T @param {T[]} all @returns {T[]} what is of one moment stays in its order */
function byTime(all) {
  return all.map((one, place) => ({ one, place })).sort((a, b) => Date.parse(a.one.at) - Date.parse(b.one.at) || a.place - b.place).map(({ one }) => one);
}

/** @param {any} turn @param {any[]} notes @returns {Step[]} */
export function stepsOf(turn, notes) {
  /** @type {Step[]} */
  const steps = [
    ...(turn.messages ?? []).map(message),
    ...(turn.calls ?? []).map(call),
    ...(turn.approvals ?? []).flatMap(approval),
    ...notes.filter((line) => !/^approval_(approved|denied|expired|withdrawn)$/.test(line.action)).map(note),
  ];
  if (turn.ended_at) steps.push({ at: turn.ended_at, ...END[turn.status] ?? END.completed, more: turn.error_code ?? undefined });
  return byTime(steps);
}

/** @type {Record<string, {mark: string, tone: string, text: string}>} */
const END = {
  completed: { mark: "✓", tone: "good", text: "Turn completed" }, failed: { mark: "✕", tone: "bad", text: "Turn failed" },
  cancelled: { mark: "■", tone: "warn", text: "Turn cancelled" }, joined: { mark: "↪", tone: "plain", text: "Joined another turn" },
};

/** @param {any} one @returns {Step} */
function message(one) {
  const more = [one.bytes ? `${many(one.bytes, "byte")}` : "", tokens(one.usage), one.left_out ? "left out of what the model is told" : ""].filter(Boolean).join(", ");
  if (one.role === "user") return { at: one.created_at, mark: "→", tone: "plain", text: `Message ${one.seq}: from a person, or results for the model`, more };
  const asked = one.stop_reason === "tool_use" ? "asked for tools" : STOPS[/** @type {keyof typeof STOPS} */ (one.stop_reason)] ?? one.stop_reason ?? "answered";
  return { at: one.created_at, mark: "◆", tone: "model", text: `Message ${one.seq}: the model answered as ${agentName(one.agent)}: ${asked}`, more };
}

/** @param {any} usage */
function tokens(usage) {
  return usage ? `${usage.input_tokens + (usage.cache_read_tokens ?? 0) + (usage.cache_write_tokens ?? 0)} tokens in, ${usage.output_tokens} out` : "";
}

/** @param {any} one @returns {Step} */
function call(one) {
  const took = one.ended_at ? `, after ${seconds((Date.parse(one.ended_at) - Date.parse(one.created_at)) / 1000)}` : "";
  const status = STATUS[/** @type {keyof typeof STATUS} */ (one.status)] ?? one.status;
  const tone = CALL_TONE[/** @type {keyof typeof CALL_TONE} */ (one.status)] ?? "plain";
  return { at: one.created_at, mark: "⚙", tone, text: `Tool ${one.name} (${one.effect}): ${status}${took}`, more: one.id };
}

/** @param {any} one @returns {Step[]} */
function approval(one) {
  const what = one.kind === "outcome" ? "A person was asked what came of a call" : "A person was asked for a yes";
  const asked = { at: one.created_at, mark: "?", tone: "warn", text: `${what} (${one.role})`, more: one.status === "pending" ? `until ${full(one.expires_at)}` : one.tool_call_id };
  if (one.status === "pending") return [asked];
  const at = one.decided_at ?? one.expires_at;
  return [asked, { at, mark: "!", tone: one.status === "approved" ? "good" : "warn", text: `The question was ${one.status}`, more: one.tool_call_id }];
}

/** @param {any} line of the audit @returns {Step} */
function note(line) {
  const said = NOTES[/** @type {keyof typeof NOTES} */ (line.action)] ?? sentence(line.action);
  const to = line.agent ? `: ${line.agent}` : "";
  const until = line.until ? `, until ${full(line.until)}` : "";
  const isLock = line.action.startsWith("lock_");
  return { at: line.at, mark: isLock ? "⚿" : "✎", tone: isLock ? "lock" : "plain", text: `${said}${to}${until}`, more: `audit: ${line.action} by ${actor(line)}` };
}

/** @param {any} line */
function actor(line) {
  return line.user_id ? `${line.actor} ${line.user_id}` : line.actor;
}

/** @param {string} action */
function sentence(action) {
  const text = action.replaceAll("_", " ");
  return text[0].toUpperCase() + text.slice(1);
}
