/** One plot of the page: its heading, its chart with a cursor that mouse and arrow keys move, what stands there as text, and its table. */

import { TONES, chart, swatch } from "./chart.js";
import { el, fill } from "./nodes.js";
import { bucket } from "./readable.js";

/** @typedef {import("./chart.js").Data} Data */

const NARROWEST = 240;

export class Plot {
  /** @type {Data | null} */
  #data = null;
  /** @type {ReturnType<typeof chart> | null} */
  #drawn = null;
  /** @type {number | null} Which bucket is read out. */
  #index = null;
  #width = 0;

  /**
   * @param {{id: string, title: string, about: string, kind: "bars" | "lines", format: (value: number) => string,
   *   tick?: (value: number) => string, total?: boolean}} of `format` of a value, `tick` of one on the axis; `total`: a sum makes sense
   */
  constructor(of) {
    this.of = of;
    this.legend = el("ul.legend");
    this.readout = el("p.readout");
    this.place = el("div.place", {
      role: "slider", tabindex: 0, "aria-label": `${of.title}: cursor over time`, "aria-valuemin": 0, "aria-valuemax": 0, "aria-valuenow": 0,
      "aria-valuetext": "no figures yet", "aria-describedby": `${of.id}-about`,
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event),
      onpointermove: (/** @type {PointerEvent} */ event) => this.#hover(event),
      onpointerdown: (/** @type {PointerEvent} */ event) => this.#hover(event),
      onpointerleave: () => this.#point(null),
      onfocus: () => this.#index ?? this.#point(this.#last),
      onblur: () => this.#point(null),
    });
    this.table = el("details.numbers", { ontoggle: () => this.#tabulate() }, el("summary", {}, "Numbers as a table"));
    this.said = el("p.said", {}, "…");
    this.node = el(
      "section.plot.card", { id: of.id, "aria-labelledby": `${of.id}-head`, "data-state": "asked" },
      el("h3", { id: `${of.id}-head` }, of.title), el("p.faint", { id: `${of.id}-about` }, of.about),
      this.legend, this.said, this.place, this.readout, this.table,
    );
    new ResizeObserver(() => this.#draw()).observe(this.node);
  }

  /** @param {Data} data */
  show(data) {
    this.#data = data;
    if (this.#index !== null && this.#index >= data.times.length) this.#index = null;
    const isEmpty = data.series.length === 0;
    this.#state(isEmpty ? "empty" : "shown", isEmpty ? "Nothing of it in this range." : "");
    fill(this.legend, data.series.length < 2 && data.series[0]?.name === this.of.title ? [] : data.series.map((one) =>
      el("li", {}, swatch(one.tone, this.of.kind), ` ${one.name}`, this.of.total !== false && el("b", {}, ` ${this.of.format(sum(one.values))}`))));
    this.place.setAttribute("aria-valuemax", String(this.#last));
    this.#width = 0;
    this.#draw();
    this.#tabulate();
  }

  /** Instead of a chart. @param {"absent" | "failed"} state @param {string} text */
  say(state, text) {
    this.#data = null;
    this.#drawn = null;
    this.#state(state, text);
    fill(this.legend);
    fill(this.place);
    fill(this.readout);
  }

  /** @param {string} state @param {string} text */
  #state(state, text) {
    this.node.dataset.state = state;
    this.said.textContent = text;
    this.place.hidden = this.readout.hidden = this.table.hidden = state !== "shown";
  }

  get #last() {
    return Math.max(0, (this.#data?.times.length ?? 1) - 1);
  }

  #draw() {
    const width = Math.max(NARROWEST, Math.floor(this.place.clientWidth));
    if (!this.#data?.series.length || this.place.clientWidth === 0 || width === this.#width) return;
    this.#width = width;
    this.#drawn = chart(this.#data, { kind: this.of.kind, width, format: this.of.tick ?? this.of.format });
    fill(this.place, this.#drawn.node);
    this.#point(this.#index);
  }

  // ---- the cursor

  /** @param {KeyboardEvent} event */
  #key(event) {
    const at = this.#index ?? this.#last;
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowDown: at - 1, ArrowUp: at + 1, PageDown: at - 24, PageUp: at + 24, Home: 0, End: this.#last };
    const to = /** @type {Record<string, number>} */ (moves)[event.key];
    if (to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.#point(Math.min(this.#last, Math.max(0, to)));
  }

  /** @param {PointerEvent} event */
  #hover(event) {
    if (this.#drawn) this.#point(this.#drawn.at(event.clientX - this.place.getBoundingClientRect().left));
  }

  /** @param {number | null} index */
  #point(index) {
    this.#index = index;
    this.#drawn?.point(index);
    const data = this.#data;
    if (!data?.series.length) return;
    const shown = index ?? this.#last;
    const text = this.#read(shown);
    fill(this.readout, index === null && el("span.faint", {}, "Newest: "), el("b", {}, bucket(data.times[shown], data.step)), ` ${text}`);
    this.place.setAttribute("aria-valuenow", String(shown));
    this.place.setAttribute("aria-valuetext", `${bucket(data.times[shown], data.step)}: ${text}`);
  }

  /** @param {number} index */
  #read(index) {
    const said = this.#data?.series.filter((one) => one.values[index]).map((one) => `${one.name} ${this.of.format(one.values[index] ?? 0)}`);
    return said?.length ? said.join(", ") : "nothing";
  }

  // ---- the table, which is made when somebody opens it

  #tabulate() {
    this.table.querySelector("div")?.remove();
    const data = this.#data;
    if (!this.table.open || !data) return;
    const cell = (/** @type {number | null} */ value) => el("td", {}, value === null || value === undefined ? "–" : this.of.format(value));
    const rows = data.times.map((at, index) =>
      el("tr", {}, el("th", { scope: "row" }, bucket(at, data.step)), data.series.map((one) => cell(one.values[index]))));
    this.table.append(el(
      "div.scroll", { tabindex: 0, role: "region", "aria-label": `${this.of.title}, as a table` },
      el("table", {}, el("caption", {}, `${this.of.title}, the newest first`),
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, data.step === "day" ? "Day" : "Hour"), data.series.map((one) => el("th", { scope: "col" }, one.name)))),
        el("tbody", {}, rows.reverse())),
    ));
  }
}

/** @param {(number | null)[]} values */
const sum = (values) => values.reduce((/** @type {number} */ all, value) => all + (value ?? 0), 0);

/** The colours that names have, the first ones by their place. @param {string[]} names */
export function tones(names) {
  return new Map(names.map((name, index) => [name, index % TONES]));
}
