/** Reach: whether the service can be reached, as far as its answers and the browser tell. */

/** @type {Set<(isLost: boolean) => void>} */
const listeners = new Set();

export const reach = {
  isLost: false,

  /** @param {(isLost: boolean) => void} listener is told each time that it changes */
  onChange(listener) {
    listeners.add(listener);
  },

  /** As `fetch`. @param {any} address @param {RequestInit} [init] */
  async fetch(address, init) {
    try {
      const response = await fetch(address, init);
      note([502, 503, 504].includes(response.status));
      return response;
    } catch (error) {
      if (!init?.signal?.aborted) note(true);
      throw error;
    }
  },
};

/** @param {boolean} isLost */
function note(isLost) {
  if (isLost === reach.isLost) return;
  reach.isLost = isLost;
  listeners.forEach((listener) => listener(isLost));
}

addEventListener("offline", () => note(true));
// Whether it is really there the next answer tells.
addEventListener("online", () => note(false));
