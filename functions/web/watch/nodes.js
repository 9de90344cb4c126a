/** Nodes of the page, built one by one: text is always text, and no HTML is ever made of it. */

/** `p.faint` with attributes, and listeners by `on…`; what is null or false is left out, also of children. */
export function el(name, given, ...children) {
  return made(document.createElement(name.split(".")[0]), name, given, children);
}

export function svg(name, given, ...children) {
  return made(document.createElementNS("http://www.w3.org/2000/svg", name.split(".")[0]), name, given, children);
}

/** For eyes: its text is said elsewhere. */
export function drawing(classes, width, height, ...children) {
  return svg(`svg.${classes}`, { width, height, "aria-hidden": "true", focusable: "false" }, children);
}

function made(node, name, given, children) {
  const classes = name.split(".").slice(1).join(" ");
  if (classes) node.setAttribute("class", classes);
  for (const [key, value] of Object.entries(given ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...kept(children));
  return node;
}

/** Instead of what was in it. */
export function fill(node, ...children) {
  node.replaceChildren(...kept(children));
}

const kept = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

export const byId = (id) => document.getElementById(id);

export const time = (iso, text) => el("time", { datetime: iso, title: iso }, text);

/** A table that scrolls by itself, also by keys. `rows`: the first cell of each is its head. */
export function table(name, heads, rows) {
  return el("div.scroll", { tabindex: 0, role: "region", "aria-label": name }, el("table", {},
    el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, rows.map(([head, ...cells]) => el("tr", {}, el("th", { scope: "row" }, head), cells.map((cell) => el("td", {}, cell)))))));
}
