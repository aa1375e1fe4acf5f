/** A strip of time that fills with who speaks: names, colours, probabilities; more of it under the pointer. */

import { fill, h, s } from "../dom.js";
import { clock, probability } from "../format.js";
import { colourOfName } from "../state.js";
import { headline, shade } from "../utterances.js";

const PER_SECOND = 36; // units of width
const KEPT = 300; // seconds that stay on the strip
const HEIGHT = 142;
const LANE = { top: 12, height: 64 };
const WAVE = { middle: 100, half: 18 };
const TICK = 5; // seconds
const LETTER = 7; // width of a letter of a name
const ROOM = 36; // a block of that width has room for a probability
const LEVEL_STEP = 0.08; // seconds between two bars of the level

/** @returns {{element, begin, set, level, advance}} */
export function strip() {
  const ticks = s("g");
  const waves = s("g");
  const blocks = s("g");
  const cursor = s("line", { class: "cursor", y1: 4, y2: HEIGHT - 20 });
  const moved = s("g", {}, ticks, waves, blocks, cursor);
  const svg = s(
    "svg",
    {
      class: "strip",
      height: HEIGHT,
      role: "group",
      "aria-label": "Who spoke when; arrow keys go from one to the next",
    },
    moved,
  );
  const scroller = h(
    "div",
    { class: "scroller", tabindex: "0", role: "region", "aria-label": "Strip of time" },
    svg,
  );
  const tip = h("div", { class: "tip", hidden: true });
  const element = h("div", { class: "strip-box" }, scroller, tip);
  const drawn = new Map(); // utterance -> {group, event}
  let origin = 0;
  let ticked = 0;
  let bars = 0;
  let following = true; // the strip moves on by itself, unless somebody has moved it, or reads of a block
  let moving = false;

  scroller.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const groups = [...blocks.children];
    if (!step || !groups.length) return;
    const at = groups.indexOf(document.activeElement);
    const next =
      groups[
        at < 0 ? (step > 0 ? 0 : groups.length - 1) : Math.max(0, Math.min(groups.length - 1, at + step))
      ];
    next.focus();
    event.preventDefault();
  });
  scroller.addEventListener("scroll", () => {
    if (!moving) {
      following = atEnd();
      hide();
    }
    moving = false;
  });
  element.addEventListener("pointerleave", hide);
  element.addEventListener("keydown", (event) => event.key === "Escape" && hide());

  function begin() {
    for (const group of [ticks, waves, blocks]) group.replaceChildren();
    drawn.clear();
    [origin, ticked, bars, following] = [0, 0, 0, true];
    hide();
    advance(0);
  }

  function advance(now) {
    const shown = Math.max(scroller.clientWidth, (Math.min(now, KEPT) + 1) * PER_SECOND);
    origin = Math.max(0, now - KEPT);
    svg.setAttribute("width", shown);
    moved.setAttribute("transform", `translate(${-origin * PER_SECOND} 0)`);
    cursor.setAttribute("x1", now * PER_SECOND);
    cursor.setAttribute("x2", now * PER_SECOND);
    for (; ticked * PER_SECOND <= origin * PER_SECOND + shown; ticked += TICK) {
      const x = ticked * PER_SECOND;
      ticks.append(
        s("line", { class: "grid", x1: x, x2: x, y1: 0, y2: HEIGHT - 18 }),
        s("text", { x: x + 4, y: HEIGHT - 5 }, clock(ticked)),
      );
    }
    if (following && tip.hidden && !atEnd(1)) {
      moving = true;
      scroller.scrollLeft = scroller.scrollWidth;
    }
  }

  function atEnd(near = PER_SECOND) {
    return scroller.scrollLeft + scroller.clientWidth >= scroller.scrollWidth - near;
  }

  function level(time, value) {
    if (time < bars * LEVEL_STEP) return;
    bars = Math.floor(time / LEVEL_STEP) + 1;
    const half = Math.max(0.75, Math.min(1, value ** 0.6) * WAVE.half);
    waves.append(
      s("rect", {
        class: "wave",
        x: time * PER_SECOND,
        y: WAVE.middle - half,
        width: LEVEL_STEP * PER_SECOND * 0.6,
        height: 2 * half,
        rx: 1,
      }),
    );
    if (waves.childElementCount > KEPT / LEVEL_STEP) waves.firstChild.remove();
  }

  function set(event) {
    let known = drawn.get(event.utterance);
    if (!known) {
      const group = s("g", { tabindex: "-1", role: "img" });
      known = { group, event };
      group.addEventListener("pointerenter", () => tell(known));
      group.addEventListener("click", () => tell(known));
      group.addEventListener("focus", () => tell(known));
      group.addEventListener("blur", hide);
      drawn.set(event.utterance, known);
      blocks.append(group);
    }
    known.event = event;
    paint(known.group, event);
    for (const [number, { group, event: old }] of drawn) {
      if (old.end >= origin) break;
      group.remove();
      drawn.delete(number);
    }
  }

  function tell({ group, event }) {
    fill(tip, details(event));
    tip.hidden = false;
    const around = element.getBoundingClientRect();
    const block = group.getBoundingClientRect();
    const middle =
      (Math.max(block.left, around.left) + Math.min(block.right, around.right)) / 2 - around.left;
    tip.style.setProperty(
      "left",
      `${Math.max(8, Math.min(around.width - tip.offsetWidth - 8, middle - tip.offsetWidth / 2))}px`,
    );
    tip.style.setProperty("top", `${block.top - around.top + LANE.height + 6}px`);
  }

  function hide() {
    tip.hidden = true;
  }

  return { element, begin, set, level, advance };
}

