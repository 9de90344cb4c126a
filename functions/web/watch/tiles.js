/** The numbers of this moment and of today, as tiles; and the conversations by agent. */

import { drawing, el, fill, svg, table } from "./nodes.js";
import { agentName, between, count, many, money, ms, percent, seconds, short } from "./readable.js";

const LONGEST = 80;
const sum = (values) => Object.values(values).reduce((all, value) => all + value, 0);
const of = (all, field) => sum(all.map((one) => one[field]));

export function showTiles(place, overview) {
  const { at, active_s, sessions, turns, today, approvals, kept } = overview;
  const { input = 0, output = 0, cache_read = 0, cache_write = 0 } = today.tokens;
  const { new: fresh = 0, rows = 0, read = rows, ...known } = today.history ?? {};
  const hits = sum(known);
  const { completed = 0, failed = 0 } = today.turns;
  fill(place,
    tile("Active conversations", count(of(sessions, "active")), `in the last ${seconds(active_s)}; ${count(of(sessions, "busy"))} being answered`),
    tile("Turns now", count(turns.running + turns.queued + turns.waiting), `${turns.running} running, ${turns.queued} queued, ${turns.waiting} wait for a person`),
    tile("Decisions open", count(approvals.calls + approvals.outcomes), `${approvals.calls} to approve, ${approvals.outcomes} unknown outcomes`),
    tile("Locks held", `${count(overview.locks_held)}${overview.more_locks ? " or more" : ""}`, "by agents"),
    tile("Turns today", count(sum(today.turns)), `${count(completed)} completed, ${count(failed)} failed (${percent(today.error_rate)})`),
    tile("Latency today", ms(today.latency.p50_ms), `p95 ${ms(today.latency.p95_ms)}, p99 ${ms(today.latency.p99_ms)}`),
    tile("Recoveries today", count(today.recoveries), "functions that died"),
    tile("Cache hits today", percent(hits + read ? hits / (hits + read) : null), `of histories; ${count(fresh)} new`),
    tile("Tokens today", short(input + output + cache_read + cache_write), `${short(input)} in, ${short(output)} out, ${short(cache_read)} from a cache`),
    tile("Cost today", money(today.cost_usd), today.unpriced ? `${many(today.unpriced, "turn")} without a price` : "since midnight UTC"),
    tile("Cleaned up today", count(sum(today.cleanups)), "what had expired"),
    tile("Conversations kept", count(kept), `${count(today.sessions.begun ?? 0)} begun today`),
    el("div.tile.card.wide", {}, el("h3", {}, "Active conversations by agent"), byAgent(sessions, at)));
}

const tile = (name, value, more) => el("div.tile.card", {}, el("h3", {}, name), el("p.value", {}, value), el("p.faint", {}, more));

function byAgent(sessions, at) {
  if (!sessions.length) return el("p.faint", {}, "None is active or held.");
  const most = Math.max(1, ...sessions.map((one) => one.active));
  return table("Active conversations by agent", ["Agent", "Active", "Busy", "Locks held", "Oldest lock"], sessions.map((one) => [
    agentName(one.agent),
    [drawing("meter", LONGEST, 10, svg("rect.fill.s0", { width: (LONGEST * one.active) / most, height: 10 })), ` ${count(one.active)}`],
    count(one.busy), count(one.locked), one.oldest_lock_at ? between(one.oldest_lock_at, at) : "–",
  ]));
}
