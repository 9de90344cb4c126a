// The client where answers go out in one piece: it hears the rest by coming back. Says what it heard.

import { Latchkey } from "../../functions/web/latchkey.js";
import { memory } from "./service.mjs";

const { BUFFERING, STREAMING } = process.env;
const storage = memory();
let answers = [];
const told = async (address, init) => {
  const answer = await fetch(address, init);
  if (answer.headers.get("Content-Type")?.startsWith("text/event-stream")) answers.push(new URL(address).pathname);
  return answer;
};
const latchkey = new Latchkey({ baseUrl: BUFFERING, storage, fetch: told, pauseMs: 20, longestPauseMs: 100 });

let heard = [];
const onEvent = (event) => heard.push(event);
const last = () => heard.at(-1);

const long = await latchkey.send("Tell me a lot", { onEvent });
const text = `${"x".repeat(2500)}${"y".repeat(2500)}`;
const says = { long: { status: long.status, isWhole: last().text === text && last().event === "turn_ended", answers: answers.length } };

heard = [];
const asked = await latchkey.send("burn it", { onEvent });
says.asked = { status: asked.status, events: heard.map(({ event }) => event) };
const [question] = (await latchkey.approvals()).items;
await latchkey.decide(question.id, "approve", { inputDigest: question.input_digest });
heard = [];
const decided = await latchkey.follow(asked.id, { onEvent });
says.decided = { status: decided.status, text: last().text, end: last().event };

// Another process answers, and this one is asked what there is of it.
const mine = { getItem: () => storage.getItem(`latchkey:${BUFFERING}`), setItem: () => {}, removeItem: () => {} };
const elsewhere = new Latchkey({ baseUrl: STREAMING, storage: mine });
let begun;
const started = new Promise((resolve) => (begun = resolve));
const slow = elsewhere.send("Slowly", { onEvent: ({ turnId }) => turnId && begun(turnId) });
[heard, answers] = [[], []];
const followed = await latchkey.follow(await started, { onEvent });
const isWhole = last().text === (await slow).reply && last().text === followed.reply;
says.elsewhere = { isWhole, answers: answers.length, end: last().event };
console.log(JSON.stringify(says));
process.exit(0);
