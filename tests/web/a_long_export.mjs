// First a talk; then, when it has grown, its export, while somebody changes it behind the first part.

import { createHash } from "node:crypto";

import { Latchkey } from "../../functions/web/latchkey.js";
import { memory } from "./service.mjs";

const { BASE, DOES, KEPT } = process.env;
const storage = memory();
if (DOES === "talk") {
  await new Latchkey({ baseUrl: BASE, storage }).send("Hello");
  console.log(JSON.stringify([...storage.items]));
  process.exit(0);
}
for (const [key, value] of JSON.parse(KEPT)) storage.setItem(key, value);
const statuses = [];
const latchkey = new Latchkey({ baseUrl: BASE, storage, pauseMs: 20, fetch: async (address, init) => {
  const answer = await fetch(address, init);
  if (address.includes("/export")) statuses.push(answer.status);
  if (statuses.length === 1 && address.includes("/export")) await latchkey.patchMetadata({ changed: true });
  return answer;
} });
const file = await latchkey.exportSession();
const lines = file.trimEnd().split("\n");
const end = JSON.parse(lines.pop());
const hash = (text) => createHash("sha256").update(text).digest("hex");
const digest = lines.reduce((before, line) => hash(before + line), "0".repeat(64));
const { metadata } = JSON.parse(lines[0]);
console.log(JSON.stringify({ statuses, bytes: Buffer.byteLength(file), digestIsRight: end.digest === digest, end, metadata }));
process.exit(0);
