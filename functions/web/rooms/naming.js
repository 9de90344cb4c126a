/** Naming: a conversation's title, as long as nobody else gives it another at that moment. */

import { h } from "../talk/node.js";
import { Dialog } from "./dialog.js";

export async function rename({ latchkey, list, talk }) {
  const { sessionId } = talk;
  let seen = await latchkey.session({ sessionId });
  const field = h("input", { value: seen.metadata.title, maxlength: "100", "aria-label": "Title" });
  const form = h("form", { class: "row" }, field, h("button", { class: "main" }, "Rename"));
  const dialog = new Dialog("Rename this conversation", form);
  field.select();

  const done = async () => {
    try {
      await latchkey.patchMetadata({ title: field.value.trim() || null }, { sessionId, etag: seen.etag });
    } catch (problem) {
      if (problem.status !== 412) throw problem;
      seen = await latchkey.session({ sessionId });
      return dialog.say(`Somebody changed it meanwhile: it is “${seen.metadata.title ?? ""}” now. Rename it again to have yours.`);
    }
    dialog.close();
    await Promise.all([talk.refresh(), list.reload()]);
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    dialog.attempt(event.submitter, done);
  });
}
