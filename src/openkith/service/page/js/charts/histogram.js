/** Scores of clips of enrolled people and of strangers, and the threshold between them. */

import { s } from "../dom.js";
import { frame, linear, ticks } from "./axes.js";

const SHAPE = 0.86; // height over width
const TALLEST = 400;
const MARGIN = { left: 50, right: 10, top: 10, bottom: 42 };

/**
 * @param {Object} curves edges (n + 1), people (n) and strangers (n): shares of the clips in each bin.
 * @param {number} highest Share at the top, so that two histograms can be compared.
 * @param {number} width
 * @returns {{element, threshold: (value: number) => void}}
 */
export function histogram(curves, highest, label, width) {
  const height = Math.min(TALLEST, SHAPE * width);
  const box = {
    left: MARGIN.left,
    right: width - MARGIN.right,
    top: MARGIN.top,
    bottom: height - MARGIN.bottom,
  };
  const { edges, people, strangers } = curves;
  const x = linear(edges[0], edges.at(-1), box.left, box.right);
  const y = linear(0, highest, box.bottom, box.top);
  const svg = frame(label, {
    width,
    height,
    box,
    x: {
      label: "score (log likelihood ratio)",
      scale: x,
      ticks: ticks(edges[0], edges.at(-1), 7).map((value) => [value, String(value)]),
    },
    y: {
      label: "share of clips",
      scale: y,
      ticks: ticks(0, highest, 4).map((value) => [value, `${Math.round(100 * value)}%`]),
    },
  });
  const outline = (shares) => shares.map((share, i) => `V${y(share)}H${x(edges[i + 1])}`).join("");
  const start = `M${x(edges[0])} ${box.bottom}`;
  for (const [kind, shares] of [
    ["strangers", strangers],
    ["people", people],
  ]) {
    svg.append(s("path", { class: `area ${kind}`, d: `${start}${outline(shares)}V${box.bottom}Z` }));
  }
  const line = s("line", { class: "threshold", y1: box.top - 4, y2: box.bottom });
  svg.append(line);
  return {
    element: svg,
    threshold(value) {
      const at = Math.max(box.left, Math.min(box.right, x(value)));
      line.setAttribute("x1", at);
      line.setAttribute("x2", at);
    },
  };
}
