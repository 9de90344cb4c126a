/** Numbers and times as people read them, in the viewer's own zone. */

const PLAIN = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

/** @param {number | null | undefined} value */
export function count(value) {
  return value === null || value === undefined ? "–" : PLAIN.format(value);
}

/** @param {number} value */
export function short(value) {
  return value < 1000 ? PLAIN.format(Math.round(value * 100) / 100) : SHORT.format(value);
}

/** @param {number | null | undefined} value */
export function ms(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1000) return `${value < 10 ? Math.round(value * 10) / 10 : Math.round(value)} ms`;
  return seconds(value / 1000);
}

/** @param {number | null | undefined} value */
export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1 && value > 0) return ms(value * 1000);
  if (value < 60) return `${Math.round(value * 10) / 10} s`;
  if (value < 3600) return pair(value, 60, "min", "s");
  if (value < 86_400) return pair(value / 60, 60, "h", "min");
  return pair(value / 3600, 24, "d", "h");
}

/** @param {number} value @param {number} base @param {string} large @param {string} small */
function pair(value, base, large, small) {
  const whole = Math.round(value);
  const rest = whole % base;
  return rest ? `${Math.floor(whole / base)} ${large} ${rest} ${small}` : `${whole / base} ${large}`;
}

/** @param {number | null | undefined} dollars */
export function money(dollars) {
  if (dollars === null || dollars === undefined) return "–";
  const digits = dollars && dollars < 1 ? 4 : 2;
  return `$${dollars.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: digits })}`;
}

/** @param {number | null | undefined} share */
export function percent(share) {
  if (share === null || share === undefined) return "–";
  return `${(share * 100).toLocaleString("en", { maximumFractionDigits: share < 0.1 ? 1 : 0 })} %`;
}

/** @param {number} many @param {string} one @param {string} [more] */
export function many(many, one, more = `${one}s`) {
  return `${count(many)} ${many === 1 ? one : more}`;
}

/** @param {Intl.DateTimeFormatOptions} options */
const form = (options) => new Intl.DateTimeFormat("en-GB", options);
const CLOCK = form({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
const HOUR = form({ hour: "2-digit", minute: "2-digit" });
const DAY = form({ day: "numeric", month: "short" });
// A day of the figures is one of UTC, wherever it is looked at from.
const UTC_DAY = form({ day: "numeric", month: "short", timeZone: "UTC" });
const FULL = form({ day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** @param {Date | string} at */
export const clock = (at) => CLOCK.format(new Date(at));
/** @param {Date | string} at */
export const full = (at) => FULL.format(new Date(at));

/** Where a bucket stands on an axis. @param {Date} at @param {"hour" | "day"} step @param {boolean} [withDay] */
export function tick(at, step, withDay = false) {
  if (step === "day") return UTC_DAY.format(at);
  return withDay ? DAY.format(at) : HOUR.format(at);
}

/** The whole of a bucket. @param {Date} at @param {"hour" | "day"} step */
export function bucket(at, step) {
  if (step === "day") return `${UTC_DAY.format(at)} (UTC)`;
  return `${DAY.format(at)}, ${HOUR.format(at)} to ${HOUR.format(new Date(at.getTime() + 3_600_000))}`;
}

/** Whom a conversation's next message goes to. @param {string | null | undefined} agent */
export function agentName(agent) {
  return agent || "manager (nobody's lock)";
}
