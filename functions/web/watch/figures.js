/** Which plots there are, and how each is read from its figure. What a figure counts, exactly, stands in docs/figures.md. */

import { TONES } from "./chart.js";
import { count, money, ms, seconds, short } from "./readable.js";

/** By label, in this order; what has another label comes after. */
const byLabel = (order, names = {}) => (items) => {
  const labels = new Set([...order, ...items.flatMap((item) => Object.keys(item.values)).sort()]);
  return [...labels].map((label, place) => ({
    name: names[label] ?? label.replaceAll("_", " "), values: items.map((item) => item.values[label] ?? 0), tone: place % TONES,
  }));
};

const byStage = (items) => ["claim", "model", "tools", "finish"].map((name, tone) => ({ name, tone, values: items.map((item) => item.stages[name]?.p95_ms) }));

function lockTimes(items) {
  const agents = new Set(items.flatMap((item) => item.agents.map((one) => one.agent)).sort());
  return [...agents].flatMap((agent) => [50, 95].map((share) => ({
    name: `${agent} p${share}`, values: items.map((item) => item.agents.find((one) => one.agent === agent)?.[`p${share}_s`]),
  }))).map((one, place) => ({ ...one, tone: place % TONES }));
}

/** How many each agent was given; where no agent has one, the manager answers. */
function given(items) {
  return byLabel([])(items.map((item) => ({ values: Object.fromEntries(item.agents.map((one) => [one.agent, one.count])) })));
}

/** Those that are still held beside what became of the others. */
function lockEnds(items) {
  const held = (item) => item.agents.reduce((sum, one) => sum + one.still_held, 0);
  return byLabel(["handed_over", "cleared", "expired", "renewed", "ended", "still_held"], { ended: "ended with the conversation" })(
    items.map((item) => ({ values: { ...item.ended, still_held: held(item) } })));
}

const counts = { kind: "bars", format: count, tick: short, isWhole: true, isSummed: true };
const times = { kind: "lines", format: ms };

export const PLOTS = [
  { id: "plot-turns", figure: "turns", title: "Turns by state", about: "Messages that were accepted, and what became of them.", ...counts,
    read: byLabel(["completed", "running", "queued", "failed", "waiting", "joined", "cancelled", "abandoned"]) },
  { id: "plot-errors", figure: "errors", title: "Errors", about: "Turns that failed, by the error's code.", ...counts, read: byLabel([]) },
  { id: "plot-latency", figure: "latency", title: "Latency", about: "From a message to its turn's end, decisions of people included.", ...times,
    read: (items) => [50, 95, 99].map((share, tone) => ({ name: `p${share}`, tone, values: items.map((item) => item[`p${share}_ms`]) })) },
  { id: "plot-stages", figure: "stages", title: "Latency by stage, p95", about: "What turns spend on it: one in twenty spends more.", ...times, read: byStage },
  { id: "plot-recoveries", figure: "recoveries", title: "Recoveries", about: "How often a turn outlived its function.", ...counts, read: byLabel([]) },
  { id: "plot-sessions", figure: "sessions", title: "Conversations", about: "Begun, and how they went.", ...counts, kind: "lines",
    read: byLabel(["begun", "ended", "expired", "merged", "restored"]) },
  { id: "plot-agents", figure: "locks", title: "Conversations by agent", about: "How many each agent was given, by a handoff or by somebody's choice.", ...counts,
    read: given },
  { id: "plot-locks", figure: "locks", title: "Lock durations", about: "How long agents held conversations.", ...times, format: seconds,
    read: lockTimes },
  { id: "plot-lock-ends", figure: "locks", title: "How locks ended", about: "What became of the locks that were set.", ...counts, read: lockEnds },
  { id: "plot-cleanups", figure: "cleanups", title: "Clean-up", about: "What sweeps ended, in the hour of the sweep.", ...counts,
    read: byLabel(["sessions", "locks", "approvals", "application_sessions"]) },
  { id: "plot-history", figure: "history", title: "Where history came from", about: "Cache hits: what turns began with.", ...counts,
    read: byLabel(["kept", "cache", "new", "rows"], { kept: "the process's memory", cache: "the cache", new: "none yet", rows: "read from rows" }) },
  { id: "plot-tokens", figure: "tokens", title: "Tokens", about: "By kind.", ...counts, format: short,
    read: byLabel(["input", "output", "cache_read", "cache_write"]) },
  { id: "plot-cost", figure: "cost", title: "Cost", about: "By agent, of models whose price is known.", ...counts, isWhole: false,
    format: (micros) => money(micros / 1e6), tick: (micros) => money(micros / 1e6), read: byLabel([], { "": "nobody had answered" }) },
];
