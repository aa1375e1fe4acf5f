/** Plays one clip at a time, from bytes: no address of audio leaves the page, and a key can be sent. */

import { complain } from "./notices.js";
import { h, fill } from "./dom.js";
import { icon } from "./icons.js";

let context = null;
let playing = null; // {source, stopped}

/** Stops what plays. */
export function stopPlaying() {
  playing?.stop();
}

/**
 * A button that plays a clip, or stops it.
 *
 * @param {string} label What it is called, for example "clip 2".
 * @param {() => Promise<ArrayBuffer>} load Its bytes, any format the browser knows.
 */
export function playButton(label, load) {
  const button = h(
    "button",
    { type: "button", class: "quiet icon-only", "aria-label": `Play ${label}` },
    icon("play"),
  );
  let mine = null;
  button.addEventListener("click", async () => {
    if (mine && mine === playing) {
      stopPlaying();
      return;
    }
    try {
      stopPlaying();
      context ??= new AudioContext();
      await context.resume();
      const audio = await context.decodeAudioData(await load());
      mine = start(audio, () => show(false));
      show(true);
    } catch (error) {
      complain(
        error.name === "EncodingError" ? new Error("this browser cannot play that kind of file") : error,
      );
    }
  });
  function show(on) {
    fill(button, icon(on ? "stop" : "play"));
    button.setAttribute("aria-label", `${on ? "Stop" : "Play"} ${label}`);
  }
  return button;
}

function start(audio, ended) {
  const source = context.createBufferSource();
  source.buffer = audio;
  source.connect(context.destination);
  const mine = {
    stop() {
      source.onended = null;
      source.stop();
      finish();
    },
  };
  function finish() {
    if (playing === mine) playing = null;
    ended();
  }
  source.onended = finish;
  source.start();
  playing = mine;
  return mine;
}
