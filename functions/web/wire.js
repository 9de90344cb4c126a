/**
 * The wire: one request, sent until it is answered.
 *
 * What can go wrong, and why it does not matter: the network goes away, an answer is lost, a function dies. Each request may be sent
 * again: what writes carries an Idempotency-Key or is made to be sent twice. So it is, with growing pauses, until there is an answer
 * that another try would not change, or whoever asked gives up by their signal.
 */

import { Device } from "./device.js";

/** What the service said no with, or `network`. */
export class LatchkeyProblem extends Error {
  /** @param {{code: string, status: number, detail?: string, requestId?: string | null, retryAfterS?: number | null, errors?: any[]}} said */
  constructor({ code, status, detail = "", requestId = null, retryAfterS = null, errors = [] }) {
    super(`${code}${detail ? `: ${detail}` : ""}`);
    this.name = "LatchkeyProblem";
    this.code = code;
    this.status = status;
    this.detail = detail;
    this.requestId = requestId;
    this.retryAfterS = retryAfterS;
    this.errors = errors;
  }

  /** @param {Response} response */
  static async of(response) {
    const said = await response.json().catch(() => ({})); // a gateway's page is no problem of ours
    return new LatchkeyProblem({
      code: typeof said?.code === "string" ? said.code : `http_${response.status}`,
      status: response.status,
      detail: said?.detail,
      requestId: said?.request_id ?? response.headers.get("X-Request-ID"),
      retryAfterS: secondsOf(response.headers.get("Retry-After")),
      errors: said?.errors,
    });
  }
}

/** @param {string | null} value seconds, or a date */
export function secondsOf(value) {
  if (!value) return null;
  const seconds = /^[0-9.]+$/.test(value.trim()) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : null;
}

const MOST_TRIES_OF_A_DEFECT = 4;

/** @param {LatchkeyProblem} problem @param {number} tries */
function mayTryAgain({ status, code }, tries) {
  if (status === 500) return tries + 1 < MOST_TRIES_OF_A_DEFECT; // it may be the request that does it
  return status === 0 || status >= 502 || [408, 425, 429].includes(status) || code === "session_busy";
}

/**
 * @typedef {object} Ask
 * @property {any} [body] sent as JSON; a text or a file as it is
 * @property {Record<string, string>} [headers]
 * @property {Record<string, any>} [query]
 * @property {AbortSignal} [signal]
 * @property {"json" | "bytes" | "stream"} [reads]
 * @property {number} [timeoutMs] until the answer is here; of a stream, its beginning
 * @property {number[]} [takes] further statuses that are answers
 * @property {string[]} [gives] codes of problems that are given back at once
 * @property {boolean} [registers] it is what gets the device its token
 * @property {() => void} [onAttempt]
 * @property {() => void} [onPause]
 *
 * @typedef {{status: number, headers: Headers, body: any, response: Response}} Answer
 */

export class Wire {
  /** @type {Promise<void> | null} */
  #registering = null;
  #registeredAt = 0;
  /** @type {boolean | null} Not known before this device has asked. */
  #wantsTokens = null;

  /**
   * @param {{baseUrl: string, storage?: import("./device.js").Storage, fetch?: typeof fetch, shareLink?: string | null,
   *   userToken?: string | (() => string | null | Promise<string | null>) | null, pauseMs?: number, longestPauseMs?: number}} options
   */
  constructor(options) {
    this.baseUrl = options.baseUrl.replace(/\/+$/, "");
    this.device = new Device(this.baseUrl, options.storage);
    this.shareLink = options.shareLink ?? null;
    this.userToken = options.userToken ?? null;
    this.pauseMs = options.pauseMs ?? 500;
    this.longestPauseMs = options.longestPauseMs ?? 30_000;
    this.fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
  }

