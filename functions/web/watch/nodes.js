/** Nodes of the page, built one by one: text is always text, and no HTML is ever made of it. */

const SVG = "http://www.w3.org/2000/svg";

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * @param {string} name with classes: `p.faint`
 * @param {Record<string, any>} [given] attributes; of `on…` names, listeners. What is null or false is left out
 * @param {...(Child | Child[])} children
 * @returns {any}
 */
export function el(name, given = {}, ...children) {
  return made(document.createElement(name.split(".")[0]), name, given, children);
}

/** @param {string} name @param {Record<string, any>} [given] @param {...(Child | Child[])} children @returns {any} */
export function svg(name, given = {}, ...children) {
  return made(document.createElementNS(SVG, name.split(".")[0]), name, given, children);
}

/** @param {Element} node @param {string} name @param {Record<string, any>} given @param {(Child | Child[])[]} children */
function made(node, name, given, children) {
  const classes = name.split(".").slice(1).join(" ");
  if (classes) node.setAttribute("class", classes);
  for (const [key, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...kept(children));
  return node;
}

/** Instead of what was in it. @param {Element} node @param {...(Child | Child[])} children */
export function fill(node, ...children) {
  node.replaceChildren(...kept(children));
}

/** @param {(Child | Child[])[]} children @returns {(Node | string)[]} */
function kept(children) {
  return children.flat().filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}

/** @param {string} id @returns {any} */
export function byId(id) {
  return document.getElementById(id);
}

/** A time that machines can read too. @param {string} iso @param {string} text */
export function time(iso, text) {
  return el("time", { datetime: iso, title: iso }, text);
}
