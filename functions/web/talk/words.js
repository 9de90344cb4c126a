/** Words: what keys and codes are called by those who read the page. */

const AGENTS = { manager: "Front desk" };

/** @type {Record<string, [string, string]>} while it runs, and after */
const TOOLS = {
  find_free_slots: ["Looking up free times", "Looked up free times"],
  list_appointments: ["Looking up your appointments", "Looked up your appointments"],
  book_slot: ["Booking the appointment", "Booked the appointment"],
  cancel_appointment: ["Cancelling the appointment", "Cancelled the appointment"],
  send_reminder: ["Sending the reminder", "Sent the reminder"],
  list_invoices: ["Looking up your invoices", "Looked up your invoices"],
  pay_invoice: ["Paying the invoice", "Paid the invoice"],
  request_refund: ["Asking for the refund", "Asked for the refund"],
  set_todos: ["Writing the to-do list", "Wrote the to-do list"],
};

/** @param {string} key */
export function plain(key) {
  const words = key.replaceAll(/[_-]+/g, " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** @param {string | null} key */
export const agentName = (key) => (key ? (AGENTS[key] ?? plain(key)) : "Front desk");

/** @param {string} name @param {string} status */
export function toolWords(name, status) {
  const [doing, done] = TOOLS[name] ?? [plain(name), plain(name)];
  if (status === "started") return `${doing}…`;
  const said = { done: "", denied: "not allowed", dropped: "not done", unknown: "nobody knows whether it happened" }[status] ?? "did not work";
  return said ? `${plain(name)}: ${said}` : done;
}

const CANCELLED = {
  turn_replaced: "Replaced by a later message",
  turn_interrupted: "Interrupted by your next message",
  turn_rolled_back: "Taken back",
};

/** What came of a turn that was not completed. @param {any} turn */
export function endWords({ status, error }) {
  if (status === "cancelled") return CANCELLED[error?.code] ?? "Stopped";
  return `This was not answered. ${error?.detail ?? ""}`;
}

/** @type {Record<string, string>} */
const PROBLEMS = {
  network: "The service cannot be reached.",
  session_not_found: "This conversation is over. Your next message begins a new one.",
  session_ended: "This conversation was ended. Your next message begins a new one.",
  session_busy: "Something is being answered just now. Try again in a moment.",
  token_missing: "Sign in first.",
  token_invalid: "Your sign-in is not valid. Sign in again.",
  token_expired: "Your sign-in has run out. Sign in again.",
  device_barred: "This browser was signed out. Load the page again to go on as somebody new.",
  role_too_small: "You may read along here, but not change anything.",
  approval_decided: "It was decided already, elsewhere.",
  approval_expired: "The time to decide is over, so it was not done. Ask for it again if you still want it.",
  approval_changed: "This has changed since you were shown it. Look at it again.",
  approval_not_found: "This question is no longer there.",
  message_too_large: "This message is too long. Send it in parts.",
  body_too_large: "This message is too long. Send it in parts.",
  not_as_seen: "Somebody else has changed this meanwhile. Look again.",
};

/** @param {any} error @returns {{text: string, requestId: string | null}} */
export function problemText(error) {
  const text = PROBLEMS[error?.code] || error?.detail || (error?.code ? plain(error.code) : "Something went wrong on this page. Load it again.");
  return { text, requestId: error?.requestId ?? null };
}

/** Whether the conversation is gone for whoever asked. @param {any} error */
export const isGone = (error) =>
  ["session_not_found", "session_ended", "turn_not_found", "link_not_found"].includes(error?.code);

/** @param {any} usage */
export function usageWords(usage) {
  const count = (n) => n.toLocaleString();
  const read = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens;
  const cost = usage.cost_usd === null ? "cost not known" : `$${usage.cost_usd.toFixed(usage.cost_usd < 0.1 ? 4 : 2)}`;
  return `${count(read)} tokens read (${count(usage.cache_read_tokens)} from cache), ${count(usage.output_tokens)} written: ${cost}`;
}
