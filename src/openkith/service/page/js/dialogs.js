/** Modal dialogs, on the browser's own: it keeps the focus inside and gives it back. */

import { freshId, h } from "./dom.js";

/**
 * Shows a dialog; a promise of what it was closed with, "" where it was left.
 *
 * @param {string} title
 * @param {Array} content
 * @param {Object} options buttons: [{label, value, kind, focus}] in order; form: called with the value before it closes,
 *     keeps it open by giving false (a promise of it, too).
 */
export function ask(title, content, { buttons, form = null, wide = false }) {
  const id = freshId("dialog");
  const dialog = h("dialog", { "aria-labelledby": id, class: wide ? "wide" : null });
  const row = buttons.map(({ label, value, kind, focus }) =>
    h(
      "button",
      {
        type: value ? "submit" : "button",
        value,
        class: kind,
        autofocus: focus,
        onclick: value ? null : () => dialog.close(""),
      },
      label,
    ),
  );
  const body = h(
    "form",
    { method: "dialog", onsubmit: submit },
    h("h2", { id }, title),
    ...content,
    h("div", { class: "row end" }, ...row),
  );
  dialog.append(body);
  document.body.append(dialog);
  async function submit(event) {
    if (!form) return;
    event.preventDefault();
    const value = event.submitter?.value ?? buttons.findLast((button) => button.value)?.value ?? "";
    for (const button of row) button.disabled = true;
    const done = await form(value);
    for (const button of row) button.disabled = false;
    if (done !== false) dialog.close(value);
  }
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue);
    });
  });
}
