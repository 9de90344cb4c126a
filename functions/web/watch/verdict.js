/**
 * Is it well? One word for all of it, and what it stands on: each finding with its plot, and what the runbook says to do.
 *
 * bad: somebody should look now; warn: worth a look; note: good to know, and no reason to worry.
 */

import { el, fill } from "./nodes.js";
import { count, many, ms, percent, seconds } from "./readable.js";

/** @typedef {import("./series.js").Item} Item */
/** @typedef {{level: "bad" | "warn" | "note", text: string, plot: string, to: string, runbook: string}} Finding */
/** @typedef {{turns?: Item[] | null, latency?: Item[] | null, recoveries?: Item[] | null}} Recent by hour, the running one last */

const LONG_WAIT_S = 60;
const TOO_LONG_WAIT_S = 300;
const MOST_FAILED = 0.05;
// Fewer are worth a look, and wake nobody.
const FEW_FAILED = 5;
const SLOW_P95_MS = 20_000;
const FEW_TURNS = 20;
const BEHIND_S = 600;

/** @param {any} overview @param {Recent} recent @returns {Finding[]} the worst first */
export function judge(overview, recent) {
  const { turns, approvals, today, cleanup } = overview;
  /** @type {Finding[]} */
  const found = [];
  const say = (/** @type {Finding["level"]} */ level, /** @type {string} */ text, /** @type {string} */ plot, /** @type {string} */ to, /** @type {string} */ runbook) =>
    found.push({ level, text, plot, to, runbook });

  if (turns.oldest_queued_s > LONG_WAIT_S) {
    say(turns.oldest_queued_s > TOO_LONG_WAIT_S ? "bad" : "warn",
      `${many(turns.queued, "turn waits", "turns wait")} for a function; the oldest for ${seconds(turns.oldest_queued_s)}.`, "plot-turns", "Turns by state",
      "queue-age: are there too few workers, none at all, or one that died? The clean-up wakes one within a minute.");
  }
  const lately = rateOf(recent.turns);
  if (lately && lately.rate > MOST_FAILED) {
    say(lately.failed >= FEW_FAILED ? "bad" : "warn", `${count(lately.failed)} of ${many(lately.all, "turn")} since the last full hour failed (${percent(lately.rate)}).`,
      "plot-errors", "Errors", "turns-failed: the code says whose it is: the model's service, a budget, a deploy.");
  } else if (today.error_rate > MOST_FAILED) {
    say("warn", `${percent(today.error_rate)} of today's turns failed (since midnight UTC); not of the last hour's.`, "plot-errors", "Errors",
      "turns-failed: the code says whose it was.");
  }
  const slow = (recent.latency ?? []).slice(-2).filter((item) => item.count >= FEW_TURNS).map((item) => item.p95_ms);
  if (Math.max(0, ...slow) > SLOW_P95_MS) {
    say("warn", `One turn in twenty took longer than ${ms(Math.max(...slow))} in the last hour.`, "plot-stages", "Latency by stage",
      "slow-turns: which of its stages grew? The model: Claude is slow. Tools: theirs. Claim and finish: Postgres is slow.");
  }
  if (cleanup?.behind_s > BEHIND_S) {
    say("bad", `What should have been cleaned up waits since ${seconds(cleanup.behind_s)}.`, "plot-cleanups", "Clean-up",
      "cleanup-stopped: the clean-up's log; is its clock on?");
  }
  const recovered = (recent.recoveries ?? []).slice(-2).flatMap((item) => Object.values(item.values ?? {})).reduce((sum, one) => sum + one, 0);
  if (recovered) {
    say("warn", `${many(recovered, "turn was", "turns were")} gone on with after a function died, since the last full hour.`, "plot-recoveries", "Recoveries",
      "A conversation is stuck: crashes of 1 or 2: a tool or a history kills its function; at 3 the turn fails.");
  }
  const decisions = approvals.calls + approvals.outcomes;
  if (decisions) {
    say("note", `${many(decisions, "decision waits", "decisions wait")} for a person.`, "plot-turns", "Turns by state",
      "A conversation is stuck: a person is asked. It ends as a no when its time is over.");
  }
  const order = ["bad", "warn", "note"];
  return found.sort((one, other) => order.indexOf(one.level) - order.indexOf(other.level));
}

/** Of this hour and the one before. @param {Item[] | null | undefined} items */
function rateOf(items) {
  const sum = (/** @type {string} */ label) => (items ?? []).slice(-2).reduce((all, item) => all + (item.values?.[label] ?? 0), 0);
  const failed = sum("failed");
  const all = failed + sum("completed");
  return all ? { failed, all, rate: failed / all } : null;
}

const WORDS = { good: ["✓", "All is well"], warn: ["!", "Worth a look"], bad: ["✕", "Not well"], unknown: ["?", "Not known"] };

/** @param {Element} place @param {Finding[]} findings */
export function showVerdict(place, findings) {
  const worst = findings[0]?.level ?? "note";
  show(place, worst === "note" ? "good" : worst, findings.map((one) =>
    el("li", { class: one.level }, el("span.level", {}, { bad: "Now: ", warn: "Look: ", note: "Good to know: " }[one.level]), one.text, " ",
      el("a", { href: `#${one.plot}` }, one.to), el("span.faint", {}, ` Runbook, ${one.runbook}`))));
}

/** Nothing can be said of it. @param {Element} place @param {string} why */
export function showUnknown(place, why) {
  show(place, "unknown", [el("li", {}, why)]);
}

/** @param {Element} place @param {keyof typeof WORDS} level @param {Node[]} lines */
function show(place, level, lines) {
  const [mark, words] = WORDS[level];
  const text = words + lines.map((line) => line.textContent).join();
  // It is said to those who listen when it changes, and not each ten seconds.
  if (place.getAttribute("data-said") === text) return;
  place.setAttribute("data-said", text);
  place.setAttribute("data-level", level);
  fill(place, el("h2", {}, el("span.sign", { "aria-hidden": "true" }, mark), words), lines.length > 0 && el("ul", {}, lines));
}
