/** A merge: another conversation becomes a part of this one, after a look at what would come of it. */

import { LatchkeyProblem } from "../latchkey.js";
import { h } from "../talk/node.js";
import { agentName, plain } from "../talk/words.js";
import { changed } from "./branch.js";
import { Dialog, button, many, select } from "./dialog.js";

const NAMES = { lock: "Who answers", todos: "To do", metadata: "Details" };

/** In a line. @param {string} kind @param {any} value */
function told(kind, value) {
  if (kind === "lock") return agentName(value);
  if (kind === "todos") return value.map(({ content }) => content).join("; ");
  return typeof value === "string" ? value : JSON.stringify(value);
}
export async function mergeInto(rooms) {
  const { latchkey, list, talk } = rooms;
  await list.reload();
  const into = talk.sessionId;
  const others = list.items.filter((one) => one.id !== into && one.role === "owner");
  if (!others.length) return void new Dialog("Merge", h("p", {}, "There is no other conversation of yours."));

  const from = select("Which one", [["", "Choose…"], ...others.map((one) => [one.id, list.titleOf(one)])]);
  const place = h("div", { "aria-live": "polite" });
  const dialog = new Dialog("Merge another conversation into this one", from, place);
  const chosen = from.querySelector("select");
  /** Whose, where both have something. @type {Record<string, string>} */
  let keep = {};
  let looks = 0;

  const look = () => dialog.attempt(null, async () => {
    const mine = ++looks;
    place.replaceChildren();
    if (!chosen.value) return;
    const preview = await latchkey.previewMerge(into, chosen.value, keep);
    if (mine === looks) place.replaceChildren(...shown(preview));
  });

  /** @param {any} preview */
  function shown(preview) {
    const come = `${many(preview.messages, "message")} in ${many(preview.turns, "turn")} would come to the end of this conversation.`;
    const act = dialog.does("Merge", () => merge(preview), { class: "main" });
    const table = preview.conflicts.length ? [conflicts(preview.conflicts)] : [];
    return [h("p", {}, come), ...table, h("p", { class: "row" }, button("Cancel", () => dialog.close()), act)];
  }

  /** @param {any[]} found */
  function conflicts(found) {
    const rows = found.map((one) => h("tr", {}, h("th", { scope: "row" }, one.field ? plain(one.field) : NAMES[one.kind]),
      ...[one.target, one.source].map((value) => h("td", {}, told(one.kind, value)))));
    const head = ["Both have", "Here", "There"].map((name) => h("th", { scope: "col" }, name));
    const choices = [...new Map(found.map((one) => [one.kind, one.kept]))].map(([kind, kept]) => {
      const whose = [["target", "of this one"], ["source", "of the other"]];
      if (kind === "todos") whose.push(["both", "of both"]);
      const choice = select(`${NAMES[kind]}: keep what is`, whose, kept, {
        onchange: ({ target }) => {
          keep = { ...keep, [kind]: target.value };
        },
      });
      return h("p", {}, choice);
    });
    return h("div", {}, h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows)), ...choices);
  }

  /** @param {any} preview */
  async function merge(preview) {
    try {
      const { revision } = await latchkey.merge(into, chosen.value, preview.etag, keep);
      dialog.close();
      await changed(rooms, revision);
    } catch (problem) {
      if (!(problem instanceof LatchkeyProblem) || problem.status !== 412) throw problem;
      await look();
      place.querySelector("button.main")?.focus();
      dialog.say("One of the two has changed meanwhile: this is what would come now.");
    }
  }

  chosen.addEventListener("change", () => {
    keep = {};
    look();
  });
}
