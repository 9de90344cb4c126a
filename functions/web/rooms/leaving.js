/** Leaving: with a conversation as a file, or without it; and with everything. */

import { h, when } from "../talk/node.js";
import { Dialog, button, confirm } from "./dialog.js";
export async function exportIt({ latchkey, talk }) {
  const lines = await latchkey.exportSession({ sessionId: talk.sessionId });
  const href = URL.createObjectURL(new Blob([lines], { type: "application/x-ndjson" }));
  h("a", { href, download: `conversation-${new Date().toISOString().slice(0, 10)}.jsonl` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000); // it is read after the click
  talk.announce("Exported.");
}
export function importOne(rooms) {
  const file = h("input", { type: "file", accept: ".jsonl,.ndjson,application/x-ndjson" });
  file.addEventListener("change", () => rooms.tried(async () => {
    const made = await rooms.latchkey.importSession(file.files[0]);
    await rooms.show(made.id);
    rooms.talk.announce("Imported as a new conversation.");
  }));
  file.click();
}
export function end(rooms) {
  const { latchkey, list, talk } = rooms;
  const { sessionId } = talk;
  confirm("End this conversation?", "What was said in it is gone then, for everybody who is in it.", "End it", async () => {
    await latchkey.end({ sessionId });
    await list.reload();
    const next = list.items.find((one) => one.id !== sessionId);
    await (next ? rooms.show(next.id) : talk.show(null));
    talk.announce("The conversation has ended.");
  });
}
export async function showDevices({ latchkey }) {
  const dialog = new Dialog("Your devices");
  const places = h("ul", {});
  dialog.body.append(places);
  const show = async () => {
    const items = (await latchkey.devices()).items.filter((one) => !one.revoked_at);
    places.replaceChildren(...items.map(({ id, is_current, created_at }) => {
      const name = h("span", {}, is_current ? "This one" : `Device ${id.slice(0, 8)}`, ", since ", when(created_at));
      const out = dialog.does("Sign out", async () => {
        await latchkey.signOut(id);
        if (is_current) leave(latchkey);
        else await show();
      }, { "aria-label": `Sign out ${is_current ? "this one" : id.slice(0, 8)}` });
      return h("li", { class: "row" }, name, out);
    }));
  };
  await dialog.attempt(null, show);
}
export function erase({ latchkey }) {
  const word = h("input", { "aria-label": "The word ERASE", autocomplete: "off" });
  const dialog = new Dialog("Erase everything about you?",
    h("p", {}, "Every conversation of yours, what you said in those of others, and all your devices. It cannot be taken back."),
    h("p", {}, "Type ERASE to go on."), word);
  const act = dialog.does("Erase everything", async () => {
    if (word.value.trim() !== "ERASE") return dialog.say("Type the word ERASE first.");
    dialog.say("Erasing…");
    const receipt = await latchkey.erase();
    forget(latchkey);
    const counts = Object.entries(receipt.removed).flatMap(([place, removed]) =>
      Object.entries(removed).filter(([, count]) => count).map(([what, count]) => h("li", {}, `${place}: ${what} ${count}`)));
    dialog.say("");
    const close = button("Close", () => dialog.close(), { class: "main" });
    dialog.body.replaceChildren(h("p", {}, "All is gone. This is the receipt:"), h("p", {}, h("code", {}, receipt.id)), h("ul", {}, ...counts), close);
    close.focus();
    dialog.closed.then(() => leave(latchkey));
  }, { class: "bad" });
  dialog.body.append(h("p", { class: "row" }, button("Cancel", () => dialog.close()), act));
}

/** From now on this is somebody new, with nothing kept of whoever was here. */
function forget(latchkey) {
  latchkey.forget();
  for (const storage of [localStorage, sessionStorage]) {
    for (const key of Object.keys(storage)) if (key.startsWith("latchkey:")) storage.removeItem(key);
  }
}

function leave(latchkey) {
  forget(latchkey); // what is shown may have kept something since
  location.reload();
}
