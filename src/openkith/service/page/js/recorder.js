/** The recorder of the view Enrol: one button, a level meter, a timer, and seconds of usable speech as they grow. */

import { call } from "./api.js";
import { fill, h } from "./dom.js";
import { clock } from "./format.js";
import { icon } from "./icons.js";
import { openMicrophone, wav } from "./microphone.js";
import { announce, complain } from "./notices.js";

const LONGEST = 60; // seconds of one recording
const EVERY = 1000; // milliseconds between two measurements of the recording so far
const FLOOR = -54; // dB at the left end of the meter
const TEXTS = [
  "The kettle is on, the windows are open, and somebody has left the garden gate unlatched again.",
  "On Thursday I took the early train north, read half a novel, and watched the fields turn white.",
  "Could you put another chair at the table and tell the others that supper is nearly ready?",
  "My neighbour grows tomatoes, keeps two lazy cats, and whistles while she mends old bicycles.",
  "It rained all morning, so we stayed inside, played cards, and argued about the rules of chess.",
  "Turn the lamp down a little, please, and wake me at seven if the postman brings a parcel.",
];

/**
 * @param {Object} options enough: seconds of speech to aim at; signal: ends a recording when the view is left;
 *     taken: called with a WAV file after each recording.
 * @returns {{element, prompt: (head: string, step: number) => void, focus: () => void}}
 */
export function recorder({ enough, signal, taken }) {
  const head = h("p", { class: "soft" });
  const text = h("p", { class: "sentence" });
  const timer = h("span", { class: "timer", role: "timer", "aria-label": "Length of the recording" }, "0:00");
  const meterFill = h("i");
  const meter = h(
    "div",
    {
      class: "meter",
      role: "meter",
      "aria-label": "Level of the microphone",
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      "aria-valuenow": 0,
    },
    meterFill,
  );
  const speechFill = h("i");
  const speech = h(
    "div",
    {
      class: "progress",
      role: "progressbar",
      "aria-label": "Usable speech",
      "aria-valuemin": 0,
      "aria-valuemax": enough,
      "aria-valuenow": 0,
    },
    speechFill,
  );
  const usable = h("span", { class: "usable" });
  const label = h("span", {}, "Record");
  const button = h(
    "button",
    { type: "button", class: "record", onclick: toggle },
    h("i", { class: "dot", "aria-hidden": "true" }),
    label,
  );
  const advice = h("p", { class: "soft small-text" });
  const element = h(
    "div",
    { class: "recorder" },
    head,
    text,
    h("div", { class: "row" }, button, timer, meter),
    h("div", { class: "row" }, speech, usable),
    advice,
  );

  let microphone = null;
  let pieces = [];
  let seconds = 0;
  let quality = null;
  let measuring = null; // AbortController
  let ticking = null;
  let told = false;
  idle();
  signal.addEventListener("abort", () => stop(false));

  function toggle() {
    if (microphone) stop(true);
    else start();
  }

  async function start() {
    button.disabled = true;
    try {
      pieces = [];
      seconds = 0;
      quality = null;
      told = false;
      microphone = await openMicrophone(take);
      if (signal.aborted) {
        stop(false);
        return;
      }
      element.classList.add("on");
      label.textContent = "Stop";
      show();
      announce("Recording.");
      ticking = setInterval(measure, EVERY);
    } catch (error) {
      microphone = null;
      complain(error);
    }
    button.disabled = false;
  }

  function take(piece, level, length) {
    pieces.push(piece);
    seconds += length;
    const share = Math.max(0, Math.min(1, 1 - (20 * Math.log10(level + 1e-6)) / FLOOR));
    meterFill.style.setProperty("--share", share);
    meter.classList.toggle("clipping", level > 0.99);
    meter.setAttribute("aria-valuenow", Math.round(100 * share));
    timer.textContent = clock(seconds);
    if (seconds >= LONGEST && microphone) stop(true);
  }

  async function measure() {
    if (measuring || !pieces.length) return;
    measuring = new AbortController();
    try {
      quality = await call("POST", "measure", {
        body: wav(pieces, microphone.sampleRate),
        type: "audio/wav",
        signal: measuring.signal,
        patient: false,
      });
      show();
    } catch {
      // too short yet, or the daemon is busy: the next second brings another
    }
    measuring = null;
  }

  async function stop(keep) {
    if (!microphone) return;
    const closing = microphone;
    const blob = wav(pieces, closing.sampleRate);
    microphone = null;
    clearInterval(ticking);
    measuring?.abort();
    element.classList.remove("on");
    label.textContent = "Record";
    meterFill.style.setProperty("--share", 0);
    await closing.close();
    idle();
    if (keep && pieces.length) taken(blob);
  }

  function show() {
    const got = quality?.speech_seconds ?? 0;
    speechFill.style.setProperty("--share", Math.min(1, got / enough));
    speech.setAttribute("aria-valuenow", Math.min(enough, got).toFixed(1));
    speech.setAttribute("aria-valuetext", `${got.toFixed(1)} of ${enough} seconds`);
    speech.classList.toggle("full", got >= enough);
    fill(
      usable,
      h("b", {}, `${got.toFixed(1)} s`),
      got >= enough ? " usable: enough" : ` of ${enough} s usable`,
    );
    advice.textContent =
      quality && seconds > 3 ? quality.advice.filter((line) => !line.startsWith("short")).join(" ") : "";
    if (got >= enough && !told) {
      told = true;
      announce("That is enough speech. Stop when you like.");
    }
  }

  function idle() {
    timer.textContent = clock(0);
    quality = null;
    show();
  }

  return {
    element,
    prompt(line, step) {
      head.textContent = line;
      fill(text, icon("microphone"), TEXTS[step % TEXTS.length]);
    },
    focus: () => button.focus(),
  };
}
