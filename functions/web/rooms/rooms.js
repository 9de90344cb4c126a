/**
 * The conversations of the chat page: which there are, and what can be done with the one that is shown. The talking is `talk`'s: this
 * tells it which one to show. What can be done follows from the role; the service refuses the rest anyway. What asks something is
 * loaded when somebody wants it, so that the page is there sooner.
 */

import { LatchkeyProblem } from "../latchkey.js";
import { by, h } from "../talk/node.js";
import { isGone } from "../talk/words.js";
import { button } from "./dialog.js";
import { List } from "./list.js";

// What others say in a conversation that is shared is asked for this often, while somebody looks.
const LOOK_MS = 5_000;
const MARK = "#share=";

/** @type {[label: string, file: string, does: string, roles: string][]} no roles: there need be no conversation */
const MENU = [
  ["Rename", "naming", "rename", "owner editor"],
  ["Share", "share", "share", "owner"],
  ["Merge", "merge", "mergeInto", "owner"],
  ["Undo changes", "branch", "showChanges", "owner editor"],
  ["Export", "leaving", "exportIt", "owner"],
  ["End", "leaving", "end", "owner"],
  ["Import", "leaving", "importOne", ""],
  ["Your devices", "leaving", "showDevices", ""],
  ["Erase everything", "leaving", "erase", ""],
];

/** @param {string} file @param {string} does @param {any[]} given */
async function load(file, does, ...given) {
  const module = await import(`./${file}.js`).catch(() => {
    throw new LatchkeyProblem({ code: "network", status: 0 });
  });
  return module[does](...given);
}

/**
 * @param {{latchkey: any, talk: any, root: HTMLElement, actions: HTMLElement}} given
 * @returns {Promise<{first: string | null}>} the conversation of the link that the page was opened with
 */
export async function mountRooms({ latchkey, talk, root, actions }) {
  const rooms = new Rooms(latchkey, talk);
  const begin = async () => {
    fresh.disabled = true; // without a network it is begun when there is one, and once
    await rooms.tried(() => rooms.move(() => latchkey.newSession())).finally(() => (fresh.disabled = false));
    talk.focus();
  };
  const fresh = button("New", begin, { class: "main" });
  root.append(h("header", { class: "row" }, h("h2", {}, "Conversations"), fresh));
  rooms.list = new List(rooms, root);
  by("origin").after(rooms.place);
  const fill = menu(rooms, actions);
  fill(null);

  talk.setMessageActions(({ seq, leftOut }) => {
    const { session, sessionId } = talk;
    if (!seq || leftOut || !sessionId || session?.role === "viewer") return [];
    const act = (label, does) => ({ label, run: () => load("branch", does, rooms, sessionId, seq) });
    return [act("Fork here", "fork"), act("Take back what came after", "rewind")];
  });
  talk.onChange((session) => {
    fill(session);
    // That it is over is told by whoever shows it, and once.
    rooms.tried(() => rooms.changedTo(session).catch((problem) => isGone(problem) || Promise.reject(problem)));
  });
  const arrive = () => rooms.tried(async () => {
    const id = await rooms.arrive();
    if (id) await talk.show(id);
  });
  addEventListener("hashchange", arrive);
  watch(rooms);

  rooms.list.reload().catch(() => {}); // what is shown tells what is wrong, and asks for the list again
  try {
    return { first: await rooms.arrive() };
  } catch (problem) {
    // Behind what is shown now, which takes away what was told before, and asks who it is where that is what is wrong.
    const done = problem.status !== 401 && talk.onChange(() => (done(), talk.tell(problem)));
    return { first: null };
  }
}

/** What the parts of this side have in common. */
class Rooms {
  /** Those in which somebody else may speak too, as far as it is known. */
  shared = new Set();
  /** A line above the messages, until another conversation is shown. */
  place = h("p", { class: "room-note row", role: "status", hidden: true });
  /** @type {any} */
  list = null;
  /** @type {string | null} */
  #link = null;
  #moves = 0;
  #shown = null;
  #role = null;

  constructor(latchkey, talk) {
    this.latchkey = latchkey;
    this.talk = talk;
  }

  /** Into another conversation; of several at once the last one is shown. @param {() => Promise<any>} enter */
  async move(enter) {
    const move = ++this.#moves;
    const isLast = () => move === this.#moves;
    let isThere = false;
    this.talk.hold();
    try {
      const { id } = await enter();
      if (isLast()) await this.talk.show(id);
      isThere = this.talk.sessionId === id;
    } finally {
      if (isLast()) this.talk.release(isThere);
    }
  }

  /** @param {string} id */
  show(id) {
    return this.move(() => this.latchkey.enter(id));
  }

