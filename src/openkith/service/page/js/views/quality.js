/** Quality: scores, the DET curve and what a threshold costs, before and after tuning. */

import { call } from "../api.js";
import { detCurve } from "../charts/det.js";
import { histogram } from "../charts/histogram.js";
import { fill, freshId, h } from "../dom.js";
import { rate } from "../format.js";
import { icon } from "../icons.js";
import { complain, explain } from "../notices.js";
import { may, onChange, state } from "../state.js";
import { calibrate, tune } from "../tuning.js";

export const title = "Quality";
export const lede = "What the answers are worth: scores of clips that were held out, and of strangers.";

const NEGLIGIBLE = 0.0005; // a rate that is shown as none, where it ends a range
const WIDEST = 520; // of a chart
const FRAME = 42; // of the card around it

export async function show(root, { signal }) {
  let running = 0;
  async function load() {
    const mine = (running += 1);
    try {
      const quality = await call("GET", "quality", { signal });
      if (mine === running) draw(root, quality);
    } catch (error) {
      if (error.name !== "AbortError" && mine === running) fill(root, empty(error));
    }
  }
  onChange(() => load().catch(complain), signal);
  await load();
}

function empty(error) {
  return h(
    "div",
    { class: "empty" },
    icon("warning"),
    h("h2", {}, "No numbers yet"),
    h("p", {}, explain(error)),
    may("enrol") && state.speakers.length
      ? h("button", { class: "primary", onclick: tune }, "Tune now")
      : null,
  );
}

function draw(root, { before, after, far }) {
  const both = [
    ["before", before],
    ["after", after],
  ].filter(([, curves]) => curves);
  const boards = both.map(([kind, curves]) => board(kind, curves, Boolean(before)));
  const detBoard = h(
    "figure",
    { class: "card det" },
    h("figcaption", {}, h("h2", {}, "Errors against each other"), legend(both)),
  );
  const control = h("div", { class: "card" }); // its place, until the charts are there to be moved by it
  root.classList.toggle("both", both.length > 1);
  fill(root, control, boards, detBoard, numbers(both));
  const width = Math.min(WIDEST, detBoard.clientWidth - FRAME);
  const highest = Math.max(...both.flatMap(([, curves]) => [...curves.people, ...curves.strangers])) * 1.08;
  const charts = both.map(([kind, curves], i) => {
    const chart = histogram(curves, highest, described(kind, curves), width);
    boards[i].append(chart.element);
    return chart;
  });
  const det = detCurve(
    both.map(([kind, curves]) => ({ kind, det: curves.det })),
    `Misses against false accepts: ${both.map(([kind, curves]) => `${kind} tuning ${atFar(curves, far)}`).join("; ")}`,
    width,
  );
  detBoard.append(det.element);
  control.replaceWith(
    slider(both, far, (index) => {
      both.forEach(([, curves], i) => charts[i].threshold(curves.thresholds[index].threshold));
      det.mark(both.map(([kind, curves]) => ({ kind, ...curves.thresholds[index] })));
    }),
  );
}

function board(kind, curves, compared) {
  const head = compared ? `Scores ${kind} tuning` : "Scores";
  return h(
    "figure",
    { class: "card scores" },
    h(
      "figcaption",
      {},
      h("h2", {}, head),
      h("span", { class: "soft small-text" }, curves.method),
      h(
        "ul",
        { class: "key" },
        h("li", { class: "people" }, "enrolled people"),
        h("li", { class: "strangers" }, "strangers"),
      ),
    ),
  );
}

