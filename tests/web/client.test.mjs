// The client against a stand-in that does everything wrong that a network can do wrong.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { Latchkey, LatchkeyProblem } from "../../functions/web/latchkey.js";
import { Service, memory } from "./service.mjs";

let service;
let latchkey;
let storage;

function client(options = {}) {
  return new Latchkey({ baseUrl: service.url, storage, pauseMs: 5, longestPauseMs: 50, ...options });
}

beforeEach(async () => {
  service = await new Service().start();
  storage = memory();
  latchkey = client();
});

afterEach(() => service.stop());

/** Sends, and holds what was put together against what is stored. */
async function send(message = "Hello", options = {}) {
  const texts = [];
  const turn = await latchkey.send(message, { ...options, onEvent: (heard) => texts.push(heard) });
  assert.equal(turn.reply, service.text);
  assert.equal(texts.at(-1).text, service.text);
  return { turn, heard: texts };
}

test("an answer is told as it comes", async () => {
  const { heard } = await send();
  assert.ok(heard.length > service.text.length / 2);
  assert.equal(heard[2].text, "No, w");
  assert.equal(heard[3].text, "");
  assert.equal(service.posts.length, 1);
  assert.match(service.posts[0].headers["x-device-id"], /^[0-9a-f-]{36}$/);
});

test("a stream that is cut anywhere is gone on with, and the message is sent once", async () => {
  const whole = Buffer.byteLength("x".repeat(4200));
  for (let n = 0; n < 60; n++) {
    service.fault(/POST .v1.turns$/, { cut: 1 + Math.floor((n * whole) / 60) });
    for (let more = 0; more < n % 4; more++) service.fault(/events$/, { cut: 40 + ((n * 131 + more * 57) % 900) });
    await send(`message ${n}`);
  }
  assert.equal(service.turns.size, 60, "each message made one turn");
});

test("one that is cut fifty times is put together", async () => {
  service.text = "x".repeat(200);
  service.fault(/POST .v1.turns$/, { cut: 300 });
  service.fault(/events$/, ...Array.from({ length: 50 }, (_, n) => ({ cut: 150 + n * 3 })));
  const { heard } = await send();
  const cuts = service.requests.filter(({ path }) => path.endsWith("/events"));
  assert.ok(cuts.length > 25, `${cuts.length} times`);
  assert.equal(heard.filter(({ event }) => event === "text_delta").length, 201, "none twice, none left out");
});

test("a lost answer is asked for again with the same key, and makes one turn", async () => {
  service.fault(/POST .v1.turns$/, { lose: true }, { lose: true }, { cut: 0, hidesLocation: true }, { cut: 30, hidesLocation: true });
  await send();
  assert.equal(service.posts.length, 5);
  assert.equal(service.turns.size, 1);
  assert.equal(new Set(service.posts.map(({ headers }) => headers["idempotency-key"])).size, 1);
  await send("another");
  assert.equal(service.turns.size, 2, "another message has another key");
});

test("Retry-After is waited for, and what is away for a while is asked again", async () => {
  service.fault(/POST .v1.turns$/, { status: 503, headers: { "Retry-After": "0.3" } }, { status: 502 }, { status: 429, headers: { "Retry-After": "0.2" } }, { page: true });
  const begun = Date.now();
  await send();
  assert.ok(Date.now() - begun >= 500);
  assert.equal(service.posts.length, 5);
});

test("what another try would not change is thrown, with its code", async () => {
  service.fault(/POST .v1.turns$/, { status: 402, code: "user_budget_exceeded" });
  await assert.rejects(latchkey.send("Hello"), (problem) => {
    assert.ok(problem instanceof LatchkeyProblem);
    assert.deepEqual([problem.code, problem.status, problem.requestId], ["user_budget_exceeded", 402, "r"]);
    return true;
  });
  assert.equal(service.posts.length, 1);
  service.fault(/POST .v1.turns$/, ...Array(9).fill({ status: 500, code: "internal_error" }));
  await assert.rejects(latchkey.send("Hello"), { code: "internal_error" });
  assert.equal(service.posts.length, 5, "a defect is not asked for for ever");
});

test("a conversation that is busy is thrown to whoever wants no queue, and waited for by others", async () => {
  service.fault(/POST .v1.turns$/, { status: 409, code: "session_busy" }, { status: 409, code: "session_busy" });
  await assert.rejects(latchkey.send("Hello", { onBusy: "reject" }), { code: "session_busy" });
  await send();
  assert.equal(service.posts.length, 3);
});

test("an event ID that is not taken is forgotten, and all is told again", async () => {
  service.fault(/POST .v1.turns$/, { cut: 700 });
  service.fault(/events$/, { status: 400, code: "last_event_id_malformed" });
  const { heard } = await send();
  const afresh = heard.findLastIndex(({ event }) => event === "text_discarded");
  assert.ok(afresh > 3);
});

