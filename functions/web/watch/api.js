/** The operators' calls, with the token that this tab was given. Each is sent once: the page asks again by its own clock. */

const KEPT_AS = "latchkey.operator";
const PATIENCE_MS = 20_000;

/** What the service said no with; `network` where nothing was heard. */
export class Refusal extends Error {
  constructor(status, said) {
    super(said.detail || said.title || `The service answered ${status}.`);
    this.status = status;
    this.code = said.code ?? `http_${status}`;
  }

  /** What is asked for is not there, or this release does not know the question. */
  get isMissing() {
    return [404, 405, 422].includes(this.status);
  }
}

export class Api {
  /** The token is not, or no longer, good. */
  onRefused = () => {};

  get token() {
    return sessionStorage.getItem(KEPT_AS);
  }

  set token(token) {
    if (token) sessionStorage.setItem(KEPT_AS, token);
    else sessionStorage.removeItem(KEPT_AS);
  }

  get(path, query = {}) {
    const given = Object.entries(query).filter(([, value]) => (value ?? null) !== null);
    return this.ask("GET", given.length ? `${path}?${new URLSearchParams(given)}` : path);
  }

  async ask(method, path, body) {
    const { token } = this;
    const headers = { Authorization: `Bearer ${token}`, ...(body && { "Content-Type": "application/json" }) };
    let response, said;
    try {
      const signal = AbortSignal.timeout(PATIENCE_MS);
      response = await fetch(`/v1/admin${path}`, { method, headers, body: body && JSON.stringify(body), signal, cache: "no-store" });
      if (response.status === 204) return null;
      said = await response.json().catch(() => ({})); // a gateway's page
    } catch {
      throw new Refusal(0, { code: "network", detail: "The service does not answer." });
    }
    if (response.ok) return said;
    // Who signed in anew meanwhile is not asked to again.
    if ([401, 403].includes(response.status) && token === this.token) this.onRefused();
    throw new Refusal(response.status, said);
  }
}
