/** Which plots there are, and how each is read from its figure. What a figure counts, exactly, stands in docs/figures.md. */

import { TONES } from "./chart.js";
import { count, money, ms, seconds, short } from "./readable.js";

/** @typedef {import("./series.js").Item} Item */
/** @typedef {import("./chart.js").Series} Series */

/** By label, in this order; what has another label comes after. @param {string[]} order @param {Record<string, string>} [names] */
function byLabel(order, names = {}) {
  return (/** @type {Item[]} */ items) => {
    const there = new Set(items.flatMap((item) => Object.keys(item.values ?? {})));
    const labels = [...order, ...[...there].filter((label) => !order.includes(label)).sort()];
    return labels.map((label, place) => ({
      name: names[label] ?? (label.replaceAll("_", " ") || "not said"),
      values: items.map((item) => item.values?.[label] ?? 0),
      tone: place % TONES,
    }));
  };
}

/** @param {Record<string, string>} fields by the field its name */
function byField(fields) {
  return (/** @type {Item[]} */ items) =>
    Object.entries(fields).map(([field, name], tone) => ({ name, values: items.map((item) => item[field] ?? null), tone }));
}

/** @param {Item[]} items */
function lockTimes(items) {
  const agents = [...new Set(items.flatMap((item) => item.agents.map((/** @type {any} */ one) => one.agent)))].sort();
  return agents.flatMap((agent, place) =>
    [50, 95].map((share) => ({
      name: `${agent} p${share}`,
      values: items.map((item) => item.agents.find((/** @type {any} */ one) => one.agent === agent)?.[`p${share}_s`] ?? null),
      tone: (place * 2 + (share === 95 ? 1 : 0)) % TONES,
    })));
}

/** @param {Item[]} items */
function lockEnds(items) {
  const held = items.map((item) => item.agents.reduce((/** @type {number} */ sum, /** @type {any} */ one) => sum + one.still_held, 0));
  const ended = byLabel(["handed_over", "cleared", "expired", "renewed", "ended"], { ended: "ended with the conversation" });
  return [...ended(items.map(({ at, ended: values }) => ({ at, values }))), { name: "still held", values: held, tone: 5 }];
}

/** @param {number} share */
function stages(share) {
  return (/** @type {Item[]} */ items) =>
    ["claim", "model", "tools", "finish"].map((stage, tone) => ({
      name: stage, values: items.map((item) => item.stages?.[stage]?.[`p${share}_ms`] ?? null), tone,
    }));
}

const bars = { kind: /** @type {const} */ ("bars"), format: count, tick: short };
const times = { kind: /** @type {const} */ ("lines"), format: ms, tick: ms, total: false };

/**
 * @type {{id: string, figure: string, title: string, about: string, kind: "bars" | "lines", format: (value: number) => string,
 *   tick?: (value: number) => string, total?: boolean, read: (items: Item[]) => Series[]}[]}
 */
export const PLOTS = [
  { id: "plot-turns", figure: "turns", title: "Turns by state", about: "Messages that were accepted, and what has become of them.", ...bars,
    read: byLabel(["completed", "joined", "running", "queued", "waiting", "failed", "cancelled", "abandoned"]) },
  { id: "plot-errors", figure: "errors", title: "Errors", about: "Turns that failed, by the error's code.", ...bars, read: byLabel([]) },
  { id: "plot-latency", figure: "latency", title: "Latency", about: "From a message to the end of its turn, a person's decision in the middle included.", ...times,
    read: byField({ p50_ms: "p50", p95_ms: "p95", p99_ms: "p99" }) },
  { id: "plot-stages", figure: "stages", title: "Latency by stage, p95", about: "What of a turn is claiming, the model, tools and finishing: one turn in twenty takes longer.", ...times, read: stages(95) },
  { id: "plot-stages-p50", figure: "stages", title: "Latency by stage, p50", about: "The same of the turn in the middle.", ...times, read: stages(50) },
  { id: "plot-recoveries", figure: "recoveries", title: "Recoveries", about: "Turns whose function died, and that another went on with.", ...bars,
    read: byLabel([], { "": "recoveries" }) },
  { id: "plot-sessions", figure: "sessions", title: "Conversations", about: "Begun, and how they went.", ...bars, kind: "lines",
    read: byLabel(["begun", "ended", "expired", "merged", "restored"]) },
  { id: "plot-locks", figure: "locks", title: "How long agents held conversations", about: "By the hour in which the lock was set: p50 and p95 by agent.", ...times, format: seconds, tick: seconds,
    read: lockTimes },
  { id: "plot-lock-ends", figure: "locks", title: "How locks ended", about: "What became of the locks that were set.", ...bars, read: lockEnds },
  { id: "plot-cleanups", figure: "cleanups", title: "Clean-up", about: "What sweeps ended, in the hour of the sweep.", ...bars,
    read: byLabel(["sessions", "locks", "approvals", "application_sessions"]) },
  { id: "plot-history", figure: "history", title: "Where history came from", about: "Cache hits: what of a conversation was known to the process or the cache, and what was read from rows.", ...bars,
    read: byLabel(["kept", "cache", "rows"], { kept: "the process's memory", cache: "the cache", rows: "rows" }) },
  { id: "plot-tokens", figure: "tokens", title: "Tokens", about: "By kind.", ...bars, format: short, read: byLabel(["input", "output", "cache_read", "cache_write"]) },
  { id: "plot-cost", figure: "cost", title: "Cost", about: "By agent, of models whose price is known.", ...bars,
    format: (micros) => money(micros / 1e6), tick: (micros) => money(micros / 1e6), read: byLabel([], { "": "nobody had answered" }) },
];