test("where there are no streams it asks until the turn is over", async () => {
  service.hasStreams = false;
  const turn = await latchkey.send("Hello");
  assert.equal(turn.reply, service.text);
  service.turns.get(turn.id).status = "running";
  const asking = latchkey.follow(turn.id);
  setTimeout(() => (service.turns.get(turn.id).status = "completed"), 30);
  assert.equal((await asking).status, "completed");
  assert.ok(service.requests.some(({ url }) => url.includes("wait_s=25")));
});

test("a stream that ends before its turn is gone on with", async () => {
  const { turn } = await send();
  const all = service.eventsOf.bind(service);
  let asked = 0;
  service.eventsOf = (one) => (asked++ < 3 ? all(one).slice(0, 10 * asked) : all(one));
  assert.equal((await latchkey.follow(turn.id)).id, turn.id);
  assert.ok(asked >= 4);
});

test("one that falls silent is taken for dead", async () => {
  latchkey = client({ silenceMs: 50 });
  service.fault(/POST .v1.turns$/, { cut: 500, hang: true });
  await send();
});

test("a turn that waits for a person is given back, and can be followed", async () => {
  const { turn } = await send();
  service.turns.get(turn.id).status = "waiting";
  assert.equal((await latchkey.follow(turn.id)).status, "waiting");
  service.turns.get(turn.id).status = "completed";
  assert.equal((await latchkey.follow(turn.id)).status, "completed");
});

test("three quick messages go out in order, each once", async () => {
  service.fault(/POST .v1.turns$/, { status: 503 }, { lose: true });
  const turns = await Promise.all(["one", "two", "three"].map((message) => latchkey.send(message)));
  assert.deepEqual(turns.map(({ seq }) => seq), [1, 2, 3]);
  assert.deepEqual([...service.turns.values()].map(({ message }) => message), ["one", "two", "three"]);
});

test("whoever sends is told which turn it is, once it was taken, also when its answer was lost before", async () => {
  service.fault(/POST .v1.turns$/, { lose: true }, { cut: 200 });
  const taken = [];
  const { turn } = await send("Hello", { onTaken: (id) => taken.push(id) });
  assert.deepEqual(taken, [turn.id], "once: reading on is not sending");
});

test("while there is no person's token, what is asked goes out as the device's", async () => {
  service.asksForTokens = true;
  let person = null;
  latchkey = client({ userToken: () => person });
  await send();
  const own = service.requests.at(-1).headers.authorization;
  assert.match(own, /^Bearer /);
  person = "ada's";
  await assert.rejects(latchkey.send("Hello"), { status: 401 });
  assert.equal(service.requests.at(-1).headers.authorization, "Bearer ada's", "and never the device's in its place");
});

test("a message is not kept by one before it whose answer is held back", async () => {
  const never = ({ signal }) => new Promise((_, fail) => signal.addEventListener("abort", () => fail(signal.reason)));
  const slow = (url, options) => (options.body?.includes("slow") ? never(options) : fetch(url, options));
  latchkey = client({ fetch: slow });
  const control = new AbortController();
  const held = latchkey.send("slow", { signal: control.signal });
  await latchkey.send("quick");
  control.abort();
  await assert.rejects(held, { name: "AbortError" });
});

test("an answer that is stored nowhere is told anew when it was cut, and is not doubled", async () => {
  const lines = [["turn_started", { turn_id: "t", session_id: null, seq: 0 }], ["agent_changed", { agent: "manager", previous: null }],
    ["text_delta", { message_seq: 0, block: 0, text: "Hello." }], ["turn_ended", { turn: { id: "t", status: "completed", reply: "Hello." } }]];
  const told = (count) => lines.slice(0, count).map(([event, data]) => `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`).join("");
  const answers = [told(3), told(4)];
  const away = () => Promise.resolve(new Response(answers.shift(), { headers: { "Content-Type": "text/event-stream" } }));
  latchkey = client({ fetch: (url, options) => (url.endsWith("/v1/turns") ? away() : fetch(url, options)) });
  const texts = [];
  const turn = await latchkey.send("Hello", { onEvent: ({ text }) => texts.push(text) });
  assert.equal(turn.reply, "Hello.");
  assert.equal(texts.at(-1), "Hello.");
});

test("whoever gives up in line is let go at once, and keeps nobody out of their place", async () => {
  let goOn;
  const away = new Promise((up) => (goOn = up));
  const slow = async (url, options) => {
    if (options.body?.includes("first")) await away;
    return fetch(url, options);
  };
  latchkey = client({ fetch: slow });
  const first = latchkey.send("first");
  const control = new AbortController();
  const second = latchkey.send("second", { signal: control.signal });
  const third = latchkey.send("third");
  setTimeout(() => control.abort(), 20);
  const begun = Date.now();
  await assert.rejects(second, { name: "AbortError" });
  assert.ok(Date.now() - begun < 500);
  assert.equal(service.posts.length, 0, "the third still waits for the first");
  goOn();
  await Promise.all([first, third]);
  assert.deepEqual([...service.turns.values()].map(({ message }) => message), ["first", "third"]);
});

