/**
 * The operators' console. The page comes without any figure and is drawn at once; each figure is drawn when it is there.
 *
 * What can go wrong: the token is not good (the form comes back and says so), the service does not answer (what stands there stays, and is
 * said to be old), a figure is not in this release (its plot says so). While nobody looks at the tab, nothing is asked.
 */

import { Api } from "./watch/api.js";
import { Conversation, missing } from "./watch/conversation.js";
import { PLOTS } from "./watch/figures.js";
import { byId, el, fill, time } from "./watch/nodes.js";
import { Plot } from "./watch/plot.js";
import { ZONE, clock, full } from "./watch/readable.js";
import { RANGES, Series } from "./watch/series.js";
import { showTiles } from "./watch/tiles.js";
import { judge, showUnknown, showVerdict } from "./watch/verdict.js";

const EVERY_MS = 10_000;
const SERIES_EVERY_MS = 60_000;
const NO_OPERATORS = "This service has no operators set up: set ADMIN_TOKEN, and start it again.";
const WRONG = "This token is not an operator's. Is it the ADMIN_TOKEN of this service?";

const api = new Api();
const series = new Series(api);
const conversation = new Conversation(byId("conversation"), api);
const plots = PLOTS.map((of) => ({ of, plot: new Plot(of) }));
let range = RANGES[0];
let timer = 0;
let askedAt = 0;
let plottedAt = 0;
let isAsking = false;
let asOf = /** @type {string | null} */ (null);

// ---- signing in

byId("sign-in").addEventListener("submit", async (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  const token = byId("token").value.trim();
  if (!/^[\x21-\x7e]+$/.test(token)) return signOut(WRONG);
  api.keep(token);
  byId("sign-in-said").textContent = "";
  try {
    await api.get("/overview");
    byId("token").value = "";
    begin();
  } catch (error) {
    signOut(reasonOf(error));
  }
});
byId("sign-out").addEventListener("click", () => signOut(""));
api.onRefused = () => signOut(WRONG);

/** @param {any} error */
function reasonOf(error) {
  if (error.status === 404) return NO_OPERATORS;
  return error.status === 401 || error.status === 403 ? WRONG : error.message;
}

/** @param {string} why */
function signOut(why) {
  api.keep(null);
  clearTimeout(timer);
  series.forget();
  conversation.close();
  show({ form: true });
  fill(byId("sign-in-said"), why);
  byId("token").focus();
}

/** @param {{form?: boolean, session?: boolean}} what */
function show({ form = false, session = false }) {
  byId("sign-in").hidden = !form;
  byId("search").hidden = byId("sign-out").hidden = form;
  byId("conversation").hidden = form || !session;
  byId("watching").hidden = form || session;
  if (form || session) fill(byId("found")), (byId("found").hidden = true);
}

// ---- where we are: the address names the conversation, and never the token

