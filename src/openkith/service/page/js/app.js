/** The frame of the page: which view is shown, the key, the line about tuning. */

import { key, onKeyNeeded, useKey } from "./api.js";
import { ask } from "./dialogs.js";
import { fill, freshId, h } from "./dom.js";
import { count } from "./format.js";
import { icon } from "./icons.js";
import { clearNotice, complain, explain } from "./notices.js";
import { stopPlaying } from "./player.js";
import { onChange, refresh, state } from "./state.js";
import { watchTuning } from "./tuning.js";
import * as enrol from "./views/enrol.js";
import * as live from "./views/live.js";
import * as people from "./views/people.js";
import * as quality from "./views/quality.js";
import * as review from "./views/review.js";

const VIEWS = { enrol, people, live, review, quality };
const main = document.getElementById("main");
let leaving = new AbortController();

/** Shows the view that the address names; moves the focus to its heading where somebody went there. */
async function show(moved) {
  const [, name, ...rest] = location.hash.split("/");
  const wanted = VIEWS[name] ? name : state.speakers.length ? "people" : "enrol";
  leaving.abort();
  leaving = new AbortController();
  stopPlaying();
  if (moved) clearNotice();
  for (const link of document.querySelectorAll(".tabs a")) {
    if (link.dataset.view === wanted) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const view = VIEWS[wanted];
  document.title = `${view.title} – openkith`;
  const heading = h("h1", { tabindex: "-1" }, view.title);
  const content = h("div", { class: `view ${wanted}` });
  fill(main, h("div", { class: "heading" }, heading, h("p", { class: "lede" }, view.lede)), content);
  if (moved) heading.focus({ preventScroll: true });
  if (moved) window.scrollTo(0, 0);
  try {
    await view.show(content, { rest, signal: leaving.signal });
  } catch (error) {
    if (error.name === "AbortError") return;
    complain(error);
    fill(content, h("div", { class: "empty" }, icon("warning"), h("p", {}, explain(error))));
  }
}

function frame() {
  const { status } = state;
  if (!status) return;
  fill(
    document.getElementById("foot"),
    h("span", {}, `openkith ${status.version}`),
    h("span", {}, `encoder ${status.encoder}`),
    h("span", {}, count(status.people, "person", "people")),
    h("a", { href: "docs" }, "API"),
  );
  const forget = h("button", { class: "quiet small", onclick: forgetKey }, icon("key"), "Forget the key");
  fill(document.getElementById("corner"), key() ? forget : null);
}

function forgetKey() {
  useKey(null);
  location.reload();
}

async function askForKey(refused) {
  const id = freshId("key");
  const field = h("input", {
    id,
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "kith_…",
    required: true,
    autofocus: true,
  });
  const said = refused ? h("p", { class: "field-error", role: "alert" }, "That key was refused.") : null;
  const answer = await ask(
    "This daemon asks for a key",
    [
      h(
        "p",
        {},
        "Whoever runs it makes one with ",
        h("code", {}, "kith keys create"),
        ". It stays in this tab and is forgotten with it.",
      ),
      h("label", { for: id }, "API key"),
      field,
      said,
    ],
    { buttons: [{ label: "Use this key", value: "use", kind: "primary" }] },
  );
  return answer === "use" ? field.value.trim() : null;
}

async function start() {
  onKeyNeeded(askForKey);
  onChange(frame);
  document.getElementById("skip").addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
  });
  try {
    await refresh();
  } catch (error) {
    fill(
      main,
      h(
        "div",
        { class: "empty" },
        icon("warning"),
        h("h1", {}, "Not connected"),
        h("p", {}, explain(error)),
        h("button", { class: "primary", onclick: () => location.reload() }, "Try again"),
      ),
    );
    return;
  }
  watchTuning();
  window.addEventListener("hashchange", () => show(true));
  await show(false);
}

start();