  /** By a link in the address, which is gone from there before anybody looks. @returns {Promise<string | null>} */
  async arrive() {
    if (location.hash.startsWith(MARK)) {
      this.#link = location.hash.slice(MARK.length);
      history.replaceState(history.state, "", location.pathname + location.search);
    }
    const link = this.#link;
    if (!link) return null;
    this.#link = null;
    try {
      const { id } = await this.latchkey.join(link);
      await this.latchkey.enter(id);
      return id;
    } catch (problem) {
      if (problem.status === 401) this.#link = link; // whoever signs in comes in by it
      if (![404, 422].includes(problem.status)) throw problem;
      throw new LatchkeyProblem({ code: "link_over", status: 404, detail: "This link is not good any more: ask for another." });
    }
  }

  /** Something was taken out of what is shown, or came to it. */
  async reread() {
    await this.talk.refresh({ all: true });
    await this.list.reload();
  }

  /** @param {string} words @param {...Node} nodes */
  note(words, ...nodes) {
    this.place.replaceChildren(h("span", {}, words), ...nodes, button("×", () => (this.place.hidden = true), { "aria-label": "Dismiss" }));
    this.place.hidden = false;
  }

  /** @param {() => Promise<any>} run */
  async tried(run) {
    try {
      await run();
    } catch (problem) {
      if (problem.status === 401) await this.talk.refresh({ all: true }); // which asks who it is
      else this.talk.tell(problem);
    }
  }

  /** @param {any} session as it was just read; null: there is none */
  async changedTo(session) {
    const { list, talk } = this;
    const isOther = this.#shown !== talk.sessionId;
    const isNew = isOther || this.#role !== session?.role;
    [this.#shown, this.#role] = [talk.sessionId, session?.role];
    if (isOther) this.place.hidden = true;
    list.mark();
    const came = this.#link && (await this.arrive());
    if (came) return talk.show(came);
    const isLoaded = await list.loading?.then(() => true, () => false);
    const listed = session && list.find(session.id);
    const isListed = listed?.active_agent === session?.active_agent && listed?.metadata.title === session?.metadata.title;
    if (!isLoaded || !isListed || !list.isNamed(session?.id) || (isOther && !session)) await list.reload();
    if (session && isNew) await (session.role === "viewer" ? this.#tellWhoWrites(session.id) : talk.readOnly(null));
    if (session && isOther) await this.#tellOrigin(session.id);
  }

  /** @param {string} id */
  async #tellWhoWrites(id) {
    const { items } = await this.latchkey.members(id);
    const more = items.filter((one) => !one.is_owner && one.role !== "viewer").length;
    if (this.talk.sessionId === id) this.talk.readOnly(`You may read along. Its owner may write here${more ? `, and ${more} more` : ""}.`);
  }

  /** @param {string} id */
  async #tellOrigin(id) {
    const from = (await this.list.first(id))?.origin;
    if (!from || from === id || this.talk.sessionId !== id) return;
    const item = this.list.find(from);
    const back = button(item ? this.list.titleOf(item) : "another conversation", () => this.tried(() => this.show(from)));
    by("origin").replaceChildren("Continues from ", back);
    by("origin").hidden = false;
  }
}

/** What can be done, anew for each role. @param {Rooms} rooms @param {HTMLElement} actions */
function menu(rooms, actions) {
  const places = h("div", {});
  const summary = h("summary", {}, "Menu");
  const details = h("details", { class: "menu" }, summary, places);
  const close = () => (details.open = false);
  details.addEventListener("focusout", ({ relatedTarget }) => relatedTarget && !details.contains(relatedTarget) && close());
  document.addEventListener("click", ({ target }) => details.contains(target) || close());
  actions.append(details);
  let filled = "";
  return (session) => {
    const role = session?.role ?? "none";
    if (role === filled) return; // whoever is at one of them by keys stays there
    filled = role;
    const can = MENU.filter(([, , , roles]) => !roles || (session && roles.includes(session.role)));
    places.replaceChildren(...can.map(([label, file, does]) => button(label, () => {
      close();
      summary.focus(); // where a dialog gives it back to
      rooms.tried(() => load(file, does, rooms));
    })));
  };
}

/** What others say, and that one was put out, is seen without a reload. @param {Rooms} rooms */
function watch(rooms) {
  const { talk, shared } = rooms;
  let isLooking = false;
  const look = async () => {
    const { session } = talk;
    const isAlone = !session || (session.role === "owner" && !shared.has(session.id));
    if (isLooking || isAlone || document.hidden || talk.isBusy) return;
    isLooking = true;
    await rooms.tried(() => talk.refresh());
    isLooking = false;
  };
  setInterval(look, LOOK_MS);
  document.addEventListener("visibilitychange", look);
}
