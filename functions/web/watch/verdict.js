/** Is it well? One word for all of it, and what it stands on: each finding with its plot, and the runbook's section. */

import { el, fill } from "./nodes.js";
import { count, many, ms, percent, seconds } from "./readable.js";

const LONG_WAIT_S = 60;
const TOO_LONG_WAIT_S = 300;
const MOST_FAILED = 0.05;
// Fewer are worth a look, and wake nobody.
const FEW_FAILED = 5;
const SLOW_P95_MS = 20_000;
const FEW_TURNS = 20;
const BEHIND_S = 600;

/** What there is to say, the worst first. `recent`: figures by hour, the running one last; null: not known. */
export function judge({ turns, approvals, today, cleanup }, recent) {
  const found = [];
  const say = (level, text, plot, to, runbook) => found.push({ level, text, plot, to, runbook });
  // This hour and the one before.
  const last = (figure) => (recent[figure] ?? []).slice(-2);
  const sum = (figure, label) => last(figure).reduce((all, { values }) => all + (values[label] ?? 0), 0);

  const wait = turns.oldest_queued_s;
  if (wait > LONG_WAIT_S) {
    say(wait > TOO_LONG_WAIT_S ? "bad" : "warn", `${many(turns.queued, "turn is", "turns are")} queued, the oldest for ${seconds(wait)}.`, "turns", "Turns",
      "queue-age: too few workers, none, or one that died?");
  }
  const failed = sum("turns", "failed");
  const ended = failed + sum("turns", "completed");
  if (failed > MOST_FAILED * ended) {
    say(failed < FEW_FAILED ? "warn" : "bad",
      `${count(failed)} of ${many(ended, "turn")} of this hour and the last failed (${percent(failed / ended)}).`, "errors", "Errors",
      "turns-failed: the code says whose it is.");
  } else if (today.error_rate > MOST_FAILED) {
    say("warn", `${percent(today.error_rate)} of today's turns failed, but not of the last hour's.`, "errors", "Errors",
      "turns-failed: the code says whose it was.");
  }
  const slow = Math.max(0, ...last("latency").filter((item) => item.count >= FEW_TURNS).map((item) => item.p95_ms));
  if (slow > SLOW_P95_MS) {
    say("warn", `One turn in twenty took ${ms(slow)} or longer in this hour or the last.`, "stages", "Latency by stage",
      "slow-turns: which stage grew? Claim and finish are Postgres.");
  }
  if (cleanup?.behind_s > BEHIND_S) {
    say("bad", `The clean-up is behind: what it should have ended waits for ${seconds(cleanup.behind_s)}.`, "cleanups", "Clean-up",
      "cleanup-stopped: what does its log say?");
  }
  const recovered = sum("recoveries", "crashes");
  if (recovered) {
    say("warn", `${many(recovered, "function")} died in this hour or the last, and others went on.`, "recoveries", "Recoveries",
      "a conversation is stuck: a tool or a history may kill its function.");
  }
  const decisions = approvals.calls + approvals.outcomes;
  if (decisions) {
    say("note", `${many(decisions, "decision waits", "decisions wait")} for a person.`, "turns", "Turns", "a conversation is stuck: in time it ends as a no.");
  }
  const order = ["bad", "warn", "note"];
  return found.sort((one, other) => order.indexOf(one.level) - order.indexOf(other.level));
}

const WORDS = { good: ["✓", "All is well"], warn: ["!", "Worth a look"], bad: ["✕", "Not well"], unknown: ["?", "Not known"] };
const LEVELS = { bad: "Now: ", warn: "Look: ", note: "Good to know: " };

export function showVerdict(place, findings) {
  const worst = findings[0]?.level ?? "note";
  show(place, worst === "note" ? "good" : worst, findings.map((one) => el(`li.${one.level}`, {}, el("b", {}, LEVELS[one.level]), one.text, " ",
    el("a", { href: `#plot-${one.plot}` }, one.to), el("span.faint", {}, ` Runbook, ${one.runbook}`))));
}

export function showUnknown(place, why) {
  show(place, "unknown", [el("li", {}, why)]);
}

function show(place, level, lines) {
  const [mark, words] = WORDS[level];
  // Said to those who listen when it changes, and not each ten seconds; and what has focus stays.
  const said = words + lines.map((line) => line.textContent);
  if (place.dataset.said === said) return;
  Object.assign(place.dataset, { said, level });
  fill(place, el("h2", {}, el("span.sign", { "aria-hidden": "true" }, mark), words), lines.length > 0 && el("ul", {}, lines));
}
