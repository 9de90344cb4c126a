// The parser and what it puts together, at every cut.

import assert from "node:assert/strict";
import { test } from "node:test";

import { EventParser, Telling, readEvents } from "../../functions/web/events.js";

const TOLD = [
  ": hello",
  "retry: 1234",
  "",
  "id: a-1",
  "event: text_delta",
  'data: {"text":',
  "data:  \"Grüße 日本 🙂\"}",
  "",
  "data:no space",
  "",
  "id: a-2",
  "",
  "event",
  "data",
  "",
  "unknown: field",
  "data: last",
  "id: with\0nul",
  "",
  "",
].join("\n");

const EVENTS = [
  { event: "text_delta", data: '{"text":\n "Grüße 日本 🙂"}', id: "a-1" },
  { event: "message", data: "no space", id: "a-1" },
  { event: "message", data: "", id: "a-2" },
  { event: "message", data: "last", id: "a-2" },
];

for (const [name, end] of [["LF", "\n"], ["CRLF", "\r\n"], ["CR", "\r"]]) {
  test(`lines that end in ${name} are read whatever pieces they come in`, () => {
    const text = TOLD.replaceAll("\n", end);
    for (let size = 1; size <= text.length; size++) {
      const parser = new EventParser();
      const events = [];
      for (let at = 0; at < text.length; at += size) events.push(...parser.feed(text.slice(at, at + size)));
      assert.deepEqual(events, EVENTS, `pieces of ${size}`);
      assert.equal(parser.retryMs, 1234);
    }
  });
}

test("an event that was cut does not count, nor does its ID", () => {
  for (let upto = 0; upto < TOLD.length; upto++) {
    const parser = new EventParser();
    const events = parser.feed(TOLD.slice(0, upto));
    assert.deepEqual(events, EVENTS.slice(0, events.length));
    const last = events.at(-1)?.id ?? "";
    assert.ok([last, "a-2"].includes(parser.lastId));
  }
});

test("characters that are cut in two are put together", async () => {
  const bytes = new TextEncoder().encode('data: "Grüße 日本 🙂"\n\n'.repeat(3));
  for (let size = 1; size < 9; size++) {
    const body = new ReadableStream({
      start(control) {
        for (let at = 0; at < bytes.length; at += size) control.enqueue(bytes.slice(at, at + size));
        control.close();
      },
    });
    const heard = [];
    for await (const { data } of readEvents(body, new EventParser(), 1000)) heard.push(data);
    assert.deepEqual(heard, Array(3).fill("Grüße 日本 🙂"));
  }
});

test("a stream that says nothing is taken for dead, and let go of", async () => {
  let cancelled = false;
  const body = new ReadableStream({ cancel: () => void (cancelled = true) });
  await assert.rejects(async () => {
    for await (const _ of readEvents(body, new EventParser(), 20));
  }, TypeError);
  assert.ok(cancelled);
});

const delta = (seq, block, text) => ({ event: "text_delta", data: { message_seq: seq, block, text }, id: `${seq}.${block}` });

test("what was said is put together by message and block, and what was discarded is forgotten", () => {
  const telling = new Telling();
  telling.hear({ event: "turn_started", data: { turn_id: "t", session_id: "s", seq: 1 }, id: "0" });
  telling.hear({ event: "agent_changed", data: { agent: "manager", previous: null }, id: "1" });
  for (const event of [delta(2, 0, "One "), delta(2, 0, "moment."), delta(4, 1, "Wrong")]) telling.hear(event);
  assert.equal(telling.text, "One moment.\n\nWrong");
  telling.hear({ event: "text_discarded", data: { message_seq: 4 }, id: "2" });
  telling.hear({ event: "agent_changed", data: { agent: "billing", previous: "manager" }, id: "3" });
  for (const event of [delta(4, 2, "done."), delta(4, 0, "All ")]) telling.hear(event);
  assert.equal(telling.text, "One moment.\n\nAll done.");
  assert.deepEqual(telling.messages.map(({ seq, agent }) => [seq, agent]), [[2, "manager"], [4, "billing"]]);
  assert.equal(telling.turnId, "t");
  assert.equal(telling.lastId, "4.0");
});

test("a turn that is not stored cannot be gone on with", () => {
  const telling = new Telling();
  telling.hear({ event: "turn_started", data: { turn_id: "t", session_id: null, seq: 1 }, id: "" });
  assert.equal(telling.turnId, null);
});

test("what is forgotten is said to be discarded", () => {
  const telling = new Telling();
  telling.hear(delta(2, 0, "One"));
  assert.deepEqual(telling.forget(), [{ event: "text_discarded", data: { message_seq: 2 }, id: "" }]);
  assert.equal(telling.text + telling.lastId, "");
});
