// Every call of the client, by two devices and a link, against a real server. Says which methods were called, and what was asked for.

import assert from "node:assert/strict";

import { Latchkey, LatchkeyProblem } from "../../functions/web/latchkey.js";
import { memory } from "./service.mjs";

const { BASE, MODE, USER_TOKEN } = process.env;
const loses = Number(process.env.LOSES ?? 0);
let state = Number(process.env.SEED ?? 0) + 1;
let lost = 0;
const called = new Set();
const asked = new Set();
/** Done once, before somebody looks at a turn. */
let meanwhile = null;

/** One in so many, the same each time for the same seed. */
function isLost() {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return loses > 0 && state / 2 ** 32 < 1 / loses;
}

function client(options = {}) {
  const fetched = async (address, init) => {
    const path = new URL(address).pathname;
    asked.add(`${init.method} ${path}`);
    const isLook = init.method === "GET" && /turns\/[^/]+$/.test(path);
    if (isLook && meanwhile) await [meanwhile, (meanwhile = null)][0](path.split("/").at(-1));
    const answer = await fetch(address, init);
    // What went out with an `If-Match` cannot tell its own change from another's; and a link whose secret was lost is there, for nobody.
    if (!isLost() || init.headers.has("If-Match") || (init.method === "POST" && path.endsWith("/links"))) return answer;
    lost++;
    await answer.body?.cancel();
    throw new TypeError("The answer was lost.");
  };
  const made = new Latchkey({ baseUrl: BASE, storage: memory(), fetch: fetched, pauseMs: 20, longestPauseMs: 100, ...options });
  const noted = (_, name) => {
    called.add(name);
    const found = Reflect.get(made, name, made);
    return typeof found === "function" ? found.bind(made) : found;
  };
  return new Proxy(made, { get: noted });
}

async function refused(promise, status, code) {
  const problem = await promise.then(
    () => assert.fail(`not refused: ${code}`),
    (error) => error,
  );
  assert.ok(problem instanceof LatchkeyProblem, String(problem?.stack));
  assert.deepEqual([problem.status, problem.code], [status, code]);
}

const ids = ({ items }) => items.map(({ id }) => id);
const owner = client();
const member = client();

// ---- turns, and what a person decides

let heard = [];
const onEvent = (told) => heard.push(told);
const burnt = await owner.send("burn it", { onEvent });
assert.equal(burnt.status, "waiting");
assert.equal(heard.at(-1).event, "turn_waiting");
const talk = burnt.session_id;
const [question] = (await owner.approvals({ limit: 5 })).items;
assert.deepEqual([question.tool, question.turn_id], ["burn", burnt.id]);
await refused(owner.decide(question.id, "approve", { inputDigest: "0".repeat(64) }), 409, "approval_changed");
const decided = await owner.decide(question.id, "approve", { inputDigest: question.input_digest });
assert.equal(decided.status, "approved");
heard = [];
const after = await owner.follow(burnt.id, { onEvent });
assert.deepEqual([after.status, after.reply], ["completed", "It is burnt."]);
assert.equal(heard.at(-1).text, "I will.\n\nIt is burnt.");
assert.equal((await owner.turn(burnt.id, { waitS: 1 })).status, "completed");

const denied = await owner.send("burn more");
await refused(owner.rewind(talk, 0), 409, "session_busy"); // at once: a person may take days
await owner.decide((await owner.approvals()).items[0].id, "deny", { note: "Not today." });
assert.equal((await owner.follow(denied.id)).reply, "Then not.");
const stopped = await owner.send("burn the rest");
assert.equal((await owner.cancel(stopped.id)).status, "cancelled");
assert.equal((await owner.follow(stopped.id)).status, "cancelled");
assert.deepEqual((await owner.approvals()).items, []);

heard = [];
meanwhile = async (turnId) => {
  const [asks] = (await owner.approvals()).items;
  await owner.decide(asks.id, "approve", { inputDigest: asks.input_digest });
  assert.equal((await owner.turn(turnId, { waitS: 25 })).status, "completed");
};
assert.equal((await owner.send("burn at last", { onEvent })).reply, "At last.");
assert.deepEqual([heard.at(-1).event, heard.at(-1).text], ["turn_ended", "I will.\n\nAt last."], "decided before it was looked at");

// ---- how it stands

