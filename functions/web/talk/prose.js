/** Prose: text as paragraphs, lists, code and links, made of nodes. Links lead to http and https alone, and say where. */

import { h } from "./node.js";

const INLINE = /`([^`\n]+)`|\*\*([^*\n]+)\*\*|\[([^\]\n]+)\]\((https?:\/\/[^\s()]+)\)|(https?:\/\/[^\s<>"'`]*[^\s<>"'`.,;:!?)\]])/g;
const ITEM = /^\s*(?:[-*•]|(\d+)[.)])\s+/;

/** @param {string} address @param {string} text */
function link(address, text) {
  try {
    const url = new URL(address);
    if (!/^https?:$/.test(url.protocol)) return text;
    // Whoever reads it is shown where it leads, whatever it is called.
    const isPlain = text === address && !url.username && !url.password && address.toLowerCase().startsWith(`${url.protocol}//${url.host}`);
    const to = isPlain ? null : h("span", { class: "faint" }, ` (${url.host})`);
    return h("a", { href: url.href, target: "_blank", rel: "noopener noreferrer" }, text, to);
  } catch {
    return text;
  }
}

/** @param {string} text @returns {any[]} */
export function inline(text) {
  const nodes = [];
  let at = 0;
  for (const found of text.matchAll(INLINE)) {
    const [all, code, strong, name, to, bare] = found;
    nodes.push(text.slice(at, found.index));
    nodes.push(code ? h("code", {}, code) : strong ? h("strong", {}, strong) : link(to ?? bare, name ?? bare));
    at = found.index + all.length;
  }
  return [...nodes, text.slice(at)];
}

/** Blocks with an empty line between them; code between fences is one. @param {string} text @returns {string[]} */
function blocksOf(text) {
  return text.split(/(^```[^\n]*\n[\s\S]*?(?:^```[ \t]*$|$(?![\s\S])))|\n{2,}/m).filter((block) => block?.trim());
}

/** @param {string} block */
function drawn(block) {
  const code = block.match(/^```[^\n]*\n([\s\S]*?)(?:\n?```\s*)?$/);
  if (code) return h("pre", { tabindex: "0" }, h("code", {}, code[1]));
  const lines = block.split("\n");
  if (lines.every((line) => ITEM.test(line))) {
    const number = lines[0].match(ITEM)?.[1];
    return h(number ? "ol" : "ul", { start: number }, lines.map((line) => h("li", {}, inline(line.replace(ITEM, "")))));
  }
  const heading = lines.length === 1 && block.match(/^#{1,6}\s+(.*)/);
  return h("p", {}, heading ? h("strong", {}, inline(heading[1])) : inline(block));
}

/** Text that grows: what stands already is left as it is, so that nothing jumps and a selection stays. */
export class Prose {
  node = h("div", { class: "prose", dir: "auto" });
  /** @type {string[]} */
  #shown = [];

  /** @param {string} text */
  show(text) {
    const blocks = blocksOf(text);
    blocks.forEach((block, place) => {
      if (this.#shown[place] === block) return;
      const before = this.node.children[place];
      if (before) before.replaceWith(drawn(block));
      else this.node.append(drawn(block));
    });
    while (this.node.children.length > blocks.length) this.node.lastChild?.remove();
    this.#shown = blocks;
    return this.node;
  }
}
