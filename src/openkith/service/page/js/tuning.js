/** The line under the header: that tuning is due, how far it is, what came of it. */

import { call, events } from "./api.js";
import { fill, h } from "./dom.js";
import { icon } from "./icons.js";
import { announce, complain, notice } from "./notices.js";
import { may, onChange, refresh, state } from "./state.js";

const place = () => document.getElementById("tuning");
const OPEN = ["waiting", "running"];
const POLL = 2000; // milliseconds, where events do not come through
let watched = null; // number of the job that is followed

/** Keeps the line up to date, and follows a job that is running already. */
export function watchTuning() {
  onChange(idle);
  idle();
  call("GET", "jobs")
    .then(({ jobs }) => {
      const open = jobs.find((job) => OPEN.includes(job.state));
      return open ? follow(open) : null;
    })
    .catch(complain);
}

/** Starts tuning. */
export function tune() {
  return begin("tune", {});
}

/** Chooses thresholds anew for a false-accept rate. */
export function calibrate(far) {
  return begin("calibrate", { far });
}

async function begin(kind, settings) {
  try {
    await follow(await call("POST", kind, { json: settings }));
  } catch (error) {
    complain(error);
  }
}

function idle() {
  if (watched !== null) return;
  const { status, speakers } = state;
  const enrolled = speakers.some((speaker) => speaker.clips > 0);
  if (!status || !enrolled || (status.tuned && !status.note)) {
    fill(place());
    return;
  }
  const text = status.note || "Answers come from a plain comparison until these voices have been tuned for.";
  const button = h("button", { class: "small primary", onclick: tune }, "Tune now");
  fill(
    place(),
    h(
      "div",
      { class: "notice due" },
      icon("warning"),
      h("p", {}, sentence(text)),
      may("enrol") ? button : null,
    ),
  );
}

async function follow(job) {
  watched = job.id;
  let last = draw(job);
  announce(job.kind === "tune" ? "Tuning has begun." : "Calibrating has begun.");
  try {
    for await (const { data } of events(`jobs/${job.id}/events`)) last = draw(data);
  } catch {
    // a proxy that holds events back, or a daemon that was started anew: it is asked below
  }
  try {
    if (OPEN.includes(last.state)) last = await poll(job.id);
  } finally {
    watched = null;
  }
  await refresh();
  tell(last);
}

async function poll(id) {
  for (;;) {
    const job = draw(await call("GET", `jobs/${id}`));
    if (!OPEN.includes(job.state)) return job;
    await new Promise((resolve) => setTimeout(resolve, POLL));
  }
}

let shown = null; // {id, stage, bar, cancel}

function draw(job) {
  if (!OPEN.includes(job.state)) {
    shown = null;
    return job;
  }
  if (shown?.id !== job.id || !shown.line.isConnected) shown = line(job);
  const share = job.total ? job.done / job.total : null;
  shown.stage.textContent = job.state === "waiting" ? "waiting for its turn" : job.stage || "beginning";
  shown.bar.classList.toggle("unknown", share === null);
  if (share === null) shown.bar.removeAttribute("aria-valuenow");
  else shown.bar.setAttribute("aria-valuenow", Math.round(100 * share));
  shown.filled.style.setProperty("--share", share ?? 0.3);
  return job;
}

function line(job) {
  const title = job.kind === "tune" ? "Tuning" : "Calibrating";
  const stage = h("span", { class: "soft" });
  const filled = h("i");
  const bar = h(
    "div",
    { class: "progress", role: "progressbar", "aria-label": title, "aria-valuemin": 0, "aria-valuemax": 100 },
    filled,
  );
  const cancel = h(
    "button",
    { class: "small", onclick: () => call("DELETE", `jobs/${job.id}`).catch(complain) },
    "Cancel",
  );
  const line = h("div", { class: "notice job" }, h("p", {}, h("b", {}, title), " ", stage), bar, cancel);
  fill(place(), line);
  return { id: job.id, line, stage, bar, filled };
}

function tell(job) {
  const done = job.kind === "tune" ? "Tuned" : "Calibrated";
  if (job.state === "done")
    notice(job.result?.kept ? `${done}: ${job.result.kept}.` : `${done}.`, { kind: "good" });
  else if (job.state === "cancelled") notice("Cancelled; everything is as it was before.");
  else notice(job.error || "The job failed.", { kind: "bad" });
}

function sentence(text) {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}
