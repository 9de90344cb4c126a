/**
 * The device: what a client keeps of itself, and nothing else: its ID, its secret, the token that it was given for that, and the last
 * version of a conversation that it was told. Never a message.
 */

/** @typedef {{getItem(key: string): string | null, setItem(key: string, value: string): void, removeItem(key: string): void}} Storage */
/** @typedef {{id: string, secret: string, token: string | null, version: string | null}} Kept */

// @ts-ignore: node 18 has it as a module alone, whose types a page has not
const crypto = globalThis.crypto ?? (await import("node:crypto")).webcrypto;

/** A random UUID, also on pages that came without TLS, where browsers have no randomUUID. */
export function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const digits = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

function newSecret() {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Where nothing can be kept, as in private windows: until the page is left. @implements {Storage} */
class Memory {
  #items = new Map();
  /** @param {string} key */
  getItem(key) {
    return this.#items.get(key) ?? null;
  }
  /** @param {string} key @param {string} value */
  setItem(key, value) {
    this.#items.set(key, value);
  }
  /** @param {string} key */
  removeItem(key) {
    this.#items.delete(key);
  }
}

/** @returns {Storage} */
function usualStorage() {
  try {
    const storage = globalThis.localStorage;
    storage.setItem("latchkey?", "1"); // there may be one that takes nothing
    storage.removeItem("latchkey?");
    return storage;
  } catch {
    return new Memory();
  }
}

export class Device {
  #storage;
  #key;

  /** @param {string} baseUrl @param {Storage} [storage] */
  constructor(baseUrl, storage) {
    this.#storage = storage ?? usualStorage();
    this.#key = `latchkey:${baseUrl}`;
  }

  /** As it is kept by now: another window of the same page may have changed it. @returns {Kept} */
  get kept() {
    const found = this.#read();
    if (found) return found;
    this.#write({ id: newId(), secret: newSecret(), token: null, version: null });
    return /** @type {Kept} */ (this.#read());
  }

  /** @param {Partial<Kept>} changes */
  keep(changes) {
    this.#write({ ...this.kept, ...changes });
  }

  /** The last version that was told, of the conversation that was told of last. @param {string | null} told */
  saw(told) {
    const before = this.kept.version;
    if (!told || told === before || !/^[^.]+\.[0-9]+$/.test(told)) return;
    const [session, version] = told.split(".");
    const [known, newest] = before?.split(".") ?? [];
    if (session !== known || BigInt(version) > BigInt(newest)) this.keep({ version: told });
  }

  /** The next call is a new device's. */
  forget() {
    this.#storage.removeItem(this.#key);
  }

  /** @returns {Kept | null} */
  #read() {
    try {
      const kept = JSON.parse(this.#storage.getItem(this.#key) ?? "null");
      return kept?.id && kept?.secret ? kept : null;
    } catch {
      return null;
    }
  }

  /** @param {Kept} kept */
  #write(kept) {
    const text = JSON.stringify(kept);
    try {
      this.#storage.setItem(this.#key, text);
    } catch {
      // It is full. What cannot be kept lives as long as the page.
      this.#storage = new Memory();
      this.#storage.setItem(this.#key, text);
    }
  }
}
