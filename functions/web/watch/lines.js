/** What happened in a conversation, in words and in the order of time: turns with their steps, and between them what belonged to none. */

import { agentName, between, count, full } from "./readable.js";

const CALLS = {
  asked: ["asked for", "warn"], done: ["done", "good"], failed: ["failed", "bad"], unknown: ["nobody knows what came of it", "bad"],
  denied: ["denied", "warn"], dropped: ["not run", "warn"],
};
const STOPS = { tool_use: "it asked for tools", end_turn: "its answer is whole", max_tokens: "it was cut" };
const ENDS = { completed: ["✓", "good"], failed: ["✕", "bad"], cancelled: ["■", "warn"], joined: ["↪"] };
const NOTES = { turn_cancelled: "Stopped by an operator", session_woken: "Woken by an operator" };
// The question's own row says the same, and what was asked.
const SAID_BY_ROW = /^approval_(approved|denied|expired|withdrawn)$/;

/** Of a session as the service shows it: steps, and turns with theirs. */
export function entriesOf({ turns, audit, compactions, next_turns, next_audit, created_at, forked_from }) {
  const shown = new Set(turns.map((turn) => turn.id));
  const began = { at: created_at, mark: "•", text: `The conversation began${forked_from ? `, as a fork of ${forked_from}` : ""}` };
  return byTime([
    ...(next_turns || next_audit ? [] : [began]),
    ...turns.map((turn) => ({ at: turn.created_at, turn, steps: stepsOf(turn, audit.filter((line) => line.turn_id === turn.id)) })),
    ...audit.filter((line) => !shown.has(line.turn_id)).map(note),
    ...(compactions ?? []).map((one) => ({
      at: one.created_at, mark: "≡", text: `The history up to message ${one.upto_seq} was compacted`, more: one.left_out ? "taken back since" : "",
    })),
  ]);
}

/** What is of one moment stays in its order. */
const byTime = (all) => all.sort((one, other) => new Date(one.at) - new Date(other.at));

function stepsOf(turn, notes) {
  const [mark, tone] = ENDS[turn.status] ?? [];
  return byTime([
    ...(turn.messages ?? []).map(message),
    ...(turn.calls ?? []).map(call),
    ...(turn.approvals ?? []).flatMap(approval),
    ...notes.filter((line) => !SAID_BY_ROW.test(line.action)).map(note),
    ...(turn.ended_at && mark ? [{ at: turn.ended_at, mark, tone, text: `Turn ${turn.status}`, more: turn.error_code }] : []),
  ]);
}

function message({ seq, role, agent, stop_reason: stop, created_at: at, usage, bytes, left_out }, index, all) {
  const input = usage && usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens;
  const tokens = usage && `${count(input)} tokens in, ${count(usage.output_tokens)} out`;
  const more = [bytes && `${count(bytes)} bytes`, tokens, left_out && "left out of what the model is told"]
    .filter(Boolean).join(", ");
  const said = `the model answered as ${agentName(agent)}; ${STOPS[stop] ?? stop}`;
  if (role === "assistant") return { at, mark: "◆", tone: "model", text: `Message ${seq}: ${said}`, more };
  const isResults = all[index - 1]?.stop_reason === "tool_use";
  return { at, mark: isResults ? "←" : "→", text: `Message ${seq}: ${isResults ? "what the tools gave, for the model" : "from a person"}`, more };
}

function call({ id, name, effect, status, created_at: at, ended_at: end }) {
  const [text, tone] = CALLS[status] ?? [status];
  const took = end ? `, after ${between(at, end)}` : "";
  return { at, mark: "⚙", tone, text: `Tool ${name} (${effect}): ${text}${took}`, more: id };
}

function approval({ kind, status, role, created_at: at, expires_at: until, decided_at: decided, tool_call_id: more }) {
  const what = kind === "outcome" ? "what came of a call" : "for a yes";
  const asked = { at, mark: "?", tone: "warn", text: `A person (${role}) was asked ${what}, until ${full(until)}`, more };
  if (status === "pending") return [asked];
  return [asked, { at: decided ?? until, mark: "!", tone: status === "approved" ? "good" : "warn", text: `The question was ${status}`, more }];
}

function note({ at, action, actor, agent, until, user_id: user }) {
  const words = action.replaceAll("_", " ");
  const isLock = action.startsWith("lock_");
  return {
    at, mark: isLock ? "⚑" : "✎", tone: isLock ? "model" : "",
    text: `${NOTES[action] ?? words[0].toUpperCase() + words.slice(1)}${agent ? `: ${agent}` : ""}${until ? `, until ${full(until)}` : ""}`,
    more: `audit: ${action} by ${actor}${user ? ` ${user}` : ""}`,
  };
}
