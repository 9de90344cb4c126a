/** The person: whose token goes along, where the service asks for one. It is kept until the tab is closed, and is sent nowhere else. */

import { by, h } from "./node.js";

const KEY = "latchkey:person";
/** @type {string | null} */
let token = null;
try {
  token = sessionStorage.getItem(KEY);
} catch {
  // It may not be kept here: then it is asked for again.
}

/** @returns {any} */
export const personToken = () => token;

/** @param {string | null} given */
function keep(given) {
  token = given;
  try {
    if (given) sessionStorage.setItem(KEY, given);
    else sessionStorage.removeItem(KEY);
  } catch {
    // As above.
  }
}

/** A small form; `then` goes on when a token was given. @param {string} why @param {() => void} then */
export function askPerson(why, then) {
  const form = by("person");
  const field = (h("input", { id: "person-token", type: "password", autocomplete: "off", required: true, spellcheck: "false" }));
  form.replaceChildren(
    h("label", { for: "person-token" }, token ? why : "This service wants to know who you are: give your token."),
    h("div", { class: "row" }, field, h("button", { class: "main", type: "submit" }, "Sign in")),
  );
  form.hidden = false;
  form.onsubmit = (event) => {
    event.preventDefault();
    keep(field.value.trim());
    form.hidden = true;
    then();
  };
  field.focus();
}
