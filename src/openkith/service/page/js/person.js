/** What is done to a person, in dialogs: edited, forgotten. */

import { call } from "./api.js";
import { ask } from "./dialogs.js";
import { freshId, h } from "./dom.js";
import { count, listed, moment } from "./format.js";
import { complain, explain, notice } from "./notices.js";
import { refresh } from "./state.js";

/** Asks for another name, day of consent or note, and writes it unless somebody else did meanwhile. */
export async function edit(speaker) {
  const [nameId, consentId, noteId] = ["name", "consent", "note"].map(freshId);
  const name = h("input", {
    id: nameId,
    value: speaker.name,
    required: true,
    maxlength: 100,
    autofocus: true,
  });
  const consent = h("input", { id: consentId, type: "date", value: speaker.consent ?? "" });
  const note = h("textarea", { id: noteId, rows: 3, maxlength: 1000, value: speaker.note });
  const error = h("p", { class: "field-error", role: "alert" });
  async function save() {
    const changed = { name: name.value.trim(), consent: consent.value || null, note: note.value };
    try {
      await call("PATCH", `speakers/${speaker.id}`, { json: changed, etag: speaker.etag });
      await refresh();
      return true;
    } catch (problem) {
      error.textContent =
        problem.status === 412
          ? "Somebody else changed this person meanwhile. Close this, and look again."
          : explain(problem);
      if (problem.status === 412) await refresh().catch(() => null);
      return false;
    }
  }
  await ask(
    `Edit ${speaker.name}`,
    [
      h("label", { for: nameId }, "Name"),
      name,
      h("label", { for: consentId }, "Agreed on"),
      consent,
      h("label", { for: noteId }, "Note"),
      note,
      error,
    ],
    {
      buttons: [
        { label: "Cancel", value: "" },
        { label: "Save", value: "save", kind: "primary" },
      ],
      form: save,
    },
  );
  document.querySelector(`[data-edit="${speaker.id}"]`)?.focus(); // the card is a new one
}

/** Asks whether a person is to be forgotten, forgets them, and shows the receipt. */
export async function forget(speaker) {
  let receipt = null;
  const error = h("p", { class: "field-error", role: "alert" });
  async function erase() {
    try {
      receipt = await call("DELETE", `speakers/${speaker.id}`);
      return true;
    } catch (problem) {
      error.textContent = explain(problem);
      return false;
    }
  }
  await ask(
    `Forget ${speaker.name}?`,
    [
      h(
        "p",
        {},
        `${count(speaker.clips, "clip")}, everything learned from them and the name are erased from the gallery. This cannot be undone.`,
      ),
      error,
    ],
    {
      buttons: [
        { label: "Keep", value: "", focus: true },
        { label: `Forget ${speaker.name}`, value: "forget", kind: "danger solid" },
      ],
      form: erase,
    },
  );
  if (!receipt) return;
  await refresh().catch(complain);
  await showReceipt(receipt);
}

async function showReceipt(receipt) {
  const lines = [
    ["Person", receipt.name],
    ["Erased on", moment(receipt.time)],
    ["Clips", `${receipt.clips} (${receipt.seconds.toFixed(1)} s)`],
    ["Tuned heads", String(receipt.heads)],
    ["Files", Array.isArray(receipt.files) ? listed(receipt.files) || "none" : String(receipt.files)],
  ];
  const value = await ask(
    "Forgotten: receipt",
    [
      h(
        "dl",
        { class: "receipt" },
        lines.map(([noun, text]) => h("div", {}, h("dt", {}, noun), h("dd", {}, text))),
      ),
      receipt.note ? h("p", { class: "soft" }, receipt.note) : null,
    ],
    {
      buttons: [
        { label: "Save as a file", value: "save" },
        { label: "Done", value: "done", kind: "primary", focus: true },
      ],
    },
  );
  if (value === "save") download("receipt.json", JSON.stringify(receipt, null, 2));
  notice(`${receipt.name} is forgotten.`, { kind: "good" });
  document.querySelector("h1").focus();
}

function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
