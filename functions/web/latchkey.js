/**
 * Latchkey for browsers, and for node 18 or later: one module, nothing to build, nothing to install.
 *
 *     import { Latchkey } from "/web/latchkey.js";
 *     const latchkey = new Latchkey({ baseUrl: location.origin });
 *     const turn = await latchkey.send("Hello", { onEvent: ({ text }) => show(text) });
 *
 * What can go wrong, and why the caller need not mind: a phone loses its network in the middle of an answer, or before it heard that its
 * message was taken. Each message has a key of its own, which is the same on each try, so it is answered once; and a stream that
 * was cut is gone on with from the last event that was whole. Only what another try would not change is thrown, as LatchkeyProblem.
 */

import { newId } from "./device.js";
import { EventParser, Telling, readEvents } from "./events.js";
import { LatchkeyProblem, Wire, secondsOf, sleep, untilAborted } from "./wire.js";

export { LatchkeyProblem };

/**
 * @typedef {import("./events.js").TurnEvent & {text: string, messages: import("./events.js").Message[], turnId: string | null}} Heard
 *
 * @typedef {object} SendOptions
 * @property {string} [sessionId] a conversation other than the one that the device is in
 * @property {"queue" | "merge" | "latest" | "interrupt" | "rollback" | "steer" | "reject"} [onBusy]
 * @property {(heard: Heard) => void} [onEvent] each event, with all that was said so far as `text`
 * @property {(turnId: string) => void} [onTaken] the message was accepted, and its turn has this ID: another's, if it joined that
 * @property {AbortSignal} [signal] stops waiting; it does not stop the turn: see `cancel`
 * @property {string} [key] the message's Idempotency-Key, if it was sent before
 *
 * @typedef {{sessionId?: string, signal?: AbortSignal}} Where the device's conversation, if none is named
 */

const SETTLED = ["completed", "failed", "cancelled", "waiting"];
// Heartbeats come every ten seconds.
const SILENCE_MS = 35_000;
// A message waits for the one before it to be taken, but not for its whole answer where streams are held back.
const IN_LINE_MS = 1_000;
const MOST_EXPORTS = 5;
// What is being answered may wait for a person, for days: whoever wants to change what was said is told at once.
const AT_ONCE = ["session_busy"];

export class Latchkey {
  #wire;
  #silenceMs;
  /** @type {Promise<void>} The message before was taken. */
  #line = Promise.resolve();

  /**
   * @param {object} options
   * @param {string} options.baseUrl where the service is, such as `location.origin`
   * @param {import("./device.js").Storage} [options.storage] localStorage, unless it is given
   * @param {typeof fetch} [options.fetch]
   * @param {string | null} [options.shareLink] somebody's link into a conversation of theirs
   * @param {string | (() => string | null | Promise<string | null>) | null} [options.userToken] where the service asks for a person's
   *   token; a function is asked before each request, and what is asked while it gives null goes out as the device's
   * @param {number} [options.pauseMs] before a second try
   * @param {number} [options.longestPauseMs]
   * @param {number} [options.silenceMs] after which a stream is taken for dead
   */
  constructor(options) {
    this.#wire = new Wire(options);
    this.#silenceMs = options.silenceMs ?? SILENCE_MS;
  }

  get deviceId() {
    return this.#wire.device.kept.id;
  }

  /** From now on this is a new device: where it was signed out, or its user leaves it to somebody else. */
  forget() {
    this.#wire.device.forget();
  }

  // ---- turns

  /**
   * Sends a message, in the order in which this was called. Gives the turn when it is over, whatever came of it (`turn.status`), or
   * when it waits for a person's decision: then `decide`, and `follow`.
   *
   * @param {string | object[]} message @param {SendOptions} [options] @returns {Promise<any>}
   */
  async send(message, options = {}) {
    const before = this.#line;
    const [taken, take] = gate();
    // Whoever gives up in line leaves it to those behind to wait for those before.
    this.#line = before.then(() => taken);
    try {
      await untilAborted(before, options.signal);
      return await this.#follow(new Telling(), options, { message, key: options.key ?? newId(), take });
    } finally {
      take();
    }
  }

  /** Reads along with a turn that was sent before. @param {string} turnId @param {SendOptions} [options] @returns {Promise<any>} */
  async follow(turnId, options = {}) {
    const telling = new Telling();
    telling.turnId = turnId;
    return this.#follow(telling, options, null);
  }

