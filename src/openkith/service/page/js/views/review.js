/** Review: voices that got no name, grouped; a name for them, or none. */

import { call } from "../api.js";
import { fill, freshId, h } from "../dom.js";
import { count, moment, probability, seconds } from "../format.js";
import { icon } from "../icons.js";
import { naming } from "../naming.js";
import { complain, notice } from "../notices.js";
import { playButton } from "../player.js";
import { colourOf, may, onChange } from "../state.js";

export const title = "Review";
export const lede = "Voices that got no name. Say who they are, and the profiles get better by themselves.";

export async function show(root, { signal }) {
  const settings = h("section", { class: "card keeping", "aria-label": "What is kept" });
  const groups = h("div", { class: "groups" });
  fill(root, settings, groups);
  onChange(() => load().catch(complain), signal);
  await load();

  async function load() {
    const review = await call("GET", "review", { signal });
    fill(settings, keeping(review, load));
    if (review.groups.length)
      fill(
        groups,
        review.groups.map((group, i) => voice(group, i + 1, load)),
      );
    else fill(groups, nothing(review));
  }
}

function nothing({ keep }) {
  return h(
    "div",
    { class: "empty" },
    icon("tick"),
    h("h2", {}, keep ? "Nothing to review" : "Nothing is kept"),
    h(
      "p",
      {},
      keep
        ? "Clips that are unknown or unsure will wait here."
        : "Turn on keeping above, and clips that are unknown or unsure will wait here to be named.",
    ),
  );
}

function keeping({ keep, days }, load) {
  const [switchId, daysId] = ["keep", "days"].map(freshId);
  const allowed = may("admin");
  const toggle = h("input", {
    id: switchId,
    type: "checkbox",
    role: "switch",
    checked: keep,
    disabled: !allowed,
    onchange: save,
  });
  const field = h("input", {
    id: daysId,
    type: "number",
    min: 1,
    max: 365,
    value: days,
    disabled: !allowed,
    onchange: save,
  });
  async function save() {
    if (!field.reportValidity()) return;
    try {
      await call("PUT", "review/settings", { json: { keep: toggle.checked, days: Number(field.value) } });
      notice(
        toggle.checked
          ? "Recordings of unknown and unsure voices are kept from now on."
          : "Recordings are no longer kept.",
        { kind: "good" },
      );
    } catch (error) {
      complain(error);
    }
    await load().catch(complain);
  }
  return [
    h(
      "div",
      { class: "tick" },
      toggle,
      h(
        "label",
        { for: switchId },
        h("b", {}, "Keep recordings of voices without a name"),
        h("span", { class: "soft" }, "Until they are named, dismissed or too old."),
      ),
    ),
    h("div", { class: "days" }, h("label", { for: daysId }, "Erase after"), field, h("span", {}, "days")),
  ];
}

function voice(group, number, load) {
  const headId = freshId("voice");
  const boxes = new Map(
    group.clips.map((clip) => [
      clip.id,
      h("input", {
        type: "checkbox",
        checked: true,
        "aria-label": `Include the clip of ${moment(clip.time)}`,
      }),
    ]),
  );
  const chosen = () => [...boxes].filter(([, box]) => box.checked).map(([id]) => id);
  const { likely } = group;
  const parts = may("enrol") ? naming(group, number, chosen, load) : null;
  return h(
    "article",
    { class: "card voice", "aria-labelledby": headId },
    h(
      "header",
      { class: "row" },
      h(
        "span",
        {
          class: "face",
          "aria-hidden": "true",
          style: { "--colour": likely ? colourOf(likely.id) : "var(--stranger)" },
        },
        "?",
      ),
      h(
        "div",
        {},
        h("h2", { id: headId }, `Voice ${number}`),
        h("p", { class: "soft" }, `${count(group.clips.length, "clip")} · ${seconds(group.seconds)}`),
        h("p", { class: "soft" }, resembles(likely)),
      ),
      may("enrol")
        ? h(
            "button",
            { type: "button", class: "quiet small", onclick: () => parts.dismiss() },
            "Dismiss",
            h("span", { class: "hidden" }, ` voice ${number}`),
          )
        : null,
    ),
    h(
      "ul",
      { class: "clips" },
      group.clips.map((clip) => clipRow(clip, boxes.get(clip.id))),
    ),
    parts?.element,
  );
}

function resembles(likely) {
  if (!likely) return "like nobody enrolled";
  return `perhaps ${likely.name}${likely.probability === null ? "" : ` (${probability(likely.probability)})`}`;
}

function clipRow(clip, box) {
  const said = clip.status === "unsure" && clip.guess ? `unsure, perhaps ${clip.guess.name}` : clip.status;
  return h(
    "li",
    { class: "clip" },
    box,
    playButton(`the clip of ${moment(clip.time)}`, () =>
      call("GET", `review/clips/${clip.id}/audio`, { raw: true }),
    ),
    h(
      "div",
      { class: "what" },
      h("span", {}, moment(clip.time)),
      h("span", { class: "state" }, seconds(clip.seconds)),
      h("p", { class: "soft" }, said, ` · ${probability(clip.probability)}`),
    ),
  );
}
