/** The DET curve: misses against false accepts on normal-deviate axes (Martin et al., Eurospeech 1997). */

import { s } from "../dom.js";
import { frame, linear, probit } from "./axes.js";

const SHAPE = 0.86; // height over width
const TALLEST = 400;
const MARGIN = { left: 56, right: 10, top: 10, bottom: 44 };
const LOW = 0.0005; // rates beyond these are drawn at the edge
const HIGH = 0.6;
const MARKS = [0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4];

/**
 * @param {Array} lines Of {kind: "before" or "after", det: [{far, frr}]}.
 * @param {number} width
 * @returns {{element, mark: (points: Array) => void}} mark moves the dots: {kind, far, miss}.
 */
export function detCurve(lines, label, width) {
  const height = Math.min(TALLEST, SHAPE * width);
  const box = {
    left: MARGIN.left,
    right: width - MARGIN.right,
    top: MARGIN.top,
    bottom: height - MARGIN.bottom,
  };
  const inside = (rate) => Math.max(LOW, Math.min(HIGH, rate));
  const x = linear(probit(LOW), probit(HIGH), box.left, box.right);
  const y = linear(probit(LOW), probit(HIGH), box.bottom, box.top);
  const place = (far, miss) => [x(probit(inside(far))).toFixed(1), y(probit(inside(miss))).toFixed(1)];
  const marks = MARKS.map((rate) => [probit(rate), `${Number((100 * rate).toPrecision(2))}%`]);
  const svg = frame(label, {
    width,
    height,
    box,
    x: { label: "false accepts", scale: x, ticks: marks },
    y: { label: "misses", scale: y, ticks: marks },
  });
  svg.append(s("line", { class: "diagonal", x1: box.left, y1: box.bottom, x2: box.right, y2: box.top }));
  const dots = new Map();
  for (const { kind, det } of lines) {
    const points = det
      .toSorted((a, b) => a.far - b.far || b.frr - a.frr)
      .map(({ far, frr }) => place(far, frr).join(" "));
    svg.append(s("path", { class: `curve ${kind}`, d: `M${points.join("L")}` }));
  }
  for (const { kind } of lines) {
    const dot = s("circle", { class: `dot ${kind}`, r: 5.5 });
    dots.set(kind, dot);
    svg.append(dot);
  }
  return {
    element: svg,
    mark(points) {
      for (const { kind, far, miss } of points) {
        const [cx, cy] = place(far, miss);
        dots.get(kind)?.setAttribute("cx", cx);
        dots.get(kind)?.setAttribute("cy", cy);
      }
    },
  };
}
