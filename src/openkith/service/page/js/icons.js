/** Line drawings of 24 by 24, in the colour of the text beside them. */

import { s } from "./dom.js";

const PATHS = {
  close: "M6 6l12 12M18 6L6 18",
  tick: "M5 12.5l4.5 4.5L19 7.5",
  warning: "M12 4.5l8.5 15h-17zM12 10v4.5M12 17v.1",
  play: "M8 5.5v13l10.5-6.5z",
  stop: "M7 7h10v10H7z",
  microphone: "M12 3.5a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0v-5a3 3 0 0 1 3-3zM5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v2.5",
  add: "M12 5v14M5 12h14",
  edit: "M4.5 19.5l1-4.5L16 4.5l3.5 3.5L9 18.5z",
  bin: "M5 7h14M10 7V4.5h4V7M7 7l1 12.5h8L17 7",
  files: "M12 15.5V4.5M7.5 9L12 4.5 16.5 9M4.5 15.5v4h15v-4",
  undo: "M8.5 6L4.5 10l4 4M4.5 10h9a5.5 5.5 0 0 1 0 11H10",
  save: "M12 4.5v11M7.5 11l4.5 4.5 4.5-4.5M4.5 19.5h15",
  key: "M14.5 9.5a4.5 4.5 0 1 0-3.2 4.3L13 15.5h2v2h2v2h3v-3.5l-5.9-5.4zM8.5 8.5v.1",
};

/** The drawing of a name; screen readers pass it over. */
export function icon(name) {
  return s(
    "svg",
    { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" },
    s("path", { d: PATHS[name] }),
  );
}
