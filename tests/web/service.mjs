// A stand-in that speaks to a client as the service does, and can be told what to do wrong.

import { createServer } from "node:http";
import { randomUUID } from "node:crypto";

const TEXT = "Grüße aus 日本 🙂, and here is\nan answer of some length.";

/** A storage as browsers have it. */
export function memory() {
  const items = new Map();
  return {
    items,
    getItem: (key) => items.get(key) ?? null,
    setItem: (key, value) => void items.set(key, String(value)),
    removeItem: (key) => void items.delete(key),
  };
}

export class Service {
  text = TEXT;
  asksForTokens = false;
  hasStreams = true;
  turns = new Map();
  keys = new Map();
  requests = [];
  secrets = new Map();
  tokens = new Set();
  tokenLivesS = 3600;
  #faults = [];

  async start() {
    this.server = createServer((request, response) => void this.#attend(request, response));
    await new Promise((up) => this.server.listen(0, "127.0.0.1", up));
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }

  /** What becomes of the next requests for this, in order. `cut`: after so many bytes; `lose`: it is done, and not answered. */
  fault(what, ...faults) {
    this.#faults.push(...faults.map((fault) => ({ what, fault })));
  }

  get posts() {
    return this.requests.filter(({ method, path }) => method === "POST" && path === "/v1/turns");
  }

  async #attend(request, response) {
    let body = "";
    for await (const chunk of request) body += chunk;
    const path = request.url.split("?")[0];
    const asked = { method: request.method, path, url: request.url, headers: request.headers, body: body && JSON.parse(body) };
    this.requests.push(asked);
    const place = this.#faults.findIndex(({ what }) => `${asked.method} ${path}`.match(what));
    const fault = place < 0 ? {} : this.#faults.splice(place, 1)[0].fault;
    if (fault.status) return answer(response, fault.status, { code: fault.code ?? "service_unavailable" }, fault.headers);
    if (fault.page) return response.writeHead(200, { "Content-Type": "text/html" }).end("<h1>Sign in to our wifi</h1>");
    const said = this.#answer(asked);
    if (fault.lose) return request.socket.destroy();
    const [status, content, { ...headers } = {}] = said;
    if (fault.hidesLocation) delete headers.Location;
    if (typeof content !== "string") return answer(response, status, content, headers);
    response.writeHead(status, { "Content-Type": "text/event-stream", ...headers });
    const bytes = Buffer.from(content);
    const upto = fault.cut ?? bytes.length;
    for (let at = 0; at < upto; at += 7) {
      response.write(bytes.subarray(at, Math.min(at + 7, upto)));
      if (at % 70 === 0) await new Promise(setImmediate);
    }
    if (fault.hang) return;
    if (fault.cut === undefined) return response.end();
    await new Promise((sent) => setTimeout(sent, 3));
    request.socket.destroy();
  }

  #answer(asked) {
    const { method, path, headers, body } = asked;
    if (path === "/v1/devices") return this.#register(headers["x-device-id"], body.secret);
    const refusal = this.#refusal(headers.authorization);
    if (refusal) return [401, { code: refusal }];
    if (method === "POST" && path === "/v1/turns") {
      const key = headers["idempotency-key"];
      const turn = this.keys.get(key) ?? this.#begin(key, body);
      return this.#told(turn, headers);
    }
    const [, id, rest] = path.match(/^\/v1\/turns\/([^/]+)(\/\w+)?$/) ?? [];
    const turn = this.turns.get(id);
    if (!turn) return path === "/v1/session" ? this.#session() : [404, { code: id ? "turn_not_found" : "not_found" }];
    if (rest === "/events" && !this.hasStreams) return [404, { code: "not_found" }];
    return rest === "/events" ? this.#told(turn, headers) : [200, turn];
  }

  #session() {
    return [200, { id: "s" }, { "X-Session-Version": `${"0".repeat(8)}-0000-4000-8000-${"0".repeat(12)}.${this.turns.size}` }];
  }

  #register(device, secret) {
    const known = this.secrets.get(device) ?? secret;
    if (known !== secret) return [409, { code: "device_taken" }];
    this.secrets.set(device, secret);
    const exp = Math.floor(Date.now() / 1000) + this.tokenLivesS;
    const token = this.asksForTokens ? `h.${Buffer.from(JSON.stringify({ exp })).toString("base64url")}.${randomUUID()}` : null;
    if (token) this.tokens.add(token);
    return [200, { device_id: device, token, expires_at: new Date(exp * 1000).toISOString() }];
  }

  #refusal(authorization) {
    if (!this.asksForTokens) return null;
    if (!authorization) return "token_missing";
    return this.tokens.has(authorization.replace("Bearer ", "")) ? null : "token_expired";
  }

  #begin(key, body) {
    const turn = { id: randomUUID(), session_id: "s", seq: this.turns.size + 1, status: "completed", message: body.message, reply: this.text };
    this.turns.set(turn.id, turn);
    this.keys.set(key, turn);
    return turn;
  }

  /** From after the event that the client has, as the service would tell it. */
  #told(turn, headers) {
    if (!headers.accept?.includes("text/event-stream") || !this.hasStreams) return [200, turn];
    const events = this.eventsOf(turn);
    const last = headers["last-event-id"];
    const from = last === undefined ? 0 : events.findIndex(({ id }) => id === last) + 1;
    if (last !== undefined && from === 0) return [400, { code: "last_event_id_malformed" }];
    if (from === events.length) return [204, null];
    const lines = events.slice(from).map(({ id, event, data }) => `id: ${id}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    return [200, `retry: 20\n\n: still here\n\n${lines.join("")}`, { Location: `/v1/turns/${turn.id}` }];
  }

  eventsOf(turn) {
    const deltas = [...turn.reply].map((text) => ["text_delta", { message_seq: 2, block: 0, text }]);
    const wrong = ["text_delta", { message_seq: 2, block: 0, text: "No, w" }];
    const told = [
      ["turn_started", { turn_id: turn.id, session_id: turn.session_id, seq: turn.seq }],
      ["agent_changed", { agent: "manager", previous: null }],
      wrong,
      ["text_discarded", { message_seq: 2 }],
      ...deltas,
      turn.status === "waiting" ? ["turn_waiting", { turn_id: turn.id }] : ["turn_ended", { turn }],
    ];
    return told.map(([event, data], n) => ({ id: `${turn.id}-${n}`, event, data }));
  }
}

function answer(response, status, content, headers = {}) {
  if (content === null) return response.writeHead(status, headers).end();
  const body = typeof content.code === "string" && status >= 400 ? { status, detail: "", request_id: "r", ...content } : content;
  response.writeHead(status, { "Content-Type": "application/json", ...headers }).end(JSON.stringify(body));
}
