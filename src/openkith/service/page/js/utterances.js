/** What is said of one utterance: who it was, in a word, and how it is shaded. */

/** A decision in a word or two. */
export function headline(decision) {
  if (!decision) return "listening";
  if (decision.heard?.length) return decision.heard.map((person) => person.name).join(" + ");
  if (decision.status === "known") return decision.name;
  return decision.status === "unsure" && decision.name ? `${decision.name}?` : "Stranger";
}

/** "known", "unsure", "stranger" or "silent": a class of the style sheet. */
export function shade(decision) {
  if (!decision) return "silent";
  return decision.status === "unknown" ? "stranger" : decision.status;
}
