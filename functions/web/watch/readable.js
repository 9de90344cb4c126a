/** Numbers and times as people read them, in the viewer's own zone. */

const PLAIN = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const NONE = "–";

export const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

export const count = (value) => (value ?? null) === null ? NONE : PLAIN.format(value);
export const short = (value) => value < 1000 ? PLAIN.format(value) : SHORT.format(value);
export const many = (value, one, more = `${one}s`) => `${count(value)} ${value === 1 ? one : more}`;

export function ms(value) {
  if ((value ?? null) === null) return NONE;
  return value < 1000 ? `${Math.round(value * (value < 10 ? 10 : 1)) / (value < 10 ? 10 : 1)} ms` : seconds(value / 1000);
}

export function seconds(value) {
  if ((value ?? null) === null) return NONE;
  if (value > 0 && value < 1) return ms(value * 1000);
  if (value < 60) return `${Math.round(value * 10) / 10} s`;
  if (value < 3600) return pair(value, 60, "min", "s");
  return value < 86_400 ? pair(value / 60, 60, "h", "min") : pair(value / 3600, 24, "d", "h");
}

function pair(value, base, large, small) {
  const whole = Math.round(value);
  return `${Math.floor(whole / base)} ${large}${whole % base ? ` ${whole % base} ${small}` : ""}`;
}

export const between = (from, to) => seconds((new Date(to) - new Date(from)) / 1000);

/** Less than a dollar is told to a hundredth of a cent. */
export function money(dollars) {
  return `$${dollars.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: dollars < 1 ? 4 : 2 })}`;
}

export function percent(share) {
  if ((share ?? null) === null) return NONE;
  return `${(share * 100).toLocaleString("en", { maximumFractionDigits: share < 0.1 ? 1 : 0 })} %`;
}

const form = (options) => (at) => new Intl.DateTimeFormat("en-GB", options).format(new Date(at));
const HOUR = { hour: "2-digit", minute: "2-digit" };
const DAY = { day: "numeric", month: "short" };
export const clock = form({ ...HOUR, second: "2-digit" });
export const full = form({ ...DAY, ...HOUR, second: "2-digit" });
const hour = form(HOUR);
const day = form(DAY);
// A day of the figures is one of UTC, wherever it is looked at from.
const utcDay = form({ ...DAY, timeZone: "UTC" });

export function tick(at, step, isLong) {
  return step === "day" ? utcDay(at) : isLong ? day(at) : hour(at);
}

export function bucket(at, step) {
  return step === "day" ? `${utcDay(at)} (UTC)` : `${day(at)}, ${hour(at)} to ${hour(at.getTime() + 3_600_000)}`;
}

export const agentName = (agent) => agent || "manager (nobody's lock)";
