/** A clip in a list: how much speech, how clean, how alike to the person's others. */

import { call } from "./api.js";
import { h, hidden } from "./dom.js";
import { day, percent, seconds } from "./format.js";
import { icon } from "./icons.js";
import { complain, notice } from "./notices.js";
import { playButton } from "./player.js";
import { refresh } from "./state.js";

/** A recording that is not enrolled yet: {blob, label, quality, error, measuring}. */
export function takeRow(take, number, remove) {
  const name = `clip ${number}`;
  const bin = h(
    "button",
    { type: "button", class: "quiet icon-only", "aria-label": `Leave out ${name}`, onclick: remove },
    icon("bin"),
  );
  return h(
    "li",
    { class: take.error ? "clip bad" : "clip" },
    playButton(name, () => take.blob.arrayBuffer()),
    h(
      "div",
      { class: "what" },
      h("b", {}, take.label),
      take.error
        ? h("p", { class: "field-error" }, take.error)
        : take.quality
          ? [facts(take.quality), advice(take.quality.advice)]
          : h("p", { class: "soft" }, "measuring…"),
    ),
    bin,
  );
}

/** The clips of a person that are enrolled, each with a button that deletes it. */
export function savedClips(clips, person, changed) {
  return h(
    "ul",
    { class: "clips" },
    clips.map((clip) => savedRow(clip, person, clips.length > 1, changed)),
  );
}

function savedRow(clip, person, several, changed) {
  async function drop() {
    try {
      await call("DELETE", `speakers/${person.id}/clips/${clip.id}`);
      await refresh();
      notice(`Clip ${clip.id} of ${person.name} is deleted.`, { kind: "good" });
      await changed();
    } catch (error) {
      complain(error);
    }
  }
  return h(
    "li",
    { class: "clip" },
    h(
      "div",
      { class: "what" },
      h("b", {}, `Clip ${clip.id}`),
      h("span", { class: "state" }, day(clip.created)),
      facts(clip),
      cohesion(clip.cohesion),
      advice(clip.advice),
    ),
    several
      ? h(
          "button",
          {
            type: "button",
            class: "quiet icon-only",
            "aria-label": `Delete clip ${clip.id} of ${person.name}`,
            onclick: drop,
          },
          icon("bin"),
        )
      : null,
  );
}

function facts(quality) {
  const { speech_seconds: speech, snr_db: snr, bandwidth_hz: bandwidth, clipped } = quality;
  const shown = [
    ["speech", speech, seconds],
    ["above the noise", snr, (value) => `${Math.round(value)} dB`],
    ["bandwidth", bandwidth, (value) => `${(value / 1000).toFixed(1)} kHz`],
    ["clipped", clipped > 0.001 ? clipped : null, percent],
  ].filter(([, value]) => value !== null && value !== undefined); // older clips were not measured
  return h(
    "p",
    { class: "facts" },
    shown.map(([noun, value, written]) => h("span", {}, h("b", {}, written(value)), ` ${noun}`)),
  );
}

function cohesion(value) {
  if (value === null || value === undefined) return null;
  const bar = h("i", { class: "mini", "aria-hidden": "true", style: { "--share": Math.max(0, value) } });
  return h(
    "p",
    { class: "cohesion", title: "Mean cosine with the person's other clips: 1 is the same" },
    bar,
    h("b", {}, value.toFixed(2)),
    " like the others",
    hidden(" (1 is the same)"),
  );
}

function advice(lines) {
  return lines.length
    ? h(
        "ul",
        { class: "advice" },
        lines.map((line) => h("li", {}, line)),
      )
    : null;
}
