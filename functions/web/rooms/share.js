/** Sharing: links into a conversation, and who is in it. */

import { LatchkeyProblem } from "../latchkey.js";
import { h, when } from "../talk/node.js";
import { Dialog, button, select } from "./dialog.js";

const ROLES = [["viewer", "may read"], ["editor", "may read and write"]];
const MEMBERS = [...ROLES, ["owner", "may do everything"]];
const SPANS = [["3600", "an hour"], ["86400", "a day"], ["604800", "a week"], ["2592000", "30 days"]];

const words = (role) => new Map(MEMBERS).get(role);

export function share(rooms) {
  const { latchkey } = rooms;
  const { sessionId } = rooms.talk;
  const role = select("Whoever has the link", ROLES);
  const span = select("for", SPANS, "604800");
  const fresh = h("p", { class: "row", "aria-live": "polite" });
  const links = h("ul", {});
  const members = h("ul", {});
  const dialog = new Dialog("Share this conversation");
  const until = (at) => new Date(at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  const valueOf = (label) => label.querySelector("select").value;

  const make = dialog.does("Make a link", async () => {
    const made = await latchkey.share(sessionId, { role: valueOf(role), ttlS: Number(valueOf(span)) });
    showFresh(`${location.origin}${location.pathname}#share=${made.link}`);
    rooms.shared.add(sessionId);
    await showLinks();
  }, { class: "main" });

  /** @param {string} address */
  function showFresh(address) {
    const field = h("input", { readonly: true, value: address, "aria-label": "The link, shown this once", onfocus: () => field.select() });
    const copy = dialog.does("Copy", async () => {
      field.select();
      await navigator.clipboard?.writeText(address).catch(() => {}); // it is selected: Ctrl+C does it too
      dialog.say("Copied. It is shown this once.");
    });
    fresh.replaceChildren(field, copy);
    copy.focus();
  }

  async function showLinks() {
    const { items } = await latchkey.links(sessionId);
    links.replaceChildren(...items.map((link) => {
      const revoke = dialog.does("Take back", async () => {
        await latchkey.revokeLink(sessionId, link.id);
        fresh.replaceChildren(); // it may be this very one
        await showLinks();
        dialog.say("Nobody comes in by that link any more.");
        make.focus();
      });
      return h("li", { class: "row" }, h("span", {}, `${words(link.role)}, until ${until(link.expires_at)}`), revoke);
    }));
    if (!items.length) links.append(h("li", { class: "faint" }, "None."));
  }

  async function showMembers(seen = latchkey.members(sessionId)) {
    const { items, etag } = await seen;
    if (items.length > 1) rooms.shared.add(sessionId);
    members.replaceChildren(...items.map((one) => member(one, etag)));
  }

  /** @param {any} one @param {string} etag */
  function member({ user_id, role: its, is_owner, since }, etag) {
    const name = h("span", {}, is_owner ? "The owner" : `Guest ${user_id.slice(0, 8)}, since `, is_owner ? null : when(since));
    if (is_owner) return h("li", { class: "row" }, name);
    const changed = (run) => dialog.attempt(null, async () => {
      try {
        await run();
      } catch (problem) {
        if (!(problem instanceof LatchkeyProblem) || problem.status !== 412) throw problem;
        dialog.say("Somebody changed that meanwhile: this is how it is now.");
      }
      await showMembers();
      make.focus();
    });
    const label = `Guest ${user_id.slice(0, 8)}`;
    const choice = select("", MEMBERS, its, { "aria-label": label });
    choice.addEventListener("change", () => changed(() => latchkey.setMember(sessionId, user_id, valueOf(choice), { etag })));
    const out = button("Remove", () => changed(() => latchkey.removeMember(sessionId, user_id, { etag })), { "aria-label": `Remove ${label}` });
    return h("li", { class: "row" }, name, choice, out);
  }

  dialog.body.append(h("p", { class: "row" }, role, span, make), fresh, h("h3", {}, "Links that are good now"), links, h("h3", {}, "Who is in it"), members,
    h("p", { class: "faint" }, "Whoever was removed and still has a link comes in again: take the link back first."));
  role.querySelector("select").focus();
  dialog.attempt(null, () => Promise.all([showLinks(), showMembers()]));
}
