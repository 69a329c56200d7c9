/**
 * The one place that speaks to the server: `/api/v1`, JSON, and errors in words.
 *
 * @typedef {{problem: string, came?: string, expected?: string, remedy?: string}} Words
 * @typedef {{id: string, name: string, alt?: string, credit?: string, width: number, height: number}} Photo
 * @typedef {{box: number[], photo: number[], size: number[]}} Frame
 * @typedef {{name: string, summary: string, signed: boolean, answers: string[], passes: number|null, best: boolean}} Method
 * @typedef {{kind: "class"|"probability", index: number} | {kind: "predicted", rank: number} | {kind: "difference", first: number, second: number}
 *     | {kind: "concept", concept: string} | {kind: "concept difference", first: string, second: string}} Target
 */

const BASE = "/api/v1";
const MOST_TRIES = 6;

/** `busy` (detail: seconds until the next try, or 0 once it is over), `gone` and `back`. */
export const events = new EventTarget();
const tell = (name, detail = null) => events.dispatchEvent(new CustomEvent(name, { detail }));
let gone = false;

/** An error as sentences.
 * @param {Words} words */
export function sentences({ problem, came, expected, remedy }) {
  const said = [problem, came && `it was: ${came}`, expected && `expected: ${expected}`, remedy].filter(Boolean);
  return said.map((part) => part[0].toUpperCase() + part.slice(1) + (/[.!?…]$/.test(part) ? "" : ".")).join(" ");
}

/** What the server refused, or that it did not answer (`status` 0). */
export class Refused extends Error {
  /** @param {number} status @param {Words} words */
  constructor(status, words) {
    super(sentences(words));
    this.status = status;
    this.words = words;
  }
}

/** @param {number} seconds @param {AbortSignal} [signal] */
export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}

/** @param {Response} response @returns {Promise<Words>} */
async function refusal(response) {
  const body = await response.json().catch(() => null);
  return body?.error ?? { problem: `The server answered ${response.status}.` };
}

/** @param {string} path @param {RequestInit} options */
async function fetched(path, options) {
  try {
    const response = await fetch(BASE + path, { ...options, headers: { "X-Regard": "1", ...options.headers } });
    if (gone) tell("back", (gone = false));
    return response;
  } catch (error) {
    if (options.signal?.aborted) throw error;
    if (!gone) tell("gone", (gone = true));
    throw new Refused(0, { problem: "The server does not answer.", remedy: "Is `regard serve` still running?" });
  }
}

/**
 * One request. Where the server is busy (429) it waits as long as it is told, says so, and tries again.
 *
 * @param {string} path @param {RequestInit} [options]
 * @returns {Promise<Response>}
 */
export async function request(path, options = {}) {
  for (let tries = 1; ; tries++) {
    const response = await fetched(path, options);
    if (response.ok) return response;
    if (response.status !== 429 || tries === MOST_TRIES) throw new Refused(response.status, await refusal(response));
    for (let left = Number(response.headers.get("Retry-After")) || 2; left > 0; left--) {
      tell("busy", left);
      await pause(1, options.signal ?? undefined).catch((reason) => (tell("busy", 0), Promise.reject(reason)));
    }
    tell("busy", 0);
  }
}

/** @param {string} path @param {AbortSignal} [signal] */
export const get = async (path, signal) => (await request(path, { signal })).json();

/** @param {string} path @param {any} body @param {AbortSignal} [signal] */
export async function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return (await request(path, { method: "POST", body: JSON.stringify(body), headers, signal })).json();
}

/** Nobody waits for the answer, so a failure is nobody's.
 * @param {string} path */
export function remove(path) {
  fetch(BASE + path, { method: "DELETE", headers: { "X-Regard": "1" }, keepalive: true }).catch(() => {});
}

/** @param {File|Blob} file @param {string} name @returns {Promise<Photo>} */
export async function upload(file, name) {
  const body = new FormData();
  body.append("photo", file, name);
  return (await request("/photos", { method: "POST", body })).json();
}

/** @param {string} id @param {number} longest */
export const photoAddress = (id, longest) => `${BASE}/photos/${encodeURIComponent(id)}?longest=${longest}`;
