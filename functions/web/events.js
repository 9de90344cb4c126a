/**
 * Events: what a stream says, byte by byte; and what has been said of a turn, put together.
 *
 * What can go wrong, and why it does not matter: the stream is cut at any byte. An event counts when its blank line is here, and its ID
 * with it; what is left of one that was cut is dropped, and told again to whoever goes on from that ID.
 */

/**
 * @typedef {{event: string, data: any, id: string}} TurnEvent
 * @typedef {{seq: number, agent: string | null, blocks: Map<number, string>}} Message
 */

/** Reads server-sent events out of text that comes in pieces. */
export class EventParser {
  #rest = "";
  #skipsLineFeed = false;
  /** @type {string[]} */
  #data = [];
  #name = "";
  /** The ID of the last event that was whole. */
  lastId = "";
  #id = "";
  /** @type {number | null} How many milliseconds the server wants whoever comes back to wait. */
  retryMs = null;

  /**
   * @param {string} text
   * @returns {{event: string, data: string, id: string}[]} the events that are whole with it
   */
  feed(text) {
    const events = [];
    if (!text) return [];
    const isSecondHalf = this.#skipsLineFeed && text.startsWith("\n"); // of a line's end that came in two pieces
    this.#skipsLineFeed = text.endsWith("\r");
    if (isSecondHalf) text = text.slice(1);
    const lines = (this.#rest + text).split(/\r\n|\n|\r/);
    this.#rest = /** @type {string} */ (lines.pop());
    for (const line of lines) {
      const event = this.#read(line);
      if (event) events.push(event);
    }
    return events;
  }

  /** @param {string} line */
  #read(line) {
    if (line === "") return this.#whole();
    const [, field, value] = /** @type {RegExpMatchArray} */ (line.match(/^([^:]*)(?::\x20?([\s\S]*))?$/));
    if (field === "data") this.#data.push(value ?? "");
    else if (field === "event") this.#name = value ?? "";
    else if (field === "id" && !(value ?? "").includes("\0")) this.#id = value ?? "";
    else if (field === "retry" && /^[0-9]+$/.test(value ?? "")) this.retryMs = Number(value);
    return null; // and a line that begins with a colon is a comment
  }

  #whole() {
    const [data, event] = [this.#data, this.#name || "message"];
    this.lastId = this.#id;
    [this.#data, this.#name] = [[], ""];
    return data.length ? { event, data: data.join("\n"), id: this.lastId } : null;
  }
}

/**
 * The events of a response, as they come. Ends with the stream; an error if it breaks, or says nothing for so long.
 *
 * @param {ReadableStream<Uint8Array>} body
 * @param {EventParser} parser
 * @param {number} silenceMs
 * @returns {AsyncGenerator<TurnEvent>}
 */
export async function* readEvents(body, parser, silenceMs) {
  const reader = body.getReader();
  const decoder = new TextDecoder(); // a character may be cut in two
  try {
    for (;;) {
      const { done, value } = await within(reader.read(), silenceMs);
      if (done) return;
      for (const event of parser.feed(decoder.decode(value, { stream: true }))) {
        yield { ...event, data: JSON.parse(event.data) };
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // whoever leaves early lets go of the connection
  }
}

/**
 * @template T
 * @param {Promise<T>} promise
 * @param {number} ms
 * @returns {Promise<T>}
 */
function within(promise, ms) {
  /** @type {any} */
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new TypeError("The stream fell silent.")), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** What was told of a turn so far. */
export class Telling {
  /** @type {string | null} */
  turnId = null;
  /** @type {string} The ID of the last event: where to go on from. */
  lastId = "";
  /** @type {any} The turn as it is when it is over. */
  turn = null;
  /** @type {string | null} Who speaks. */
  agent = null;
  /** @type {Map<number, Message>} */
  #messages = new Map();

  /** @returns {Message[]} the messages that agents have said, in order */
  get messages() {
    return [...this.#messages.values()].sort((one, other) => one.seq - other.seq);
  }

  /** All that was said, as it stands. */
  get text() {
    return this.messages.map(textOf).filter(Boolean).join("\n\n");
  }

  /** @param {TurnEvent} told */
  hear({ event, data, id }) {
    if (event === "turn_started" && data.session_id !== null) this.turnId = data.turn_id;
    else if (event === "agent_changed") this.agent = data.agent;
    else if (event === "text_discarded") this.#messages.delete(data.message_seq);
    else if (event === "text_delta") this.#add(data);
    else if (event === "turn_ended") this.turn = data.turn;
    if (id) this.lastId = id;
  }

  /** As if nothing had been told; the events that say so. @returns {TurnEvent[]} */
  forget() {
    const discarded = this.messages.map(({ seq }) => ({ event: "text_discarded", data: { message_seq: seq }, id: "" }));
    this.#messages.clear();
    [this.lastId, this.agent] = ["", null];
    return discarded;
  }

  /** @param {{message_seq: number, block: number, text: string}} delta */
  #add({ message_seq: seq, block, text }) {
    const message = this.#messages.get(seq) ?? { seq, agent: this.agent, blocks: new Map() };
    message.blocks.set(block, (message.blocks.get(block) ?? "") + text);
    this.#messages.set(seq, message);
  }
}

/** @param {Message} message */
export function textOf(message) {
  return [...message.blocks].sort(([one], [other]) => one - other).map(([, text]) => text).join("");
}
