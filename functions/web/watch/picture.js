/** The picture of a conversation: what lines.js says, as nested lists along one line of time. */

import { entriesOf } from "./lines.js";
import { el, svg, time } from "./nodes.js";
import { agentName, clock, full, money, ms, seconds } from "./readable.js";

const STAGES = ["claim", "model", "tools", "finish"];

/** @param {any} session @returns {HTMLElement} */
export function picture(session) {
  let epoch = /** @type {number | null} */ (null);
  const items = entriesOf(session).map((entry) => {
    if (entry.kind === "step") return step(entry, true);
    const epochs = entry.turn.run?.epochs ?? [];
    const item = block(entry, epochs.length && epochs[0] !== epoch ? epochs : []);
    epoch = epochs[epochs.length - 1] ?? epoch;
    return item;
  });
  return el("ol.timeline", { "aria-label": "What happened, in the order of time" }, items);
}

/** @param {import("./lines.js").Step} one @param {boolean} [outside] of any turn */
function step({ at, mark, tone, text, more }, outside = false) {
  return el(`li.step.${tone}`, outside ? { class: `step outside ${tone}` } : {},
    el("span.mark", { "aria-hidden": "true" }, mark), el("span.at", {}, time(at, outside ? full(at) : clock(at))), el("span.text", {}, text, more && el("span.faint", {}, ` ${more}`)));
}

/** @param {any} entry @param {number[]} epochs that are new to who reads from the top */
function block({ turn, steps }, epochs) {
  const { run } = turn;
  const heading = `Turn ${turn.seq}`;
  const facts = [
    agentName(turn.agent), turn.queued_s !== null && turn.queued_s !== undefined && `queued ${seconds(turn.queued_s)}`,
    turn.ended_at && `${seconds((Date.parse(turn.ended_at) - Date.parse(turn.created_at)) / 1000)} in all`,
    turn.usage && `${turn.usage.input_tokens + turn.usage.output_tokens} tokens, ${money(turn.usage.cost_usd)}`,
    run?.history && `history from ${({ kept: "the process's memory", cache: "the cache", rows: "rows" })[/** @type {"kept"} */ (run.history)] ?? run.history}`,
  ].filter(Boolean).join(" · ");
  return el("li.turn", { "data-status": turn.status },
    el("h4", {}, `${heading} `, el(`span.badge.${turn.status}`, {}, turn.status), " ", el("span.at", {}, time(turn.created_at, full(turn.created_at)))),
    el("p.faint", {}, facts),
    epochs.length > 0 && el("p.epoch", {}, epochs.length > 1 ? `Lease epochs ${epochs.join(", then ")}: more than one function worked on it` : `Lease epoch ${epochs[0]}`),
    turn.crashes > 0 && el("p.crash", {}, el("span.mark", { "aria-hidden": "true" }, "⟳"),
      `Recovered: its function died ${turn.crashes === 1 ? "once" : `${turn.crashes} times`}${turn.status === "failed" ? "" : ", and another went on with it"}`),
    turn.stop && !turn.ended_at && el("p.crash", {}, `Told to stop (${turn.stop}): at its next safe point`),
    turn.joined_to && el("p.faint", {}, `Joined to turn ${turn.joined_to}`),
    run?.stages_ms && stages(run.stages_ms),
    steps.length > 0 && el("ol.steps", { "aria-label": `${heading}, step by step` }, steps.map((/** @type {any} */ one) => step(one))),
    el("p.id.faint", {}, turn.id));
}

/** @param {Record<string, number>} took */
function stages(took) {
  const there = STAGES.filter((stage) => took[stage] > 0);
  const all = there.reduce((sum, stage) => sum + took[stage], 0);
  if (!all) return null;
  let x = 0;
  const pieces = there.map((stage) => {
    const width = (100 * took[stage]) / all;
    x += width;
    return svg(`rect.fill.s${STAGES.indexOf(stage)}`, { x: x - width, y: 0, width, height: 8 });
  });
  return el("div.stages", {},
    svg("svg.share", { viewBox: "0 0 100 8", preserveAspectRatio: "none", width: "100%", height: 8, "aria-hidden": "true", focusable: "false" }, pieces),
    el("p.faint", {}, there.map((stage) => el("span.stage", {}, svg("svg.key", { width: 9, height: 9, "aria-hidden": "true", focusable: "false" },
      svg(`rect.fill.s${STAGES.indexOf(stage)}`, { width: 9, height: 9 })), ` ${stage} ${ms(took[stage])}`))));
}
