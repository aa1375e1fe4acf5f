/** What every view needs to know: the daemon's status and who is enrolled. */

import { call } from "./api.js";

const COLOURS = 8; // as in base.css

/** status: of the daemon; speakers: in the order of their numbers. */
export const state = { status: null, speakers: [] };

const changes = new EventTarget();

/** Calls a function after each refresh. */
export function onChange(listener, signal) {
  changes.addEventListener("change", listener, { signal });
}

/** Asks the daemon anew. */
export async function refresh() {
  const [status, people] = await Promise.all([call("GET", "status"), call("GET", "speakers")]);
  state.status = status;
  state.speakers = people.speakers.toSorted((a, b) => a.id - b.id);
  changes.dispatchEvent(new Event("change"));
}

/** Whether the key in use may do this: "read", "identify", "enrol" or "admin". */
export function may(scope) {
  const scopes = state.status?.scopes;
  return !scopes || scopes.includes(scope) || scopes.includes("admin");
}

/** The enrolled person of a name, whatever its case, or undefined. */
export function speakerNamed(name) {
  const wanted = name.trim().toLowerCase();
  return state.speakers.find((speaker) => speaker.name.toLowerCase() === wanted);
}

/** The CSS colour of an enrolled person, by number; grey for nobody. */
export function colourOf(id) {
  const place = state.speakers.findIndex((speaker) => speaker.id === id);
  return place < 0 ? "var(--stranger)" : `var(--person${place % COLOURS})`;
}

/** The CSS colour of a name. */
export function colourOfName(name) {
  return colourOf(state.speakers.find((speaker) => speaker.name === name)?.id ?? -1);
}