  /** @param {string} turnId @param {{waitS?: number, signal?: AbortSignal}} [options] */
  async turn(turnId, { waitS, signal } = {}) {
    return this.#ask("GET", `/v1/turns/${turnId}`, { query: { wait_s: waitS }, signal });
  }

  /** Stops a turn at its next safe point. @param {string} turnId */
  async cancel(turnId) {
    return this.#ask("POST", `/v1/turns/${turnId}/cancel`);
  }

  /**
   * @param {Telling} telling @param {SendOptions} options
   * @param {{message: string | object[], key: string, take: () => void} | null} sent
   */
  async #follow(telling, options, sent) {
    for (let tries = 0; ; ) {
      const before = telling.lastId;
      const isSent = telling.turnId !== null;
      const answer = await this.#open(telling, options, sent);
      sent?.take();
      if (answer === null) return this.#poll(telling, options);
      const location = answer.headers.get("Location")?.match(/\/v1\/turns\/([^/?]+)/);
      if (location) telling.turnId = location[1];
      if (location && !isSent) options.onTaken?.(location[1]);
      if (answer.status === 204) return this.#ended(telling, options);
      if (!(answer.body instanceof ReadableStream)) {
        telling.turnId = answer.body.id;
        return SETTLED.includes(answer.body.status) ? tellEnd(answer.body, telling, options) : this.#poll(telling, options);
      }
      const cut = await this.#listen(answer.body, telling, options);
      if (telling.turn) return telling.turn;
      if (cut.waits) {
        const turn = await this.turn(/** @type {string} */ (telling.turnId), { signal: options.signal });
        if (turn.status === "waiting") return turn; // else somebody has decided meanwhile, and there is more to hear
      }
      tries = telling.lastId === before ? tries + 1 : 0;
      await this.#wire.pause(tries, cut.isWhole ? cut.retryMs / 1000 : null, options.signal);
    }
  }

  /**
   * The stream, from where it was cut; null: there are none here.
   *
   * @param {Telling} telling @param {SendOptions} options
   * @param {{message: string | object[], key: string, take: () => void} | null} sent
   * @returns {Promise<import("./wire.js").Answer | null>}
   */
  async #open(telling, options, sent) {
    const { signal, onBusy } = options;
    const gives = onBusy === "reject" ? ["session_busy"] : [];
    const common = { signal, reads: /** @type {const} */ ("stream"), gives: [...gives, "last_event_id_malformed"] };
    const accept = "text/event-stream, application/json;q=0.5";
    try {
      if (telling.turnId === null && sent) {
        // What was told without an ID is told again from its beginning.
        for (const event of telling.forget()) tell(event, telling, options);
        const body = { message: sent.message, on_busy: onBusy, session_id: options.sessionId };
        const headers = { Accept: accept, "Idempotency-Key": sent.key };
        return await this.#wire.request("POST", "/v1/turns", { ...common, ...inLine(sent.take), body, headers });
      }
      /** @type {Record<string, string>} */
      const headers = telling.lastId ? { Accept: accept, "Last-Event-ID": telling.lastId } : { Accept: accept };
      return await this.#wire.request("GET", `/v1/turns/${telling.turnId}/events`, { ...common, headers });
    } catch (error) {
      if (!(error instanceof LatchkeyProblem)) throw error;
      if (error.code === "last_event_id_malformed" && telling.lastId) {
        for (const event of telling.forget()) tell(event, telling, options);
        return this.#open(telling, options, sent);
      }
      const hasNoStreams = [405, 406].includes(error.status) || error.code === "not_found" || error.code === "http_404";
      if (hasNoStreams && telling.turnId !== null) return null;
      throw error;
    }
  }

  /** @param {ReadableStream<Uint8Array>} body @param {Telling} telling @param {SendOptions} options */
  async #listen(body, telling, options) {
    const parser = new EventParser();
    const cut = { waits: false, isWhole: false, retryMs: 1000 };
    try {
      for await (const event of readEvents(body, parser, this.#silenceMs)) {
        if (event.event === "access_ended") throw new LatchkeyProblem({ code: event.data.code, status: 404 });
        telling.hear(event);
        cut.waits = event.event === "turn_waiting";
        tell(event, telling, options);
        if (telling.turn || cut.waits) break;
      }
      cut.isWhole = true;
    } catch (error) {
      options.signal?.throwIfAborted();
      // What the caller's own `onEvent` throws is theirs, and so is a refusal.
      if (error instanceof LatchkeyProblem || error instanceof ListenerFailed) throw causeOf(error);
    }
    cut.retryMs = parser.retryMs ?? cut.retryMs;
    return cut;
  }

  /** Where there are no streams. @param {Telling} telling @param {SendOptions} options */
  async #poll(telling, options) {
    for (;;) {
      const turn = await this.turn(/** @type {string} */ (telling.turnId), { waitS: 25, signal: options.signal });
      if (SETTLED.includes(turn.status)) return tellEnd(turn, telling, options);
      await sleep(this.#wire.pauseMs, options.signal);
    }
  }

  /** Everything was told before. @param {Telling} telling @param {SendOptions} options */
  async #ended(telling, options) {
    return tellEnd(await this.turn(/** @type {string} */ (telling.turnId), { signal: options.signal }), telling, options);
  }

  // ---- conversations

  /** How a conversation stands, never older than what this device was told of it. @param {Where} [where] */
  async session(where = {}) {
    const { version } = this.#wire.device.kept;
    const headers = version ? { "X-Session-Version": version } : undefined;
    return this.#ask("GET", pathOf(where), { headers, signal: where.signal });
  }

  /** @param {Where & {before?: number, after?: number, limit?: number}} [page] */
  async messages({ before, after, limit, ...where } = {}) {
    return this.#ask("GET", `${pathOf(where)}/messages`, { query: { before, after, limit }, signal: where.signal });
  }

  /** @param {Where} [where] */
  async todos(where = {}) {
    return this.#ask("GET", `${pathOf(where)}/todos`, { signal: where.signal });
  }

  /** Who changed what of it. @param {Where & {after?: number, limit?: number}} [page] for editors */
  async audit({ after, limit, ...where } = {}) {
    return this.#ask("GET", `${pathOf(where)}/audit`, { query: { after, limit }, signal: where.signal });
  }

  /** @param {{cursor?: string, limit?: number}} [page] */
  async sessions({ cursor, limit } = {}) {
    return this.#ask("GET", "/v1/sessions", { query: { cursor, limit } });
  }

  /** Begins a conversation; the device is in it from then on. @param {{metadata?: object}} [options] */
  async newSession({ metadata } = {}) {
    return this.#ask("POST", "/v1/sessions", { body: { metadata }, headers: keyed() });
  }

  /** The device is in this one from now on. @param {string} sessionId */
  async enter(sessionId) {
    return this.#ask("PUT", "/v1/session", { body: { session_id: sessionId } });
  }

  /**
   * @param {object} metadata null takes a field away
   * @param {Where & {etag?: string}} [where] with the `etag` of a `session()`: only as long as nobody has changed it since
   */
  async patchMetadata(metadata, { etag, ...where } = {}) {
    return this.#ask("PATCH", pathOf(where), { body: { metadata }, headers: asSeen(etag), signal: where.signal });
  }

  /** From the next message on this agent answers. @param {string} agent @param {Where & {ttlS?: number, reason?: string, etag?: string}} [where] */
  async setLock(agent, { ttlS, reason, etag, ...where } = {}) {
    const body = { agent, ttl_s: ttlS, reason };
    return this.#ask("PUT", `${pathOf(where)}/lock`, { body, headers: asSeen(etag), signal: where.signal });
  }

  /** The manager answers again. @param {Where & {etag?: string}} [where] */
  async clearLock({ etag, ...where } = {}) {
    return this.#ask("DELETE", `${pathOf(where)}/lock`, { headers: asSeen(etag), signal: where.signal });
  }

  /** Ends it, with all that was said in it. @param {Where} [where] */
  async end(where = {}) {
    try {
      await this.#ask("DELETE", pathOf(where), { signal: where.signal });
    } catch (error) {
      // Ended already: perhaps by this very call, whose answer was lost.
      if (!(error instanceof LatchkeyProblem) || error.code !== "session_not_found") throw error;
    }
  }

  /** @param {string} sessionId @param {{at?: number, metadata?: object}} [options] */
  async fork(sessionId, options = {}) {
    return this.#ask("POST", `/v1/sessions/${sessionId}/fork`, { body: options, headers: keyed() });
  }

  /** @param {string} sessionId @param {string} from @param {object} [keep] what would be kept of each, and an `etag` to merge with */
  async previewMerge(sessionId, from, keep) {
    return this.#ask("POST", `/v1/sessions/${sessionId}/merge`, { body: { from, preview: true, keep } });
  }

  /** @param {string} sessionId @param {string} from @param {string} etag of the preview @param {object} [keep] */
  async merge(sessionId, from, etag, keep) {
    return this.#ask("POST", `/v1/sessions/${sessionId}/merge`, { body: { from, keep }, headers: asSeen(etag), gives: AT_ONCE });
  }

  /** @param {string} sessionId @param {number} to a message's seq; what came after it is told no more */
  async rewind(sessionId, to) {
    return this.#ask("POST", `/v1/sessions/${sessionId}/rewind`, { body: { to }, gives: AT_ONCE });
  }

  /** @param {string} sessionId */
  async revisions(sessionId) {
    return this.#ask("GET", `/v1/sessions/${sessionId}/revisions`);
  }

  /** @param {string} sessionId @param {string} revisionId */
  async undo(sessionId, revisionId) {
    return this.#ask("POST", `/v1/sessions/${sessionId}/revisions/${revisionId}/undo`, { gives: AT_ONCE });
  }

  /**
   * The conversation as JSON Lines; what is too long for one answer comes in parts. If it is changed meanwhile it is begun again.
   *
   * @param {Where} [where] @returns {Promise<string>}
   */
  async exportSession(where = {}) {
    for (let tries = 0; ; tries++) {
      try {
        return await this.#exported(where);
      } catch (error) {
        if (!(error instanceof LatchkeyProblem) || error.code !== "export_changed" || tries >= MOST_EXPORTS) throw error;
        await this.#wire.pause(tries, null, where.signal);
      }
    }
  }

  /** @param {Where} where */
  async #exported(where) {
    const decoder = new TextDecoder(); // a part may end within a character
    let lines = "";
    /** @type {string | null} */
    let after = null;
    do {
      const ask = { query: { after }, reads: /** @type {const} */ ("bytes"), signal: where.signal };
      const part = await this.#wire.request("GET", `${pathOf(where)}/export`, ask);
      lines += decoder.decode(part.body, { stream: true });
      after = part.headers.get("X-Next-Part");
    } while (after);
    return lines;
  }

  /** @param {string | Blob} lines of an export, or the file */
  async importSession(lines) {
    const headers = { ...keyed(), "Content-Type": "application/x-ndjson" };
    return this.#ask("POST", "/v1/sessions/import", { body: lines, headers });
  }

  // ---- people

  /** @param {{limit?: number}} [page] */
  async approvals({ limit } = {}) {
    return this.#ask("GET", "/v1/approvals", { query: { limit } });
  }

  /**
   * @param {string} approvalId @param {"approve" | "deny" | "happened" | "did_not_happen"} decision
   * @param {{inputDigest?: string, note?: string}} [options] with `approve`, the digest of the arguments that the person was shown
   */
  async decide(approvalId, decision, { inputDigest, note } = {}) {
    return this.#ask("POST", `/v1/approvals/${approvalId}`, { body: { decision, input_digest: inputDigest, note } });
  }

  /** A link for others; its secret is told this once. @param {string} sessionId @param {{role?: "viewer" | "editor", ttlS?: number}} [options] */
  async share(sessionId, { role = "viewer", ttlS } = {}) {
    return this.#ask("POST", `/v1/sessions/${sessionId}/links`, { body: { role, ttl_s: ttlS } });
  }

  /** @param {string} sessionId */
  async links(sessionId) {
    return this.#ask("GET", `/v1/sessions/${sessionId}/links`);
  }

  /** @param {string} sessionId @param {string} linkId */
  async revokeLink(sessionId, linkId) {
    await this.#ask("DELETE", `/v1/sessions/${sessionId}/links/${linkId}`);
  }

  /** @param {string} link */
  async join(link) {
    return this.#ask("POST", "/v1/links/join", { body: { link } });
  }

  /** @param {string} sessionId */
  async members(sessionId) {
    return this.#ask("GET", `/v1/sessions/${sessionId}/members`);
  }

  /**
   * @param {string} sessionId @param {string} userId @param {"owner" | "editor" | "viewer"} role
   * @param {{etag?: string}} [seen] with the `etag` of a `members()`
   */
  async setMember(sessionId, userId, role, { etag } = {}) {
    return this.#ask("PUT", `/v1/sessions/${sessionId}/members/${userId}`, { body: { role }, headers: asSeen(etag) });
  }

  /** @param {string} sessionId @param {string} userId @param {{etag?: string}} [seen] */
  async removeMember(sessionId, userId, { etag } = {}) {
    await this.#ask("DELETE", `/v1/sessions/${sessionId}/members/${userId}`, { headers: asSeen(etag) });
  }

  /**
   * Signs the device in: what was said from it is the person's from now on.
   *
   * @param {string} [userToken] not needed where each request carries the person's token
   */
  async link(userToken) {
    // Whoever knows the device's ID alone is not to take what was said from it.
    const body = { secret: this.#wire.device.kept.secret, ...(userToken === undefined ? {} : { user_token: userToken }) };
    const signedIn = await this.#ask("POST", "/v1/devices/link", { body });
    if (signedIn.token) this.#wire.device.keep({ token: signedIn.token });
    return signedIn;
  }

  async devices() {
    return this.#ask("GET", "/v1/devices");
  }

  /** @param {string} deviceId */
  async signOut(deviceId) {
    await this.#ask("DELETE", `/v1/devices/${deviceId}`);
  }

  /**
   * Erases everything of this device's user, however long that takes; gives a receipt of what was removed from where. The device is
   * shown that again, and nothing else: `forget` it.
   *
   * @param {{signal?: AbortSignal}} [options]
   */
  async erase({ signal } = {}) {
    for (let tries = 0; ; tries++) {
      const answer = await this.#wire.request("DELETE", "/v1/user", { timeoutMs: 120_000, signal });
      if (answer.status !== 202) return answer.body;
      await this.#wire.pause(tries, secondsOf(answer.headers.get("Retry-After")), signal);
    }
  }

  /** The answer, and what it says it is to be changed by. @param {string} method @param {string} path @param {import("./wire.js").Ask} [ask] */
  async #ask(method, path, ask) {
    const { body, headers } = await this.#wire.request(method, path, ask);
    const etag = headers.get("ETag")?.replace(/^W\//, ""); // a proxy that compresses makes it a weak one
    return etag && body ? { ...body, etag } : body;
  }
}

