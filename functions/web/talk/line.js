/**
 * The line: the messages of the conversation that is shown which are not over yet, in the order in which they were said.
 *
 * One of them is read along with; the others are taken by the service and then parked, for a browser has six connections to a service and
 * each stream holds one. Whenever something is taken or over, those that are parked are looked at.
 */

import { newId } from "../device.js";
import { Exchange } from "./exchange.js";
import { h } from "./node.js";
import { outbox } from "./outbox.js";
import { reach } from "./reach.js";
import { endWords, isGone, problemText } from "./words.js";

const OVER = ["completed", "failed", "cancelled"];
const ASKS_MS = 3_000;
const WAITS = {
  interrupt: "Interrupting…",
  rollback: "Taking back what runs, and interrupting…",
};

export class Line {
  /** @type {Exchange[]} */
  open = [];
  /** @type {string | null} */
  #session = null;
  #delivered = new Set();
  /** What is said while it is not known yet which conversation this is, and what of it is going on, waits for that. */
  #isEntered = false;

  /**
   * @param {import("../latchkey.js").Latchkey} latchkey
   * @param {import("./thread.js").Thread} thread
   * @param {any} around announce, ask, speaks, changed, ended(turn), began(session), gone(error), signIn(error), edit(text), tell(error)
   */
  constructor(latchkey, thread, around) {
    this.latchkey = latchkey;
    this.thread = thread;
    this.around = around;
    reach.onChange(() => this.open.forEach((one) => this.#describe(one)));
    let isLooking = false; // a service that is slow, or wants less, is not asked more than once at a time
    setInterval(async () => {
      if (isLooking || document.visibilityState !== "visible") return;
      isLooking = true;
      await this.#lookAtWaiting();
      isLooking = false;
    }, ASKS_MS);
  }

  /** What is going on, and what could be stopped. */
  get running() {
    return this.open.find((one) => one.turn && !one.entry.refused) ?? null;
  }

  get isBusy() {
    return this.open.some((one) => !one.entry.refused);
  }

  /** Whether an exchange shows this message. @param {any} message */
  isShown = (message) =>
    this.open.some(
      (one) =>
        one.turn === message.turn_id &&
        (one.entry.text !== undefined || message.role !== "user" || message.content.some((b) => b.type === "tool_result")),
    );

  /** Where stored messages go: before what is open. @returns {Node | null} */
  before = () => this.open[0]?.node ?? null;

  /** Another conversation is shown. What was not taken yet is sent on in the background. @param {string | null} next where what is said from now on belongs */
  leave(next) {
    [this.#session, this.#isEntered] = [next, false];
    for (const one of this.open) {
      one.isParked = true;
      if (one.turn || one.entry.refused) one.control?.abort("left");
    }
    this.open = [];
  }

  /** What was said before in this conversation and is not over. @param {string | null} session */
  enter(session) {
    [this.#session, this.#isEntered] = [session, true];
    if (session) for (const one of this.open) this.#belongs(one, session);
    for (const entry of outbox.all()) {
      if (entry.session !== session && !(entry.session === null && !entry.turn)) this.#deliver(entry);
      else if (!this.open.some((one) => one.entry.key === entry.key)) this.#add(new Exchange(entry, this.around));
    }
  }

  /** To a conversation that is not shown. Once: whatever it was left by sends it until it is taken. @param {import("./outbox.js").Entry} entry */
  #deliver(entry) {
    if (entry.turn || entry.refused || this.#delivered.has(entry.key)) return;
    this.#run(new Exchange(entry, this.around));
  }

  /** Goes on with all that stands in it. */
  goOn() {
    let reads = false;
    for (const one of this.open.filter((other) => !other.control && !other.entry.refused)) {
      if (one.turn && reads) one.isParked = true;
      else this.#run(one);
      reads ||= one.turn !== null;
      this.#describe(one);
    }
    this.around.changed();
  }

  /** @param {string} text @param {string} onBusy */
  say(text, onBusy) {
    const entry = { key: newId(), text, onBusy, session: this.#session, at: new Date().toISOString() };
    outbox.put(entry);
    const one = this.#add(new Exchange(entry, this.around));
    this.thread.toEnd();
    this.#run(one);
  }

  /** Reads along with a turn that is not of the outbox, or whose question was answered. @param {string} turnId */
  follow(turnId) {
    const known = this.open.find((one) => one.turn === turnId);
    const one = known ?? this.#add(new Exchange({ turn: turnId, session: this.#session }, this.around));
    one.isWaiting = false;
    this.#run(one);
  }

  async stop() {
    const one = this.running;
    if (!one?.turn) return;
    one.say("Stopping…");
    const turn = await this.latchkey.cancel(one.turn);
    if (OVER.includes(turn.status) && one.isWaiting) await this.#settle(one, turn);
  }

  /** @param {Exchange} one */
  #add(one) {
    this.open.push(one);
    this.thread.append(one.node);
    this.#describe(one);
    this.around.changed();
    return one;
  }

  // ---- sending and reading along

  /** @param {Exchange} one */
  async #run(one) {
    if (!this.#isEntered) return;
    if (one.entry.key) this.#delivered.add(one.entry.key);
    one.control?.abort("again");
    const control = (one.control = new AbortController());
    one.isParked = false;
    this.#describe(one);
    const { key, text, onBusy, session } = one.entry;
    const options = { signal: control.signal, onEvent: (heard) => this.#hear(one, heard) };
    try {
      const turn = one.turn
        ? await this.latchkey.follow(one.turn, options)
        : await this.latchkey.send((text), {
            ...options,
            key,
            onBusy: (onBusy),
            sessionId: session ?? undefined,
            onTaken: (turnId) => this.#taken(one, turnId),
          });
      await this.#settle(one, turn);
    } catch (error) {
      if (!control.signal.aborted) this.#fail(one, error);
    }
  }

  /** @param {Exchange} one @param {any} heard */
  #hear(one, heard) {
    if (one.control?.signal.aborted) return;
    if (heard.event === "turn_started") this.#began(heard.data.session_id);
    one.hear(heard);
    if (heard.event === "tool_ended" && heard.data.name === "set_todos") this.around.planned();
    this.around.changed();
  }

  /** @param {string | null} session */
  #began(session) {
    if (!session || this.#session) return;
    this.#session = session;
    for (const one of this.open) this.#belongs(one, session);
    this.around.began(session);
  }

  /** @param {Exchange} one @param {string} session */
  #belongs(one, session) {
    if (one.entry.session === session) return;
    one.entry.session = session;
    if (one.entry.key) outbox.change(one.entry.key, { session });
  }

  /** The service has it. @param {Exchange} one @param {string} turnId */
  #taken(one, turnId) {
    if (one.turn === turnId) return;
    one.turn = turnId;
    if (one.entry.key) outbox.change(one.entry.key, { turn: turnId });
    // It was taken before, without an answer, and its turn is read along with already: as somebody else's, with its message as it is stored.
    if (one.isStoredIn(this.thread.of(turnId))) {
      const double = this.open.find((other) => other !== one && other.turn === turnId && other.entry.text === undefined);
      double?.control?.abort("double");
      if (double) this.drop(double);
    }
    const place = this.open.indexOf(one);
    if (place !== 0) {
      // Somebody is before it, or another conversation is shown by now.
      one.isParked = true;
      one.control?.abort("parked");
      if (place > 0) this.#review();
    }
    this.#describe(one);
    this.around.changed();
  }

  /** Those who wait: some may have been replaced, or be over. */
  async #review() {
    const seen = new Set(this.open[0] && !this.open[0].isParked ? [this.open[0].turn] : []);
    for (const one of this.open.filter((waiting) => waiting.isParked && waiting.turn)) {
      if (seen.has(one.turn)) continue;
      seen.add(one.turn);
      try {
        const turn = await this.latchkey.turn((one.turn));
        if (OVER.includes(turn.status) && this.open.includes(one)) await this.#settle(one, turn);
      } catch (error) {
        if (this.open.includes(one)) this.#fail(one, error);
      }
    }
    const first = this.open.find((one) => !one.entry.refused);
    if (first?.isParked) this.#run(first);
  }

  /** Somebody may have decided elsewhere. */
  async #lookAtWaiting() {
    for (const one of this.open.filter((waiting) => waiting.isWaiting && !reach.isLost)) {
      const turn = await this.latchkey.turn((one.turn)).catch(() => null);
      if (turn && turn.status !== "waiting" && one.isWaiting && this.open.includes(one)) this.follow(turn.id);
    }
  }

