/** Figures by time, as the service gives them. Nothing is asked twice: what was asked for a moment ago has the same answer. */

const FRESH_MS = 55_000;
const HOUR_MS = 3_600_000;

export const RANGES = [
  { id: "day", name: "24 hours", step: "hour", buckets: 24 },
  { id: "week", name: "7 days", step: "hour", buckets: 168 },
  { id: "month", name: "30 days", step: "day", buckets: 30 },
];

export class Series {
  #asked = new Map();

  constructor(api) {
    this.api = api;
  }

  /** Oldest first; the running hour or day is the last. */
  read(figure, { id, step, buckets }) {
    const key = `${figure} ${id}`;
    const known = this.#asked.get(key);
    if (known && Date.now() - known.at < FRESH_MS) return known.answer;
    const ms = step === "day" ? 24 * HOUR_MS : HOUR_MS;
    const from = new Date((Math.floor(Date.now() / ms) + 1 - buckets) * ms).toISOString();
    const answer = this.api.get("/series", { figure, step, from }).then(({ items }) => items);
    this.#asked.set(key, { at: Date.now(), answer });
    // What failed is asked again by whoever comes next; what this release does not know is not.
    answer.catch((error) => error.isMissing || this.#asked.delete(key));
    return answer;
  }

  forget() {
    this.#asked.clear();
  }
}