class ListenerFailed extends Error {}

/** @param {Error} error */
function causeOf(error) {
  return error instanceof ListenerFailed ? error.cause : error;
}

/** @param {import("./events.js").TurnEvent} event @param {Telling} telling @param {SendOptions} options */
function tell(event, telling, { onEvent }) {
  if (!onEvent) return;
  try {
    onEvent({ ...event, text: telling.text, messages: telling.messages, turnId: telling.turnId });
  } catch (cause) {
    throw new ListenerFailed("onEvent", { cause });
  }
}

/** A turn that was not told piece by piece. @param {any} turn @param {Telling} telling @param {SendOptions} options */
function tellEnd(turn, telling, { onEvent }) {
  const event = turn.status === "waiting" ? "turn_waiting" : "turn_ended";
  const data = turn.status === "waiting" ? { turn_id: turn.id } : { turn };
  onEvent?.({ event, data, id: "", text: telling.text || turn.reply || "", messages: telling.messages, turnId: turn.id });
  return turn;
}

/** @returns {[Promise<void>, () => void]} */
function gate() {
  /** @type {any} */
  let open;
  return [new Promise((resolve) => (open = resolve)), () => open()];
}

/** The next message may go when this one has been on its way for a while. @param {() => void} take */
function inLine(take) {
  /** @type {any} */
  let timer;
  return {
    onAttempt() {
      clearTimeout(timer);
      timer = setTimeout(take, IN_LINE_MS);
    },
    onPause: () => clearTimeout(timer),
  };
}

/** @param {Where} where */
function pathOf({ sessionId }) {
  return sessionId ? `/v1/sessions/${sessionId}` : "/v1/session";
}

/** @param {string} [etag] @returns {Record<string, string>} */
function asSeen(etag) {
  return etag ? { "If-Match": etag } : {};
}

function keyed() {
  return { "Idempotency-Key": newId() };
}
