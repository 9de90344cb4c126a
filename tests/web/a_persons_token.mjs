// A service that asks for a person's token with each request.

import assert from "node:assert/strict";

import { Latchkey } from "../../functions/web/latchkey.js";
import { memory } from "./service.mjs";

const { BASE, ADA, BOB } = process.env;
const client = (userToken) => new Latchkey({ baseUrl: BASE, storage: memory(), userToken, pauseMs: 20 });
const codeOf = (promise) => promise.then(() => null, ({ code }) => code);

let token = "stale";
let times = 0;
const ada = client(async () => (times++ ? ADA : token));
assert.equal((await ada.send("Hello")).status, "completed");
assert.ok(times > 1, "the first one was refused, and the function was asked for another");
const { id } = await ada.session();
const second = client(ADA);
assert.deepEqual((await second.sessions()).items.map((item) => item.id), [id]);
assert.equal((await second.devices()).items.length, 2);

const bob = client(BOB);
assert.equal(await codeOf(bob.session({ sessionId: id })), "session_not_found");
const { link } = await ada.share(id, { role: "viewer" });
assert.equal((await bob.join(link)).role, "viewer");
assert.equal((await bob.messages({ sessionId: id })).items.length, 2);
assert.equal(await codeOf(bob.send("Hello", { sessionId: id })), "role_too_small");

const signedIn = await second.link();
assert.equal(signedIn.token, null);
assert.equal(await codeOf(client("nonsense").sessions()), "token_invalid");
assert.ok((await bob.erase()).completed_at);
assert.deepEqual((await ada.members(id)).items.map(({ role }) => role), ["owner"]);
console.log("done");
process.exit(0);