function paint(group, event) {
  const x = event.start * PER_SECOND;
  const width = Math.max(6, (event.end - event.start) * PER_SECOND);
  const { decision } = event;
  const people = decision?.heard?.length ? decision.heard : [null];
  const height = LANE.height / people.length;
  group.setAttribute(
    "aria-label",
    `${clock(event.start)} to ${clock(event.end)}: ${headline(decision)}${decision ? `, ${probability(decision.probability)}. ${decision.reason}` : ""}`,
  );
  group.replaceChildren(
    ...people.map((person, i) => {
      const kind = shade(decision);
      const place = s("g", { transform: `translate(${x} ${LANE.top + i * height})` });
      const block = s("rect", {
        class: `block ${kind}${event.type === "final" ? "" : " open"}`,
        width,
        height: height - 2,
        rx: 7,
      });
      const name = person?.name ?? decision?.name;
      if (kind !== "stranger" && kind !== "silent" && name)
        block.style.setProperty("--colour", colourOfName(name));
      place.append(block);
      const text = person ? person.name : decision ? headline(decision) : "…";
      const p = person?.probability ?? decision?.probability;
      place.append(
        s(
          "text",
          { class: `name ${kind}`, x: 7, y: people.length > 1 ? height / 2 + 4 : 27 },
          fitting(text, width),
        ),
      );
      if (people.length === 1 && decision && width > ROOM)
        place.append(s("text", { class: `chance ${kind}`, x: 7, y: 46 }, probability(p)));
      return place;
    }),
  );
}

/** As much of a name as a block has room for. */
function fitting(text, width) {
  const letters = Math.floor((width - 12) / LETTER);
  const glyphs = [...text];
  if (glyphs.length <= letters) return text;
  return letters > 1 ? `${glyphs.slice(0, letters - 1).join("")}…` : "";
}

function details({ decision, start, end }) {
  const span = h("span", { class: "soft" }, `${clock(start)}–${clock(end)}`);
  if (!decision) return [h("p", {}, h("b", {}, "Listening"), " ", span)];
  const best = Object.entries(decision.probabilities)
    .sort((a, b) => b[1] - a[1])
    .slice(0, 3);
  return [
    h("p", {}, h("b", {}, headline(decision)), " ", span),
    h(
      "dl",
      { class: "chances" },
      best.map(([name, p]) => [
        h("dt", {}, name === "unknown" ? "nobody enrolled" : name),
        h(
          "dd",
          {},
          h("i", {
            class: "mini",
            style: { "--share": p, "--colour": name === "unknown" ? "var(--stranger)" : colourOfName(name) },
          }),
          h("span", {}, probability(p)),
        ),
      ]),
    ),
    h("p", { class: "soft" }, decision.reason),
    (decision.warnings ?? []).map((warning) => h("p", { class: "warned" }, warning)),
  ];
}
