/** Live: press once, speak, and see who it is. */

import { Problem, key, streamAddress } from "../api.js";
import { strip } from "../charts/strip.js";
import { fill, h } from "../dom.js";
import { clock, percent, probability, seconds } from "../format.js";
import { icon } from "../icons.js";
import { openMicrophone } from "../microphone.js";
import { announce, complain } from "../notices.js";
import { colourOfName } from "../state.js";
import { headline, shade } from "../utterances.js";

export const title = "Live";
export const lede = "Press once and speak.";

const KEPT = 200; // utterances in the list
const NAMELESS = ["Unsure", "Strangers"];
const PATIENCE = 5000; // milliseconds for the last decisions after "stop"

export function show(root, { signal }) {
  const label = h("span", {}, "Start listening");
  const button = h(
    "button",
    { type: "button", class: "listen", "aria-pressed": "false", onclick: toggle },
    icon("microphone"),
    label,
  );
  const face = h("span", { class: "face", "aria-hidden": "true" });
  const name = h("p", { class: "who-now" });
  const detail = h("p", { class: "soft" });
  const now = h("div", { class: "now" }, face, h("div", {}, name, detail));
  const timeline = strip();
  const list = h("ol", { class: "utterances" });
  const totals = h("ul", { class: "totals" });
  const heard = h(
    "section",
    { class: "card heard", "aria-label": "What was heard" },
    h("h2", {}, "Heard"),
    list,
  );
  const sums = h(
    "section",
    { class: "card sums", "aria-label": "Who spoke how long" },
    h("h2", {}, "Who spoke"),
    totals,
  );
  fill(
    root,
    h(
      "section",
      { class: "card stage", "aria-label": "Listen" },
      h("div", { class: "row" }, button, now),
      timeline.element,
    ),
    heard,
    sums,
  );

  let microphone = null;
  let socket = null;
  let time = 0;
  let finals = [];
  let busy = false;
  signal.addEventListener("abort", () => stop());
  quiet();
  drawList();
  requestAnimationFrame(() => timeline.begin());

  async function toggle() {
    if (busy) return;
    busy = true;
    try {
      if (microphone) await stop();
      else await start();
    } catch (error) {
      complain(error);
      await stop();
    }
    busy = false;
  }

  async function start() {
    label.textContent = "Starting…";
    time = 0;
    finals = [];
    timeline.begin();
    drawList();
    const waiting = []; // pieces that come before the daemon is ready
    let ready = false;
    microphone = await openMicrophone((piece, level, length) => {
      time += length;
      timeline.level(time, level);
      timeline.advance(time);
      if (ready) socket?.send(piece);
      else waiting.push(piece);
    });
    if (signal.aborted) throw new DOMException("left", "AbortError");
    socket = await connect(microphone.sampleRate);
    for (const piece of waiting) socket.send(piece);
    ready = true;
    button.setAttribute("aria-pressed", "true");
    button.classList.add("on");
    label.textContent = "Stop";
    fill(name, "Listening…");
    fill(detail, "Say something.");
    announce("Listening.");
  }

  function connect(sampleRate) {
    return new Promise((resolve, reject) => {
      const opened = new WebSocket(streamAddress());
      opened.binaryType = "arraybuffer";
      opened.onopen = () =>
        opened.send(
          JSON.stringify({ format: "pcm16", sample_rate: sampleRate, ...(key() ? { key: key() } : {}) }),
        );
      opened.onerror = () => reject(new Problem(0, "No stream", "The daemon did not take the stream."));
      opened.onmessage = ({ data }) => {
        const event = JSON.parse(data);
        if (event.type === "ready") resolve(opened);
        else if (event.type === "error") {
          const { status = 0, title: head = "Stream refused", detail: text = "" } = event.problem ?? {};
          const problem = new Problem(status, head, text);
          reject(problem);
          if (opened === socket) ended(problem);
        } else if (event.type !== "end") take(event);
        else opened.close();
      };
      opened.onclose = () => {
        reject(new Problem(0, "No stream", "The daemon closed the stream."));
        if (opened === socket && microphone)
          ended(new Problem(0, "Stream ended", "The daemon closed the stream."));
      };
    });
  }

  async function ended(problem) {
    complain(problem);
    await stop();
  }

  async function stop() {
    const [closing, open] = [microphone, socket];
    microphone = null;
    button.setAttribute("aria-pressed", "false");
    button.classList.remove("on");
    label.textContent = "Start listening";
    await closing?.close();
    if (open?.readyState === WebSocket.OPEN) {
      const closed = new Promise((resolve) => open.addEventListener("close", resolve));
      open.send(JSON.stringify({ type: "stop" }));
      await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, PATIENCE))]);
      open.close();
    }
    socket = null;
    quiet();
  }

  function take(event) {
    timeline.set(event);
    const { decision } = event;
    if (decision) {
      now.className = `now ${shade(decision)}`;
      now.style.setProperty("--colour", colourOfName(decision.name ?? ""));
      fill(face, decision.status === "unknown" ? "?" : ([...(decision.name ?? "?")][0] ?? "?").toUpperCase());
      fill(name, headline(decision), " ", h("span", { class: "chance" }, probability(decision.probability)));
      fill(
        detail,
        `${seconds(decision.speech_seconds)} of speech${event.early && event.type !== "final" ? " · sure already" : ""}`,
      );
    }
    if (event.type !== "final") return;
    if (decision) announce(`${headline(decision)}, ${probability(decision.probability)}`);
    finals = [event, ...finals].slice(0, KEPT);
    drawList();
  }

  function quiet() {
    now.className = "now silent";
    fill(face);
    fill(name, finals.length ? "Stopped" : "Nobody yet");
    fill(
      detail,
      finals.length ? "Press to listen again." : "Names appear below as people speak; strangers stay grey.",
    );
  }

  function drawList() {
    heard.hidden = sums.hidden = finals.length === 0;
    fill(list, finals.map(row));
    const spoken = new Map();
    for (const { decision, start: from, end } of finals) {
      const who =
        decision?.status === "known" ? decision.name : decision?.status === "unsure" ? "Unsure" : "Strangers";
      spoken.set(who, (spoken.get(who) ?? 0) + end - from);
    }
    const all = [...spoken.values()].reduce((sum, part) => sum + part, 0) || 1;
    fill(
      totals,
      [...spoken]
        .sort((a, b) => NAMELESS.includes(a[0]) - NAMELESS.includes(b[0]) || b[1] - a[1])
        .map(([who, part]) =>
          h(
            "li",
            { style: { "--share": part / all, "--colour": colourOfName(who) } },
            h("span", {}, who),
            h("i", { class: "mini", "aria-hidden": "true" }),
            h("span", { class: "number" }, `${seconds(part)} · ${percent(part / all)}`),
          ),
        ),
    );
  }

  function row({ decision, start: from, end }) {
    return h(
      "li",
      { class: shade(decision), style: { "--colour": colourOfName(decision?.name ?? "") } },
      h("span", { class: "time" }, `${clock(from)}–${clock(end)}`),
      h("i", { class: "swatch", "aria-hidden": "true" }),
      h(
        "div",
        {},
        h("b", {}, decision ? headline(decision) : "Too short"),
        decision ? h("span", { class: "chance" }, ` ${probability(decision.probability)}`) : null,
        decision ? h("p", { class: "soft" }, decision.reason) : null,
        (decision?.warnings ?? []).map((warning) => h("p", { class: "warned" }, warning)),
      ),
    );
  }
}
