/** "Who is this?": the buttons and the field that give a voice of the view Review a name, or dismiss it. */

import { call } from "./api.js";
import { freshId, h } from "./dom.js";
import { count, today } from "./format.js";
import { complain, notice } from "./notices.js";
import { colourOf, refresh, speakerNamed, state } from "./state.js";

const CHIPS = 5; // people who can be said with one press

/**
 * @param {Object} group Of the daemon's answer.
 * @param {number} number That it is called by.
 * @param {() => number[]} chosen The recordings that are ticked.
 * @param {() => Promise} load Shows the groups anew.
 * @returns {{element, dismiss: () => Promise}}
 */
export function naming(group, number, chosen, load) {
  const [nameId, consentId, listId] = ["name", "consent", "list"].map(freshId);
  const name = h("input", {
    id: nameId,
    autocomplete: "off",
    list: listId,
    maxlength: 100,
    placeholder: "A new name",
    oninput: changed,
  });
  const consent = h("input", { id: consentId, type: "checkbox" });
  const tick = h("div", { class: "tick", hidden: true }, consent, h("label", { for: consentId }));
  const error = h("p", { class: "field-error", role: "alert" });
  const others = state.speakers
    .filter((speaker) => speaker.id !== group.likely?.id)
    .slice(0, group.likely ? CHIPS - 1 : CHIPS);
  const first = state.speakers.find((speaker) => speaker.id === group.likely?.id);
  const chip = (speaker, likely) =>
    h(
      "button",
      {
        type: "button",
        class: likely ? "primary" : "chip",
        style: { "--colour": colourOf(speaker.id) },
        onclick: () => enrol(speaker.name, null),
      },
      likely ? null : h("i", { class: "swatch", "aria-hidden": "true" }),
      likely ? `It is ${speaker.name}` : speaker.name,
    );
  const form = h(
    "form",
    { class: "row", onsubmit: submit },
    h("label", { for: nameId, class: "hidden" }, `Who is voice ${number}?`),
    name,
    h(
      "datalist",
      { id: listId },
      state.speakers.map((speaker) => h("option", { value: speaker.name })),
    ),
    h("button", { type: "submit" }, "Enrol"),
  );

  function changed() {
    const stranger = name.value.trim() && !speakerNamed(name.value);
    tick.hidden = !stranger;
    tick.querySelector("label").textContent =
      `${name.value.trim()} agreed today that their voice is kept to recognise them`;
    error.textContent = "";
  }

  function submit(event) {
    event.preventDefault();
    const wanted = name.value.trim();
    const person = speakerNamed(wanted);
    if (!wanted) error.textContent = "Give a name first.";
    else if (!person && !consent.checked)
      error.textContent = `Tick that ${wanted} agreed; a voice is personal data.`;
    else {
      enrol(person?.name ?? wanted, person ? null : today());
      return;
    }
    (wanted ? consent : name).focus();
  }

  async function enrol(who, agreed) {
    await act(async (clips) => {
      await call("POST", "review/enroll", {
        json: { clips, name: who, ...(agreed ? { consent: agreed } : {}) },
      });
      return `${count(clips.length, "clip")} enrolled as ${who}.`;
    });
  }

  async function dismiss() {
    await act(async (clips) => {
      await call("POST", "review/dismiss", { json: { clips } });
      return `${count(clips.length, "clip")} dismissed.`;
    });
  }

  async function act(run) {
    const clips = chosen();
    if (!clips.length) {
      error.textContent = "Tick at least one clip.";
      return;
    }
    try {
      const text = await run(clips);
      await refresh(); // which loads the groups anew
      notice(text, { kind: "good", action: { label: "Undo", run: undo } });
      document.querySelector("h1").focus(); // what had the focus is gone
    } catch (problem) {
      complain(problem);
      await load().catch(complain);
    }
  }

  const element = h(
    "div",
    { class: "naming", role: "group", "aria-label": `Who is voice ${number}?` },
    h("h3", {}, "Who is this?"),
    h(
      "div",
      { class: "row wrap" },
      first ? chip(first, true) : null,
      others.map((speaker) => chip(speaker, false)),
    ),
    form,
    tick,
    error,
  );
  return { element, dismiss };
}

async function undo() {
  try {
    const { undone, clips } = await call("POST", "review/undo");
    await refresh();
    notice(
      `${count(clips.length, "clip")} ${undone === "enrolled" ? "taken out of the profile" : "brought back"}.`,
      { kind: "good" },
    );
    document.querySelector("h1").focus();
  } catch (error) {
    complain(error);
  }
}
