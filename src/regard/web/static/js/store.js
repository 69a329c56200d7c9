/**
 * The state of the page, and the part of it that the address holds. Data flow one way: `set` → subscribers render.
 *
 * @typedef {import("./api.js").Photo} Photo
 * @typedef {import("./jobs.js").Work} Work
 * @typedef {ReturnType<typeof beginning>} State
 * @typedef {{get: () => State, set: (news: Partial<State>) => void,
 *     subscribe: (listener: (state: State) => void) => void}} Store
 */

/** In the address; the first four also make an entry in the browser's history. */
const IN_ADDRESS = ["classifier", "photo", "method", "target", "opacity", "cells", "tab", "questioned", "removal", "order"];
const STEPS = 4;
/** How a link says that its photo was a person's own, which no link can hold. */
export const OWN = "own";

/** Words in the address have no spaces, so that it can be pasted into a letter. */
export const beginning = () => ({
  about: /** @type {any} */ (null),
  classifier: "",
  photo: "",
  method: "",
  target: "",
  opacity: "1",
  cells: "",
  tab: "map",
  questioned: "relevance",
  removal: "mean",
  order: "most",
  own: /** @type {Photo[]} */ ([]),
  refused: "",
  uploading: 0,
  works: /** @type {Record<string, Work>} */ ({}),
  labels: /** @type {Record<string, string>} */ ({}),
  held: /** @type {number|null} */ (null),
  step: 0,
  off: /** @type {number[]} */ ([]),
  hidden: /** @type {number[]} */ ([]),
  concepts: /** @type {{id: string, name: string, classifier: string, similarity: number[]}[]} */ ([]),
  cards: /** @type {{key: string, body: any, title: string, beneath: string}[]} */ ([]),
});

/** @param {string} fragment @returns {Record<string, string>} */
export function readAddress(fragment) {
  const given = new URLSearchParams(fragment.replace(/^#/, ""));
  return Object.fromEntries(IN_ADDRESS.filter((key) => given.has(key)).map((key) => [key, given.get(key) ?? ""]));
}

/** What the address says of a state: no concept, which only this visit has, and no photo of a person's own.
 * @param {State} state @returns {string} */
export function address(state) {
  const usual = /** @type {any} */ (beginning());
  const said = new URLSearchParams();
  for (const key of IN_ADDRESS) {
    let value = String(/** @type {any} */ (state)[key]);
    if (key === "photo" && value && !value.startsWith("sample:")) value = OWN;
    if (key === "target" && value.startsWith("concept")) value = "";
    if (value !== usual[key]) said.set(key, value);
  }
  return `#${said}`.replaceAll("%3A", ":");
}

/** @returns {Store} */
export function store() {
  const listeners = /** @type {((state: State) => void)[]} */ ([]);
  let state = beginning();
  let telling = false;

  /** A listener may set more: all then hear the newest state, once. */
  function tell() {
    if (telling) return;
    telling = true;
    queueMicrotask(() => {
      telling = false;
      for (const listener of listeners) listener(state);
    });
  }

  return {
    get: () => state,
    set(news) {
      state = { ...state, ...news };
      tell();
    },
    subscribe: (listener) => void listeners.push(listener),
  };
}

/** Keep address and state alike, both ways.
 * @param {Store} page */
export function keepAddress(page) {
  const step = (/** @type {string} */ text) => JSON.stringify(IN_ADDRESS.slice(0, STEPS).map((key) => readAddress(text)[key]));
  page.subscribe((state) => {
    const next = address(state);
    if (!state.about || next === (location.hash || "#")) return;
    history[step(next) === step(location.hash) ? "replaceState" : "pushState"](null, "", next === "#" ? location.pathname : next);
  });
  addEventListener("popstate", () => {
    const { about, own, works, labels, concepts, cards, photo } = page.get();
    const kept = { about, own, works, labels, concepts, cards };
    const said = readAddress(location.hash);
    if (said.photo === OWN && !photo.startsWith("sample:")) said.photo = photo;
    page.set({ ...beginning(), ...kept, ...said });
  });
}
