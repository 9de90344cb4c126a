/** Branches: another way from the middle of a conversation, what came after a message taken back, and both undone. */

import { h, when } from "../talk/node.js";
import { Dialog, button, confirm, many } from "./dialog.js";

// More messages than this a turn has seldom behind one of its own; the service refuses what is not an end.
const MOST = 200;

/** Conversations are cut behind whole turns alone: the end of this message's. @param {any} rooms @param {string} sessionId @param {number} seq */
async function endOf({ latchkey }, sessionId, seq) {
  const { items } = await latchkey.messages({ sessionId, after: seq - 1, limit: MOST });
  const next = items.findIndex((item) => item.turn_id !== items[0].turn_id);
  return items.at(next < 0 ? -1 : next - 1)?.seq ?? seq;
}

/** @param {any} rooms @param {string} id @param {number} seq */
export async function fork(rooms, id, seq) {
  const [session] = await Promise.all([rooms.latchkey.session({ sessionId: id }), rooms.list.first(id)]); // by which it is called
  const title = `Fork of ${rooms.list.titleOf(session)}`.slice(0, 100);
  const at = await endOf(rooms, id, seq);
  const made = await rooms.latchkey.fork(id, { at, metadata: { ...session.metadata, title } });
  await rooms.show(made.id);
  rooms.talk.announce("This is the fork.");
  rooms.talk.focus();
}

/** @param {any} rooms @param {string} id @param {number} seq */
export function rewind(rooms, id, seq) {
  const words = "What was said after this message and its answer is left out from now on. For a while that can be undone.";
  confirm("Take back what came after?", words, "Take back", async () => {
    const { revision } = await rooms.latchkey.rewind(id, await endOf(rooms, id, seq));
    await changed(rooms, revision);
  });
}

const words = ({ kind, first_seq, last_seq }) => {
  const messages = many(last_seq - first_seq + 1, "message");
  return kind === "merge" ? `A conversation was merged in: ${messages}.` : `Taken back: ${messages}.`;
};

/** After a rewind or a merge. @param {any} rooms @param {any} revision */
export async function changed(rooms, revision) {
  await rooms.reread();
  rooms.note(words(revision), button("Undo", () => rooms.tried(() => undo(rooms, rooms.talk.sessionId, revision.id))));
}

/** @param {any} rooms @param {string} sessionId @param {string} revisionId */
async function undo(rooms, sessionId, revisionId) {
  const { revision } = await rooms.latchkey.undo(sessionId, revisionId);
  await rooms.reread();
  const left = revision.left.length ? ` Left as others have changed it since: ${revision.left.join(", ")}.` : "";
  rooms.note(`Undone.${left}`);
}

/** What was taken back and merged, as long as that can be undone. @param {any} rooms */
export async function showChanges(rooms) {
  const { sessionId } = rooms.talk;
  const { items } = await rooms.latchkey.revisions(sessionId);
  const open = items.filter((one) => !one.undone_at && Date.parse(one.undo_until) > Date.now());
  const dialog = new Dialog("What can be undone", open.length ? null : h("p", {}, "Nothing was taken back or merged here lately."));
  for (const one of open) {
    const act = dialog.does("Undo", async () => (await undo(rooms, sessionId, one.id), dialog.close()));
    dialog.body.append(h("p", { class: "row" }, h("span", {}, words(one), " ", when(one.created_at)), act));
  }
  dialog.body.querySelector("button")?.focus();
}
