/** Nodes: built and never parsed, so that what somebody wrote stays text. */

/** @param {string} tag @param {Record<string, any>} [props] @param {...any} children nodes and texts; what is null or false is left out */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** @param {string} id @returns {any} */
export const by = (id) => document.getElementById(id);

/** A moment as people say it: by the hour today, by the day before that. @param {string} iso */
export function when(iso) {
  const at = new Date(iso);
  const days = (new Date().setHours(0, 0, 0, 0) - new Date(iso).setHours(0, 0, 0, 0)) / 86_400_000;
  const hour = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const day = days < 7 ? at.toLocaleDateString([], { weekday: "short" }) : at.toLocaleDateString([], { day: "numeric", month: "short" });
  return h("time", { datetime: iso, title: at.toLocaleString() }, days < 1 ? hour : days < 7 ? `${day} ${hour}` : day);
}

/** What cannot be kept lives as long as the page. @type {Map<string, string>} */
const memory = new Map();
export const kept = {
  /** @param {string} key */
  get(key) {
    try {
      return memory.get(key) ?? localStorage.getItem(key);
    } catch {
      return null;
    }
  },
  /** @param {string} key @param {string | null} value null takes it away */
  set(key, value) {
    memory.delete(key);
    try {
      if (value === null) localStorage.removeItem(key);
      else localStorage.setItem(key, value);
    } catch {
      if (value !== null) memory.set(key, value);
    }
  },
};
