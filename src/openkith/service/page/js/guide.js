/** What to record: three clips of five seconds, one of them from across the room. */

import { fill, h } from "./dom.js";
import { icon } from "./icons.js";

/** Seconds of speech in a clip. */
export const ENOUGH = 5;
export const LAST_STEP = "Across the room";

const STEPS = [
  ["Close by", "As you normally speak, an arm's length away."],
  ["Something else", "Other words, your everyday voice."],
  [LAST_STEP, "Say it once from across the room."],
];
const MORE = "More than three is welcome: another day, another microphone, another mood.";

/** What the next clip is called, after so many; undefined where there are enough. */
export function nextStep(clips) {
  return STEPS[clips]?.[0];
}

/**
 * The list of steps.
 *
 * @returns {{element, show: (before: number, seconds: number[]) => void}} show takes how many clips are enrolled already,
 *     and the seconds of speech of each new one.
 */
export function guide() {
  const steps = h("ol", { class: "steps" });
  const next = h("p", { class: "soft next" });
  const head = h("h2", {}, "What to record");
  return {
    element: h("section", { class: "card guide", "aria-label": "What to record next" }, head, steps, next),
    show(before, seconds) {
      const clips = before + seconds.length;
      fill(
        steps,
        STEPS.map((step, i) => row(step, i, i < before ? ENOUGH : seconds[i - before], i === clips)),
      );
      next.textContent = clips >= STEPS.length ? MORE : "";
    },
  };
}

/** A step; seconds is undefined where nothing was recorded for it. */
function row([head, text], i, seconds, current) {
  const done = seconds >= ENOUGH;
  const [kind, said] = done
    ? ["done", "done"]
    : seconds !== undefined
      ? ["short", `${seconds.toFixed(1)} of ${ENOUGH} s of speech`]
      : current
        ? ["current", "next"]
        : [null, ""];
  return h(
    "li",
    { class: kind, "aria-current": current ? "step" : null },
    h("span", { class: "dot", "aria-hidden": "true" }, done ? icon("tick") : String(i + 1)),
    h("div", {}, h("b", {}, head), said ? h("span", { class: "state" }, said) : null, h("p", {}, text)),
  );
}