  /**
   * @param {string} method @param {string} path @param {Ask} [ask]
   * @returns {Promise<Answer>}
   */
  async request(method, path, ask = {}) {
    let mended = 0;
    for (let tries = 0; ; tries++) {
      ask.signal?.throwIfAborted();
      const token = await this.#token(ask);
      const answer = await this.#once(method, path, ask, token);
      if (!(answer instanceof LatchkeyProblem)) return answer;
      if (answer.status === 401 && mended < 2 && (await this.#mended(ask, token))) {
        mended++;
        continue;
      }
      if (ask.gives?.includes(answer.code) || !mayTryAgain(answer, tries)) throw answer;
      ask.onPause?.();
      await this.pause(tries, answer.retryAfterS, ask.signal);
    }
  }

  /** @param {string} method @param {string} path @param {Ask} ask @param {string | null} token @returns {Promise<Answer | LatchkeyProblem>} */
  async #once(method, path, ask, token) {
    const control = new AbortController();
    const stop = () => control.abort(ask.signal?.reason);
    ask.signal?.addEventListener("abort", stop, { once: true });
    const timer = setTimeout(() => control.abort(), ask.timeoutMs ?? 40_000);
    let isRead = true;
    try {
      ask.onAttempt?.();
      const response = await this.fetch(this.#url(path, ask.query), {
        method,
        headers: this.#headers(ask, token),
        body: isAsItIs(ask.body) ? ask.body : JSON.stringify(ask.body),
        signal: control.signal,
        cache: "no-store",
      });
      if (!response.ok && !ask.takes?.includes(response.status)) return await LatchkeyProblem.of(response);
      this.device.saw(response.headers.get("X-Session-Version"));
      const body = await bodyOf(response, ask.reads ?? "json");
      isRead = !(body instanceof ReadableStream);
      return { status: response.status, headers: response.headers, body, response };
    } catch (error) {
      ask.signal?.throwIfAborted();
      return new LatchkeyProblem({ code: "network", status: 0, detail: String(/** @type {any} */ (error)?.message ?? error) });
    } finally {
      clearTimeout(timer);
      // A stream is still being read: it ends with its signal.
      if (isRead) ask.signal?.removeEventListener("abort", stop);
    }
  }

  /** @param {string} path @param {Record<string, any>} [query] */
  #url(path, query = {}) {
    const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
    const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
    return `${this.baseUrl}${path}${search ? `?${search}` : ""}`;
  }

  /** @param {Ask} ask @param {string | null} token */
  #headers(ask, token) {
    const headers = new Headers({ "X-Device-ID": this.device.kept.id, ...ask.headers });
    if (token) headers.set("Authorization", `Bearer ${token}`);
    if (this.shareLink) headers.set("X-Share-Link", this.shareLink);
    if (ask.body !== undefined && !headers.has("Content-Type")) headers.set("Content-Type", "application/json");
    return headers;
  }

  // ---- tokens

  /** @param {Ask} ask @returns {Promise<string | null>} */
  async #token({ registers, signal }) {
    const person = await this.#person();
    if (person) return person;
    if (registers || this.#wantsTokens === false) return null;
    const token = this.device.kept.token;
    if (token && !this.#isNearlyOver(token)) return token;
    await this.register(signal);
    return this.device.kept.token;
  }

  async #person() {
    return typeof this.userToken === "function" ? this.userToken() : this.userToken;
  }

  /** A clock that is wrong makes for one request a minute, and not for one each time. @param {string} token */
  #isNearlyOver(token) {
    return Date.now() - this.#registeredAt > 60_000 && expiryOf(token) - Date.now() < 60_000;
  }

  /** Whether a request that was refused with this token may be sent again. @param {Ask} ask @param {string | null} token */
  async #mended({ registers, signal }, token) {
    if (registers) return false;
    if (await this.#person()) return typeof this.userToken === "function";
    this.#wantsTokens = true;
    if (this.device.kept.token === token) await this.register(signal);
    return this.device.kept.token !== null;
  }

  /** The device's token, for its secret: the first one, or a fresh one. Several at once ask once. @param {AbortSignal} [signal] */
  async register(signal) {
    this.#registering ??= this.#register().finally(() => {
      this.#registering = null;
    });
    await untilAborted(this.#registering, signal);
  }

  async #register() {
    const { secret } = this.device.kept;
    const answer = await this.request("POST", "/v1/devices", { body: { secret }, takes: [404, 405], registers: true });
    const token = answer.response.ok ? answer.body.token : null; // a service without tokens may not know the call
    this.#wantsTokens = token !== null;
    this.#registeredAt = Date.now();
    this.device.keep({ token });
  }

  // ---- pauses

  /**
   * Longer each time, and never as long as anybody else; not before the service wants to be asked again; and while there is no network,
   * until there is.
   *
   * @param {number} tries @param {number | null} [atLeastS] @param {AbortSignal} [signal]
   */
  async pause(tries, atLeastS = null, signal) {
    const most = Math.min(this.longestPauseMs, this.pauseMs * 2 ** Math.min(tries, 20));
    const ms = (atLeastS ?? 0) * 1000 + most * (0.5 + Math.random() / 2);
    if (isOffline()) await untilOnline(this.longestPauseMs, signal);
    else await sleep(ms, signal, atLeastS === null);
  }
}

/** @param {any} body */
function isAsItIs(body) {
  return body === undefined || typeof body === "string" || body instanceof Blob;
}

/** @param {Response} response @param {"json" | "bytes" | "stream"} reads */
async function bodyOf(response, reads) {
  const isEvents = (response.headers.get("Content-Type") ?? "").startsWith("text/event-stream");
  if (reads === "stream" && isEvents) return response.body;
  if (response.status === 204) return null;
  if (reads === "bytes") return response.arrayBuffer();
  const text = await response.text();
  return text && JSON.parse(text);
}

/** @param {string} token when it ends, as it says itself: nothing hangs on that but asking for another in time */
function expiryOf(token) {
  try {
    const claims = JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
    return typeof claims.exp === "number" ? claims.exp * 1000 : Infinity;
  } catch {
    return Infinity;
  }
}

export function isOffline() {
  return globalThis.navigator?.onLine === false;
}

/** @param {number} ms @param {AbortSignal} [signal] */
function untilOnline(ms, signal) {
  return sleep(ms, signal, true);
}

/** @param {number} ms @param {AbortSignal} [signal] @param {boolean} [untilOnline] wakes when the network comes back */
export function sleep(ms, signal, untilOnline = false) {
  /** @type {Promise<void>} */
  const slept = new Promise((wake, fail) => {
    const over = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stopped);
      globalThis.removeEventListener?.("online", awake);
    };
    const awake = () => (over(), wake());
    const stopped = () => (over(), fail(signal?.reason));
    const timer = setTimeout(awake, ms);
    if (signal?.aborted) return stopped();
    signal?.addEventListener("abort", stopped, { once: true });
    if (untilOnline) globalThis.addEventListener?.("online", awake, { once: true });
  });
  return slept;
}

/** @template T @param {Promise<T>} promise @param {AbortSignal} [signal] @returns {Promise<T>} */
export function untilAborted(promise, signal) {
  if (!signal) return promise;
  return new Promise((wake, fail) => {
    const stopped = () => fail(signal.reason);
    if (signal.aborted) return stopped();
    signal.addEventListener("abort", stopped, { once: true });
    promise.then(wake, fail).finally(() => signal.removeEventListener("abort", stopped));
  });
}
