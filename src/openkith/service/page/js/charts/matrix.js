/** Who could pass for whom: a square for each pair, darker where they are harder to tell apart. */

import { s } from "../dom.js";
import { percent } from "../format.js";

const WIDEST = 318;
const LARGEST = 46;
const SMALLEST = 12;
const NUMBERS_FROM = 34; // a cell of that width has room for its number
const LETTERS = 12;
const LETTER = 6.3; // width of one

/**
 * @param {string[]} names
 * @param {number[][]} shares Off the diagonal: clips of the two that could pass for the other one's; on it: clips of the
 *     person that get the right name. Null where nothing was held out.
 */
export function matrix(names, shares, label) {
  const n = names.length;
  const left = 14 + LETTER * Math.max(...names.map((name) => short(name).length));
  const cell = Math.max(SMALLEST, Math.min(LARGEST, (WIDEST - left) / n));
  const top = 20;
  const svg = s("svg", {
    class: "chart matrix",
    viewBox: `0 0 ${left + n * cell + 2} ${top + n * cell + 2}`,
    role: "img",
    "aria-label": label,
  });
  svg.style.setProperty("max-width", `${left + n * cell + 2}px`);
  names.forEach((name, i) => {
    const middle = top + (i + 0.5) * cell + 4;
    svg.append(s("text", { x: left - 8, y: middle, "text-anchor": "end" }, short(name)));
    if (cell >= NUMBERS_FROM)
      svg.append(
        s(
          "text",
          { x: left + (i + 0.5) * cell, y: top - 7, "text-anchor": "middle" },
          short(name, Math.floor(cell / 7)),
        ),
      );
    names.forEach((other, j) => {
      const share = shares[i][j];
      const square = s("rect", {
        class: i === j ? "own" : "pair",
        x: left + j * cell + 1,
        y: top + i * cell + 1,
        width: cell - 2,
        height: cell - 2,
        rx: 4,
      });
      square.style.setProperty("--share", share ?? 0);
      const told =
        share === null
          ? "nothing held out"
          : i === j
            ? `${percent(share)} recognised`
            : `${percent(share)} could pass for the other`;
      square.append(s("title", {}, i === j ? `${name}: ${told}` : `${name} and ${other}: ${told}`));
      svg.append(square);
      if (cell >= NUMBERS_FROM && share !== null && (i === j || share > 0)) {
        const strong = i === j || share > 0.45 ? "number strong" : "number";
        svg.append(
          s(
            "text",
            { class: strong, x: left + (j + 0.5) * cell, y: middle, "text-anchor": "middle" },
            String(Math.round(100 * share)),
          ),
        );
      }
    });
  });
  return svg;
}

function short(name, letters = LETTERS) {
  const glyphs = [...name];
  return glyphs.length > letters ? `${glyphs.slice(0, Math.max(1, letters - 1)).join("")}…` : name;
}
