// Loads the client from the service, module by module, as a browser does: node itself takes no module from an address.

import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const base = process.env.BASE;
const folder = await mkdtemp(join(tmpdir(), "latchkey-web-"));
await writeFile(join(folder, "package.json"), '{"type": "module"}');
const [wanted, loaded] = [["latchkey.js"], new Set()];
while (wanted.length) {
  const name = wanted.pop();
  if (loaded.has(name)) continue;
  loaded.add(name);
  const served = await fetch(`${base}/web/${name}`);
  if (!served.ok || !served.headers.get("content-type").startsWith("text/javascript")) throw new Error(name);
  const text = await served.text();
  await writeFile(join(folder, name), text);
  wanted.push(...[...text.matchAll(/from "\.\/([^"]+)"/g)].map(([, found]) => found));
}
const { Latchkey } = await import(join(folder, "latchkey.js"));
const turn = await new Latchkey({ baseUrl: base }).send("Hello");
console.log(turn.status);
process.exit(0);
