/**
 * A chart of buckets by time, as SVG: bars that stand on each other, or lines. It is told its width, so that its text is never scaled.
 *
 * Each series has a colour and a pattern (a dash, of lines), by its place: nothing hangs on seeing colours.
 */

import { svg } from "./nodes.js";
import { tick } from "./readable.js";

/**
 * @typedef {{name: string, values: (number | null)[], tone: number}} Series `tone`: which colour and pattern
 * @typedef {{step: "hour" | "day", times: Date[], series: Series[]}} Data
 */

export const TONES = 8;
const HEIGHT = 190;
const [TOP, RIGHT, BOTTOM, LEFT] = [10, 8, 24, 52];
const INNER = HEIGHT - TOP - BOTTOM;

let patterns = 0;

/**
 * @param {Data} data @param {{kind: "bars" | "lines", width: number, format: (value: number) => string}} how
 * @returns {{node: SVGElement, point: (index: number | null) => void, at: (x: number) => number}}
 */
export function chart(data, { kind, width, format }) {
  const { times, series, step } = data;
  const inner = Math.max(40, width - LEFT - RIGHT);
  const slot = inner / times.length;
  const ticks = ticksUpTo(highest(data, kind));
  const top = ticks[ticks.length - 1];
  const y = (/** @type {number} */ value) => TOP + INNER * (1 - value / top);
  const cursor = svg("rect.cursor", { x: 0, y: TOP, width: Math.max(1, slot), height: INNER, visibility: "hidden" });
  const id = `pattern-${patterns++}`;
  const marks = kind === "bars" ? bars(data, slot, y, id) : lines(data, slot, y);
  const node = svg(
    "svg.chart",
    { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, "aria-hidden": "true", focusable: "false" },
    kind === "bars" && svg("defs", {}, series.map((one) => pattern(`${id}-${one.tone}`, one.tone))),
    ticks.map((value) => [
      svg("line.grid", { x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
      svg("text.axis", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, format(value)),
    ]).flat(),
    cursor,
    marks,
    timeTicks(times, step, inner).map((index) =>
      svg("text.axis", { x: LEFT + slot * (index + 0.5), y: HEIGHT - 6, "text-anchor": "middle" }, tick(times[index], step, times.length > 48)),
    ),
  );
  return {
    node,
    point(index) {
      cursor.setAttribute("visibility", index === null ? "hidden" : "visible");
      if (index !== null) cursor.setAttribute("x", String(LEFT + slot * index));
    },
    at: (x) => Math.min(times.length - 1, Math.max(0, Math.floor((x - LEFT) / slot))),
  };
}

/** A square of its colour and pattern, or a piece of its line, for the legend. @param {number} tone @param {"bars" | "lines"} kind */
export function swatch(tone, kind) {
  const id = `pattern-${patterns++}`;
  const box = { width: 22, height: 14, "aria-hidden": "true", focusable: "false" };
  if (kind === "lines") return svg("svg.swatch", box, svg(`path.line.s${tone}`, { d: "M1 7H21" }));
  return svg("svg.swatch", box, svg("defs", {}, pattern(id, tone)), svg("rect", { x: 1, y: 1, width: 20, height: 12, fill: `url(#${id})` }));
}

/** @param {Data} data @param {number} slot @param {(value: number) => number} y @param {string} id */
function bars({ times, series }, slot, y, id) {
  const gap = slot > 6 ? slot * 0.18 : slot > 3 ? 0.5 : 0;
  return times.flatMap((_, index) => {
    let sum = 0;
    return series.map((one) => {
      const value = one.values[index] ?? 0;
      if (!value) return null;
      const bottom = y(sum);
      sum += value;
      // What is there is seen, however little it is beside the rest.
      const height = Math.max(1, bottom - y(sum));
      const box = { x: LEFT + slot * index + gap / 2, y: bottom - height, width: Math.max(0.5, slot - gap), height };
      return svg("rect", { ...box, fill: `url(#${id}-${one.tone})` });
    });
  });
}

/** @param {Data} data @param {number} slot @param {(value: number) => number} y */
function lines({ series }, slot, y) {
  return series.flatMap((one) => {
    let path = "";
    let isDown = false;
    /** @type {SVGElement[]} */
    const dots = [];
    one.values.forEach((value, index) => {
      if (value === null || value === undefined) {
        isDown = false;
        return;
      }
      const x = LEFT + slot * (index + 0.5);
      path += `${isDown ? "L" : "M"}${x.toFixed(1)} ${y(value).toFixed(1)}`;
      isDown = true;
      if (one.values.length <= 48) dots.push(svg(`circle.dot.s${one.tone}`, { cx: x, cy: y(value), r: 2.5 }));
      else if (!present(one.values[index - 1]) && !present(one.values[index + 1])) dots.push(svg(`circle.dot.s${one.tone}`, { cx: x, cy: y(value), r: 2 }));
    });
    return path ? [svg(`path.line.s${one.tone}`, { d: path }), ...dots] : [];
  });
}

/** @param {number | null | undefined} value */
const present = (value) => value !== null && value !== undefined;

/** @param {string} id @param {number} tone */
function pattern(id, tone) {
  const stroke = ["", "M0 8L8 0", "M0 0L8 8", "M0 4H8", "M4 0V8", "M0 8L8 0M0 0L8 8", "M2 2h1M6 6h1", "M0 4H8M4 0V8"][tone];
  return svg(
    "pattern",
    { id, width: 8, height: 8, patternUnits: "userSpaceOnUse" },
    svg(`rect.fill.s${tone}`, { width: 8, height: 8 }),
    stroke && svg("path.hatch", { d: stroke }),
  );
}

/** @param {Data} data @param {"bars" | "lines"} kind */
function highest({ times, series }, kind) {
  const values = kind === "lines"
    ? series.flatMap((one) => one.values.map((value) => value ?? 0))
    : times.map((_, index) => series.reduce((sum, one) => sum + (one.values[index] ?? 0), 0));
  return Math.max(0, ...values);
}

/** Round numbers from nothing to at least the highest. @param {number} top */
export function ticksUpTo(top) {
  if (top <= 0) return [0, 1];
  const rough = top / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough) ?? 10 * power;
  const ticks = [];
  for (let n = 0; n * size < top + size * 0.999; n++) ticks.push(Number((n * size).toPrecision(6)));
  return ticks;
}

/** Which buckets are named on the axis: as many as have room, at whole hours or days of the viewer's. @param {Date[]} times @param {"hour" | "day"} step @param {number} inner */
function timeTicks(times, step, inner) {
  const room = Math.max(2, Math.floor(inner / 64));
  const every = (/** @type {number} */ n) => times.map((_, index) => index).filter((index) => index % n === 0 && index < times.length - (n > 2 ? 1 : 0));
  if (step === "day") return every(Math.ceil(times.length / room));
  const isLong = times.length > 48;
  const hours = isLong ? 24 * Math.ceil(times.length / 24 / room) : [1, 2, 3, 4, 6, 12].find((n) => times.length / n <= room) ?? 12;
  const days = isLong ? hours / 24 : 1;
  const named = times.map((at, index) => ({ at, index }))
    .filter(({ at }) => at.getHours() % Math.min(hours, 24) === 0 && (days === 1 || at.getDate() % days === 0))
    .map(({ index }) => index);
  return named.length ? named : every(hours);
}
