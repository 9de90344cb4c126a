/** Figures by time, as the service gives them. Nothing is asked twice: whoever wants what was asked for a moment ago gets the same answer. */

const FRESH_MS = 55_000;
const HOUR_MS = 3_600_000;

/** @typedef {{at: string, values?: Record<string, number>, [more: string]: any}} Item */
/** @typedef {{id: string, name: string, step: "hour" | "day", buckets: number}} Range */

/** @type {Range[]} */
export const RANGES = [
  { id: "day", name: "24 hours", step: "hour", buckets: 24 },
  { id: "week", name: "7 days", step: "hour", buckets: 168 },
  { id: "month", name: "30 days", step: "day", buckets: 30 },
];

export class Series {
  /** @type {Map<string, {at: number, answer: Promise<Item[]>}>} */
  #asked = new Map();

  /** @param {import("./api.js").Api} api */
  constructor(api) {
    this.api = api;
  }

  /** @param {string} figure @param {Range} range @returns {Promise<Item[]>} oldest first, the running hour or day last */
  read(figure, range) {
    const key = `${figure} ${range.id}`;
    const known = this.#asked.get(key);
    if (known && Date.now() - known.at < FRESH_MS) return known.answer;
    const ms = range.step === "day" ? 24 * HOUR_MS : HOUR_MS;
    const from = new Date((Math.floor(Date.now() / ms) + 1 - range.buckets) * ms).toISOString();
    const answer = this.api.get("/series", { figure, step: range.step, from }).then(({ items }) => items);
    this.#asked.set(key, { at: Date.now(), answer });
    // What failed is asked again by whoever comes next.
    answer.catch(() => this.#asked.delete(key));
    return answer;
  }

  forget() {
    this.#asked.clear();
  }
}
