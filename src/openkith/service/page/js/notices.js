/** One line under the header that says what was done or went wrong, and a voice for screen readers. */

import { Problem } from "./api.js";
import { fill, h } from "./dom.js";
import { icon } from "./icons.js";

/**
 * Shows a notice in place of the last one.
 *
 * @param {string} text
 * @param {Object} options kind: "good", "bad" or "plain"; action: {label, run}, a button beside the text.
 */
export function notice(text, { kind = "plain", action = null } = {}) {
  const close = h(
    "button",
    { class: "quiet icon-only", "aria-label": "Close this message", onclick: clearNotice },
    icon("close"),
  );
  const line = h(
    "div",
    { class: `notice ${kind}` },
    icon(kind === "bad" ? "warning" : "tick"),
    h("p", {}, text),
  );
  if (action) line.append(h("button", { class: "small", onclick: action.run }, action.label));
  line.append(close);
  fill(document.getElementById("notice"), line);
}

/** Takes the notice away. */
export function clearNotice() {
  fill(document.getElementById("notice"));
}

/** Says an error in the notice; an abort is none. */
export function complain(error) {
  if (error.name === "AbortError") return;
  if (!(error instanceof Problem)) console.error(error);
  notice(explain(error), { kind: "bad" });
}

/** An error as a sentence for people. */
export function explain(error) {
  if (!(error instanceof Problem)) return `Something went wrong on this page: ${error.message}`;
  if (error.status === 403) return `This key may not do that. ${error.message}`;
  if (error.status === 429)
    return `The daemon is busy${error.retryAfter ? `; try again in ${Math.ceil(error.retryAfter)} s` : ""}.`;
  return error.message;
}

/** Says something to screen readers, and shows nothing. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}
