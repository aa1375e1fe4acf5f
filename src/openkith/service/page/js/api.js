/** Calls of the daemon: keys, problems, repetition, server-sent events. */

const BASE = new URL("../../v1/", import.meta.url);
const KEPT = "kith-key"; // in sessionStorage: gone with the tab
const PATIENCE = 10; // seconds; a longer Retry-After is for the person to wait
const TRIES = 3;

/** What the daemon said no to, or that it could not be reached (status 0). */
export class Problem extends Error {
  constructor(status, title, detail, retryAfter = null) {
    super(detail || title);
    this.status = status;
    this.title = title;
    this.retryAfter = retryAfter;
  }
}

let askForKey = null;
let asking = null;

/** Has a function asked when a key is needed: (refused) => promise of a key, or null where none is given. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

/** The key in use, or null. */
export function key() {
  return sessionStorage.getItem(KEPT);
}

/** Uses a key from now on; null takes it away. */
export function useKey(text) {
  if (text === null) sessionStorage.removeItem(KEPT);
  else sessionStorage.setItem(KEPT, text);
}

/** The address of a call. */
export function address(path, query = {}) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(query))
    if (value !== null && value !== undefined) url.searchParams.set(name, value);
  return url;
}

/** The address of the stream. */
export function streamAddress() {
  const url = address("stream");
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url;
}

/**
 * One call; its JSON, or null where the answer has no body.
 *
 * @param {string} method
 * @param {string} path Under /v1/.
 * @param {Object} options json: a body as JSON; body: any other body; type: its content type; query; etag: for If-Match;
 *     signal; patient: false where a busy daemon is no reason to wait; raw: true for the bytes of the answer.
 */
export async function call(
  method,
  path,
  { json, body, type, query, etag, signal, patient = true, raw = false } = {},
) {
  const headers = new Headers({ Accept: raw ? "*/*" : "application/json" });
  if (json !== undefined) headers.set("Content-Type", "application/json");
  else if (type) headers.set("Content-Type", type);
  if (etag) headers.set("If-Match", etag.startsWith('"') ? etag : `"${etag}"`);
  if (method !== "GET") headers.set("Idempotency-Key", freshKey());
  const sent = {
    method,
    headers,
    body: json === undefined ? body : JSON.stringify(json),
    signal,
    cache: "no-store",
  };
  for (let attempt = 1; ; attempt += 1) {
    const used = key();
    if (used) headers.set("Authorization", `Bearer ${used}`);
    let answer;
    try {
      answer = await fetch(address(path, query), sent);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      if (attempt < TRIES && patient) {
        await pause(attempt, signal); // the idempotency key makes that safe for writes
        continue;
      }
      throw new Problem(0, "No answer", "The daemon cannot be reached. Is kith serve running?");
    }
    if (answer.ok) return raw ? answer.arrayBuffer() : answer.status === 204 ? null : answer.json();
    const problem = await problemOf(answer);
    if (answer.status === 401 && (await newKey(used))) continue;
    if (answer.status === 429 && patient && attempt < TRIES && (problem.retryAfter ?? 1) <= PATIENCE) {
      await pause(problem.retryAfter ?? 1, signal);
      continue;
    }
    throw problem;
  }
}

/** The server-sent events of a path: {event, data}, data parsed. */
export async function* events(path, signal) {
  const headers = new Headers({ Accept: "text/event-stream" }); // EventSource could not send the key
  if (key()) headers.set("Authorization", `Bearer ${key()}`);
  const answer = await fetch(address(path), { headers, signal, cache: "no-store" });
  if (!answer.ok) throw await problemOf(answer);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text = (text + value).replaceAll("\r\n", "\n");
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const event = parseEvent(text.slice(0, end));
      text = text.slice(end + 2);
      if (event) yield event;
    }
  }
}

function parseEvent(block) {
  let event = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) event = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  return data.length ? { event, data: JSON.parse(data.join("\n")) } : null;
}

async function problemOf(answer) {
  const wait = Number.parseFloat(answer.headers.get("Retry-After"));
  const body = await answer.json().catch(() => ({}));
  const detail = typeof body.detail === "string" ? body.detail : "";
  return new Problem(
    answer.status,
    body.title || `Error ${answer.status}`,
    detail,
    Number.isFinite(wait) ? wait : null,
  );
}

/** Whether there is another key than the one refused; asks once for all calls that wait for it. */
async function newKey(refused) {
  if (key() !== refused) return true;
  asking ??= Promise.resolve(askForKey?.(refused !== null) ?? null).finally(() => {
    asking = null;
  });
  const given = await asking;
  if (given) useKey(given);
  return Boolean(given);
}

function freshKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID exists on secure pages only
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