  // ---- what came of it

  /** @param {Exchange} one @param {any} turn */
  async #settle(one, turn) {
    if (!this.open.includes(one)) return;
    this.#began(turn.session_id);
    if (turn.status === "waiting") {
      one.isWaiting = true;
      turn.approvals.forEach((approval) => this.around.ask(approval));
      this.#describe(one);
      this.around.changed();
      return;
    }
    const over = this.open.filter((other) => other.turn === turn.id);
    this.open = this.open.filter((other) => !over.includes(other));
    for (const other of over) other.control?.abort("over");
    const next = () => over[0].node;
    const entered = this.#session;
    const stored = turn.session_id ? await this.thread.catchUp(this.isShown, next).catch(() => []) : [];
    // One that is complete is stored, if further up than what is drawn.
    if (this.#session !== entered || !this.#isEntered) {
      // Another conversation is shown by now: nothing of this one is told there.
      for (const other of over) if (other.entry.key && turn.status === "completed") outbox.drop(other.entry.key);
      return;
    }
    const isStored = turn.session_id && (turn.status === "completed" || stored.some((message) => message.turn_id === turn.id) || this.thread.of(turn.id).length > 0);
    for (const other of over) {
      if (other.entry.key) outbox.drop(other.entry.key);
      this.#close(other, turn, isStored);
    }
    this.around.ended(turn);
    this.around.changed();
    this.#review();
  }

  /** What is stored stands there now; what is not, and what went wrong, is said in its place. @param {Exchange} one @param {any} turn @param {boolean} isStored */
  #close(one, turn, isStored) {
    const words = turn.status === "completed" ? null : endWords(turn);
    const hadFocus = one.node.contains(document.activeElement);
    if (isStored) {
      const again = () => this.say((one.entry.text), (one.entry.onBusy));
      const button = turn.status === "failed" && one.entry.text && h("button", { type: "button", onclick: again }, "Ask again");
      if (words) one.node.before(h("li", { class: turn.status === "failed" ? "note bad" : "note" }, words, " ", button));
      one.node.remove();
    } else one.say(words ?? "");
    if (words) this.around.announce(words);
    if (hadFocus) this.around.edit(null);
  }

  /** @param {Exchange} one @param {any} error */
  #fail(one, error) {
    one.control = null;
    const isHere = this.open.includes(one);
    if (isHere && error?.status === 401) return this.around.signIn(error);
    if (isHere && isGone(error)) return this.around.gone(error, one.turn ? null : (one.entry.text ?? null), one);
    if (one.turn) return isHere && this.around.tell(error);
    one.entry.refused = problemText(error).text;
    if (one.entry.key) outbox.change(one.entry.key, { refused: one.entry.refused });
    if (!isHere) return;
    this.#describe(one);
    this.around.announce(`Not sent. ${one.entry.refused}`);
    this.around.changed();
    this.#review();
  }

  /** It is no longer in the line. @param {Exchange} one */
  drop(one) {
    this.open = this.open.filter((other) => other !== one);
    if (one.entry.key) outbox.drop(one.entry.key);
    one.node.remove();
    this.around.changed();
  }

  // ---- what is said of it

  /** @param {Exchange} one */
  #describe(one) {
    if (one.entry.text === undefined) return;
    const button = (text, run) => h("button", { type: "button", class: "small", onclick: run }, text);
    const again = () => {
      delete one.entry.refused;
      if (one.entry.key) outbox.change(one.entry.key, { refused: undefined });
      this.#run(one);
    };
    if (one.entry.refused) {
      const edit = () => {
        this.drop(one);
        this.around.edit(one.entry.text);
      };
      one.say(`Not sent. ${one.entry.refused} `, button("Send again", again), button("Edit", edit));
    } else if (!one.turn && reach.isLost) one.say("Not sent yet: trying again. ", button("Try now", again));
    else if (!one.turn) one.say("Sending…");
    else if (one.isWaiting) one.say("Waiting for your decision");
    else if (one.isParked) one.say(this.#whyItWaits(one));
    else if (one.node.querySelector(".msg.theirs,.tool")) one.say("");
  }

  /** @param {Exchange} one */
  #whyItWaits(one) {
    const ahead = this.open.slice(0, this.open.indexOf(one)).find((other) => other.turn === one.turn);
    if (!ahead) return WAITS[(one.entry.onBusy)] ?? "Waits in line";
    return one.entry.onBusy === "steer" ? "Will be read before the next step" : "Joined with the message before";
  }
}
