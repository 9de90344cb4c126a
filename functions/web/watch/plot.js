/** One plot: its chart with a cursor that mouse and arrow keys move, what stands there as text, and its table. */

import { chart, swatch } from "./chart.js";
import { el, fill, table } from "./nodes.js";
import { bucket } from "./readable.js";

// What is hidden has no width, and what is being laid out may have next to none.
const NARROWEST = 120;

export class Plot {
  #data = null;
  #drawn = null;
  /** Which bucket is read out; null: the newest. */
  #index = null;
  #width = 0;

  constructor(of) {
    this.of = of;
    const { id, title, about } = of;
    this.legend = el("ul.legend");
    this.readout = el("p.readout");
    this.said = el("p.said");
    const hover = (event) => this.#drawn && this.#point(this.#drawn.at(event.clientX - this.place.getBoundingClientRect().left));
    this.place = el("div.place", {
      role: "slider", tabindex: 0, "aria-label": `${title}: cursor over time`, "aria-describedby": `${id}-about`,
      "aria-valuemin": 0, "aria-valuemax": 0, "aria-valuenow": 0,
      onkeydown: (event) => this.#key(event), onpointermove: hover, onpointerdown: hover,
      onpointerleave: () => this.#point(null), onblur: () => this.#point(null),
      onfocus: () => this.#point(this.#index ?? this.#last),
    });
    this.numbers = el("details", { ontoggle: () => this.#tabulate() }, el("summary", {}, "Numbers as a table"));
    this.node = el("section.plot.card", { id, "aria-labelledby": `${id}-head` },
      el("h3", { id: `${id}-head` }, title), el("p.faint", { id: `${id}-about` }, about), this.legend, this.said, this.place, this.readout, this.numbers);
    this.say("asked", "…");
    new ResizeObserver(() => this.#draw()).observe(this.node);
  }

  show(data) {
    this.#data = data;
    if (!data.series.length) return this.say("empty", "Nothing of it in this range.");
    this.#state("shown", "");
    const sum = (values) => values.reduce((all, value) => all + (value ?? 0), 0);
    fill(this.legend, data.series.map((one) =>
      el("li", {}, swatch(one.tone, this.of.kind), ` ${one.name}`, this.of.isSummed && el("b", {}, ` ${this.of.format(sum(one.values))}`))));
    this.place.setAttribute("aria-valuemax", this.#last);
    if (this.#index > this.#last) this.#index = null;
    this.#width = 0;
    this.#draw();
    this.#tabulate();
  }

  /** Instead of a chart. */
  say(state, text) {
    this.#data = this.#drawn = null;
    this.#state(state, text);
    for (const part of [this.legend, this.place, this.readout]) fill(part);
  }

  #state(state, text) {
    this.node.dataset.state = state;
    this.said.textContent = text;
    this.place.hidden = this.readout.hidden = this.numbers.hidden = state !== "shown";
  }

  get #last() {
    return (this.#data?.times.length ?? 1) - 1;
  }

  #draw() {
    const width = this.place.clientWidth;
    if (!this.#data || width < NARROWEST || width === this.#width) return;
    const { kind, format, tick = format, isWhole } = this.of;
    this.#width = width;
    this.#drawn = chart(this.#data, { kind, width, format: tick, whole: isWhole });
    fill(this.place, this.#drawn.node);
    this.#point(this.#index);
  }

  // ---- the cursor

  #key(event) {
    const at = this.#index ?? this.#last;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -9, PageUp: 9, Home: -at, End: this.#last - at }[event.key];
    if (by === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.#point(Math.min(this.#last, Math.max(0, at + by)));
  }

  #point(index) {
    this.#index = index;
    if (!this.#data) return;
    const { times, series, step } = this.#data;
    const shown = index ?? this.#last;
    const at = bucket(times[shown], step);
    const text = series.filter((one) => one.values[shown]).map((one) => `${one.name} ${this.of.format(one.values[shown])}`).join(", ") || "nothing";
    this.#drawn?.point(index);
    fill(this.readout, index === null && el("span.faint", {}, "Newest: "), el("b", {}, at), ` ${text}`);
    this.place.setAttribute("aria-valuenow", shown);
    this.place.setAttribute("aria-valuetext", `${at}: ${text}`);
  }

  /** When somebody opens it. */
  #tabulate() {
    this.numbers.querySelector("div")?.remove();
    if (!this.numbers.open || !this.#data) return;
    const { times, series, step } = this.#data;
    const cell = (value) => (value ?? null) === null ? "–" : this.of.format(value);
    const rows = times.map((at, index) => [bucket(at, step), ...series.map((one) => cell(one.values[index]))]).reverse();
    this.numbers.append(table(`${this.of.title}, the newest first`, [step === "day" ? "Day" : "Hour", ...series.map((one) => one.name)], rows));
  }
}
