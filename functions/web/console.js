/**
 * The operators' console: drawn at once without any figure, and each when it is there.
 *
 * The token is not good: the form comes back and says so. The service does not answer: what stands there stays, and is said to be old.
 * A figure is not in this release: its plot says so. Nobody looks at the tab: nothing is asked.
 */

import { Api } from "./watch/api.js";
import { Conversation } from "./watch/conversation.js";
import { PLOTS } from "./watch/figures.js";
import { byId, el, fill, time } from "./watch/nodes.js";
import { Plot } from "./watch/plot.js";
import { ZONE, clock, full } from "./watch/readable.js";
import { RANGES, Series } from "./watch/series.js";
import { showTiles } from "./watch/tiles.js";
import { judge, showUnknown, showVerdict } from "./watch/verdict.js";

const EVERY_MS = 10_000;
const PLOTS_EVERY_MS = 60_000;
const NO_OPERATORS = "This service has no operators set up: set ADMIN_TOKEN.";
const WRONG = "This token is not an operator's. Is it the ADMIN_TOKEN?";
const WHAT_TO_TYPE = "Type a conversation's ID, or at least 4 characters of its beginning, or a user's ID.";
const AN_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const RECENT = ["turns", "latency", "recoveries"];

const api = new Api();
const series = new Series(api);
const conversation = new Conversation(byId("conversation"), api);
const plots = PLOTS.map((of) => new Plot(of));
let range = RANGES[0];
let timer, asOf;
let [askedAt, plottedAt, isAsking] = [0, 0, false];

// ---- signing in

byId("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = byId("token").value.trim();
  if (!/^[\x21-\x7e]+$/.test(token)) return signOut(WRONG); // no header could carry it
  api.token = token;
  fill(byId("sign-in-said"));
  try {
    await api.get("/overview");
    byId("token").value = "";
    begin();
    byId("main").focus();
  } catch (error) {
    signOut(reason(error));
  }
});
byId("sign-out").addEventListener("click", () => signOut(""));
api.onRefused = () => signOut(WRONG);

function reason(error) {
  if (error.status === 404) return NO_OPERATORS;
  return [401, 403].includes(error.status) ? WRONG : error.message;
}

function signOut(why) {
  api.token = null;
  series.forget();
  plottedAt = askedAt = 0;
  conversation.close();
  show("sign-in");
  fill(byId("sign-in-said"), why);
  byId("token").focus();
}

function show(what) {
  for (const id of ["sign-in", "watching", "conversation"]) byId(id).hidden = id !== what;
  byId("search").hidden = byId("sign-out").hidden = what === "sign-in";
  byId("found").hidden = true;
  clearTimeout(timer);
}

// ---- where we are

function begin() {
  const id = location.hash.match(/^#session=([\w-]+)$/)?.[1];
  if (!api.token) return signOut("");
  show(id ? "conversation" : "watching");
  if (id) return void conversation.open(id);
  conversation.close();
  watch();
}
addEventListener("hashchange", () => {
  if (api.token && (location.hash.startsWith("#session=") || byId("watching").hidden)) begin();
  if (document.activeElement === document.body) byId("main").focus();
});

byId("search").addEventListener("submit", async (event) => {
  event.preventDefault();
  const q = byId("session-id").value.trim().toLowerCase();
  let [items, more, said] = [[], false, "Nothing has such an ID. Turns and devices cannot be searched for."];
  try {
    ({ items, more } = await api.get("/search", { q }));
  } catch (error) {
    said = error.isMissing ? WHAT_TO_TYPE : reason(error);
  }
  // A whole ID is a conversation's, unless it is a person's.
  if (AN_ID.test(q) && items.every((one) => one.session_id === q)) return void (location.hash = `#session=${q}`);
  byId("found").hidden = false;
  fill(byId("found"), el("h2", { id: "found-head", tabindex: -1 }, `Found for “${q}”`),
    items.length ? el("ul", {}, items.map((one) => el("li", {}, el("a", { href: `#session=${one.session_id}` }, el("code", {}, one.session_id)),
      ` last used ${full(one.last_active_at)}`))) : el("p", { role: "alert" }, said),
    more && el("p", {}, "There are more: type more of the ID."));
  byId("found-head").focus();
});

// ---- now

function watch() {
  clearTimeout(timer);
  if (document.hidden || byId("watching").hidden || isAsking) return;
  const wait = askedAt + EVERY_MS - Date.now();
  if (wait > 0) timer = setTimeout(watch, wait);
  else refresh().finally(watch);
}
document.addEventListener("visibilitychange", watch);

async function refresh() {
  isAsking = true;
  askedAt = Date.now();
  if (askedAt - plottedAt >= PLOTS_EVERY_MS) plotAll();
  try {
    const asked = RECENT.map((figure) => series.read(figure, RANGES[0]).catch(() => null));
    const overview = await api.get("/overview");
    asOf = overview.at;
    showTiles(byId("tiles"), overview);
    fill(byId("as-of"), "As of ", time(asOf, clock(asOf)), `, refreshed every ${EVERY_MS / 1000} s while this tab is looked at.`);
    const recent = await Promise.all(asked);
    showVerdict(byId("verdict"), judge(overview, Object.fromEntries(recent.map((items, index) => [RECENT[index], items]))));
  } catch (error) {
    showUnknown(byId("verdict"), `${reason(error)} ${asOf ? `The numbers below are of ${clock(asOf)}. ` : ""}Trying again every ${EVERY_MS / 1000} s.`);
  } finally {
    isAsking = false;
  }
}

function plotAll() {
  plottedAt = Date.now();
  const asked = range;
  for (const plot of plots) {
    series.read(plot.of.figure, asked).then((items) => {
      const there = plot.of.read(items).filter((one) => one.values.some((value) => value));
      if (asked === range) plot.show({ step: asked.step, times: items.map((item) => new Date(item.at)), series: there });
    }).catch((error) => {
      if (asked !== range) return;
      if (error.isMissing) plot.say("absent", "Not in this release of the service.");
      else plot.say("failed", `Could not be read. ${reason(error)}`);
    });
  }
}

fill(byId("all-plots"), plots.map((plot) => plot.node));
const choose = (one) => {
  range = one;
  sayZone();
  plotAll();
};
byId("ranges").append(...RANGES.map((one) =>
  el("label", {}, el("input", { type: "radio", name: "range", checked: one === range, onchange: () => choose(one) }), ` ${one.name}`)));

function sayZone() {
  fill(byId("zone"), range.step === "day" ? "Days are those of UTC. " : `Times are yours: ${ZONE}. `,
    `A thing is counted in the ${range.step} in which it began. Arrow keys move along a plot.`);
}

sayZone();
begin();