test("an export that was overtaken by a message is begun again", async () => {
  const parts = [[200, "old 1\n", "a"], [412, { code: "export_changed" }], [200, "new 1\n", "b"], [200, "new 2\n"]];
  const asked = [];
  const exporting = async (url) => {
    const [status, body, next] = parts.shift();
    asked.push(new URL(url).searchParams.get("after"));
    return new Response(typeof body === "string" ? body : JSON.stringify(body), { status, headers: next ? { "X-Next-Part": next } : {} });
  };
  latchkey = client({ fetch: (url, options) => (url.includes("/export") ? exporting(url) : fetch(url, options)) });
  assert.equal(await latchkey.exportSession("s"), "new 1\nnew 2\n");
  assert.deepEqual(asked, [null, "a", null, "b"]);
});

test("whoever gives up is let go, in the stream and in a pause", async () => {
  for (const fault of [{ cut: 400, hang: true }, { status: 503, headers: { "Retry-After": "60" } }]) {
    service.fault(/POST .v1.turns$/, fault);
    const control = new AbortController();
    setTimeout(() => control.abort(), 60);
    await assert.rejects(latchkey.send("Hello", { signal: control.signal }), { name: "AbortError" });
  }
});

test("what onEvent throws is its caller's", async () => {
  const ours = new Error("the page is gone");
  await assert.rejects(latchkey.send("Hello", { onEvent: () => { throw ours; } }), (error) => error === ours);
});

test("a device keeps its ID and secret, and nothing that was said", async () => {
  service.asksForTokens = true;
  await send("My name is Ada.");
  await latchkey.session();
  const [[, kept]] = [...storage.items];
  assert.deepEqual(Object.keys(JSON.parse(kept)).sort(), ["id", "secret", "token", "version"]);
  assert.equal(JSON.parse(kept).secret.length, 43);
  const later = client();
  assert.equal(later.deviceId, latchkey.deviceId);
  await later.session();
  const { headers } = service.requests.at(-1);
  assert.match(headers["x-session-version"], /\.1$/);
  assert.equal(service.requests.filter(({ path }) => path === "/v1/devices").length, 1, "its token is kept too");
  later.forget();
  assert.notEqual(later.deviceId, JSON.parse(kept).id);
});

test("a token that has expired is renewed, by several at once in one request", async () => {
  service.asksForTokens = true;
  await send();
  service.tokens.clear();
  await Promise.all([latchkey.session(), latchkey.session(), latchkey.session()]);
  assert.equal(service.requests.filter(({ path }) => path === "/v1/devices").length, 2);
  service.tokens.clear();
  service.fault(/POST .v1.turns$/, { cut: 600 });
  await send("in the middle");
});

test("a token that is nearly over is renewed before, and a wrong clock does not ask each time", async () => {
  service.asksForTokens = true;
  service.tokenLivesS = 5;
  await latchkey.session();
  const later = client();
  for (let n = 0; n < 3; n++) await later.session();
  assert.equal(service.requests.filter(({ path }) => path === "/v1/devices").length, 2);
});

test("a device that was signed out is told so", async () => {
  service.asksForTokens = true;
  await send();
  service.tokens.clear();
  service.fault(/devices$/, { status: 401, code: "device_barred" });
  await assert.rejects(latchkey.session(), { code: "device_barred", status: 401 });
});

test("a service that knows no devices is talked to without a token", async () => {
  service.fault(/devices$/, { status: 404, code: "not_found" });
  await send();
});

test("offline it waits for the network to come back", async () => {
  const listeners = new Set();
  const [add, remove] = [globalThis.addEventListener, globalThis.removeEventListener];
  globalThis.addEventListener = (name, listener) => name === "online" && listeners.add(listener);
  globalThis.removeEventListener = (_, listener) => listeners.delete(listener);
  Object.defineProperty(globalThis, "navigator", { value: { onLine: false }, configurable: true });
  let [isDown, tries] = [true, 0];
  latchkey = client({ longestPauseMs: 30_000, fetch: (url, options) => (tries++, isDown ? Promise.reject(new TypeError("offline")) : fetch(url, options)) });
  const sent = latchkey.send("Hello");
  await new Promise((tick) => setTimeout(tick, 50));
  assert.equal(tries, 1);
  isDown = false;
  globalThis.navigator.onLine = true;
  for (const listener of [...listeners]) listener();
  assert.equal((await sent).status, "completed");
  assert.equal(listeners.size, 0);
  [globalThis.addEventListener, globalThis.removeEventListener] = [add, remove];
});

test("a storage that takes nothing is done without", async () => {
  storage = { getItem: () => null, setItem() { throw new Error("full"); }, removeItem() {} };
  latchkey = client();
  const id = latchkey.deviceId;
  await send();
  assert.equal(latchkey.deviceId, id);
});