const stands = await owner.session();
assert.deepEqual([stands.id, stands.role, stands.busy], [talk, "owner", false]);
const edited = await owner.patchMetadata({ title: "One", draft: 1 }, { etag: stands.etag });
assert.deepEqual(edited.metadata, { title: "One", draft: 1 });
await refused(owner.patchMetadata({ title: "Two" }, { etag: stands.etag }), 412, "not_as_seen");
assert.deepEqual((await owner.patchMetadata({ draft: null }, { sessionId: talk, etag: edited.etag })).metadata, { title: "One" });

const locked = await owner.setLock("helper", { ttlS: 600, reason: "It plans." });
assert.equal(locked.active_agent, "helper");
await refused(owner.clearLock({ etag: stands.etag }), 412, "not_as_seen");
assert.equal((await owner.send("plan it")).agent, "helper");
assert.deepEqual((await owner.todos()).items.map(({ content }) => content), ["sweep up"]);
assert.deepEqual(await owner.todos({ sessionId: talk }), await owner.todos());
assert.equal((await owner.clearLock({ sessionId: talk })).active_agent, null);
const notes = await owner.audit({ limit: 1 });
const more = await owner.audit({ sessionId: talk, after: notes.next, limit: 200 });
assert.ok([...notes.items, ...more.items].some(({ agent, reason }) => agent === "helper" && reason === "It plans."));
await owner.setLock("helper", { sessionId: talk });
await owner.clearLock();

const all = (await owner.messages({ limit: 200 })).items;
const first = await owner.messages({ limit: 2 });
assert.deepEqual([...first.items, ...(await owner.messages({ after: first.next, limit: 200 })).items], all);
const last = await owner.messages({ sessionId: talk, before: all.at(-1).seq, limit: 1 });
assert.deepEqual(last.items, [all.at(-2)]);

// ---- others

const shared = await owner.share(talk, { ttlS: 600 });
assert.equal(shared.role, "viewer");
const viewer = client({ shareLink: shared.link });
assert.deepEqual([(await viewer.session()).id, (await viewer.session()).role], [talk, "viewer"]);
assert.deepEqual((await viewer.messages({ limit: 200 })).items, all);
assert.equal((await viewer.follow(burnt.id)).reply, "It is burnt.");
await refused(viewer.send("May I?"), 403, "role_too_small");
await refused(viewer.patchMetadata({ title: "Mine" }), 403, "role_too_small");
await refused(viewer.exportSession(), 403, "role_too_small");
const [link] = (await owner.links(talk)).items;
assert.deepEqual([link.id, "link" in link], [shared.id, false]);
await owner.revokeLink(talk, link.id);
await owner.revokeLink(talk, link.id);
assert.deepEqual((await owner.links(talk)).items, []);
await refused(viewer.session(), 404, "session_not_found");

const joined = await member.join((await owner.share(talk, { role: "editor" })).link);
assert.deepEqual([joined.id, joined.role], [talk, "editor"]);
await refused(member.session(), 404, "session_not_found");
assert.equal((await member.enter(talk)).id, talk);
assert.equal((await member.session()).role, "editor");
assert.deepEqual(ids(await member.sessions()), [talk]);
assert.equal((await member.send("Hello from me")).status, "completed");
assert.ok((await owner.messages({ limit: 200 })).items.some(({ content }) => content[0].text === "Hello from me"));
await refused(member.members("00000000-0000-4000-8000-000000000001"), 404, "session_not_found");
await refused(member.end(), 403, "role_too_small");
const inIt = await owner.members(talk);
assert.deepEqual(inIt.items.map(({ role }) => role), ["owner", "editor"]);
const other = inIt.items[1].user_id;
const lesser = await owner.setMember(talk, other, "viewer", { etag: inIt.etag });
assert.equal(lesser.items[1].role, "viewer");
await refused(owner.removeMember(talk, other, { etag: inIt.etag }), 412, "not_as_seen");
await refused(member.send("And now?"), 403, "role_too_small");
await owner.removeMember(talk, other, { etag: lesser.etag });
await owner.removeMember(talk, other);
await refused(member.session({ sessionId: talk }), 404, "session_not_found");
await refused(member.session(), 404, "session_not_found");
assert.deepEqual((await member.sessions()).items, []);

// ---- branches