function begin() {
  const id = decodeURIComponent(location.hash.match(/^#session=(.+)$/)?.[1] ?? "");
  if (!api.token) return signOut("");
  show({ session: id !== "" });
  clearTimeout(timer);
  if (id) return void conversation.open(id);
  conversation.close();
  watch();
}
addEventListener("hashchange", () => {
  if (api.token && (location.hash.startsWith("#session=") || byId("watching").hidden)) begin();
});

byId("search").addEventListener("submit", async (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  const q = byId("session-id").value.trim().toLowerCase();
  if (!q) return;
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(q)) {
    if (await isUser(q)) return;
    location.hash = `#session=${q}`;
    return;
  }
  await find(q);
});

/** Whole IDs are a conversation's, mostly; one of a person shows theirs. @param {string} q */
async function isUser(q) {
  const { items } = await api.get("/search", { q }).catch(() => ({ items: [] }));
  if (!items.length || items.some((/** @type {any} */ one) => one.session_id === q)) return false;
  showFound(q, items, false);
  return true;
}

/** @param {string} q */
async function find(q) {
  try {
    const { items, more } = await api.get("/search", { q });
    showFound(q, items, more);
  } catch (error) {
    showFound(q, [], false, missing(error) ? "Paste a conversation's whole ID, such as 0198f2d0-5c43-7c39-9d6f-0a4a6e0d9a11, or its beginning." : reasonOf(error));
  }
}

/** @param {string} q @param {any[]} items @param {boolean} more @param {string} [said] */
function showFound(q, items, more, said) {
  const none = said ?? "Nothing that is there has such an ID. Turns, devices and the digests of log lines cannot be searched for.";
  byId("found").hidden = false;
  fill(byId("found"), el("h2", { id: "found-head", tabindex: -1 }, `Found for “${q}”`),
    items.length === 0 ? el("p", { role: "alert" }, none) : el("ul", {}, items.map((one) => el("li", {},
      el("a", { href: `#session=${one.session_id}` }, el("code", {}, one.session_id)),
      el("span.faint", {}, ` ${one.found_by === "user" ? "of this person, " : ""}last used ${full(one.last_active_at)}${one.is_alive ? "" : ", expired"}`)))),
    more && el("p.faint", {}, "There are more: type more of the ID."));
  byId("found-head").focus();
}

// ---- watching

function watch() {
  clearTimeout(timer);
  if (document.hidden || byId("watching").hidden || !api.token) return;
  const wait = askedAt + EVERY_MS - Date.now();
  if (wait > 0) return void (timer = window.setTimeout(watch, wait));
  void refresh().finally(watch);
}
document.addEventListener("visibilitychange", watch);

async function refresh() {
  if (isAsking) return;
  isAsking = true;
  askedAt = Date.now();
  if (Date.now() - plottedAt >= SERIES_EVERY_MS) plotAll();
  try {
    // What the verdict hangs on beside the overview is what the plots of a day ask for anyway.
    const [overview, turns, latency, recoveries] = await Promise.all([
      api.get("/overview").then((said) => (showTiles(byId("tiles"), said), said)),
      ...["turns", "latency", "recoveries"].map((figure) => series.read(figure, RANGES[0]).catch(() => null)),
    ]);
    asOf = overview.at;
    showVerdict(byId("verdict"), judge(overview, { turns, latency, recoveries }));
    fill(byId("as-of"), "As of ", time(overview.at, clock(overview.at)), `, refreshed every ${EVERY_MS / 1000} s while this tab is looked at.`);
  } catch (error) {
    if (api.token) stale(reasonOf(error));
  } finally {
    isAsking = false;
  }
}

/** @param {string} why */
function stale(why) {
  showUnknown(byId("verdict"), `${why} ${asOf ? `The numbers below are of ${clock(asOf)}.` : ""} Trying again every ${EVERY_MS / 1000} s.`);
}

function plotAll() {
  plottedAt = Date.now();
  const asked = range;
  for (const { of, plot } of plots) {
    series.read(of.figure, range).then((items) => {
      if (asked !== range) return;
      const all = of.read(items).filter((one) => one.values.some((value) => value));
      plot.show({ step: range.step, times: items.map((item) => new Date(item.at)), series: all });
    }).catch((error) => {
      if (asked !== range) return;
      if (error.status === 422 || error.status === 404) plot.say("absent", "Not in this release of the service.");
      else plot.say("failed", `Could not be read: ${reasonOf(error)}`);
    });
  }
}

// ---- what is there before any figure

fill(byId("all-plots"), plots.map(({ plot }) => plot.node));
byId("ranges").append(...RANGES.map((one) => el("label", {}, el("input", {
  type: "radio", name: "range", value: one.id, checked: one === range, onchange: () => {
    range = one;
    sayZone();
    plotAll();
  },
}), ` ${one.name}`)));

function sayZone() {
  const rest = range.step === "day" ? "Each bar is a day of UTC." : `Times are yours: ${ZONE}.`;
  fill(byId("zone"), `${rest} A thing is counted in the hour in which it began. Arrow keys move along a plot.`);
}

sayZone();
begin();
