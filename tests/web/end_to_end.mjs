// Six messages through a network that cuts connections at random bytes, to servers that take turns. Says what came of them.

import net from "node:net";

import { Latchkey } from "../../functions/web/latchkey.js";
import { memory } from "./service.mjs";

const ports = process.env.PORTS.split(" ").map(Number);
let state = Number(process.env.SEED) + 1;
let cuts = 0;
let inARow = 0;
let opened = 0;

/** The same each time for the same seed. */
function chance(below) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
}

const proxy = net.createServer((client) => {
  const server = net.connect(ports[opened++ % ports.length], "127.0.0.1");
  let left = Infinity;
  const end = () => (client.destroy(), server.destroy());
  client.on("data", (sent) => {
    // Of each answer: connections are used again. After ten that were cut one comes whole, for the end of a turn is long.
    left = inARow >= 10 ? Infinity : 250 + chance(800);
    if (left === Infinity) inARow = 0;
    server.write(sent);
  });
  server.on("data", (told) => {
    client.write(told.subarray(0, left));
    left -= told.length;
    if (left <= 0 && !server.isPaused()) {
      cuts++;
      inARow++;
      setTimeout(end, 2); // what was written has to leave before
      server.pause();
    }
  });
  for (const side of [client, server]) side.on("close", end).on("error", end);
});
await new Promise((up) => proxy.listen(0, "127.0.0.1", up));

const baseUrl = `http://127.0.0.1:${proxy.address().port}`;
const latchkey = new Latchkey({ baseUrl, storage: memory(), pauseMs: 10, longestPauseMs: 60 });
const texts = [];
const turns = [];
for (let number = 0; number < 3; number++) {
  let text = "";
  turns.push(await latchkey.send(`message ${number}`, { onEvent: (heard) => (text = heard.text) }));
  texts.push(text);
}
// Three quick ones: each is a turn of its own, in this order.
const quick = [3, 4, 5].map((number) => {
  let text = "";
  return latchkey.send(`message ${number}`, { onEvent: (heard) => (text = heard.text) }).then((turn) => [turn, text]);
});
for (const [turn, text] of await Promise.all(quick)) {
  turns.push(turn);
  texts.push(text);
}
const listed = (await latchkey.messages({ limit: 200 })).items.map(({ role }) => role);
console.log(JSON.stringify({ cuts, turns, texts, listed }));
process.exit(0);
