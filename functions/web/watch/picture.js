/** The picture of a conversation: what lines.js says, as nested lists along one line of time. */

import { entriesOf } from "./lines.js";
import { drawing, el, svg, time } from "./nodes.js";
import { agentName, between, clock, count, full, many, money, ms, seconds } from "./readable.js";

const STAGES = ["claim", "model", "tools", "finish"];
const HISTORIES = { kept: "known to the process", cache: "from the cache", new: "none yet" };

export function picture(session) {
  let epoch = null;
  return el("ol.timeline", { "aria-label": "What happened, in the order of time" }, entriesOf(session).map((entry) => {
    if (!entry.turn) return step(entry, "outside");
    const epochs = entry.turn.run?.epochs ?? [];
    const item = block(entry, epochs.length > 1 || epochs[0] !== epoch ? epochs : []);
    epoch = epochs.at(-1) ?? epoch;
    return item;
  }));
}

const mark = (text) => el("span.mark", { "aria-hidden": "true" }, text);

function step({ at, mark: sign, tone, text, more }, where = "inside") {
  return el("li", { class: `step ${where} ${tone ?? ""}` },
    mark(sign), el("span.at", {}, time(at, where === "inside" ? clock(at) : full(at))), el("span.text", {}, text, more && el("span.faint", {}, ` ${more}`)));
}

/** `epochs` are those that are new to who reads from the top. */
function block({ turn, steps }, epochs) {
  const { seq, status, run, usage, crashes } = turn;
  const facts = [
    agentName(turn.agent),
    turn.queued_s && `queued ${seconds(turn.queued_s)}`,
    turn.ended_at && `${between(turn.created_at, turn.ended_at)} in all`,
    `${count(usage.input_tokens + usage.output_tokens)} tokens, ${money(usage.cost_usd)}`,
    run?.history && `history ${HISTORIES[run.history] ?? `read from ${run.history}`}`,
  ];
  return el("li.turn.card", { "data-status": status },
    el("h4", {}, `Turn ${seq} `, el("span.badge", {}, status), el("span.at", {}, " ", time(turn.created_at, full(turn.created_at)))),
    el("p.faint", {}, facts.filter(Boolean).join(" · ")),
    epochs.length > 0 && el("p.epoch", {}, epochs.length > 1 ? `Lease epochs ${epochs.join(", then ")}` : `Lease epoch ${epochs[0]}`),
    crashes > 0 && el("p.crash", {}, mark("⟳"), ` ${many(crashes, "function")} died with it: ${status === "failed" ? "given up" : "recovered, another went on with it"}`),
    turn.stop && !turn.ended_at && el("p.crash", {}, `Told to stop (${turn.stop}), at its next safe point`),
    turn.joined_to && el("p.faint", {}, `Answered with turn ${turn.joined_to}`),
    run?.stages_ms && stages(run.stages_ms),
    steps.length > 0 && el("ol.steps", { "aria-label": `Turn ${seq}, step by step` }, steps.map((one) => step(one))),
    el("p.id.faint", {}, turn.id));
}

function stages(took) {
  const there = STAGES.map((name, tone) => ({ name, tone, ms: took[name] ?? 0 })).filter((one) => one.ms > 0);
  const all = there.reduce((sum, one) => sum + one.ms, 0);
  let x = 0;
  const bar = drawing("share", "100%", 8, there.map((one) => {
    const piece = svg(`rect.fill.s${one.tone}`, { x: `${x}%`, width: `${(100 * one.ms) / all}%`, height: 8 });
    x += (100 * one.ms) / all;
    return piece;
  }));
  return [bar, el("p.faint", {}, there.map((one) =>
    el("span.stage", {}, drawing("key", 9, 9, svg(`rect.fill.s${one.tone}`, { width: 9, height: 9 })), ` ${one.name} ${ms(one.ms)}`)))];
}