const fork = await owner.fork(talk, { metadata: { title: "Fork" } });
assert.deepEqual([fork.metadata.title, fork.id === talk], ["Fork", false]);
assert.ok((await owner.messages({ sessionId: fork.id })).items[0].origin.session_id === talk);
const early = await owner.fork(talk, { at: 4 });
assert.equal((await owner.messages({ sessionId: early.id })).items.length, 4);
const aside = await owner.send("Something else", { sessionId: fork.id });
assert.deepEqual([aside.status, aside.session_id], ["completed", fork.id]);
assert.equal((await owner.session()).id, talk, "the device stays where it is");
const preview = await owner.previewMerge(talk, fork.id);
assert.deepEqual([preview.into, preview.from, preview.turns], [talk, fork.id, 1]);
assert.ok(preview.conflicts.some(({ field, kept }) => field === "title" && kept === "target"));
const kept = await owner.previewMerge(talk, fork.id, { metadata: "source" });
await owner.send("Meanwhile");
await refused(owner.merge(talk, fork.id, preview.etag), 412, "not_as_seen");
const { etag } = await owner.previewMerge(talk, fork.id, { metadata: "source" });
assert.notEqual(etag, kept.etag);
const merged = await owner.merge(talk, fork.id, etag, { metadata: "source" });
assert.deepEqual([merged.revision.kind, merged.session.metadata.title], ["merge", "Fork"]);
await refused(owner.session({ sessionId: fork.id }), 404, "session_not_found");
assert.deepEqual(ids(await owner.revisions(talk)), [merged.revision.id]);
const undone = await owner.undo(talk, merged.revision.id);
assert.deepEqual([undone.revision.left, undone.session.metadata.title], [[], "One"]);
assert.equal((await owner.session({ sessionId: fork.id })).id, fork.id);
const rewound = await owner.rewind(talk, 0);
assert.equal(rewound.revision.kind, "rewind");
assert.ok((await owner.messages({ limit: 200 })).items.every(({ left_out }) => left_out));
assert.ok((await owner.undo(talk, rewound.revision.id)).revision.undone_at);

// ---- as a file

const file = await owner.exportSession();
assert.equal(await owner.exportSession({ sessionId: talk }), file);
const lines = file.trimEnd().split("\n").map((line) => JSON.parse(line));
assert.deepEqual([lines[0].kind, lines[0].id, lines.at(-1)], ["session", talk, { ...lines.at(-1), kind: "end", lines: lines.length - 1 }]);
const imported = await owner.importSession(file);
assert.deepEqual([imported.metadata, imported.id === talk], [{ title: "One" }, false]);
const again = await owner.importSession(new Blob([file]));
assert.deepEqual((await owner.messages({ sessionId: again.id })).items.length, (await owner.messages()).items.length);
await refused(owner.importSession(file.slice(0, -9)), 422, "import_refused");

// ---- several conversations

const fresh = await owner.newSession({ metadata: { title: "New" } });
assert.deepEqual([(await owner.session()).id, fresh.metadata.title], [fresh.id, "New"]);
const listed = [];
for (let cursor; cursor !== null; ) {
  const page = await owner.sessions({ cursor, limit: 2 });
  listed.push(...ids(page));
  cursor = page.next;
}
assert.equal(listed.length, 6);
assert.deepEqual(new Set(listed).size, 6);
assert.deepEqual([listed[0], listed.includes(talk)], [fresh.id, true]);
await owner.end();
await owner.end();
await refused(owner.session(), 404, "session_not_found");
await owner.end({ sessionId: again.id });
await refused(owner.session({ sessionId: again.id }), 404, "session_not_found");
assert.equal((await owner.newSession()).role, "owner");
assert.equal((await owner.enter(talk)).id, talk);

// ---- the person

assert.deepEqual((await owner.devices()).items.map(({ id, is_current }) => [id, is_current]), [[owner.deviceId, true]]);
const signedIn = await owner.link(USER_TOKEN);
assert.ok(signedIn.sessions.includes(talk));
assert.equal(typeof signedIn.token, MODE === "open" ? "object" : "string");
assert.equal((await owner.session()).id, talk);
const second = client();
await second.send("I am she");
await second.link(USER_TOKEN);
assert.equal((await second.devices()).items.length, 2);
assert.equal((await second.messages({ sessionId: talk })).items[0].seq, 1);
await refused(second.link("no.such.token"), 401, "token_invalid");
const before = second.deviceId;
await owner.signOut(before);
await refused(second.session(), 401, "device_barred");
second.forget();
assert.notEqual(second.deviceId, before);
assert.deepEqual((await second.sessions()).items, []);

const receipt = await owner.erase();
assert.ok(receipt.completed_at && receipt.removed.postgres.messages > 0);
assert.deepEqual(await owner.erase(), receipt);
owner.forget();
assert.deepEqual((await owner.sessions()).items, []);

const there = Object.getOwnPropertyNames(Latchkey.prototype).filter((name) => name !== "constructor");
console.log(JSON.stringify({ left: there.filter((name) => !called.has(name)), asked: [...asked], lost }));
process.exit(0);
