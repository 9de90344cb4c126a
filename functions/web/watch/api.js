/** The operators' calls: one request each, with the token that this tab was given. Looking is tried again by the page's own clock. */

const KEPT_AS = "latchkey.operator";
const PATIENCE_MS = 20_000;

/** What the service said no with; `network` where nothing was heard. */
export class Refusal extends Error {
  /** @param {number} status @param {{code?: string, detail?: string, title?: string, request_id?: string}} said */
  constructor(status, said) {
    super(said.detail || said.title || `The service answered ${status}.`);
    this.status = status;
    this.code = said.code ?? `http_${status}`;
    this.requestId = said.request_id ?? null;
  }
}

export class Api {
  /** @type {() => void} What is done when the token is not, or no longer, good. */
  onRefused = () => {};

  get token() {
    return sessionStorage.getItem(KEPT_AS);
  }

  /** @param {string | null} token */
  keep(token) {
    if (token) sessionStorage.setItem(KEPT_AS, token);
    else sessionStorage.removeItem(KEPT_AS);
  }

  /** @param {string} path @param {Record<string, any>} [query] */
  get(path, query = {}) {
    const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined);
    const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
    return this.ask("GET", search ? `${path}?${search}` : path);
  }

  /** @param {string} method @param {string} path @param {any} [body] @returns {Promise<any>} */
  async ask(method, path, body) {
    const token = this.token;
    let response;
    let said;
    try {
      response = await fetch(`/v1/admin${path}`, {
        method,
        headers: { Authorization: `Bearer ${token}`, ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: AbortSignal.timeout(PATIENCE_MS),
        cache: "no-store",
      });
      if (response.status === 204) return null;
      said = await response.json().catch(() => ({})); // a gateway's page
    } catch {
      throw new Refusal(0, { code: "network", detail: "The service does not answer." });
    }
    if (response.ok) return said;
    if ((response.status === 401 || response.status === 403) && token === this.token) this.onRefused();
    throw new Refusal(response.status, said);
  }
}