function slider(both, far, moved) {
  const [id, outId] = ["far", "far-out"].map(freshId);
  const rates = both[0][1].thresholds.map((row) => row.far);
  const nearest = (wanted) =>
    rates.reduce(
      (best, value, i) =>
        Math.abs(Math.log(value / wanted)) < Math.abs(Math.log(rates[best] / wanted)) ? i : best,
      0,
    );
  const input = h("input", {
    id,
    type: "range",
    min: 0,
    max: rates.length - 1,
    step: 1,
    value: nearest(far),
    oninput: change,
    "aria-describedby": outId,
  });
  const value = h("output", { for: id, class: "figure" });
  const words = h("p", { class: "soft" });
  const misses = both.map(([kind]) => ({
    kind,
    figure: h("b", { class: "figure" }),
    range: h("span", { class: "soft" }),
  }));
  const apply = h("button", { class: "primary", onclick: () => calibrate(rates[input.value]) });
  function change() {
    const index = Number(input.value);
    const chosen = rates[index];
    value.textContent = rate(chosen);
    words.textContent = `One stranger's clip in ${Math.round(1 / chosen).toLocaleString("en-GB")} gets a name.`;
    input.setAttribute(
      "aria-valuetext",
      `${rate(chosen)} false accepts; ${both.map(([kind, curves]) => `${rate(curves.thresholds[index].miss)} misses ${kind} tuning`).join(", ")}`,
    );
    misses.forEach(({ figure, range }, i) => {
      const row = both[i][1].thresholds[index];
      figure.textContent = rate(row.miss);
      range.textContent = `${roughly(row.miss_low)} to ${roughly(row.miss_high)}`;
    });
    const same = index === nearest(far);
    apply.disabled = same;
    apply.textContent = same ? "In use" : `Use ${rate(chosen)}`;
    moved(index);
  }
  change();
  const cost = misses.map(({ kind, figure, range }) =>
    h(
      "div",
      { class: kind },
      h("span", { class: "soft" }, both.length > 1 ? `Misses ${kind} tuning` : "Misses"),
      figure,
      range,
    ),
  );
  return h(
    "section",
    { class: "card threshold", "aria-label": "Threshold" },
    h(
      "div",
      {},
      h("label", { for: id }, "False accepts allowed"),
      h("div", { class: "allowed" }, value, words),
      h(
        "div",
        { class: "ends" },
        h("span", { "aria-hidden": "true" }, "stricter"),
        input,
        h("span", { "aria-hidden": "true" }, "more forgiving"),
      ),
      may("enrol") ? h("div", { class: "row" }, apply, h("button", { onclick: tune }, "Tune again")) : null,
    ),
    h(
      "div",
      { class: "cost" },
      h("div", { id: outId, class: "misses" }, cost),
      h(
        "p",
        { class: "soft small-text" },
        "Misses: clips of enrolled people that get no name, with a range that holds the true rate nine times in ten.",
      ),
    ),
  );
}

function legend(both) {
  return h(
    "ul",
    { class: "key" },
    both.map(([kind, curves]) =>
      h("li", { class: kind }, both.length > 1 ? `${kind} tuning (${curves.method})` : curves.method),
    ),
  );
}

function roughly(share) {
  return share < NEGLIGIBLE ? "0%" : rate(share);
}

function atFar(curves, far) {
  const row = curves.thresholds.reduce((best, other) =>
    Math.abs(other.far - far) < Math.abs(best.far - far) ? other : best,
  );
  return `${rate(row.miss)} misses at ${rate(row.far)} false accepts`;
}

function described(kind, { edges, people, strangers }) {
  const middle = (shares) => {
    let sum = 0;
    const half = shares.reduce((a, b) => a + b, 0) / 2;
    return edges[shares.findIndex((share) => (sum += share) >= half)].toFixed(1);
  };
  return `Histogram of scores ${kind} tuning: clips of enrolled people lie around ${middle(people)}, strangers around ${middle(strangers)}`;
}

function numbers(both) {
  const rows = both[0][1].thresholds.map((row, i) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, rate(row.far)),
      both.map(([, curves]) => h("td", {}, rate(curves.thresholds[i].miss))),
    ),
  );
  return h(
    "details",
    { class: "numbers" },
    h("summary", {}, "The numbers as a table"),
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", { scope: "col" }, "False accepts"),
          both.map(([kind]) =>
            h("th", { scope: "col" }, both.length > 1 ? `Misses ${kind} tuning` : "Misses"),
          ),
        ),
      ),
      h("tbody", {}, rows),
    ),
  );
}
