/** A chart by time, as SVG: bars that stand on each other, or lines. By its `tone` a series has a colour, and a pattern: nothing hangs on colours. */

import { drawing, svg } from "./nodes.js";
import { tick } from "./readable.js";

/** @typedef {{step: "hour" | "day", times: Date[], series: {name: string, values: (number | null)[], tone: number}[]}} Data */

export const TONES = 12;
const HATCHES = ["", "M0 8L8 0", "M0 4H8", "M0 0L8 8", "M4 0V8", "M0 8L8 0M0 0L8 8"];
const [HEIGHT, TOP, RIGHT, BOTTOM, LEFT] = [190, 10, 8, 24, 52];
const INNER = HEIGHT - TOP - BOTTOM;

let patterns = 0;

/** @param {Data} data @param {{kind: "bars" | "lines", width: number, format: (value: number) => string, whole: boolean}} how */
export function chart({ times, series, step }, { kind, width, format, whole }) {
  const isBars = kind === "bars";
  const slot = (width - LEFT - RIGHT) / times.length;
  const ticks = ticksUpTo(highest(times, series, isBars), whole);
  const place = {
    slot, id: `pattern-${patterns++}`,
    x: (index) => LEFT + slot * index,
    y: (value) => TOP + INNER * (1 - value / ticks.at(-1)),
  };
  const cursor = svg("rect.cursor", { y: TOP, width: slot, height: INNER, visibility: "hidden" });
  const node = drawing("chart", width, HEIGHT,
    isBars && svg("defs", {}, series.map((one) => pattern(`${place.id}-${one.tone}`, one.tone))),
    ticks.map((value) => [
      svg("line.grid", { x1: LEFT, x2: width - RIGHT, y1: place.y(value), y2: place.y(value) }),
      svg("text.axis", { x: LEFT - 6, y: place.y(value) + 4, "text-anchor": "end" }, format(value)),
    ]),
    cursor, isBars ? bars(times, series, place) : series.map((one) => line(one, place)),
    named(times, step, width - LEFT).map((index) =>
      svg("text.axis", { x: place.x(index + 0.5), y: HEIGHT - 6, "text-anchor": "middle" }, tick(times[index], step, times.length > 48))));
  return {
    node,
    point(index) {
      cursor.setAttribute("visibility", index === null ? "hidden" : "visible");
      cursor.setAttribute("x", place.x(index));
    },
    at: (x) => Math.min(times.length - 1, Math.max(0, Math.floor((x - LEFT) / slot))),
  };
}

const look = (tone) => `s${tone % 6}${tone < 6 ? "" : ".again"}`;
const hatch = (tone) => HATCHES[(tone + (tone < 6 ? 0 : 3)) % 6];

export function swatch(tone, kind) {
  if (kind === "lines") return drawing("swatch", 22, 14, svg(`path.line.${look(tone)}`, { d: "M1 7H21" }));
  const id = `pattern-${patterns++}`;
  return drawing("swatch", 22, 14, svg("defs", {}, pattern(id, tone)), svg("rect", { width: 20, height: 14, fill: `url(#${id})` }));
}

function pattern(id, tone) {
  return svg("pattern", { id, width: 8, height: 8, patternUnits: "userSpaceOnUse" },
    svg(`rect.fill.${look(tone)}`, { width: 8, height: 8 }), svg("path.hatch", { d: hatch(tone) }));
}

function bars(times, series, { slot, id, x, y }) {
  const gap = slot > 6 ? slot * 0.18 : slot > 3 ? 0.5 : 0;
  return times.map((_, index) => {
    let sum = 0;
    return series.filter((one) => one.values[index]).map((one) => {
      const bottom = y(sum);
      sum += one.values[index];
      // However little it is beside the rest, it is seen.
      const height = Math.max(1, bottom - y(sum));
      return svg("rect", { x: x(index) + gap / 2, y: bottom - height, width: slot - gap, height, fill: `url(#${id}-${one.tone})` });
    });
  });
}

/** Broken where there is no value. One between two breaks is a dot. */
function line({ values, tone }, { x, y }) {
  const isThere = (index) => (values[index] ?? null) !== null;
  const spots = values.flatMap((value, index) => isThere(index) ? [{ index, cx: x(index + 0.5).toFixed(1), cy: y(value).toFixed(1) }] : []);
  const d = spots.map(({ index, cx, cy }) => `${isThere(index - 1) ? "L" : "M"}${cx} ${cy}`).join("");
  const dots = spots.filter(({ index }) => values.length <= 48 || !(isThere(index - 1) || isThere(index + 1)));
  return [svg(`path.line.${look(tone)}`, { d }), dots.map(({ cx, cy }) => svg(`circle.fill.${look(tone)}`, { cx, cy, r: 3 }))];
}

function highest(times, series, isStacked) {
  const at = (index) => series.map((one) => one.values[index] ?? 0);
  return Math.max(0, ...times.map((_, index) => isStacked ? at(index).reduce((sum, one) => sum + one, 0) : Math.max(...at(index))));
}

/** Round numbers from nothing to at least the highest. Of what is counted, whole ones. */
function ticksUpTo(top, whole) {
  const rough = Math.max(top / 4, whole ? 1 : 0) || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((one) => one >= rough && !(whole && one % 1)) ?? rough;
  return Array.from({ length: Math.max(1, Math.ceil(top / size)) + 1 }, (_, n) => Number((n * size).toPrecision(6)));
}

/** Which buckets are named on the axis: as many as have room, at whole hours or days of the viewer's. */
function named(times, step, width) {
  const room = Math.max(2, Math.floor(width / 60));
  const all = [...times.keys()];
  if (step === "day") return all.filter((index) => index % Math.ceil(times.length / room) === 1);
  const every = [1, 2, 3, 4, 6, 12, 24, 48, 72].find((hours) => times.length / hours <= room);
  const isNamed = (at) => at.getHours() % Math.min(every, 24) === 0 && (every <= 24 || at.getDate() % (every / 24) === 0);
  return all.filter((index) => isNamed(times[index]));
}
