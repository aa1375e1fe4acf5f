/** Enrol: a name, consent, three clips from the microphone or from files, and what to record next. */

import { call } from "../api.js";
import { savedClips, takeRow } from "../clips.js";
import { fill, freshId, h } from "../dom.js";
import { count, day, today } from "../format.js";
import { ENOUGH, LAST_STEP, guide, nextStep } from "../guide.js";
import { icon } from "../icons.js";
import { announce, complain, explain, notice } from "../notices.js";
import { recorder } from "../recorder.js";
import { may, onChange, refresh, speakerNamed, state } from "../state.js";
import { tune } from "../tuning.js";

export const title = "Enrol";
export const lede = "Three clips of five seconds are enough to know a voice.";

const takes = []; // recordings wait here while other views are looked at
let draft = "";

export function show(root, { rest, signal }) {
  const chosen = state.speakers.find((speaker) => speaker.id === Number(rest[0]));

  // who
  const [nameId, consentId, noteId, listId, errorId] = [
    "name",
    "consent",
    "note",
    "people",
    "name-error",
  ].map(freshId);
  const people = h("datalist", { id: listId });
  const error = h("p", { class: "field-error", id: errorId, role: "alert" });
  const name = h("input", {
    id: nameId,
    autocomplete: "off",
    maxlength: 100,
    list: listId,
    placeholder: "First name is enough",
    "aria-describedby": errorId,
    oninput: whoChanged,
  });
  const consent = h("input", { id: consentId, type: "checkbox", onchange: () => flag("") });
  const consentText = h("label", { for: consentId });
  const note = h("input", { id: noteId, autocomplete: "off", maxlength: 1000, placeholder: "Optional" });
  const fresh = h(
    "div",
    { class: "stack" },
    h("div", { class: "tick" }, consent, consentText),
    h("label", { for: noteId }, "Note"),
    note,
  );
  const known = h("p", { class: "soft" });
  const who = h(
    "section",
    { class: "card who", "aria-label": "Who it is" },
    h("label", { for: nameId }, "Name"),
    name,
    people,
    error,
    fresh,
    known,
  );

  // recording
  const room = recorder({
    enough: ENOUGH,
    signal,
    taken: (blob) => add(blob, nextStep(clipsSoFar()) ?? "Recording"),
  });
  const input = h("input", {
    type: "file",
    class: "hidden",
    id: freshId("files"),
    multiple: true,
    accept: "audio/*,video/*",
    onchange: () => files(input.files),
  });
  const drop = h(
    "label",
    { class: "drop", for: input.id },
    icon("files"),
    h("span", {}, h("b", {}, "Choose files"), " or drop them here: any audio or video"),
  );
  const studio = h(
    "section",
    { class: "card studio", "aria-label": "Record" },
    room.element,
    h("div", { class: "dropzone" }, input, drop),
  );
  for (const type of ["dragover", "dragenter"])
    studio.addEventListener(type, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  for (const type of ["dragleave", "drop"])
    studio.addEventListener(type, () => drop.classList.remove("over"));
  studio.addEventListener("drop", (event) => {
    event.preventDefault();
    files(event.dataTransfer.files);
  });

  // what there is, what is next
  const plan = guide();
  const list = h("ul", { class: "clips" });
  const save = h("button", { class: "primary wide", onclick: enrol, disabled: true }, "Enrol");
  const ready = h(
    "section",
    { class: "card ready", "aria-label": "Clips to enrol" },
    h("h2", {}, "Clips to enrol"),
    list,
    save,
  );
  const saved = h("section", { class: "card saved", hidden: true, "aria-label": "Saved clips" });
  fill(
    root,
    h("div", { class: "left" }, who, studio),
    h("div", { class: "right" }, plan.element, ready, saved),
  );

  onChange(whoChanged, signal);
  name.value = chosen?.name ?? draft;
  whoChanged();
  draw();
  if (!may("enrol")) {
    save.hidden = true;
    notice("The key in use may listen, but not enrol.");
  }

  function whoChanged() {
    const person = speakerNamed(name.value);
    draft = name.value;
    fill(
      people,
      state.speakers.map((speaker) => h("option", { value: speaker.name })),
    );
    fresh.hidden = Boolean(person);
    known.hidden = !person;
    consentText.textContent = `${name.value.trim() || "This person"} agreed today that their voice is kept to recognise them`;
    if (person) {
      const agreed = person.consent ? `agreed on ${day(person.consent)}` : "no consent noted";
      known.textContent = `Enrolled already with ${count(person.clips, "clip")}, ${agreed}; the new ones are added.`;
    }
    flag("");
    draw();
  }

  function flag(text) {
    error.textContent = text;
    name.toggleAttribute("aria-invalid", Boolean(text));
    if (text) name.setAttribute("aria-invalid", "true");
  }

  function clipsSoFar() {
    return (speakerNamed(name.value)?.clips ?? 0) + takes.length;
  }

  function draw() {
    const before = speakerNamed(name.value)?.clips ?? 0;
    const step = nextStep(clipsSoFar());
    plan.show(
      before,
      takes.map((take) => take.quality?.speech_seconds ?? 0),
    );
    room.prompt(
      step === LAST_STEP ? "Go across the room, and say:" : "Say, in your normal voice:",
      clipsSoFar(),
    );
    fill(
      list,
      takes.map((take, i) => takeRow(take, i + 1, () => remove(take))),
    );
    ready.hidden = takes.length === 0;
    const usable = takes.filter((take) => !take.error);
    save.disabled = usable.length === 0 || usable.some((take) => take.measuring);
    save.textContent = `${speakerNamed(name.value) ? "Add" : "Enrol with"} ${count(usable.length, "clip")}`;
  }

  async function add(blob, label) {
    const take = { blob, label, quality: null, error: null, measuring: true };
    takes.push(take);
    draw();
    try {
      take.quality = await call("POST", "measure", {
        body: blob,
        type: blob.type || "application/octet-stream",
        signal,
      });
    } catch (problem) {
      if (problem.name === "AbortError") return;
      take.error = explain(problem);
    }
    take.measuring = false;
    announce(take.error ?? `${label}: ${take.quality.speech_seconds.toFixed(1)} seconds of speech.`);
    draw();
  }

  function files(chosenFiles) {
    for (const file of chosenFiles) add(file, file.name);
    input.value = "";
  }

  function remove(take) {
    takes.splice(takes.indexOf(take), 1);
    draw();
    room.focus();
  }

  async function enrol() {
    const person = speakerNamed(name.value);
    if (!name.value.trim()) {
      flag("Give a name first.");
      name.focus();
      return;
    }
    if (!person && !consent.checked) {
      flag(`Tick that ${name.value.trim()} agreed; a voice is personal data.`);
      consent.focus();
      return;
    }
    save.disabled = true;
    save.textContent = "Enrolling…";
    let made = null;
    try {
      made = person
        ? null
        : await call("POST", "speakers", {
            json: { name: name.value.trim(), consent: today(), note: note.value.trim() },
          });
      const to = person ?? made;
      const body = new FormData();
      takes
        .filter((take) => !take.error)
        .forEach((take, i) => body.append("clips", take.blob, take.blob.name ?? `recording-${i + 1}.wav`));
      const report = await call("POST", `speakers/${to.id}/clips`, { body });
      takes.length = 0;
      made = null;
      await refresh();
      await done(report, to);
    } catch (problem) {
      if (made) await call("DELETE", `speakers/${made.id}`).catch(() => null); // nobody is left behind without a clip
      if (made) await refresh().catch(() => null);
      complain(problem);
    }
    draw();
  }

  async function done(report, person) {
    const undo = { label: "Undo", run: () => takeBack() };
    notice(`${report.name}: ${count(report.added, "clip")} added.`, { kind: "good", action: undo });
    consent.checked = false;
    note.value = "";
    name.value = report.name;
    whoChanged();
    const { clips } = await call("GET", `speakers/${person.id}/clips`, { signal });
    const advice = report.advice.length
      ? h(
          "ul",
          { class: "advice" },
          report.advice.map((text) => h("li", {}, text)),
        )
      : null;
    const heading = h("h2", { tabindex: "-1" }, `${report.name}: ${count(clips.length, "clip")}`);
    const onward = h(
      "div",
      { class: "row" },
      h("button", { onclick: another }, "Enrol somebody else"),
      state.status.tuned && !state.status.note
        ? null
        : h("button", { class: "primary", onclick: tune }, "Tune now"),
    );
    fill(
      saved,
      heading,
      savedClips(clips, person, () => done({ ...report, added: 0, advice: [] }, person)),
      advice,
      onward,
    );
    saved.hidden = false;
    heading.focus({ preventScroll: true });
  }

  function another() {
    name.value = "";
    saved.hidden = true;
    whoChanged();
    name.focus();
  }

  async function takeBack() {
    try {
      const undone = await call("POST", "undo");
      await refresh();
      saved.hidden = true;
      notice(
        `Undone: ${count(undone.clips, "clip")} of ${undone.name} ${undone.person_removed ? "and the person " : ""}deleted.`,
        { kind: "good" },
      );
      draw();
    } catch (problem) {
      complain(problem);
    }
  }
}
