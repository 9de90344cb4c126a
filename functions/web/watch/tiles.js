/** The numbers of this moment and of today, as tiles; and the conversations by agent. */

import { el, fill, svg } from "./nodes.js";
import { agentName, count, many, money, ms, percent, seconds, short } from "./readable.js";

/** @param {Element} place @param {any} overview */
export function showTiles(place, overview) {
  const { sessions, turns, today, approvals, locks_held: locks } = overview;
  const active = sessions.reduce((/** @type {number} */ sum, /** @type {any} */ one) => sum + one.active, 0);
  const { input = 0, output = 0, cache_read: read = 0, cache_write: write = 0 } = today.tokens;
  fill(place,
    tile("Active conversations", count(active), `in the last ${seconds(overview.active_s)}; ${many(sum(sessions, "busy"), "is", "are")} being answered`),
    tile("Turns now", count(turns.running + turns.queued + turns.waiting), `${turns.running} running, ${turns.queued} queued, ${turns.waiting} waiting for a person`),
    tile("Decisions open", count(approvals.calls + approvals.outcomes), `${approvals.calls} to approve, ${approvals.outcomes} unknown outcomes`),
    tile("Locks held", count(locks), "by agents"),
    tile("Turns today", count(sum(Object.values(today.turns))), `${count(today.turns.completed ?? 0)} completed, ${count(today.turns.failed ?? 0)} failed (${percent(today.error_rate)})`),
    tile("Latency today", ms(today.latency.p50_ms), `p95 ${ms(today.latency.p95_ms)}, p99 ${ms(today.latency.p99_ms)}`),
    tile("Recoveries today", today.recoveries === undefined ? "–" : count(total(today.recoveries)), today.recoveries === undefined ? "not in this release" : "after a function died"),
    tile("History from memory", today.history ? percent(share(today.history)) : "–", today.history ? "of turns today: cache hits" : "not in this release"),
    tile("Tokens today", short(input + output + read + write), `${short(input)} in, ${short(output)} out, ${short(read)} read from the prompt cache`),
    tile("Cost today", money(today.cost_usd), today.unpriced ? `${many(today.unpriced, "turn")} of unknown price not in it` : "since midnight UTC"),
    tile("Cleaned up today", count(sum(Object.values(today.cleanups))), "what had expired"),
    overview.kept !== undefined && tile("Conversations kept", count(overview.kept), `${count(today.sessions.begun ?? 0)} begun today`),
    agents(sessions),
  );
}

/** @param {string} name @param {string} value @param {string} more */
function tile(name, value, more) {
  return el("div.tile.card", {}, el("h3", {}, name), el("p.value", {}, value), el("p.faint", {}, more));
}

/** @param {any[]} sessions */
function agents(sessions) {
  if (!sessions.length) return el("div.tile.card.wide", {}, el("h3", {}, "By agent"), el("p.faint", {}, "No conversation is active or held."));
  const most = Math.max(1, ...sessions.map((one) => one.active));
  const row = (/** @type {any} */ one) => el("tr", {},
    el("th", { scope: "row" }, agentName(one.agent)),
    el("td", {}, svg("svg.bar", { width: 80, height: 10, "aria-hidden": "true", focusable: "false" }, svg("rect.fill.s0", { width: (80 * one.active) / most, height: 10 })), ` ${count(one.active)}`),
    el("td", {}, count(one.busy)), el("td", {}, count(one.agent === null ? 0 : one.locked ?? one.alive)), el("td", {}, since(one.oldest_lock_at)));
  return el("div.tile.card.wide", {}, el("h3", {}, "Active conversations by agent"),
    el("div.scroll", { tabindex: 0, role: "region", "aria-label": "Active conversations by agent" }, el("table", {},
      el("thead", {}, el("tr", {}, ["Agent", "Active", "Busy", "Locks held", "Oldest lock"].map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, sessions.map(row)))));
}

/** @param {string | null} at */
const since = (at) => (at ? seconds((Date.now() - Date.parse(at)) / 1000) : "–");

/** @param {any[]} all @param {string} [field] */
const sum = (all, field) => all.reduce((/** @type {number} */ so_far, one) => so_far + (field ? one[field] : one), 0);

/** @param {number | Record<string, number>} value */
const total = (value) => (typeof value === "number" ? value : sum(Object.values(value)));

/** @param {Record<string, number>} history */
function share(history) {
  const all = total(history);
  return all ? (all - (history.rows ?? 0)) / all : null;
}
