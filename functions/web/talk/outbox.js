/**
 * The outbox: what was said and is not answered yet.
 *
 * What can go wrong, and why it does not matter: the tab crashes, the page is left, the network goes away, the service is killed. Each message
 * is here with its key before it is sent, and until its turn is over; so whoever comes back sends it again with the same key, which is
 * the same turn, or reads along with the turn that it has become.
 */

import { kept } from "./node.js";

/** @typedef {{key: string, text: string, onBusy: string, session: string | null, at: string, turn?: string, refused?: string}} Entry */

const KEY = "latchkey:outbox";

export const outbox = {
  /** @returns {Entry[]} as other windows of this page have left it, too */
  all() {
    try {
      return JSON.parse(kept.get(KEY) ?? "[]");
    } catch {
      return [];
    }
  },

  /** @param {Entry} entry */
  put(entry) {
    write([...outbox.all(), entry]);
  },

  /** @param {string} key @param {Partial<Entry>} changes */
  change(key, changes) {
    write(outbox.all().map((entry) => (entry.key === key ? { ...entry, ...changes } : entry)));
  },

  /** @param {string} key */
  drop(key) {
    write(outbox.all().filter((entry) => entry.key !== key));
  },
};

/** @param {Entry[]} entries */
function write(entries) {
  kept.set(KEY, entries.length ? JSON.stringify(entries) : null);
}
