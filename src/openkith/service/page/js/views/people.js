/** People: who is enrolled, how well they can be told apart, and forgetting. */

import { call } from "../api.js";
import { savedClips } from "../clips.js";
import { matrix } from "../charts/matrix.js";
import { fill, freshId, h } from "../dom.js";
import { ago, count, day, moment, percent } from "../format.js";
import { icon } from "../icons.js";
import { complain, explain } from "../notices.js";
import { edit, forget } from "../person.js";
import { colourOf, may, onChange, state } from "../state.js";

export const title = "People";
export const lede = "Everyone who is known here, and how well they can be told apart.";

const SMALL = 9; // people whose matrix has room beside their cards

export async function show(root, { signal }) {
  const cards = h("div", { class: "cards" });
  const apart = h("section", { class: "card apart", "aria-labelledby": "apart-title" });
  fill(root, cards, apart);
  let separability = null;
  const draw = () => {
    root.classList.toggle("beside", state.speakers.length > 1 && state.speakers.length <= SMALL);
    fill(
      cards,
      state.speakers.map((speaker) => card(speaker, separability)),
      newcomer(),
    );
    apart.hidden = state.speakers.length < 2;
  };
  onChange(async () => {
    draw();
    await compare();
  }, signal);
  draw();
  await compare();

  async function compare() {
    if (state.speakers.length < 2) return;
    try {
      separability = await call("GET", "separability", { signal });
      draw();
      fill(apart, told(separability));
    } catch (error) {
      if (error.name === "AbortError") return;
      separability = null;
      fill(apart, h("h2", { id: "apart-title" }, "Told apart"), h("p", { class: "soft" }, explain(error)));
    }
  }
}

function newcomer() {
  const empty = state.speakers.length === 0;
  return h(
    "a",
    { class: "card new", href: "#/enrol" },
    icon("add"),
    h("span", {}, empty ? "Enrol the first person" : "Enrol somebody"),
  );
}

function card(speaker, separability) {
  const titleId = freshId("person");
  const heard = speaker.last_heard
    ? h("time", { datetime: speaker.last_heard, title: moment(speaker.last_heard) }, ago(speaker.last_heard))
    : "not yet";
  const facts = [
    ["Last heard", heard],
    ["Agreed", speaker.consent ? day(speaker.consent) : "not noted"],
    ["Told apart", toldApart(speaker, separability)],
  ];
  return h(
    "article",
    { class: "card person", "aria-labelledby": titleId, style: { "--colour": colourOf(speaker.id) } },
    h(
      "div",
      { class: "row" },
      h("span", { class: "face", "aria-hidden": "true" }, [...speaker.name.trim()][0]?.toUpperCase() ?? "?"),
      h(
        "div",
        {},
        h("h2", { id: titleId }, speaker.name),
        h("p", { class: "soft" }, `${count(speaker.clips, "clip")} · ${Math.round(speaker.seconds)} s`),
      ),
    ),
    speaker.note ? h("p", { class: "soft note" }, speaker.note) : null,
    h(
      "dl",
      { class: "facts-list" },
      facts.map(([noun, value]) => h("div", {}, h("dt", {}, noun), h("dd", {}, value))),
    ),
    clipsOf(speaker),
    may("enrol") ? actions(speaker) : null,
  );
}

function toldApart(speaker, separability) {
  const at = separability?.ids.indexOf(speaker.id) ?? -1;
  if (at < 0) return "–";
  const own = separability.matrix[at][at];
  const rival = separability.matrix[at]
    .map((share, i) => ({ share, name: separability.names[i] }))
    .filter((other, i) => i !== at && other.share > 0)
    .sort((a, b) => b.share - a.share)[0];
  if (own === null) return "–";
  const bar = h("i", { class: "mini", "aria-hidden": "true", style: { "--share": own } });
  return [
    bar,
    ` ${percent(own)}`,
    rival ? h("span", { class: "rival" }, `${percent(rival.share)} like ${rival.name}`) : null,
  ];
}

function clipsOf(speaker) {
  if (!speaker.clips) return null;
  const box = h("div", {}, h("p", { class: "soft" }, "…"));
  const details = h(
    "details",
    {},
    h("summary", {}, "Clips", h("span", { class: "hidden" }, ` of ${speaker.name}`)),
    box,
  );
  details.addEventListener("toggle", () => details.open && load());
  async function load() {
    try {
      const { clips } = await call("GET", `speakers/${speaker.id}/clips`);
      fill(box, savedClips(clips, speaker, load));
      if (document.activeElement === document.body) details.querySelector("summary").focus();
    } catch (error) {
      complain(error);
    }
  }
  return details;
}

function actions(speaker) {
  const of = h("span", { class: "hidden" }, ` ${speaker.name}`);
  return h(
    "div",
    { class: "row actions" },
    h(
      "a",
      { class: "button small", href: `#/enrol/${speaker.id}` },
      "Add clips",
      h("span", { class: "hidden" }, ` of ${speaker.name}`),
    ),
    h("button", { class: "small", "data-edit": speaker.id, onclick: () => edit(speaker) }, "Edit", of),
    h("button", { class: "small danger", onclick: () => forget(speaker) }, "Forget", of.cloneNode(true)),
  );
}

function told({ names, matrix: shares, findings }) {
  const pairs = names.flatMap((name, i) =>
    names.slice(i + 1).map((other, k) => ({ name, other, share: shares[i][i + 1 + k] })),
  );
  const worst = pairs.filter((pair) => pair.share > 0).sort((a, b) => b.share - a.share)[0];
  const summary = worst
    ? `Closest are ${worst.name} and ${worst.other}: ${percent(worst.share)} of their clips could pass for the other one's.`
    : "No clip of anybody could pass for somebody else's.";
  return [
    h(
      "div",
      { class: "words" },
      h("h2", { id: "apart-title" }, "Told apart"),
      h("p", {}, summary),
      h(
        "p",
        { class: "soft small-text" },
        "On the diagonal: of each person's clips that were held out, how many percent got the right name. Elsewhere: how many clips of two people could pass for the other one's.",
      ),
      findings.length
        ? h(
            "ul",
            { class: "advice" },
            findings.map((finding) => h("li", {}, finding.text)),
          )
        : null,
      h("details", {}, h("summary", {}, "As a table"), table(names, shares)),
    ),
    h("div", { class: "picture" }, matrix(names, shares, summary)),
  ];
}

function table(names, shares) {
  const cell = (share) => h("td", {}, share === null ? "–" : percent(share));
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Told apart, as a table" },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("td", {}),
          names.map((name) => h("th", { scope: "col" }, name)),
        ),
      ),
      h(
        "tbody",
        {},
        names.map((name, i) => h("tr", {}, h("th", { scope: "row" }, name), shares[i].map(cell))),
      ),
    ),
  );
}
