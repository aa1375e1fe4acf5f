/** Scales, ticks and the frame of a chart; every chart is an SVG with a sentence for those who do not see it. */

import { s } from "../dom.js";

/** A linear scale of [low, high] to [from, to]. */
export function linear(low, high, from, to) {
  return (value) => from + ((value - low) / (high - low)) * (to - from);
}

/** Round numbers between two, about so many. */
export function ticks(low, high, about) {
  const raw = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= raw);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + 1e-9; value += step)
    found.push(Number(value.toPrecision(6)));
  return found;
}

/**
 * The quantile function of the normal distribution, which DET axes are drawn on.
 *
 * P. J. Acklam's rational approximation (2003), relative error below 1.2e-9.
 */
export function probit(p) {
  const a = [
    -39.69683028665376, 220.9460984245205, -275.9285104469687, 138.357751867269, -30.66479806614716,
    2.506628277459239,
  ];
  const b = [
    -54.47609879822406, 161.5858368580409, -155.6989798598866, 66.80131188771972, -13.28068155288572,
  ];
  const c = [
    -0.007784894002430293, -0.3223964580411365, -2.400758277161838, -2.549732539343734, 4.374664141464968,
    2.938163982698783,
  ];
  const d = [0.007784695709041462, 0.3224671290700398, 2.445134137142996, 3.754408661907416];
  const along = (q, k) => k.reduce((sum, factor) => sum * q + factor, 0);
  if (p < 0.02425) {
    const q = Math.sqrt(-2 * Math.log(p));
    return along(q, c) / (along(q, d) * q + 1);
  }
  if (p > 1 - 0.02425) return -probit(1 - p);
  const q = p - 0.5;
  return (along(q * q, a) * q) / (along(q * q, b) * q * q + 1);
}

/**
 * An empty chart.
 *
 * @param {string} label What it shows, in a sentence.
 * @param {Object} options width, height in units of the view box; box: where the axes lie; x, y: {label, scale,
 *     ticks: [[value, text]]}.
 */
export function frame(label, { width, height, x, y, box }) {
  const svg = s("svg", {
    class: "chart",
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": label,
  });
  for (const [value, text] of x.ticks) {
    const at = x.scale(value);
    svg.append(
      s("line", { class: "grid", x1: at, x2: at, y1: box.top, y2: box.bottom }),
      s("text", { x: at, y: box.bottom + 16, "text-anchor": "middle" }, text),
    );
  }
  for (const [value, text] of y.ticks) {
    const at = y.scale(value);
    svg.append(
      s("line", { class: "grid", x1: box.left, x2: box.right, y1: at, y2: at }),
      s("text", { x: box.left - 7, y: at + 4, "text-anchor": "end" }, text),
    );
  }
  svg.append(
    s("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
    s(
      "text",
      { class: "axis-label", x: (box.left + box.right) / 2, y: height - 3, "text-anchor": "middle" },
      x.label,
    ),
    s(
      "text",
      {
        class: "axis-label",
        transform: `translate(11 ${(box.top + box.bottom) / 2}) rotate(-90)`,
        "text-anchor": "middle",
      },
      y.label,
    ),
  );
  return svg;
}
